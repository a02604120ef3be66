"""Plain functions as expressions: called per row, instance or group, with the columns that their parameters name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from helmframe._core.safe_text import error_text, get_logger
from helmframe._core.specs import Expression

# The result of a plain function per row: its value, and the reason why it is missing, or for a low value.
VALUE = pl.Struct({"score": pl.Float64, "reason": pl.String})
# The function is not called if one of these is null.
TEXTS = ("output", "completion", "gold")

logger = get_logger("helmframe.metrics")


@dataclass(frozen=True)
class Constant:
    """An expression as a function that returns it; two are equal if their texts are."""

    expression: Expression

    def __call__(self) -> pl.Expr:
        """Return the expression."""
        return self.expression.expr


def column_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the positional parameters without a default: the columns that a plain function reads."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.items()
    return tuple(
        name
        for name, parameter in parameters
        if parameter.kind in kinds and parameter.default is inspect.Parameter.empty
    )


def row_expression(
    function: Callable[..., Any], columns: Sequence[str | pl.Expr], arguments: Mapping[str, Any]
) -> pl.Expr:
    """Return the function over the values of each row as an expression: structs of score and reason.

    The function returns a number, or a pair of a number and the reason for it. If it raises or returns neither, the row
    has a reason in place of a score. The function is not called for rows whose text is null.
    """
    texts = [index for index, name in enumerate(columns) if isinstance(name, str) and name in TEXTS]
    inputs = [pl.col(column) if isinstance(column, str) else column for column in columns]
    return pl.map_batches(
        inputs, lambda values: _rows(function, values, texts, arguments), return_dtype=VALUE, is_elementwise=True
    )


def group_expression(function: Callable[..., Any], columns: Sequence[str], arguments: Mapping[str, Any]) -> pl.Expr:
    """Return the function over whole columns of a group as an expression: one number."""

    def compute(columns: Any) -> float | None:
        value = function(*columns, **arguments)
        return None if value is None else float(value)

    return pl.map_batches(list(columns), compute, return_dtype=pl.Float64, returns_scalar=True)


def _rows(
    function: Callable[..., Any], columns: Sequence[pl.Series], texts: Sequence[int], arguments: Mapping[str, Any]
) -> pl.Series:
    rows: list[dict[str, Any]] = []
    for row in zip(*(column.to_list() for column in columns), strict=True):
        if any(row[index] is None for index in texts):
            rows.append({"score": None, "reason": None})
            continue
        try:
            value = function(*row, **arguments)
            value, reason = value if isinstance(value, tuple) else (value, None)
            rows.append({"score": None if value is None else float(value), "reason": reason})
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # an error of the user's function belongs to the row
            logger.debug("metric %s", function, exc_info=True)
            rows.append({"score": None, "reason": error_text(error)})
    return pl.Series(rows, dtype=VALUE)
