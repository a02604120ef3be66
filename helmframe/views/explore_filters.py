"""What the rows of an explorer are filtered by."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import polars as pl

from helmframe.errors import ArgumentError, UnknownNameError

AXES = ("scenario", "model", "perturbation", "setting")
_ONLY = ("all", "unscored", "unparsed")
_ORDERS = ("run", "lowest", "highest")


@dataclass(frozen=True)
class Filters:
    """What rows should have; None: whatever. `metric` "" is the main one of each scenario.

    `low` and `high` bound the score, both included; `only` is all, unscored (failed among them) or unparsed; `find` is
    a part of the instance id; `order` is run, lowest or highest.
    """

    metric: str = ""
    scenario: str | None = None
    model: str | None = None
    perturbation: str | None = None
    setting: str | None = None
    low: float | None = None
    high: float | None = None
    only: str = "all"
    find: str = ""
    order: str = "run"

    @classmethod
    def of(cls, values: Any) -> "Filters":
        """Filters as a browser says them.

        Raises:
            ArgumentError: an unknown one, or a value of the wrong type.
        """
        if not isinstance(values, Mapping):
            raise ArgumentError(f"filters: {type(values).__name__} should be an object.")
        names = [field.name for field in fields(cls)]
        for name, value in values.items():
            if name not in names:
                raise ArgumentError.unknown_argument("filters", str(name), names)
            number = name in ("low", "high")
            empty = value is None and (number or name in AXES)
            if not empty and (isinstance(value, bool) or not isinstance(value, int | float if number else str)):
                raise ArgumentError(f"filters: {name}={value!r} should be {'a number' if number else 'a text'}.")
        return cls(**values)

    def check(self, values: Mapping[str, Sequence[str]], metrics: Sequence[str]) -> None:
        """That each name is one of those there are.

        Raises:
            UnknownNameError: no such metric, or value of an axis.
            ArgumentError: another word.
        """
        if self.metric and self.metric not in metrics:
            raise UnknownNameError.among("metric with a score per row", self.metric, metrics)
        for axis in AXES:
            value = getattr(self, axis)
            if value is not None and value not in values[axis]:
                raise UnknownNameError.among(f"{axis} of these results", value, values[axis])
        for name, allowed in (("only", _ONLY), ("order", _ORDERS)):
            if getattr(self, name) not in allowed:
                raise ArgumentError.unknown_value(
                    f"{name}={getattr(self, name)!r} can't be", getattr(self, name), allowed
                )

    def condition(self) -> pl.Expr:
        """Over the columns of the index."""
        conditions = [pl.lit(value=True)]
        conditions += [pl.col(axis) == getattr(self, axis) for axis in AXES if getattr(self, axis) is not None]
        if self.low is not None:
            conditions.append(pl.col("score") >= self.low)
        if self.high is not None:
            conditions.append(pl.col("score") <= self.high)
        if self.only == "unscored":
            conditions.append(pl.col("score").is_null())
        elif self.only == "unparsed":
            conditions.append(~pl.col("parsed"))
        if self.find:
            conditions.append(pl.col("instance_id").str.contains(self.find, literal=True))
        return pl.all_horizontal(conditions)

    def to_dict(self) -> dict[str, Any]:
        """As `of` takes them."""
        return asdict(self)
