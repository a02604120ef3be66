"""The arrays that kernels over texts pass to each other, by the type of their elements."""

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Bytes: TypeAlias = "NDArray[np.uint8]"
Points: TypeAlias = "NDArray[np.uint32]"  # code points
Numbers: TypeAlias = "NDArray[np.int64]"
Draws: TypeAlias = "NDArray[np.uint64]"  # keys, and the random numbers made of them
Flags: TypeAlias = "NDArray[np.bool_]"
