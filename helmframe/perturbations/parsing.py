"""How perturbations are said: calls, chains, grids, presets."""

import inspect
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from helmframe._core.specs import Call, call_names, frozen
from helmframe.errors import ArgumentError, SourceError, UnknownNameError
from helmframe.perturbations.call import COMMON, PerturbationCall
from helmframe.perturbations.presets import PRESETS
from helmframe.perturbations.registry import FIELDS, HELM, PERTURBATIONS


@dataclass(frozen=True)
class Variant:
    """A chain of perturbations, applied left to right, and how many draws of it."""

    chain: tuple[PerturbationCall, ...]
    seeds: int = 1

    @property
    def name(self) -> str:
        """`lowercase+typos(prob=0.1)`, as the column `perturbation` has it."""
        return call_names(self.chain)

    @property
    def parameters(self) -> str:
        """Every argument of each link, those left to their defaults too, as canonical JSON."""
        links = [{"perturbation": each.name, **each.entry.defaults, **dict(each.arguments)} for each in self.chain]
        return json.dumps(links, sort_keys=True, ensure_ascii=False)

    @property
    def draws(self) -> int:
        """Seeds that make a difference: one where nothing is random."""
        return self.seeds if any(each.entry.draws or each.entry.repeats for each in self.chain) else 1

    @property
    def repeats(self) -> bool:
        """Whether it asks the unchanged prompt again."""
        return any(each.entry.repeats for each in self.chain)

    @property
    def kind(self) -> str:
        """What it counts as: "fairness" or "robustness" as any of its links does, else ""."""
        kinds = {each.entry.kind for each in self.chain}
        return next((kind for kind in ("fairness", "robustness") if kind in kinds), "")

    @property
    def objects(self) -> tuple[str, ...]:
        """The links whose model was given as an object, not by name."""
        return tuple(str(each) for each in self.chain if not each.by_name)

    @property
    def compat(self) -> str | None:
        """Whose rules and random numbers: "helm" where a link has them, else None."""
        return next((each.compat for each in self.chain if each.compat), None)

    def check(self, scenarios: Sequence[str]) -> None:
        """That it can be had for these scenarios.

        Raises:
            ArgumentError: there is none for one of them.
            SourceError: the data root lacks what it takes.
        """
        for each in self.chain:
            each.check(scenarios)


def call(name: str, **arguments: Any) -> PerturbationCall:
    """The perturbation `name` with these arguments; a list is a grid, one perturbation for each value.

    Tables that it reads may be missing here: the sentence it is said in, or `.on(…)`, knows where they are.

    Raises:
        UnknownNameError: nobody registered it.
        ArgumentError: it has no such argument, or the value can't be.
    """
    said = _made(name, arguments)
    for cell in said.cells():
        with suppress(SourceError):
            _check(cell)
    return said


def _made(name: str, arguments: dict[str, Any]) -> PerturbationCall:
    """The call, its values not looked at yet."""
    entry = PERTURBATIONS[name]
    known = [*entry.parameters, *filter(None, [entry.asks]), *(COMMON if entry.takes == "text" else ())]
    for argument in arguments:
        if argument not in known:
            raise ArgumentError.unknown_argument(f"{name}()", argument, known)
    missing = [each for each, default in entry.parameters.items() if default is inspect.Parameter.empty]
    missing += [entry.asks] if entry.asks and arguments.get(entry.asks) is None else []
    for argument in missing:
        if arguments.get(argument) is None:
            raise ArgumentError(f"{name}() needs {argument}=…")
    said = _said(name, entry.asks, arguments)
    cells = said.cells()
    if not cells or len(set(map(str, cells))) < len(cells):
        raise ArgumentError(f"{said}: a grid is a list of one or more different values.")
    return said


def parse(said: str | Call, seeds: int = 1) -> Variant:
    """Return one perturbation: `"typos"`, `"typos(prob=.1)"`, `"a+b"` or `hf.perturbations.typos(prob=.1)`."""
    found = variants(said, seeds)
    if len(found) != 1:
        raise ArgumentError(f"{said} is {len(found)} perturbations: {', '.join(each.name for each in found)}.")
    return found[0]


