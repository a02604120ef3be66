"""What a perturbation gives, looked at before a model is asked: text for every text, or an error that names it."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import polars as pl

from helmframe._core.safe_text import error_message, type_name, valid_unicode
from helmframe.errors import ArgumentError, HelmframeError, PlanError

Change = Callable[[pl.DataFrame], pl.DataFrame]


def changed_by(frame: pl.LazyFrame, said: str, change: Change, fields: str) -> pl.LazyFrame:
    """The frame as `change` leaves its rows; what goes wrong is told, when it is collected, with the perturbation.

    Args:
        frame: with perturbed_input and perturbed_references.
        said: the perturbation with its arguments.
        change: rewrites the texts; it gives the same columns.
        fields: which texts: "input", "references" or "both".

    Raises:
        PlanError: it raises, or gives null where there was a text.
        ArgumentError: it gives something other than text.
    """

    def over_rows(rows: pl.DataFrame) -> pl.DataFrame:
        with named(said, PlanError):
            changed = change(rows)
            options = [] if fields == "input" else [_texts(each["perturbed_references"]) for each in (rows, changed)]
        if fields != "references":
            check_text(said, changed.schema["perturbed_input"])
            _check_nulls(said, rows["perturbed_input"], changed["perturbed_input"])
        if options:
            _check_nulls(said, *options)
        return changed

    return frame.map_batches(over_rows)


def check_text(said: str, given: pl.DataType) -> None:
    """That what the perturbation gives is text.

    Raises:
        ArgumentError: it is not.
    """
    if given != pl.String:
        raise ArgumentError(
            f"perturbation {said!r} gave {given}; it should give text. Add .cast(pl.String), if that is what it means."
        )


def dtype_of(changed: pl.Expr) -> pl.DataType | None:
    """What the expression gives for a text column `text`; None where only the rows tell."""
    with suppress(pl.exceptions.PolarsError):
        return pl.LazyFrame(schema={"text": pl.String, "id": pl.String}).select(changed).collect_schema().dtypes()[0]
    return None


@contextmanager
def named(said: str, kind: type[HelmframeError], hint: str = "") -> Iterator[None]:
    """What a perturbation's function raises becomes this kind of error, with its name; our own are as they are."""
    try:
        yield
    except HelmframeError:
        raise
    except Exception as error:
        # a KeyError shows its message as Python writes it, with quotes and escapes
        key = error.args[0] if isinstance(error, KeyError) and error.args else None
        problem = _WHERE.split(valid_unicode(key) if isinstance(key, str) else error_message(error))[0]
        raise kind(f"perturbation {said!r} raised {type_name(type(error))}: {problem}{hint}") from error


# What Polars adds to an error of a function that it calls: expressions that the function's author has not written.
_WHERE = re.compile(r"(?:\\+n|\s)*This error occurred in the following")


def _texts(references: pl.Series) -> pl.Series:
    return references.explode(empty_as_null=False, keep_nulls=False).struct.field("text")


def _check_nulls(said: str, before: pl.Series, after: pl.Series) -> None:
    nulls = after.null_count() - before.null_count()
    if nulls > 0:
        raise PlanError(
            f"perturbation {said!r} gave null for {nulls} of {len(before) - before.null_count()} texts. Say what the "
            "others become: pl.when(…).then(…).otherwise(text)."
        )
