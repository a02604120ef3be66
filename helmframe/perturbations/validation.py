"""Checks before the first request: the arguments of perturbations, and their results, which must be texts."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import polars as pl

from helmframe._core.safe_text import error_message, type_name, valid_unicode
from helmframe.errors import ArgumentError, HelmframeError, PlanError

FrameChange = Callable[[pl.DataFrame], pl.DataFrame]


def validated(frame: pl.LazyFrame, perturbation: str, change: FrameChange, fields: str) -> pl.LazyFrame:
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
        with named_errors(perturbation, PlanError):
            changed = change(rows)
            options = [] if fields == "input" else [_texts(part["perturbed_references"]) for part in (rows, changed)]
        if fields != "references":
            check_text(perturbation, changed.schema["perturbed_input"])
            _check_nulls(perturbation, rows["perturbed_input"], changed["perturbed_input"])
        if options:
            _check_nulls(perturbation, *options)
        return changed

    return frame.map_batches(change_rows)


def check_text(perturbation: str, dtype: pl.DataType) -> None:
    """Check that the perturbation returns text.

    Raises:
        ArgumentError: It does not.
    """
    if dtype != pl.String:
        raise ArgumentError(
            f"Perturbation {perturbation!r} returned {dtype}, but it must return text. Add .cast(pl.String) to convert "
            "the values."
        )


def dtype_of(changed: pl.Expr) -> pl.DataType | None:
    """Return the type of an expression over a text column `text`; None if only the rows determine it."""
    with suppress(pl.exceptions.PolarsError):
        return pl.LazyFrame(schema={"text": pl.String, "id": pl.String}).select(changed).collect_schema().dtypes()[0]
    return None


@contextmanager
def named_errors(perturbation: str, kind: type[HelmframeError], hint: str = "") -> Iterator[None]:
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
