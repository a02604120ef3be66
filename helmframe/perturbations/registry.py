"""The registry of perturbations, and of HELM's versions of them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import UnionType
from typing import Any, Union, get_args, get_origin

from helmframe._core.registry import Registry
from helmframe._core.specs import Pairs
from helmframe.perturbations.tables import Tables

FIELDS = ("input", "references", "both")
KINDS = ("robustness", "fairness", "")
TAKES = ("text", "frame", "image")

# A default is shown up to this many characters.
_MAX_SHOWN = 20

# One instance's texts in HELM's order (references, then the input) and its random stream → the changed texts.
Stream = Callable[[Sequence[str], Random], list[str]]


@dataclass(frozen=True)
class Perturbation:
    """A registered perturbation: its function, and the arguments of `@hf.perturbation`.

    `draws` is true if the function uses random numbers.
    """

    name: str
    function: Callable[..., Any]
    draws: bool
    repeats: bool = False
    fields: str = "input"
    one_mapping: bool = False
    kind: str = "robustness"
    takes: str = "text"
    model_argument: str = ""
    check: Callable[..., None] | None = None

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters of the function that a user sets."""
        parameters = list(inspect.signature(self.function).parameters.values())[2 if self.draws else 1 :]
        return {parameter.name: parameter for parameter in parameters if parameter.annotation is not Tables}

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The parameters with a default, and their defaults."""
        empty = inspect.Parameter.empty
        defaults = {name: parameter.default for name, parameter in self.parameters.items()}
        return {name: default for name, default in defaults.items() if default is not empty}

    @property
    def required(self) -> list[str]:
        """The parameters without a default, the model's last."""
        names = [name for name in self.parameters if name not in self.defaults]
        return [*names, self.model_argument] if self.model_argument else names

    @property
    def signature(self) -> str:
        """The parameters as one line, with their defaults; a long default is shown as `…`."""
        shown = [self.model_argument] if self.model_argument else []
        for name in self.parameters:
            default = repr(self.defaults.get(name, ""))
            label = default if len(default) <= _MAX_SHOWN else "…"
            shown.append(f"{name}={label}" if name in self.defaults else name)
        return ", ".join(shown)

    def takes_list(self, argument: str) -> bool:
        """Return whether a list is one value of the argument (its annotation is a sequence), not a grid."""
        return argument in self.parameters and _accepts(self.parameters[argument].annotation, Sequence)

    def takes_mapping(self, argument: str) -> bool:
        """Return whether pairs are one value of the argument (its annotation is a mapping)."""
        return argument in self.parameters and _accepts(self.parameters[argument].annotation, Mapping)

    def arguments(self, pairs: Pairs) -> dict[str, Any]:
        """Return the function's arguments among those of a call, with pairs as mappings."""
        return {
            key: dict(value) if isinstance(value, tuple) and self.takes_mapping(key) else value  # type: ignore[arg-type]
            for key, value in pairs
            if key in self.parameters
        }

    @property
    def has_helm(self) -> bool:
        """True if `compat="helm"` exists: as a stream of HELM's, or as a parameter of the function."""
        return self.name in HELM or "compat" in self.parameters

    @property
    def source(self) -> str:
        """The paragraph of the docstring that starts with `Source:`."""
        paragraph = (inspect.getdoc(self.function) or "").partition("Source:")[2].partition("\n\n")[0]
        return " ".join(paragraph.split())


@dataclass(frozen=True)
class Helm:
    """HELM's version of a perturbation: `make(**arguments)` returns the stream.

    `seeded` is true if HELM uses the seed.
    """

    make: Callable[..., Stream]
    seeded: bool = True


PERTURBATIONS: Registry[Perturbation] = Registry(
    "perturbation",
    "Add one with @hf.perturbation.",
    packages=["helmframe.perturbations"],
)
HELM: Registry[Helm] = Registry("HELM perturbation", packages=["helmframe.perturbations"], decorator="helm")


def helm(name: str, *, seeded: bool = True) -> Callable[[Callable[..., Stream]], Callable[..., Stream]]:
    """Register the function for `compat="helm"` of the perturbation `name`; it takes the same arguments."""

    def register(make: Callable[..., Stream]) -> Callable[..., Stream]:
        HELM.add(name, Helm(make, seeded))
        return make

    return register


def tables_argument(function: Callable[..., Any], tables: Tables) -> dict[str, Tables]:
    """Return the word tables as an argument, if the function has a parameter of that type."""
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name: tables for parameter in parameters if parameter.annotation is Tables}


def _accepts(annotation: Any, kind: type) -> bool:
    """Return whether an annotation, or a member of its union, is of this type; a text isn't a sequence here."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    types = [get_origin(member) or member for member in members]
    return any(isinstance(member, type) and member is not str and issubclass(member, kind) for member in types)
