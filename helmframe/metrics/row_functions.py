"""Plain functions as expressions: called per row, per instance or per group, with the columns their parameters name."""

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from helmframe._core.safe_text import error_text
from helmframe._core.specs import Expression

# What a plain function gives per row: its value, or why there is none.
VALUE = pl.Struct({"score": pl.Float64, "reason": pl.String})
# Where one of these is null there is nothing to call the function with.
TEXTS = ("output", "completion", "gold")

logger = logging.getLogger("helmframe.metrics")


@dataclass(frozen=True)
class Constant:
    """An expression as a function that gives it; compared by what it says."""

    said: Expression

    def __call__(self) -> pl.Expr:
        """The expression."""
        return self.said.expr


def columns_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The positional parameters without a default: the columns that a plain function reads."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = inspect.signature(function).parameters.items()
    return tuple(name for name, each in given if each.kind in kinds and each.default is inspect.Parameter.empty)


def lifted(function: Callable[..., Any], columns: Sequence[str | pl.Expr], arguments: Mapping[str, Any]) -> pl.Expr:
    """The function over the values of each row: structs of score and reason.

    Where the function raises, or gives no number, that row has no score, and its reason says so. It is not called where
    the text it would read is null.
    """
    texts = [place for place, name in enumerate(columns) if isinstance(name, str) and name in TEXTS]
    given = [pl.col(each) if isinstance(each, str) else each for each in columns]
    return pl.map_batches(
        given, lambda values: _rows(function, values, texts, arguments), return_dtype=VALUE, is_elementwise=True
    )


def lifted_whole(function: Callable[..., Any], columns: Sequence[str], arguments: Mapping[str, Any]) -> pl.Expr:
    """The function over whole columns of a group: one number."""

    def over(given: Any) -> float | None:
        value = function(*given, **arguments)
        return None if value is None else float(value)

    return pl.map_batches(list(columns), over, return_dtype=pl.Float64, returns_scalar=True)


def _rows(
    function: Callable[..., Any], given: Sequence[pl.Series], texts: Sequence[int], arguments: Mapping[str, Any]
) -> pl.Series:
    rows: list[dict[str, Any]] = []
    for row in zip(*(each.to_list() for each in given), strict=True):
        if any(row[place] is None for place in texts):
            rows.append({"score": None, "reason": None})
            continue
        try:
            value = function(*row, **arguments)
            rows.append({"score": None if value is None else float(value), "reason": None})
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's own function: the row's error
            logger.debug("metric %s", function, exc_info=True)
            rows.append({"score": None, "reason": error_text(error)})
    return pl.Series(rows, dtype=VALUE)