def variants(
    said: str | Call, seeds: int = 1, compat: str | None = None, default_compat: str | None = None
) -> tuple[Variant, ...]:
    """The perturbations that one name, call, chain or preset stands for: grids are spelled out.

    Args:
        said: `"typos(prob=[.1, .2])"`, `"lowercase+typos"`, `"canonical"`, or `hf.perturbations.typos(prob=.1)`.
        seeds: draws of each that is random.
        compat: "helm" takes HELM's own rules and random numbers for each.
        default_compat: "helm" takes them for those that HELM has.

    Raises:
        UnknownNameError, ArgumentError: as `call`.
        SourceError: the data root lacks a table that one of them reads.
    """
    if not isinstance(said, str | Call):
        raise ArgumentError(
            f"perturb({said!r}): write a name, 'typos(prob=.1)' or hf.perturbations.typos(prob=.1); a function of your "
            "own gets its name by @hf.perturbation('name')."
        )
    if isinstance(said, str) and said.strip() in PRESETS and said.strip() not in PERTURBATIONS:
        return tuple(each for one in PRESETS[said.strip()] for each in variants(one, seeds, compat, default_compat))
    calls = [Call.parse(each) for each in _links(said)] if isinstance(said, str) else [said]
    more = {} if compat is None else {"compat": compat}
    cells = [_named(each, more, default_compat).cells() for each in calls]
    for each in (cell for link in cells for cell in link):
        _check(each)
    return tuple(Variant(chain, seeds) for chain in product(*cells))


def _links(said: str) -> list[str]:
    """The links of a chain; a plus within brackets or quotes belongs to an argument."""
    links, depth = [""], 0
    for quoted, each in _PIECES.findall(said):
        depth += {"(": 1, ")": -1}.get(each, 0)
        if each == "+" and depth == 0:
            links.append("")
        else:
            links[-1] += quoted + each
    return links


# a text in quotes as Python writes it, or one character
_PIECES = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(.)""", re.DOTALL)


def _named(said: Call, more: dict[str, str], default_compat: str | None) -> PerturbationCall:
    if said.name in PRESETS and said.name not in PERTURBATIONS:
        raise ArgumentError(
            f"preset {said.name!r} is a list of perturbations: it stands alone, without arguments, and is no link of a "
            "chain; chain single ones: 'lowercase+typos(prob=.1)'."
        )
    if said.name not in PERTURBATIONS:
        hint = "Add one with @helmframe.perturbation."
        raise UnknownNameError.among("perturbation", said.name, {*PERTURBATIONS, *PRESETS}, hint=hint)
    arguments = {**dict(said.arguments), **more}
    if default_compat and PERTURBATIONS[said.name].helms:
        arguments.setdefault("compat", default_compat)
    if isinstance(said, PerturbationCall) and not said.by_name:
        arguments[said.entry.asks] = said.model
    return _made(said.name, arguments)


def _said(name: str, asks: str, arguments: dict[str, Any]) -> PerturbationCall:
    model = arguments.get(asks) if asks else None
    if not asks or isinstance(model, str) or (isinstance(model, list | tuple) and _all_text(model)):
        return PerturbationCall(name, frozen(arguments), model)
    # the object has no place among the arguments; its name has
    shown = getattr(model, "name", None) or getattr(model, "__name__", None) or type(model).__name__
    return PerturbationCall(name, frozen({**arguments, asks: str(shown)}), model, by_name=False)


def _check(said: PerturbationCall) -> None:
    """Builds what it does, so that wrong values are told now."""
    arguments = dict(said.arguments)
    for argument, known in (("fields", FIELDS), ("compat", ("helm",))):
        value = arguments.get(argument, known[0])
        if said.entry.takes == "text" and value not in (*known, *([None] if argument == "compat" else [])):
            raise ArgumentError.unknown_value(f"{said.name}({argument}={value!r})", value, known)
    if said.entry.takes == "frame":
        said.checked()
        return
    if said.compat and said.name not in HELM:
        raise ArgumentError.unknown_value(f"{said.name}(compat='helm'): HELM has no such perturbation", said.name, HELM)
    if said.compat and "protect" in arguments:
        raise ArgumentError(f"{said}: HELM protects nothing; leave out protect= or compat=.")
    if said.entry.asks and "protect" in arguments:
        raise ArgumentError(f"{said}: what a model writes can't be protected; leave out protect=.")
    if said.compat:
        # HELM's rules take the same arguments and read the same tables, but validate neither
        replace(said, arguments=tuple(pair for pair in said.arguments if pair[0] != "compat")).checked()
    said.checked()


def _all_text(values: Sequence[Any]) -> bool:
    return all(isinstance(each, str) for each in values)
