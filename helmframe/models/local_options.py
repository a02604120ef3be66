"""How a local model is loaded: type, place, adapter, replicas; checked when they are said."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from helmframe.errors import ArgumentError, CapabilityError, UnknownNameError

FLOAT32 = "float32"
DTYPES = (FLOAT32, "bfloat16", "float16")
# The type that the checkpoint was saved in.
AUTO = "auto"
_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Options:
    """What may be said of how a local model is loaded, besides where it is.

    Args:
        dtype: of weights and arithmetic; None: float32, on a GPU bfloat16 (float16 where it has no other).
        device: None: the first GPU, else the CPU.
        device_map: where accelerate puts which layers, instead of one device.
        replicas: so many copies answer side by side, one on each GPU; on a CPU they share its threads.
        trust_remote_code: whether Python code that lies in the checkpoint may run.
    """

    dtype: str | None = None
    device: str | None = None
    device_map: str | Mapping[str, Any] | None = None
    replicas: int = 1
    trust_remote_code: bool = False

    def devices(self) -> list[str]:
        """The device of each replica. Imports torch, unless the device was said to be the CPU.

        Raises:
            CapabilityError: this machine does not have them.
        """
        if self.device == "cpu":
            return ["cpu"] * self.replicas
        seen = seen_devices()
        kind = self.device or seen[0].partition(":")[0]
        if kind == "cpu":
            return ["cpu"] * self.replicas
        able = [each for each in seen if each.partition(":")[0] == kind or each == kind]
        if len(able) < self.replicas or not able:
            wanted = f"replicas={self.replicas}" if able else f"device={self.device!r}"
            raise CapabilityError(f"{wanted}: torch sees {', '.join(seen)} on this machine.")
        return able[: self.replicas]

    def resolved(self, config: Mapping[str, Any]) -> "Options":
        """The options with the type by name, in place of "auto" or nothing, which may import torch.

        Args:
            config: the checkpoint's.
        """
        if self.dtype == AUTO:
            return replace(self, dtype=str(config.get("dtype") or config.get("torch_dtype") or FLOAT32))
        if self.dtype is None:
            return replace(self, dtype={"cpu": FLOAT32, "mps": "float16"}.get(self.devices()[0]) or _gpus_dtype())
        return self

    def changes(self) -> list[str]:
        """What of the options changes answers, for the fingerprint; nothing for float32 without code of its own."""
        said = [] if self.dtype in (None, FLOAT32) else [f"dtype {self.dtype}"]
        return [*said, *(["trust_remote_code"] if self.trust_remote_code else [])]

    def notes(self) -> list[str]:
        """What `explain()` says of them."""
        moved = f"computes in {self.dtype}: where two words are nearly as likely, answers differ from float32's"
        said = [] if self.dtype in (None, FLOAT32) else [moved]
        return [*said, *(["runs the checkpoint's own code"] if self.trust_remote_code else [])]


def checked(
    *,
    dtype: Any = None,
    device: Any = None,
    device_map: Any = None,
    replicas: Any = 1,
    trust_remote_code: Any = False,
) -> Options:
    """The options, as said by people: types as `torch.bfloat16` or by name.

    Raises:
        ArgumentError: a value that can't be, or two that contradict.
        UnknownNameError: no such type.
        CapabilityError: this machine has no such device, or a package is missing.
    """
    if dtype is not None:
        dtype = str(dtype).removeprefix("torch.")
        if dtype not in (*DTYPES, AUTO):
            raise UnknownNameError.among("dtype", dtype, [*DTYPES, AUTO])
    if device is not None:
        device = str(device)
        if not _DEVICE.fullmatch(device):
            raise ArgumentError(f"local(device={device!r}): should be 'cpu', 'cuda', 'cuda:1' or 'mps'.")
    if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 1:
        raise ArgumentError(f"local(replicas={replicas!r}): should be a whole number of at least 1.")
    if not isinstance(trust_remote_code, bool):
        raise ArgumentError(f"local(trust_remote_code={trust_remote_code!r}): should be True or False.")
    if device_map is not None:
        device_map = _checked_map(device_map)
        for name, other in (("device", device), ("replicas", None if replicas == 1 else replicas)):
            if other is not None:
                raise ArgumentError(f"local({name}={other!r}, device_map=…): the map says where the layers are.")
    if replicas > 1 and device is not None and ":" in device:
        raise ArgumentError(f"local(device={device!r}, replicas={replicas}): each has a GPU of its own; say 'cuda'.")
    options = Options(dtype, device, device_map, replicas, trust_remote_code)
    if device not in (None, "cpu") or replicas > 1:
        options.devices()
    return options


def seen_devices() -> list[str]:
    """The devices that torch sees, the best first: GPUs by number, at last the CPU; that alone without torch."""
    if find_spec("torch") is None:
        return ["cpu"]
    import torch

    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*gpus, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def _gpus_dtype() -> str:
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def _checked_map(said: Any) -> str | dict[str, Any]:
    if find_spec("accelerate") is None:
        raise CapabilityError("local(device_map=…) needs the package accelerate: pip install accelerate.")
    if isinstance(said, str):
        if said not in _MAPS:
            raise UnknownNameError.among("device_map", said, _MAPS)
        return said
    try:
        given = {str(name): place for name, place in dict(said).items()}
    except (TypeError, ValueError):
        given = {}
    if not given or not all(isinstance(place, int | str) and not isinstance(place, bool) for place in given.values()):
        raise ArgumentError(f"local(device_map={said!r}): should be 'auto' or {{module: device}}: {{'': 'cpu'}}.")
    return given


_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
