from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import polars as pl
import pytest

Scores: TypeAlias = Callable[..., pl.DataFrame]


@pytest.fixture
def scores() -> Scores:
    """Builds `SCORES` from a list of scores, one instance each; any column can be given, as a value or as a list."""

    def build(score: Sequence[float | None], **columns: Any) -> pl.DataFrame:
        ids = pl.Series([f"id{number}" for number in range(len(score))])
        frame = pl.DataFrame({"score": pl.Series(score, dtype=pl.Float64), "instance_id": ids})
        defaults: dict[str, Any] = {
            "scenario": "s",
            "subset": "",
            "cluster": None,
            "split": "test",
            "perturbation": "original",
            "perturbation_seed": 0,
            "changed": False,
            "setting": "",
            "trial": 0,
            "model": "m",
            "output_index": 0,
            "parsed": True,
            "truncated": False,
            "metric": "exact_match",
        }
        values = {name: columns.get(name, value) for name, value in {**defaults, **columns}.items()}
        frame = frame.with_columns(
            **{
                name: pl.Series(value) if isinstance(value, list | pl.Series) else pl.lit(value)
                for name, value in values.items()
            }
        )
        return frame.with_columns(pl.col("cluster").cast(pl.String).fill_null(pl.col("instance_id")))

    return build


@pytest.fixture
def answers(scores: Scores) -> Scores:
    """Scoress scores from one list per perturbation, one instance each; every variant counts as changed."""

    def build(**by_perturbation: list[float | None]) -> pl.DataFrame:
        return pl.concat(
            scores(score, perturbation=name, changed=name != "original") for name, score in by_perturbation.items()
        )

    return build
