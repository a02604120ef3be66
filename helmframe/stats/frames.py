"""Frames of scores: the columns of the documented schema, and chunks whose sums add up.

A chunk contains its instances whole: all variants, trials and outputs of each, from every model and setting. All
per-instance values (mean, worst case, change) can therefore be computed within a chunk. A cluster may span several
chunks.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

import polars as pl

from helmframe._schema import ORIGINAL, SCORES, SOURCE_PREFIX, source_column
from helmframe.errors import ArgumentError
from helmframe.stats.encoded_rows import VARIANT
from helmframe.stats.sums import Sums, add_sums

C = TypeVar("C")
T = TypeVar("T")
# Scores as one frame, or as frames that contain their instances whole.
Rows: TypeAlias = pl.LazyFrame | pl.DataFrame | Sequence[pl.LazyFrame]

# Chunks processed at once, in threads: Polars and NumPy release the GIL.
AT_ONCE = 2


@dataclass(frozen=True)
class FoldContext:
    """Information that a chunk needs from other chunks: whether to keep cluster names and trials, and all variants."""

    named: bool = False
    variants: pl.DataFrame | None = None


@dataclass(frozen=True)
class PartialAggregate:
    """The aggregates of one chunk or of all: sums to estimate from, and counts, with several rows per group.

    `variants` has the variants that occur, as in `Variants.coverage`.
    """

    sums: Mapping[str, Sums]
    counts: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    variants: pl.DataFrame | None = None


Step: TypeAlias = Callable[[pl.LazyFrame, FoldContext], PartialAggregate]


def fold(rows: Rows, step: Step) -> PartialAggregate:
    """Apply `step` to all chunks and add up the results, which equal those of one whole frame.

    A chunk is read a second time, with a context, if it lacks something that other chunks of its scenario have: a
    variant, clusters of several instances, or other trials.
    """
    chunks = chunks_of(rows)
    partials = map_chunks(chunks, lambda chunk: step(chunk, FoldContext()))
    variants = _all_variants(partials)
    contexts = [FoldContext(named, variants) for named in _needs_names(partials)]
    stale = [
        index
        for index, (partial, context) in enumerate(zip(partials, contexts, strict=True))
        if context.named or _lacks(partial.variants, variants)
    ]
    repeated = map_chunks(stale, lambda index: step(chunks[index], contexts[index]))
    for index, partial in zip(stale, repeated, strict=True):
        partials[index] = partial
    return PartialAggregate(
        {name: add_sums([partial.sums[name] for partial in partials]) for name in partials[0].sums},
        {name: pl.concat([partial.counts[name] for partial in partials]) for name in partials[0].counts},
        variants,
    )


def chunks_of(rows: Rows) -> list[pl.LazyFrame]:
    """Return the chunks; a single frame is one chunk."""
    return [rows.lazy()] if isinstance(rows, pl.LazyFrame | pl.DataFrame) else list(rows)


def list_names(names: Iterable[str]) -> str:
    """Return the first five names for an error message.

    >>> list_names("abcdefg")
    'a, b, c, d, e, …'
    """
    listed = list(names)
    return ", ".join([*listed[:5], *(["…"] if len(listed) > 5 else [])]) or "none"


def map_chunks(chunks: Sequence[C], work: Callable[[C], T]) -> list[T]:
    """Return the result of `work` for each chunk, in order; two run at a time."""
    if len(chunks) < 2:
        return [work(chunk) for chunk in chunks]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="helmframe-fold") as threads:
        return list(threads.map(work, chunks))


def _needs_names(partials: Sequence[PartialAggregate]) -> list[bool]:
    """Return, per chunk, whether it lacks names or trials that others of its scenario need."""
    every = [sums for partial in partials for sums in partial.sums.values()]
    named = {scenario for sums in every if sums.named for scenario in sums.scenarios}
    trials = frozenset().union(*(sums.trials for sums in every))
    crossed = {scenario for scenario, count in Counter(scenario for scenario, _ in trials).items() if count > 1}
    return [
        any(
            (not sums.named and sums.scenarios & (named | crossed)) or (sums.cells is None and sums.scenarios & crossed)
            for sums in partial.sums.values()
        )
        for partial in partials
    ]


def _all_variants(partials: Sequence[PartialAggregate]) -> pl.DataFrame | None:
    tables = [partial.variants for partial in partials if partial.variants is not None]
    return pl.concat(tables).unique(maintain_order=True) if tables else None


def _lacks(variants: pl.DataFrame | None, all_variants: pl.DataFrame | None) -> bool:
    """Return whether a group of the chunk has variants in other chunks that it lacks here."""
    if variants is None or all_variants is None or variants.height == all_variants.height:
        return False
    groups = [name for name in variants.columns if name not in VARIANT]
    overlapping = all_variants.join(variants.select(groups).unique(), on=groups, how="semi", nulls_equal=True)
    return overlapping.height > variants.height


# A column of the scores of a run that stopped early.
STOPPED = "stopped_early"
REQUIRED = ("instance_id", "score")
# The values of missing columns.
DEFAULTS: dict[str, Any] = {
    "scenario": "",
    "subset": "",
    "perturbation": ORIGINAL,
    "perturbation_seed": 0,
    "setting": "",
    "trial": 0,
    "model": "",
    "output_index": 0,
    "metric": "score",
}
_WHOLE = ("perturbation_seed", "trial", "output_index")

R = TypeVar("R", bound=Rows)
P = ParamSpec("P")


def protect_columns(*parameters: str) -> Callable[[Callable[P, pl.DataFrame]], Callable[P, pl.DataFrame]]:
    """Return a decorator that separates the caller's columns from the columns that a statistic creates.

    A column that one of these parameters names may be called `weight` or `rows`: the function reads it under
    `SOURCE_PREFIX`, and its result has the original name again.

    Args:
        *parameters: The parameters of the decorated function that name columns. Its first parameter is the frame.
    """

    def decorate(function: Callable[P, pl.DataFrame]) -> Callable[P, pl.DataFrame]:
        signature = inspect.signature(function)
        first = next(iter(signature.parameters))

        @wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> pl.DataFrame:
            bound = signature.bind(*args, **kwargs)
            rows = bound.arguments[first]
            values = {name: bound.arguments[name] for name in parameters if bound.arguments.get(name) is not None}
            names = [name for value in values.values() for name in ([value] if isinstance(value, str) else value)]
            renamed = {name: source_column(name) for name in names if _is_user_column(name)} if _is_rows(rows) else {}
            schema = chunks_of(rows)[0].collect_schema() if renamed else {}
            renamed = {name: column for name, column in renamed.items() if name in schema and column not in schema}
            if not renamed:
                return function(*args, **kwargs)
            bound.arguments[first] = _renamed(rows, renamed)
            for name, value in values.items():
                if isinstance(value, str):
                    bound.arguments[name] = renamed.get(value, value)
                else:
                    bound.arguments[name] = [renamed.get(column, column) for column in value]
            table = function(*bound.args, **bound.kwargs)
            for name, column in renamed.items():
                if column in table.columns and name in table.columns:
                    raise ArgumentError(
                        f"{function.__name__}(): the result already has a column {name!r}. Rename the column of the "
                        "scores."
                    )
            return table.rename({column: name for name, column in renamed.items()}, strict=False)

        return wrapped

    return decorate


def _is_user_column(name: object) -> bool:
    return isinstance(name, str) and name not in SCORES.schema and not name.startswith(SOURCE_PREFIX)


def _is_rows(rows: object) -> bool:
    several = isinstance(rows, list | tuple) and bool(rows) and all(isinstance(frame, pl.LazyFrame) for frame in rows)
    return several or isinstance(rows, pl.DataFrame | pl.LazyFrame)


def _renamed(rows: Any, names: Mapping[str, str]) -> Any:
    return [frame.rename(names) for frame in rows] if isinstance(rows, list | tuple) else rows.rename(names)


def as_scores(rows: R) -> R:
    """Return the rows with every column that a table of scores needs, as in `hf.schema("scores")`.

    The columns instance_id and score (null for a failed request) are required. Other missing columns get one value for
    all rows, and each instance is its own cluster. Additional columns stay.

    >>> as_scores(pl.DataFrame({"instance_id": [7], "score": [True]})).select("instance_id", "score", "metric").rows()
    [('7', 1.0, 'score')]

    Args:
        rows: A Polars frame, lazy or not, or a list of lazy frames with the same columns.

    Raises:
        ArgumentError: If `rows` isn't a frame, or a required column is missing or has another type.
    """
    if not _is_rows(rows):
        raise ArgumentError(
            f"Scores must be a Polars frame or a list of lazy frames, not {type(rows).__name__}: {rows!r:.80}. "
            "Write pl.DataFrame(…) or pl.from_pandas(…)."
        )
    schema = chunks_of(rows)[0].collect_schema()
    expressions = _missing_columns(schema)
    if not expressions:
        return rows
    if isinstance(rows, pl.DataFrame | pl.LazyFrame):
        return cast("R", rows.with_columns(**expressions))
    return cast("R", [frame.with_columns(**expressions) for frame in rows])


def mark_stopped(table: pl.DataFrame, rows: Rows) -> pl.DataFrame:
    """Return the table with a note on its intervals if the rows are of a run that stopped early.

    Such a run ends when its interval is narrow or excludes 0, so an interval of a fixed number of instances misses more
    often.
    """
    if STOPPED not in chunks_of(rows)[0].collect_schema():
        return table
    return table.with_columns(interval=pl.format("{}, ignores early stopping", "interval"))


def _missing_columns(schema: pl.Schema) -> dict[str, pl.Expr]:
    for name in REQUIRED:
        if name not in schema:
            raise ArgumentError(
                f"Scores must have a column {name!r}. The columns are: {list_names(schema)}. hf.schema('scores') "
                "documents the columns of scores."
            )
    if not (schema["score"].is_numeric() or schema["score"] in (pl.Boolean, pl.Null)):
        raise ArgumentError(
            f"Column 'score' must contain numbers (null for a failed request), not values of type {schema['score']}."
        )
    made: dict[str, pl.Expr] = {}
    for name, value in DEFAULTS.items():
        dtype = SCORES.schema[name]
        if name not in schema:
            made[name] = pl.lit(value, dtype=dtype)
        elif name in _WHOLE and not schema[name].is_integer() and schema[name] != pl.Null:
            raise ArgumentError(f"Column {name!r} must contain integers, not values of type {schema[name]}.")
    for name in ("changed", "parsed", "truncated", "starved"):
        if name in schema and schema[name] not in (pl.Boolean, pl.Null):
            raise ArgumentError(f"Column {name!r} must contain true or false, not values of type {schema[name]}.")
    for name in ("cluster", "changed", "parsed", "truncated", "starved"):
        if name not in schema:
            made[name] = pl.lit(None, dtype=SCORES.schema[name])
    for name in ("scenario", "subset", "cluster", "instance_id", "score"):
        if name in schema and schema[name] != SCORES.schema[name]:
            made[name] = pl.col(name).cast(SCORES.schema[name])
    return made
