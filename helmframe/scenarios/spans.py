"""Spans of a scenario: the instances that one of many workers reads, described by their keys."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from helmframe._core.specs import Between, Condition, Equals, Expression, Sample, ScenarioSpec, Sql
from helmframe.scenarios.load import keys
from helmframe.scenarios.query import open_query, with_default_subsets
from helmframe.scenarios.sql import text_literal

_KEY = ("subset", "row_index")


@dataclass(frozen=True, eq=False)
class Span:
    """Neighbouring instances: for each subset those with row_index between two bounds, both included.

    Args:
        rows: The number of instances.
        segments: subset, lowest and highest row_index.
        keys: subset and row_index of the instances, if the segments contain others too.
    """

    rows: int
    segments: tuple[tuple[str, int, int], ...]
    keys: pl.DataFrame | None = None

    @classmethod
    def of(cls, chosen: pl.DataFrame) -> "Span":
        """Return the span of instances with these keys."""
        return cls(chosen.height, tuple(_ends(chosen).rows()), chosen.select(_KEY))

    def conditions(self) -> tuple[Condition, ...]:
        """Return the conditions for `load`, which skip the files and row groups of other instances."""
        subsets = tuple(dict.fromkeys(subset for subset, _, _ in self.segments))
        of_subsets = (Equals("subset", subsets),) if subsets != ("",) else ()
        low, high = min(segment[1] for segment in self.segments), max(segment[2] for segment in self.segments)
        whole = (*of_subsets, Between("row_index", low, high))
        if len(self.segments) == 1 or self.keys is not None:
            return whole
        low_of, high_of = (
            "MAP {"
            + ", ".join(f"{text_literal(segment[0])}: {segment[end]}" for segment in self.segments)
            + '}["subset"]'
            for end in (1, 2)
        )
        return (*whole, Sql(f"row_index BETWEEN {low_of} AND {high_of}"))


def spans(
    spec: ScenarioSpec,
    *,
    where: Sequence[Condition] = (),
    sample: Sample | None = None,
    splits: Sequence[str] = ("test",),
    data: str | None = None,
    compat: str | None = None,
    most: int = 20_000,
    least: int = 8,
    pieces: int = 1,
) -> list[Span]:
    """Return all instances that `load` would yield, in spans of similar size, without reading texts if possible.

    Memory does not grow with the instances, except for a sample, a condition that is a Polars expression, and a
    row_index that does not ascend within each subset: these need all keys.

    Args:
        spec: The scenario.
        where: As for `load`.
        sample: As for `load`.
        splits: As for `load`.
        data: As for `load`.
        compat: As for `load`.
        most: The most instances of a span.
        least: The fewest instances of a span, except the last.
        pieces: The fewest spans, if `least` allows it.

    Raises:
        ArgumentError: No instance matches. The message lists near values.
        SourceError: The rows can't be read. The message has scenario and address.
    """

    def size(count: int) -> int:
        return min(most, max(least, -(-count // pieces)))

    if sample is None and not any(isinstance(condition, Expression) for condition in where):
        with open_query(spec, with_default_subsets(spec, where), splits, data) as query:
            count = int(query.frame("count(*) AS n")["n"][0])
            cut_spans = _cut(query.stream(", ".join(_KEY)), size(count)) if count else None
        if cut_spans is not None:
            return cut_spans
    chosen = keys(spec, where=where, sample=sample, splits=splits, data=data, compat=compat).sort(_KEY)
    rows = size(chosen.height)
    return [Span.of(chosen.slice(start, rows)) for start in range(0, chosen.height, rows)]


def _cut(frames: Iterable[pl.DataFrame], rows: int) -> list[Span] | None:
    """Return the spans of instances in this order; None if row_index does not ascend within each subset."""
    cut_spans: list[Span] = []
    highest: dict[str, int] = {}
    segments: dict[str, tuple[int, int]] = {}
    n_rows = 0

    def end() -> None:
        cut_spans.append(Span(n_rows, tuple((subset, *ends) for subset, ends in segments.items())))
        highest.update({subset: high for subset, (_, high) in segments.items()})
        segments.clear()

    for frame in frames:
        start = 0
        while start < frame.height:
            piece = frame.slice(start, rows - n_rows)
            start, n_rows = start + piece.height, n_rows + piece.height
            for subset, low, high in _ends(piece).iter_rows():
                if low <= highest.get(subset, -1):
                    return None
                before = segments.get(subset, (low, high))
                segments[subset] = (min(before[0], low), max(before[1], high))
            if n_rows == rows:
                end()
                n_rows = 0
    if segments:
        end()
    return cut_spans


def _ends(rows: pl.DataFrame) -> pl.DataFrame:
    """Return subset, and the lowest and highest row_index as low and high."""
    index = pl.col("row_index")
    return rows.group_by("subset", maintain_order=True).agg(low=index.min(), high=index.max())
