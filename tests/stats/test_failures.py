"""Failed requests in scores: refused, dropped for every side, or counted as the worst."""

from collections.abc import Sequence

import polars as pl
import pytest

from helmframe import stats
from helmframe.errors import ArgumentError, NotComparableError

HIGHER = {"exact_match": True}
LOWER = {"exact_match": False}


def scored(**models: Sequence[float | None]) -> pl.DataFrame:
    """One score per instance and model; None is a failed request."""
    return pl.concat(
        pl.DataFrame(
            {"model": model, "instance_id": [f"id{index:03d}" for index in range(len(scores))], "score": scores},
            schema_overrides={"score": pl.Float64},
        ).with_columns(scenario=pl.lit("s"), metric=pl.lit("exact_match"))
        for model, scores in models.items()
    )


def values(board: stats.Leaderboard) -> dict[str, float]:
    return dict(board.cells.select("model", "value").iter_rows())


def hides_its_failures() -> pl.DataFrame:
    """A model that is right on 60 of 100 instances and fails on 20 of the 40 others, beside one that is right on 70."""
    return scored(failing=[1.0] * 60 + [None] * 20 + [0.0] * 20, sound=[1.0] * 70 + [0.0] * 30)


def test_a_leaderboard_refuses_more_than_1_percent_of_failures() -> None:
    with pytest.raises(NotComparableError, match=r"20\.0% of the requests of 'failing' failed"):
        stats.leaderboard(hides_its_failures(), higher_is_better=HIGHER)


def test_up_to_1_percent_of_failures_is_ranked_over_the_shared_instances() -> None:
    board = stats.leaderboard(scored(a=[1.0] * 99 + [None], b=[1.0] * 98 + [0.0] * 2), higher_is_better=HIGHER)
    assert values(board) == {"a": 1.0, "b": pytest.approx(98 / 99)}
    assert board.cells.select("n", "n_dropped").unique().rows() == [(99, 1)]


def test_a_dropped_instance_is_dropped_for_every_model() -> None:
    board = stats.leaderboard(hides_its_failures(), higher_is_better=HIGHER, errors="drop")
    # of the 80 shared instances 60 are right on both sides
    assert values(board) == {"failing": 0.75, "sound": 0.75}
    assert board.cells.select("n", "n_dropped").unique().rows() == [(80, 20)]


@pytest.mark.parametrize(("better", "worst"), [(HIGHER, 0.0), (LOWER, 1.0)])
def test_worst_counts_a_failure_as_the_worst_bound(better: dict[str, bool], worst: float) -> None:
    frame = scored(failing=[None] * 10, half=[1.0] * 5 + [0.0] * 5)
    board = stats.leaderboard(frame, higher_is_better=better, errors="worst", ranges={"exact_match": (0.0, 1.0)})
    assert values(board) == {"failing": worst, "half": 0.5}
    assert board.table["model"].to_list() == ["half", "failing"]


@pytest.mark.parametrize("bounds", [(None, 0.0), None])
def test_worst_is_refused_where_there_is_no_worst_bound(bounds: tuple[None, float] | None) -> None:
    ranges = {"exact_match": bounds} if bounds else None
    with pytest.raises(ArgumentError, match=r"errors='worst': metric 'exact_match' has no lower bound.*errors='drop'"):
        stats.leaderboard(scored(a=[None], b=[-1.0]), higher_is_better=HIGHER, errors="worst", ranges=ranges)


def test_a_model_that_failed_everywhere_leaves_no_shared_instance() -> None:
    with pytest.raises(NotComparableError, match=r"No instance of 's' has a score of every model.*'failing' has 0 of"):
        stats.leaderboard(scored(failing=[None] * 4, a=[1.0] * 4), higher_is_better=HIGHER, errors="drop")


def test_an_instance_with_one_failed_output_of_several_is_dropped() -> None:
    # the failing model keeps its right output and loses its wrong one
    failing = scored(failing=[1.0, None]).with_columns(instance_id=pl.lit("x"), output_index=pl.Series([0, 1]))
    sound = scored(sound=[1.0, 0.0]).with_columns(instance_id=pl.lit("x"), output_index=pl.Series([0, 1]))
    more = scored(failing=[0.0], sound=[1.0]).with_columns(output_index=pl.lit(0, dtype=pl.Int64))
    frame = pl.concat([failing, sound, more])
    board = stats.leaderboard(frame, higher_is_better=HIGHER, errors="drop")
    assert values(board) == {"failing": 0.0, "sound": 1.0}
    row = stats.compare(frame, "model", higher_is_better=HIGHER, errors="drop").row(0, named=True)
    assert (row["n"], row["n_dropped"], row["value_a"], row["value_b"]) == (1, 1, 1.0, 0.0)


def test_failures_are_counted_by_cell_and_not_diluted_by_other_scenarios() -> None:
    few = scored(a=[None] * 3, b=[1.0] * 3).with_columns(scenario=pl.lit("few"))
    frame = pl.concat([scored(a=[1.0] * 1_000, b=[0.0] * 1_000), few])
    with pytest.raises(NotComparableError, match=r"100\.0% of the requests of 'a' failed.*scenario 'few'"):
        stats.leaderboard(frame, higher_is_better=HIGHER)


def test_compare_refuses_failures_and_treats_them_as_specified() -> None:
    frame = hides_its_failures()
    with pytest.raises(NotComparableError, match=r"20\.0% of the requests of 'failing' failed"):
        stats.compare(frame, "model", base="sound", higher_is_better=HIGHER)
    dropped = stats.compare(frame, "model", base="sound", higher_is_better=HIGHER, errors="drop")
    assert dropped.select("difference", "n", "n_dropped").row(0) == (0.0, 80, 20)
    ranges = {"exact_match": (0.0, 1.0)}
    worst = stats.compare(frame, "model", base="sound", higher_is_better=HIGHER, errors="worst", ranges=ranges)
    assert worst.select("difference", "n", "n_dropped").row(0) == (pytest.approx(-0.1), 100, 0)


def test_an_unknown_treatment_is_named() -> None:
    frame = scored(a=[1.0, 1.0], b=[0.0, 1.0])
    for verb in (stats.leaderboard, lambda rows, **options: stats.compare(rows, "model", **options)):
        with pytest.raises(ArgumentError, match="errors='zero'"):
            verb(frame, higher_is_better=HIGHER, errors="zero")


def test_a_gate_refuses_failures_of_a_table() -> None:
    table = stats.table(scored(m=[1.0] * 95 + [None] * 5))
    with pytest.raises(NotComparableError, match=r"5\.0% of the requests failed"):
        stats.gate(table, at_least=0.5)
    assert stats.gate(table, at_least=0.5, errors="drop").verdict == "pass"
    with pytest.raises(ArgumentError, match=r"errors='worst'.*results\.gate"):
        stats.gate(table, at_least=0.5, errors="worst")


def test_a_gate_counts_failed_outputs_among_outputs() -> None:
    outputs = scored(m=[1.0] * 995 + [None] * 5).with_columns(
        instance_id=(pl.int_range(1_000) // 10).cast(pl.String), output_index=pl.int_range(1_000) % 10
    )
    table = stats.table(outputs)
    assert table.select("n", "n_error", "n_completions").row(0) == (100, 5, 1_000)
    assert stats.gate(table, at_least=0.5).verdict == "pass"
