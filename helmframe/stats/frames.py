"""Frames from anywhere as scores of the documented schema."""

from typing import Any, TypeVar, cast

import polars as pl

from helmframe.columns import ORIGINAL, SCORES
from helmframe.errors import ArgumentError
from helmframe.stats.fold import Rows, chunks_of

REQUIRED = ("instance_id", "score")
# What a frame need not say, where there is only one of it.
DEFAULTS: dict[str, Any] = {
    "scenario": "",
    "part": "",
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


def as_scores(rows: R) -> R:
    """The rows with every column that a table of scores needs, as `hf.columns("scores")` documents them.

    Needed are instance_id and score (null: the request failed); what else is missing counts as one for all rows, and
    the cluster is the instance. Other columns stay.

    >>> as_scores(pl.DataFrame({"instance_id": [7], "score": [True]})).select("instance_id", "score", "metric").rows()
    [('7', 1.0, 'score')]

    Args:
        rows: a Polars frame, lazy or not, or a list of lazy ones with the same columns.

    Raises:
        ArgumentError: no frame; a needed column is missing, or is of another type.
    """
    several = isinstance(rows, list | tuple) and rows and all(isinstance(each, pl.LazyFrame) for each in rows)
    if not several and not isinstance(rows, pl.DataFrame | pl.LazyFrame):
        raise ArgumentError(
            f"scores should be a Polars frame (or a list of lazy ones), not {type(rows).__name__}: {rows!r:.80}. "
            "Write pl.DataFrame(…), or pl.from_pandas(…)."
        )
    schema = chunks_of(rows)[0].collect_schema()
    expressions = _missing(schema)
    if not expressions:
        return rows
    if isinstance(rows, pl.DataFrame | pl.LazyFrame):
        return cast("R", rows.with_columns(**expressions))
    return cast("R", [each.with_columns(**expressions) for each in rows])


def _missing(schema: pl.Schema) -> dict[str, pl.Expr]:
    for name in REQUIRED:
        if name not in schema:
            raise ArgumentError(
                f"scores need a column {name!r}; there are: {', '.join(schema) or 'none'}. "
                "hf.columns('scores') documents them."
            )
    if not (schema["score"].is_numeric() or schema["score"] in (pl.Boolean, pl.Null)):
        raise ArgumentError(f"column 'score' should hold numbers, and null where a request failed: {schema['score']}.")
    made: dict[str, pl.Expr] = {}
    for name, value in DEFAULTS.items():
        dtype = SCORES.schema[name]
        if name not in schema:
            made[name] = pl.lit(value, dtype=dtype)
        elif name in _WHOLE and not schema[name].is_integer() and schema[name] != pl.Null:
            raise ArgumentError(f"column {name!r} should hold whole numbers: {schema[name]}.")
    for name in ("cluster", "changed", "parsed", "truncated"):
        if name not in schema:
            made[name] = pl.lit(None, dtype=SCORES.schema[name])
    for name in ("scenario", "part", "cluster", "instance_id", "score"):
        if name in schema and schema[name] != SCORES.schema[name]:
            made[name] = pl.col(name).cast(SCORES.schema[name])
    return made
