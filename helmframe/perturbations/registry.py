"""The decorator that makes a function a perturbation, and what is known of each."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import UnionType
from typing import Any, Union, get_args, get_origin

from helmframe._core.registry import Registry
from helmframe._core.specs import Pairs
from helmframe.errors import ArgumentError

FIELDS = ("input", "references", "both")
KINDS = ("robustness", "fairness", "")
TAKES = ("text", "frame")

# A default is shown up to this many characters.
_SHOWN = 20

# One instance's texts in HELM's order (references, then the input) and its random stream, to the texts changed.
Stream = Callable[[Sequence[str], Random], list[str]]


@dataclass(frozen=True)
class Perturbation:
    """A registered perturbation: the function, and what the stage has to know of it."""

    name: str
    function: Callable[..., Any]
    draws: bool
    repeats: bool = False
    fields: str = "input"
    one_mapping: bool = False
    kind: str = "robustness"
    takes: str = "text"
    asks: str = ""
    check: Callable[..., None] | None = None

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The arguments of its own that a user may give, with their defaults."""
        given = list(inspect.signature(self.function).parameters.values())[2 if self.draws else 1 :]
        return {parameter.name: parameter.default for parameter in given}

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Its arguments' defaults, of those that have one."""
        empty = inspect.Parameter.empty
        return {name: default for name, default in self.parameters.items() if default is not empty}

    @property
    def signature(self) -> str:
        """Its arguments in a line, with their defaults; a long one as `…`."""
        shown = [self.asks] if self.asks else []
        for name in self.parameters:
            default = repr(self.defaults.get(name, ""))
            shown.append(f"{name}={default if len(default) <= _SHOWN else '…'}" if name in self.defaults else name)
        return ", ".join(shown)

    def takes_list(self, argument: str) -> bool:
        """Whether a list is one value of the argument (its annotation is a sequence), and no grid."""
        return argument in self.parameters and _takes(self._hint(argument), Sequence)

    def takes_mapping(self, argument: str) -> bool:
        """Whether pairs are one value of the argument (its annotation is a mapping)."""
        return argument in self.parameters and _takes(self._hint(argument), Mapping)

    def arguments(self, said: Pairs) -> dict[str, Any]:
        """Its own arguments among those said, as the function takes them: pairs as a mapping again."""
        return {
            key: dict(value) if isinstance(value, tuple) and self.takes_mapping(key) else value  # type: ignore[arg-type]
            for key, value in said
            if key in self.parameters
        }

    @property
    def helms(self) -> bool:
        """Whether there is `compat="helm"`: a stream of HELM's, or an argument of its own."""
        return self.name in HELM or "compat" in self.parameters

    @property
    def source(self) -> str:
        """What the docstring says after `Source:`."""
        said = (inspect.getdoc(self.function) or "").partition("Source:")[2].partition("\n\n")[0]
        return " ".join(said.partition("Mended:")[0].split())

    def _hint(self, argument: str) -> Any:
        return inspect.signature(self.function).parameters[argument].annotation


@dataclass(frozen=True)
class Helm:
    """A perturbation as HELM has it: `make(**arguments)` gives the stream.

    `seeded`: HELM heeds the seed.
    """

    make: Callable[..., Stream]
    seeded: bool = True


PERTURBATIONS: Registry[Perturbation] = Registry(
    "perturbation", "Add one with @helmframe.perturbation.", packages=["helmframe.perturbations"]
)
HELM: Registry[Helm] = Registry("HELM perturbation", packages=["helmframe.perturbations"], decorator="helm")


def perturbation(
    name: str,
    *,
    repeats: bool = False,
    fields: str = "input",
    one_mapping: bool = False,
    kind: str = "robustness",
    takes: str = "text",
    asks: str = "",
    check: Callable[..., None] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function `(text, **arguments) -> pl.Expr`, or `(text, key, **arguments)` if it draws random numbers.

    `text` is the text column; `key` an UInt64 column to draw from (`expressions.keyed_draws`). It must give text
    for every text: where it gives null, a run stops before a model is asked. The function is returned as it was. An
    argument whose annotation is a sequence takes a list as it is; else a list is a grid.

    Args:
        name: how it is said.
        repeats: Whether the unchanged prompt is requested again, as a placebo.
        fields: what it changes unless told otherwise: "input", "references" or "both".
        one_mapping: all texts of an instance share one key, so that what is a function of key and word (a new name)
            is the same in input and references; else each text has a key of its own.
        kind: "robustness", "fairness", or "" where it counts as neither.
        takes: "text", or "frame" for a function `(frame, key, **arguments) -> frame` over lazy `INSTANCES` with the
            columns perturbed_input, perturbed_references and adapter_change, any of which it may rewrite; rows keep
            their number and order.
        asks: the argument that takes a model; the function then gives the prompt that asks it about a text, and its
            answer is the text perturbed.
        check: called when a sentence says it, with the names of the sentence's scenarios and the arguments said; raises
            where it can't be had for one of them.

    Raises:
        ArgumentError: no name, or no such fields, kind or takes.
    """
    if not isinstance(name, str):
        raise ArgumentError.no_name("hf.perturbation", name)
    for argument, value, known in (("fields", fields, FIELDS), ("kind", kind, KINDS), ("takes", takes, TAKES)):
        if value not in known:
            raise ArgumentError.unknown_value(f"@perturbation({name!r}, {argument}={value!r})", value, known)

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        draws = "key" in list(inspect.signature(function).parameters)[1:2]
        entry = Perturbation(name, function, draws, repeats, fields, one_mapping, kind, takes, asks, check)
        PERTURBATIONS.add(name, entry)
        return function

    return register


def helm(name: str, *, seeded: bool = True) -> Callable[[Callable[..., Stream]], Callable[..., Stream]]:
    """Register what `compat="helm"` does for the perturbation `name`; it takes the same arguments."""

    def register(make: Callable[..., Stream]) -> Callable[..., Stream]:
        HELM.add(name, Helm(make, seeded))
        return make

    return register


def _takes(hint: Any, kind: type) -> bool:
    """Whether an annotation, or a member of the union it is, is of this type; text is no sequence here."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    types = [get_origin(member) or member for member in members]
    return any(isinstance(each, type) and each is not str and issubclass(each, kind) for each in types)
