from collections.abc import Callable
from typing import Any, TypeAlias

import polars as pl
import pytest

from helmframe.errors import UnknownNameError
from helmframe.stats import consistency

Build: TypeAlias = Callable[..., pl.DataFrame]


@pytest.fixture
def said(scores: Build) -> Build:
    """Builds answers from one list per perturbation, one instance each; "!" failed, None could not be read."""

    def build(**by_perturbation: list[str | None]) -> pl.DataFrame:
        return pl.concat(
            scores([0.0] * len(answers), perturbation=name, changed=name != "original")
            .with_columns(answer=pl.Series(answers, dtype=pl.String))
            .with_columns(failed=pl.col("answer").eq_missing("!"))
            for name, answers in by_perturbation.items()
        )

    return build


def row(table: pl.DataFrame, perturbation: str) -> dict[str, Any]:
    return table.filter(perturbation=perturbation).row(0, named=True)


def test_the_share_of_answers_that_stay_the_same(said: Build) -> None:
    table = consistency(said(original=["A", "B", "C", "D"], typos=["A", "B", "A", "D"]), ["model"])
    found = row(table, "typos")
    assert (found["consistency"], found["always"], found["k"], found["n"]) == (0.75, 0.75, 1, 4)
    assert found["ci_low"] < 0.75 < found["ci_high"]
    assert found["interval"] == "Wilson, n small"


def test_all_together_counts_the_mean_and_those_that_never_change(said: Build) -> None:
    found = row(consistency(said(original=["A", "B"], typos=["A", "C"], lowercase=["B", "B"]), []), "all")
    assert (found["consistency"], found["always"], found["k"]) == (0.5, 0.0, 2)


def test_answers_that_can_not_be_read_are_the_same(said: Build) -> None:
    assert row(consistency(said(original=[None, None], typos=[None, "A"]), []), "typos")["consistency"] == 0.5


def test_what_failed_is_no_pair(said: Build) -> None:
    found = row(consistency(said(original=["A", "!", "A"], typos=["!", "A", "A"]), []), "typos")
    assert (found["consistency"], found["n"], found["n_dropped"]) == (1.0, 1, 2)


def test_an_unknown_column_is_named(said: Build) -> None:
    with pytest.raises(UnknownNameError, match=r"no column is called 'modl'\. Did you mean 'model'"):
        consistency(said(original=["A"], typos=["A"]), ["modl"])
