"""Texts and calls as variants: chains, grids and presets, such as "lowercase+typos(prob=[.1, .2])"."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from helmframe._core.specs import Call, call_names, check_cells, check_length
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.perturbations.call import PerturbationCall, check_call, unchecked_call
from helmframe.perturbations.catalogue import PRESETS
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.perturbations.tables import Tables


@dataclass(frozen=True)
class Variant:
    """A chain of perturbations, applied from left to right, and the number of its samples."""

    chain: tuple[PerturbationCall, ...]
    seeds: int = 1

    @property
    def name(self) -> str:
        """The name in the column `perturbation`, such as `lowercase+typos(prob=0.1)`."""
        return call_names(self.chain)

    @property
    def parameters(self) -> str:
        """The arguments of all links as canonical JSON, including defaults."""
        links = [{"perturbation": link.name, **link.entry.defaults, **dict(link.arguments)} for link in self.chain]
        return json.dumps(links, sort_keys=True, ensure_ascii=False)

    @property
    def draws(self) -> int:
        """The number of seeds that make a difference: one if nothing is random."""
        return self.seeds if any(link.entry.draws or link.entry.repeats for link in self.chain) else 1

    @property
    def repeats(self) -> bool:
        """True if the unchanged prompt is requested again."""
        return any(link.entry.repeats for link in self.chain)

    @property
    def kind(self) -> str:
        """The kind of the variant: "fairness" or "robustness" if a link has that kind, else ""."""
        kinds = {link.entry.kind for link in self.chain}
        return next((kind for kind in ("fairness", "robustness") if kind in kinds), "")

    @property
    def objects(self) -> tuple[str, ...]:
        """The links whose model is an object, not a name."""
        return tuple(str(link) for link in self.chain if not link.by_name)

    @property
    def compat(self) -> str | None:
        """The system whose rules and random numbers a link uses: "helm", or None."""
        return next((link.compat for link in self.chain if link.compat), None)

    def check(self, scenarios: Sequence[str], data: str | None = None) -> None:
        """Check that the variant exists for these scenarios, whose own data root is `data`.

        Raises:
            ArgumentError: It doesn't exist for a scenario.
            SourceError: The data root lacks a table.
        """
        for link in self.chain:
            link.check(scenarios, Tables.of(data))


# The number of perturbations that an error message shows.
_MAX_NAMES = 5


def parse(perturbation: str | Call, seeds: int = 1) -> Variant:
    """Return the one variant of `"typos"`, `"typos(prob=.1)"`, `"a+b"` or `hf.perturbations.typos(prob=.1)`."""
    parsed = variants(perturbation, seeds)
    if len(parsed) != 1:
        names = ", ".join(variant.name for variant in parsed[:_MAX_NAMES]) + (", …" if len(parsed) > _MAX_NAMES else "")
        raise ArgumentError(f"{perturbation}: one perturbation is needed, but this is {len(parsed)}: {names}.")
    return parsed[0]


def variants(
    perturbation: str | Call,
    seeds: int = 1,
    compat: str | None = None,
    default_compat: str | None = None,
    data: str | None = None,
) -> tuple[Variant, ...]:
    """Return the variants of one name, call, chain or preset: one per cell of a grid.

    Args:
        perturbation: `"typos(prob=[.1, .2])"`, `"lowercase+typos"`, `"canonical"`, or a call of `hf.perturbations`.
        seeds: The number of samples of each random variant.
        compat: "helm" applies HELM's own rules and random numbers to each.
        default_compat: "helm" applies them to those that HELM has.
        data: The plan's own data root, which may contain word tables.

    Raises:
        UnknownNameError: No perturbation has that name.
        ArgumentError: An argument is unknown, missing or invalid.
        SourceError: The data root lacks a table.
    """
    if not isinstance(perturbation, str | Call):
        raise ArgumentError(
            f"perturb({perturbation!r}): a perturbation must be a name or a call, such as 'typos(prob=.1)' or "
            "hf.perturbations.typos(prob=.1). Your own functions are registered by @hf.perturbation('name')."
        )
    if isinstance(perturbation, str) and (name := perturbation.strip()) in PRESETS and name not in PERTURBATIONS:
        options = (seeds, compat, default_compat, data)
        return tuple(variant for member in PRESETS[name] for variant in variants(member, *options))
    if isinstance(perturbation, str):
        check_length(perturbation)
    calls = [Call.parse(link) for link in _links(perturbation)] if isinstance(perturbation, str) else [perturbation]
    shared = {} if compat is None else {"compat": compat}
    cells = [_resolved(link, shared, default_compat).cells() for link in calls]
    check_cells(f"perturb({str(perturbation)!r})", map(len, cells))
    tables = Tables.of(data)
    for link in cells:
        for cell in link:
            check_call(cell, tables)
    return tuple(Variant(chain, seeds) for chain in product(*cells))


def _links(text: str) -> list[str]:
    """Return the links of a chain; a plus within brackets or quotes is part of an argument."""
    links: list[list[str]] = [[]]
    depth = 0
    for quoted, character in _PIECES.findall(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "+" and depth == 0:
            links.append([])
        else:
            links[-1].append(quoted + character)
    return ["".join(pieces) for pieces in links]


# a text in quotes as Python writes it, or one character
_PIECES = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(.)""", re.DOTALL)


def _resolved(link: Call, shared: dict[str, str], default_compat: str | None) -> PerturbationCall:
    if link.name in PRESETS and link.name not in PERTURBATIONS:
        raise ArgumentError(
            f"Preset {link.name!r} is a list of perturbations and must be used alone, without arguments. Chain "
            "single perturbations: 'lowercase+typos(prob=.1)'."
        )
    if link.name not in PERTURBATIONS:
        names = {*PERTURBATIONS, *PRESETS}
        raise UnknownNameError.among("perturbation", link.name, names, hint=PERTURBATIONS.hint)
    arguments = {**dict(link.arguments), **shared}
    if default_compat and PERTURBATIONS[link.name].has_helm:
        arguments.setdefault("compat", default_compat)
    if isinstance(link, PerturbationCall) and not link.by_name:
        arguments[link.entry.model_argument] = link.model
    return unchecked_call(link.name, arguments)
