"""Checks of values that users pass: integers, and lists in types that keep the order of their values."""

from collections import UserString
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeGuard

import polars as pl

from helmframe._core.safe_text import type_name

_ONE_TEXT = (str, UserString, bytes, bytearray, memoryview)


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether a value is an integer and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def as_list(values: object) -> list[Any] | None:
    """Return the values as a list; None where their type does not guarantee an order, or is not a list of values.

    Accepted are sequences, Polars Series, one-dimensional arrays and tensors, and pandas Series with the default index.
    Refused are sets, mappings and their views, data frames, single texts, and iterators: `imap_unordered` and
    `as_completed` return iterators too.
    """
    if type(values) is list:
        return values
    if isinstance(values, pl.Series):
        return values.to_list()
    if isinstance(values, Sequence):
        return None if isinstance(values, (AbstractSet, *_ONE_TEXT)) else list(values)
    to_list: Any = getattr(values, "tolist", None)
    if getattr(values, "ndim", None) != 1 or not callable(to_list) or _is_reordered(values):
        return None
    return list(to_list())


def type_of(values: object) -> str:
    """Return the type of the values for an error message: `set`, or `Series with an index other than 0, 1, 2, …`."""
    return type_name(type(values)) + (" with an index other than 0, 1, 2, …" if _is_reordered(values) else "")


def regex_problem(error: Exception) -> str:
    """Return what is wrong with a regular expression in one line, from the error that Polars or `re` raises.

    >>> try:
    ...     pl.select(pl.lit("").str.contains("("))
    ... except pl.exceptions.ComputeError as error:
    ...     regex_problem(error)
    'unclosed group'
    """
    return str(error).partition("\n\n")[0].rpartition("\n")[2].removeprefix("error: ")


def _is_reordered(values: object) -> bool:
    """Return whether this is a pandas Series whose rows were sorted, sampled or relabelled."""
    labels = getattr(getattr(values, "index", None), "tolist", None)
    return callable(labels) and labels() != list(range(len(values)))  # type: ignore[arg-type]
