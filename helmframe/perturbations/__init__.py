"""Perturbations: changes of the input that should not change the answer, such as `hf.perturbations.typos(prob=.1)`.

A list of values is a grid: `hf.perturbations.typos(prob=[.05, .1, .2])` is three perturbations. The name of a
perturbation contains only the arguments that differ from their defaults: `hf.perturbations.typos()` is "typos".
`hf.list_perturbations()` lists all perturbations with their sources.
"""

from typing import TYPE_CHECKING

from helmframe.perturbations.call import PerturbationCall
from helmframe.perturbations.factory import Factory, factory_of
from helmframe.perturbations.registry import PERTURBATIONS

if TYPE_CHECKING:
    __all__: list[str]


def __getattr__(name: str) -> Factory:
    if name == "__all__":
        return __dir__()  # type: ignore[return-value]
    if name.startswith("_") or name not in PERTURBATIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return factory_of(PERTURBATIONS[name])


def __dir__() -> list[str]:
    # Tab completion shows these names only, not the modules that define them
    return sorted([PerturbationCall.__name__, *PERTURBATIONS])
