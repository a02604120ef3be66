"""The stage `perturb`, the decorator that makes a function a perturbation, and how one is said."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from helmframe.columns import ORIGINAL
from helmframe.errors import ArgumentError
from helmframe.expressions import key_of
from helmframe.registry import Registry
from helmframe.specs import Call, call_names, frozen


@dataclass(frozen=True)
class Perturbation:
    """A registered perturbation: the function, whether it draws random numbers, whether it asks a prompt again."""

    name: str
    function: Callable[..., pl.Expr]
    draws: bool
    repeats: bool = False

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The arguments a user may give, with their defaults."""
        given = list(inspect.signature(self.function).parameters.values())[2 if self.draws else 1 :]
        return {parameter.name: parameter.default for parameter in given}


PERTURBATIONS: Registry[Perturbation] = Registry("perturbation", "Add one with @helmframe.perturbation.")


@dataclass(frozen=True)
class PerturbationCall(Call):
    """A perturbation with its arguments: for sentences as it stands, outside of them by `.on(…)`."""

    def on(self, text: pl.Expr, *, id: pl.Expr | str, seed: int = 0) -> pl.Expr:
        """The perturbed text, as an expression for any frame.

        Args:
            text: the text column.
            id: what the random numbers hang on: the same id gets the same change, whatever the row order.
            seed: which draw.

        >>> frame = pl.DataFrame({"id": ["a"], "question": ["Who Wrote It?"]})
        >>> frame.select(call("lowercase").on(pl.col("question"), id="id")).item()
        'who wrote it?'
        """
        entry = PERTURBATIONS[self.name]
        ids = pl.col(id) if isinstance(id, str) else id
        # The arguments stay out of the key: typos(prob=.1) then changes every letter that typos(prob=.05) changes.
        key = [key_of(f"{seed}\x1f{self.name}\x1f", ids)] if entry.draws else []
        try:
            changed = entry.function(text, *key, **dict(self.arguments))
        except AttributeError as error:
            raise ArgumentError(f"perturbation {self.name!r}: {error}; `text` is a Polars expression.") from error
        if not isinstance(changed, pl.Expr):
            raise ArgumentError(
                f"perturbation {self.name!r} gave {changed!r}; it should return a Polars expression, such as "
                "text.str.to_lowercase()."
            )
        return changed


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
    def draws(self) -> int:
        """Seeds that make a difference: one where nothing is random."""
        entries = [PERTURBATIONS[each.name] for each in self.chain]
        return self.seeds if any(entry.draws or entry.repeats for entry in entries) else 1

    @property
    def repeats(self) -> bool:
        """Whether it asks the unchanged prompt again."""
        return any(PERTURBATIONS[each.name].repeats for each in self.chain)


def perturbation(name: str, *, repeats: bool = False) -> Callable[[Callable[..., pl.Expr]], Callable[..., pl.Expr]]:
    """Register a function `(text, **arguments) -> pl.Expr`, or `(text, key, **arguments)` if it draws random numbers.

    `text` is the text column; `key` an UInt64 column to draw from (`expressions.keyed_draws`). The function is returned
    as it was.
    """

    def register(function: Callable[..., pl.Expr]) -> Callable[..., pl.Expr]:
        names = list(inspect.signature(function).parameters)
        PERTURBATIONS.add(name, Perturbation(name, function, draws="key" in names[1:2], repeats=repeats))
        return function

    return register


def call(name: str, **arguments: Any) -> PerturbationCall:
    """The perturbation `name` with these arguments.

    Raises:
        UnknownNameError: nobody registered it.
        ArgumentError: it has no such argument, or the value can't be.
    """
    entry = PERTURBATIONS[name]
    for argument in arguments:
        if argument not in entry.parameters:
            raise ArgumentError.unknown_argument(f"{name}()", argument, entry.parameters)
    missing = [each for each, default in entry.parameters.items() if default is inspect.Parameter.empty]
    for argument in missing:
        if argument not in arguments:
            raise ArgumentError(f"{name}() needs {argument}=…")
    said = PerturbationCall(name, frozen(arguments))
    said.on(pl.col("text"), id="id")  # builds the expression, so that wrong values are told now
    return said


def parse(said: str | Call, seeds: int = 1) -> Variant:
    """A perturbation as said: `"typos"`, `"typos(prob=.1)"`, `"lowercase+typos"`, or `hf.typos(prob=.1)`."""
    # a plus between brackets belongs to an argument
    if not isinstance(said, str | Call):
        raise ArgumentError(
            f"perturb({said!r}): write a name, 'typos(prob=.1)' or hf.typos(prob=.1); a function of your own gets its "
            "name by @hf.perturbation('name')."
        )
    links = re.split(r"\+(?![^(]*\))", said) if isinstance(said, str) else []
    calls = [Call.parse(each) for each in links] if isinstance(said, str) else [said]
    return Variant(tuple(call(each.name, **dict(each.arguments)) for each in calls), seeds)


def perturb(instances: pl.LazyFrame, variants: Sequence[Variant]) -> pl.LazyFrame:
    """Every instance unperturbed and under each variant.

    Args:
        instances: `INSTANCES`.
        variants: the chains asked for; `original` need not be among them.

    Returns:
        `VARIANTS`, one row per (instance, perturbation, seed); `perturbed_input`, `changed` and the like added.
    """
    plain = pl.col("perturbed_input")
    frames = [_variant(instances, ORIGINAL, 0, pl.col("input"), repeat=0)]
    for variant in variants:
        for seed in range(variant.draws):
            text = pl.col("input")
            for place, each in enumerate(variant.chain):
                # A chain may hold a perturbation twice; its place keeps the draws apart.
                ids = pl.concat_str("scenario", pl.lit(f"\x1f{place}\x1f"), "instance_id")
                text = each.on(text, id=ids, seed=seed)
            frames.append(_variant(instances, variant.name, seed, text, repeat=seed + 1 if variant.repeats else 0))
    return pl.concat(frames).with_columns(changed=plain.ne_missing(pl.col("input")))


def _variant(instances: pl.LazyFrame, name: str, seed: int, text: pl.Expr, repeat: int) -> pl.LazyFrame:
    return instances.with_columns(
        perturbation=pl.lit(name),
        perturbation_seed=pl.lit(seed, dtype=pl.Int64),
        perturbed_input=text,
        perturbed_references=pl.col("references"),
        changed=pl.lit(value=False),
        repeat=pl.lit(repeat, dtype=pl.Int64),
    )
