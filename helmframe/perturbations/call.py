"""One link of a chain: a perturbation with its arguments, and its effect on a frame."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

import polars as pl

from helmframe._core.expressions import key_of
from helmframe._core.images import pillow
from helmframe._core.safe_text import error_message, type_name, valid_unicode
from helmframe._core.specs import Call, Pairs, check_cells, frozen
from helmframe._schema import INSTANCES, REFERENCE
from helmframe.errors import ArgumentError, HelmframeError, PlanError, SourceError
from helmframe.perturbations.fields import (
    ModelQuery,
    change_image,
    change_instances,
    change_references,
    change_texts,
    change_unprotected,
    protected_pattern,
    replace_by_completions,
)
from helmframe.perturbations.registry import FIELDS, HELM, PERTURBATIONS, Perturbation, Stream, tables_argument
from helmframe.perturbations.tables import Tables

# The columns that a perturbation may rewrite.
VARIANT_TEXTS = {
    "perturbed_input": pl.String(),
    "perturbed_references": pl.List(REFERENCE),
    "adapter_change": pl.String(),
    "content_change": pl.String(),
}
# The arguments that every perturbation of texts takes.
COMMON = ("compat", "fields", "protect")


@dataclass(frozen=True)
class PerturbationCall(Call):
    """A perturbation with its arguments, for `Plan.perturb`; `.on(…)` applies it to a column of any frame.

    `model` is the model that a perturbation needs, such as a translator. `by_name` is true if the arguments contain the
    model's name.

    >>> import helmframe as hf
    >>> print(hf.perturbations.typos(prob=0.1))
    typos(prob=0.1)
    """

    model: Any = field(default=None, repr=False)
    by_name: bool = field(default=True, repr=False)

    @property
    def entry(self) -> Perturbation:
        """The registered entry of its name."""
        return PERTURBATIONS[self.name]

    @property
    def fields(self) -> str:
        """The texts that change: "input", "references" or "both"."""
        return str(dict(self.arguments).get("fields", self.entry.fields))

    @property
    def compat(self) -> str | None:
        """The system whose rules and random numbers are used: "helm", or None."""
        return dict(self.arguments).get("compat")  # type: ignore[return-value]

    def on(self, text: pl.Expr, *, id: pl.Expr | str, seed: int = 0) -> pl.Expr:
        """Return the perturbed text as an expression for any frame.

        Args:
            text: The text column.
            id: The column that random numbers depend on: the same id gets the same change, in any row order.
            seed: The number of the sample.

        Raises:
            ArgumentError: The perturbation needs more than a text, such as options or a model, or it is a grid.

        >>> frame = pl.DataFrame({"id": ["a"], "question": ["Who Wrote It?"]})
        >>> frame.select(call("lowercase").on(pl.col("question"), id="id")).item()
        'who wrote it?'
        """
        if len(self.cells()) != 1:
            raise ArgumentError(f"{self} is a grid of {len(self.cells())} perturbations; .on(…) takes exactly one.")
        if self.entry.takes != "text" or self.entry.model_argument:
            raise ArgumentError(
                f"{self.name}.on(…): {self.name} needs more than a text column. Use it in a plan: "
                f".perturb({str(self)!r})."
            )
        for argument, column in (("text", text), ("id", id)):
            if not isinstance(column, str | pl.Expr):
                raise ArgumentError(
                    f"{self.name}.on({argument}={column!r}): {argument} must be a column name or a Polars expression."
                )
        return self._text_expression(text, pl.col(id) if isinstance(id, str) else id, seed, Tables.of(None))

    def validate(self, tables: Tables) -> None:
        """Build the expression over these word tables, so that invalid values raise.

        >>> PerturbationCall("typos", (("prob", 2.0),)).validate(Tables())
        Traceback (most recent call last):
        helmframe.errors.ArgumentError: typos(prob=2.0): prob must be a number between 0 and 1.
        """
        if self.entry.takes == "image":
            change_image(pillow().new("RGB", (8, 8)), {**self._change, "key": "0"}, 0)
        elif self.entry.takes == "frame":
            self._reframed(pl.LazyFrame(schema=INSTANCES.schema | VARIANT_TEXTS), pl.col("instance_id"), 0, tables)
        elif self.entry.model_argument:
            self._expression(pl.col("text"), [], tables)
        else:
            dtype = _dtype_of(self._text_expression(pl.col("text"), pl.col("id"), 0, tables))
            if dtype is not None:
                _check_text(str(self), dtype)

    def check(self, scenarios: Sequence[str], tables: Tables) -> None:
        """Check that the perturbation exists for these scenarios; the errors are those of the registered check.

        >>> call("typos").check(["sampler"], Tables())  # exists for every scenario
        """
        if self.entry.check is not None:
            self.entry.check(scenarios, **self._function_arguments(), **tables_argument(self.entry.check, tables))

    def cells(self) -> "tuple[PerturbationCall, ...]":
        """Return the calls of the grid: every list that isn't itself a value is an axis.

        >>> [str(cell) for cell in call("typos", prob=[0.1, 0.2]).cells()]
        ['typos(prob=0.1)', 'typos(prob=0.2)']
        """
        axes = [
            [(key, cell) for cell in value] if isinstance(value, tuple) and not self._is_value(key, value) else None
            for key, value in self.arguments
        ]
        choices = [[pair] if axis is None else axis for axis, pair in zip(axes, self.arguments, strict=True)]
        check_cells(self, map(len, choices))
        return tuple(replace(self, arguments=cell, model=self._model(cell)) for cell in product(*choices))

    def apply(
        self, frame: pl.LazyFrame, ids: pl.Expr, seed: int, query: ModelQuery | None = None, *, tables: Tables
    ) -> pl.LazyFrame:
        """Return the frame with perturbed_input, perturbed_references and adapter_change rewritten.

        >>> import helmframe as hf
        >>> variants = hf.scenario("sampler").where(subject="music").limit(1).variants()
        >>> upper = call("uppercase").apply(variants, pl.col("instance_id"), 0, tables=Tables())
        >>> upper.collect()["perturbed_input"][0]
        'WHAT IS THE INTERVAL FROM C UP TO THE NEAREST G ABOVE IT?'
        """
        if self.entry.takes == "image":
            return self._with_content_change(frame, ids, seed)
        if self.entry.takes == "frame":
            rerun = lambda rows: self._reframed(rows.lazy(), ids, seed, tables).collect()  # noqa: E731
            return _validated(frame, str(self), rerun, "both")
        if self.entry.model_argument:
            no_model = lambda _, prompts: pl.Series([None] * len(prompts), dtype=pl.String)  # noqa: E731
            prompt = lambda text: self._expression(text, [], tables)  # noqa: E731
            return replace_by_completions(frame, self.fields, prompt, partial(query or no_model, self))
        if self.compat:
            stream, helm_seed = self._stream(tables), self._helm_seed(seed)
            by_helm = lambda rows: change_instances(rows.lazy(), stream, self.fields, helm_seed).collect()  # noqa: E731
            return _validated(frame, str(self), by_helm, self.fields)
        new = {}
        if self.fields != "references":
            new["perturbed_input"] = self._changed(pl.col("perturbed_input"), ids, seed, tables)
        if self.fields != "input":
            new["perturbed_references"] = change_references(
                pl.col("perturbed_references"),
                ids,
                lambda text, text_id: self._changed(text, text_id, seed, tables),
                one_id=self.entry.one_mapping,
            )
        return _validated(frame, str(self), lambda rows: rows.with_columns(**new), self.fields)

    def _with_content_change(self, frame: pl.LazyFrame, ids: pl.Expr, seed: int) -> pl.LazyFrame:
        """Return the frame with this change added to `content_change`, in rows with an image."""
        start = json.dumps(self._change, sort_keys=True, ensure_ascii=False).removesuffix("}")
        key = pl.concat_str(
            pl.lit(', "key": "'), key_of(f"{seed}\x1f{self.name}\x1f", ids).cast(pl.String), pl.lit('"')
        )
        new = pl.concat_str(pl.lit(start), key if self.entry.draws else pl.lit(""), pl.lit("}]"))
        earlier = pl.col("content_change").str.strip_suffix("]") + pl.lit(", ")
        added = pl.concat_str(pl.coalesce(earlier, pl.lit("[")), new)
        has_image = pl.col("content").list.eval(pl.element().struct.field("type") == "image").list.any()
        return frame.with_columns(content_change=pl.when(has_image.fill_null(value=False)).then(added))

    @property
    def _change(self) -> dict[str, Any]:
        """The perturbation with all its arguments, as a change of an image."""
        return {"perturbation": self.name, **self.entry.defaults, **self._function_arguments()}

    def _text_expression(self, text: pl.Expr, ids: pl.Expr, seed: int, tables: Tables) -> pl.Expr:
        if self.compat:
            return change_texts(self._stream(tables), text, ids, self._helm_seed(seed))
        return self._changed(text, ids, seed, tables)

    def _reframed(self, frame: pl.LazyFrame, ids: pl.Expr, seed: int, tables: Tables) -> pl.LazyFrame:
        with _named_errors(str(self), ArgumentError):
            arguments = self._function_arguments() | tables_argument(self.entry.function, tables)
            changed = self.entry.function(frame, *self._key(ids, seed), **arguments)
        if not isinstance(changed, pl.LazyFrame):
            raise ArgumentError(
                f"Perturbation {self.name!r} returned a value of type {type_name(type(changed))}. It must return the "
                "lazy frame that it gets, changed."
            )
        return changed.select(frame.collect_schema().names())

    def _changed(self, text: pl.Expr, ids: pl.Expr, seed: int, tables: Tables) -> pl.Expr:
        protect = dict(self.arguments).get("protect")
        if protect is None:
            return self._expression(text, self._key(ids, seed), tables)
        pattern = protected_pattern(protect, self.name)  # type: ignore[arg-type]
        key = self._key(ids, seed)[0] if self.entry.draws else pl.lit(0, dtype=pl.UInt64)

        def change(piece: pl.Expr, piece_key: pl.Expr) -> pl.Expr:
            return self._expression(piece, [piece_key] if self.entry.draws else [], tables)

        return change_unprotected(text, key, pattern, change, one_key=self.entry.one_mapping)

    def _expression(self, text: pl.Expr, key: list[pl.Expr], tables: Tables) -> pl.Expr:
        with _named_errors(str(self), ArgumentError, "; `text` is a Polars expression."):
            arguments = self._function_arguments() | tables_argument(self.entry.function, tables)
            changed = self.entry.function(text, *key, **arguments)
        if not isinstance(changed, pl.Expr):
            raise ArgumentError(
                f"Perturbation {self.name!r} returned {changed!r}. It must return a Polars expression, such as "
                "text.str.to_lowercase()."
            )
        return changed

    def _stream(self, tables: Tables) -> Stream:
        make = HELM[self.name].make
        with _named_errors(str(self), ArgumentError):
            return make(**{**self.entry.defaults, **self._function_arguments(), **tables_argument(make, tables)})

    def _helm_seed(self, seed: int) -> int:
        return seed if HELM[self.name].seeded else 0

    def _key(self, ids: pl.Expr, seed: int) -> list[pl.Expr]:
        # The arguments aren't part of the key: typos(prob=.1) then changes every letter that typos(prob=.05) changes.
        return [key_of(f"{seed}\x1f{self.name}\x1f", ids)] if self.entry.draws else []

    def _function_arguments(self) -> dict[str, Any]:
        return self.entry.arguments(self.arguments)

    def _model(self, arguments: Pairs) -> Any:
        return dict(arguments).get(self.entry.model_argument) if self.by_name else self.model

    def _is_value(self, key: str, value: tuple[Any, ...]) -> bool:
        """Return whether the list is one value; for an argument that takes lists, a list of lists is the grid."""
        if self.entry.takes_mapping(key) and all(_is_pair(member) for member in value):
            return True
        takes_list = key == "protect" or self.entry.takes_list(key)
        return takes_list and not (value and all(isinstance(member, tuple) for member in value))


def call(name: str, **arguments: Any) -> PerturbationCall:
    """Return the perturbation `name` with these arguments. A list is a grid: one perturbation per value.

    Word tables may be missing here: the plan, or `.on(…)`, knows their location.

    Raises:
        UnknownNameError: No perturbation has that name.
        ArgumentError: The perturbation has no such argument, or a value is invalid.
    """
    unchecked = unchecked_call(name, arguments)
    for cell in unchecked.cells():
        with suppress(SourceError):
            check_call(cell, Tables.of(None))
    return unchecked


def unchecked_call(name: str, arguments: dict[str, Any]) -> PerturbationCall:
    """Return the call without checks of its values.

    Raises:
        UnknownNameError: No perturbation has that name.
        ArgumentError: An argument is unknown or missing, or a grid is empty or repeats a value.
    """
    entry = PERTURBATIONS[name]
    expected = [*entry.parameters, *filter(None, [entry.model_argument]), *(COMMON if entry.takes == "text" else ())]
    for argument in arguments:
        if argument not in expected:
            raise ArgumentError.unknown_argument(f"{name}()", argument, expected)
    for argument in entry.required:
        if arguments.get(argument) is None:
            raise ArgumentError(f"{name}() needs the argument {argument}. Write {name}({argument}=…).")
    grid = _with_model(name, entry.model_argument, arguments)
    cells = grid.cells()
    if not cells or len(set(map(str, cells))) < len(cells):
        raise ArgumentError(f"{grid}: a grid must be a list of one or more different values.")
    return grid


def check_call(cell: PerturbationCall, tables: Tables) -> None:
    """Build the effect of the call over these word tables, so that invalid values raise.

    Raises:
        ArgumentError: A value is invalid, or two arguments contradict each other.
        SourceError: The data root lacks a table.
    """
    arguments = dict(cell.arguments)
    for argument, values in (("fields", FIELDS), ("compat", ("helm",))):
        value = arguments.get(argument, values[0])
        if cell.entry.takes == "text" and value not in (*values, *([None] if argument == "compat" else [])):
            raise ArgumentError.unknown_value(f"{cell.name}({argument}={value!r})", value, values)
    if cell.entry.takes in ("frame", "image"):
        cell.validate(tables)
        return
    if cell.compat and cell.name not in HELM:
        raise ArgumentError.unknown_value(f"{cell.name}(compat='helm'): HELM has no such perturbation", cell.name, HELM)
    if cell.compat and "protect" in arguments:
        raise ArgumentError(f"{cell}: HELM's rules don't support protect=. Remove protect= or compat=.")
    if cell.entry.model_argument and "protect" in arguments:
        raise ArgumentError(f"{cell}: a model writes the text, so protect= isn't supported. Remove protect=.")
    if cell.compat:
        # HELM's rules take the same arguments and read the same tables, but validate neither
        replace(cell, arguments=tuple(pair for pair in cell.arguments if pair[0] != "compat")).validate(tables)
    cell.validate(tables)


def _with_model(name: str, model_argument: str, arguments: dict[str, Any]) -> PerturbationCall:
    model = arguments.get(model_argument) if model_argument else None
    if not model_argument or isinstance(model, str) or (isinstance(model, list | tuple) and _all_text(model)):
        return PerturbationCall(name, frozen(arguments), model)
    # the arguments contain the object's name, not the object
    label = getattr(model, "name", None) or getattr(model, "__name__", None) or type(model).__name__
    return PerturbationCall(name, frozen({**arguments, model_argument: str(label)}), model, by_name=False)


def _all_text(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and not isinstance(value[0], tuple)


# A function that rewrites the texts of a frame.
_FrameChange = Callable[[pl.DataFrame], pl.DataFrame]


def _validated(frame: pl.LazyFrame, perturbation: str, change: _FrameChange, fields: str) -> pl.LazyFrame:
    """Return the frame with `change` applied to its rows; errors name the perturbation, on collection.

    Args:
        frame: A frame with perturbed_input and perturbed_references.
        perturbation: The perturbation with its arguments.
        change: A function that rewrites the texts and returns the same columns.
        fields: The texts that it rewrites: "input", "references" or "both".

    Raises:
        PlanError: The function raises, or returns null for a text.
        ArgumentError: The function does not return text.
    """

    def change_rows(rows: pl.DataFrame) -> pl.DataFrame:
        with _named_errors(perturbation, PlanError):
            changed = change(rows)
            options = [] if fields == "input" else [_texts(part["perturbed_references"]) for part in (rows, changed)]
        if fields != "references":
            _check_text(perturbation, changed.schema["perturbed_input"])
            _check_nulls(perturbation, rows["perturbed_input"], changed["perturbed_input"])
        if options:
            _check_nulls(perturbation, *options)
        return changed

    return frame.map_batches(change_rows)


def _check_text(perturbation: str, dtype: pl.DataType) -> None:
    """Check that the perturbation returns text.

    Raises:
        ArgumentError: It does not.
    """
    if dtype != pl.String:
        raise ArgumentError(
            f"Perturbation {perturbation!r} returned {dtype}, but it must return text. Add .cast(pl.String) to convert "
            "the values."
        )


def _dtype_of(changed: pl.Expr) -> pl.DataType | None:
    """Return the type of an expression over a text column `text`; None if only the rows determine it."""
    with suppress(pl.exceptions.PolarsError):
        return pl.LazyFrame(schema={"text": pl.String, "id": pl.String}).select(changed).collect_schema().dtypes()[0]
    return None


@contextmanager
def _named_errors(perturbation: str, kind: type[HelmframeError], hint: str = "") -> Iterator[None]:
    """Raise errors of a perturbation's function as this kind of error, with its name; helmframe's own errors pass."""
    try:
        yield
    except HelmframeError:
        raise
    except Exception as error:
        # a KeyError shows its message as Python writes it, with quotes and escapes
        key = error.args[0] if isinstance(error, KeyError) and error.args else None
        problem = _WHERE.split(valid_unicode(key) if isinstance(key, str) else error_message(error))[0]
        raise kind(f"Perturbation {perturbation!r} raised {type_name(type(error))}: {problem}{hint}") from error


# The text that Polars appends to errors of functions that it calls: internal expressions.
_WHERE = re.compile(r"(?:\\+n|\s)*This error occurred in the following")


def _texts(references: pl.Series) -> pl.Series:
    return references.explode(empty_as_null=False, keep_nulls=False).struct.field("text")


def _check_nulls(perturbation: str, before: pl.Series, after: pl.Series) -> None:
    nulls = after.null_count() - before.null_count()
    if nulls > 0:
        raise PlanError(
            f"Perturbation {perturbation!r} returned null for {nulls} of {len(before) - before.null_count()} texts. "
            "Return a text for each: pl.when(…).then(…).otherwise(text)."
        )
