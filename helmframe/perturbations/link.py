"""One link of a chain: a perturbation with its arguments, and what it does to a frame."""

from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

import polars as pl

from helmframe.columns import INSTANCES, REFERENCE
from helmframe.errors import ArgumentError
from helmframe.expressions import key_of
from helmframe.perturbations.by_model import Ask, answered
from helmframe.perturbations.checked import changed_by, check_text, dtype_of, named
from helmframe.perturbations.fields import around, in_references, protected_pattern
from helmframe.perturbations.helm_rows import by_row, text_by_row
from helmframe.perturbations.registered import HELM, PERTURBATIONS, Perturbation, Stream
from helmframe.specs import Call, Pairs

# The columns a perturbation may rewrite.
VARIANT_TEXTS = {
    "perturbed_input": pl.String(),
    "perturbed_references": pl.List(REFERENCE),
    "adapter_change": pl.String(),
}
# What every perturbation of texts takes beside its own arguments.
COMMON = ("compat", "fields", "protect")


@dataclass(frozen=True)
class PerturbationCall(Call):
    """A perturbation with its arguments: for sentences as it stands, outside of them by `.on(…)`.

    `model` is who makes it, where a model does; `by_name` says whether the arguments name it.
    """

    model: Any = field(default=None, repr=False)
    by_name: bool = field(default=True, repr=False)

    @property
    def entry(self) -> Perturbation:
        """What is registered under its name."""
        return PERTURBATIONS[self.name]

    @property
    def fields(self) -> str:
        """What it changes: "input", "references" or "both"."""
        return str(dict(self.arguments).get("fields", self.entry.fields))

    @property
    def compat(self) -> str | None:
        """Whose rules and random numbers: "helm", or None."""
        return dict(self.arguments).get("compat")  # type: ignore[return-value]

    def on(self, text: pl.Expr, *, id: pl.Expr | str, seed: int = 0) -> pl.Expr:
        """The perturbed text, as an expression for any frame.

        Args:
            text: the text column.
            id: what the random numbers hang on: the same id gets the same change, whatever the row order.
            seed: which draw.

        >>> from helmframe.perturbations.said import call
        >>> frame = pl.DataFrame({"id": ["a"], "question": ["Who Wrote It?"]})
        >>> frame.select(call("lowercase").on(pl.col("question"), id="id")).item()
        'who wrote it?'

        Raises:
            ArgumentError: it needs more than a text (the order of options), or it is a grid.
        """
        if len(self.cells()) != 1:
            raise ArgumentError(f"{self} is {len(self.cells())} perturbations; .on(…) takes one.")
        if self.entry.takes != "text" or self.entry.asks:
            raise ArgumentError(f"{self.name} needs more than a text; say it in a sentence: .perturb({str(self)!r}).")
        for argument, given in (("text", text), ("id", id)):
            if not isinstance(given, str | pl.Expr):
                raise ArgumentError(f"{self.name}.on({argument}={given!r}): a column's name, or an expression.")
        ids = pl.col(id) if isinstance(id, str) else id
        if self.compat:
            return text_by_row(self._stream(), text, ids, self._helm_seed(seed))
        return self._changed(text, ids, seed)

    def checked(self) -> None:
        """Builds what it does, so that wrong values are told."""
        if self.entry.takes == "frame":
            self._reframed(pl.LazyFrame(schema=INSTANCES.schema | VARIANT_TEXTS), pl.col("instance_id"), 0)
        elif self.entry.asks:
            self._function(pl.col("text"), [])
        else:
            given = dtype_of(self.on(pl.col("text"), id="id"))
            if given is not None:
                check_text(str(self), given)

    def check(self, scenarios: Sequence[str]) -> None:
        """That it can be had for these scenarios; what it says otherwise is its own."""
        if self.entry.check is not None:
            self.entry.check(scenarios, **self._own())

    def cells(self) -> "tuple[PerturbationCall, ...]":
        """The calls it stands for: every list that is no value itself spans a grid."""
        axes = [
            [(key, each) for each in value] if isinstance(value, tuple) and not self._is_value(key, value) else None
            for key, value in self.arguments
        ]
        choices = [[pair] if axis is None else axis for axis, pair in zip(axes, self.arguments, strict=True)]
        return tuple(replace(self, arguments=cell, model=self._model(cell)) for cell in product(*choices))

    def through(self, frame: pl.LazyFrame, ids: pl.Expr, seed: int, ask: Ask | None = None) -> pl.LazyFrame:
        """The frame with perturbed_input, perturbed_references and adapter_change as this leaves them."""
        if self.entry.takes == "frame":
            # where tables are looked for is known now, not when it is collected
            context = copy_context()
            again = lambda rows: context.copy().run(self._reframed, rows.lazy(), ids, seed).collect()  # noqa: E731
            return changed_by(frame, str(self), again, "both")
        if self.entry.asks:
            unasked = lambda _, prompts: pl.Series([None] * len(prompts), dtype=pl.String)  # noqa: E731
            return answered(frame, self.fields, lambda text: self._function(text, []), partial(ask or unasked, self))
        if self.compat:
            stream = self._stream()
            helms = lambda rows: by_row(rows.lazy(), stream, self.fields, self._helm_seed(seed)).collect()  # noqa: E731
            return changed_by(frame, str(self), helms, self.fields)
        new = {}
        if self.fields != "references":
            new["perturbed_input"] = self._changed(pl.col("perturbed_input"), ids, seed)
        if self.fields != "input":
            new["perturbed_references"] = in_references(
                pl.col("perturbed_references"),
                ids,
                lambda text, own: self._changed(text, own, seed),
                one_id=self.entry.one_mapping,
            )
        return changed_by(frame, str(self), lambda rows: rows.with_columns(**new), self.fields)

    def _reframed(self, frame: pl.LazyFrame, ids: pl.Expr, seed: int) -> pl.LazyFrame:
        with named(str(self), ArgumentError):
            changed = self.entry.function(frame, *self._key(ids, seed), **self._own())
        if not isinstance(changed, pl.LazyFrame):
            raise ArgumentError(f"perturbation {self.name!r} should return the lazy frame it was given, changed.")
        return changed.select(frame.collect_schema().names())

    def _changed(self, text: pl.Expr, ids: pl.Expr, seed: int) -> pl.Expr:
        protect = dict(self.arguments).get("protect")
        if protect is None:
            return self._function(text, self._key(ids, seed))
        pattern = protected_pattern(protect, self.name)  # type: ignore[arg-type]
        key = self._key(ids, seed)[0] if self.entry.draws else pl.lit(0, dtype=pl.UInt64)
        change = lambda piece, own: self._function(piece, [own] if self.entry.draws else [])  # noqa: E731
        return around(text, key, pattern, change, one_key=self.entry.one_mapping)

    def _function(self, text: pl.Expr, key: list[pl.Expr]) -> pl.Expr:
        with named(str(self), ArgumentError, "; `text` is a Polars expression."):
            changed = self.entry.function(text, *key, **self._own())
        if not isinstance(changed, pl.Expr):
            raise ArgumentError(
                f"perturbation {self.name!r} gave {changed!r}; it should return a Polars expression, such as "
                "text.str.to_lowercase()."
            )
        return changed

    def _stream(self) -> Stream:
        with named(str(self), ArgumentError):
            return HELM[self.name].make(**{**self.entry.defaults, **self._own()})

    def _helm_seed(self, seed: int) -> int:
        return seed if HELM[self.name].seeded else 0

    def _key(self, ids: pl.Expr, seed: int) -> list[pl.Expr]:
        # The arguments stay out of the key: typos(prob=.1) then changes every letter that typos(prob=.05) changes.
        return [key_of(f"{seed}\x1f{self.name}\x1f", ids)] if self.entry.draws else []

    def _own(self) -> dict[str, Any]:
        return self.entry.arguments(self.arguments)

    def _model(self, arguments: Pairs) -> Any:
        return dict(arguments).get(self.entry.asks) if self.by_name else self.model

    def _is_value(self, key: str, value: tuple[Any, ...]) -> bool:
        """Whether the list is one value; for what takes lists, a list of lists is the grid."""
        if self.entry.takes_mapping(key) and all(_is_pair(each) for each in value):
            return True
        takes_list = key == "protect" or self.entry.takes_list(key)
        return takes_list and not (value and all(isinstance(each, tuple) for each in value))


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and not isinstance(value[0], tuple)
