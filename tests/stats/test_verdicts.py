"""Small samples of the simulations of `tests/acceptance/test_verdicts.py`: coverage, and false decisions."""

import polars as pl
import pytest

from tests.acceptance import test_verdicts as designs

pytestmark = pytest.mark.slow

RUNS = 300


def test_equal_models_are_rarely_decided_early() -> None:
    decided = designs.ties_that_are_decided(60, n=200)
    assert decided["population"] <= designs.most(0.05, 60)
    assert decided["benchmark"] > 0.5


def test_a_gate_after_an_early_stop_keeps_its_level() -> None:
    verdicts = designs.gates_after_a_stop(RUNS)
    assert max(verdicts["population"]) <= designs.most(0.025, RUNS)
    assert min(verdicts["benchmark"]) > 0.1


@pytest.mark.parametrize(("models", "columns"), [(3, 4), (6, 4), (30, 6), (30, 10)])
def test_ranks_of_published_leaderboards_hold_jointly(models: int, columns: int) -> None:
    share, _ = designs.joint_coverage(models, columns, RUNS, "win_rate", designs.ranks_of, tied=90)
    assert share >= designs.least(0.95, RUNS)


def test_few_clusters_distinguish_models() -> None:
    wrong, best = designs.clustered_boards(8, 3, 0.35, RUNS)
    assert wrong <= designs.most(0.05, RUNS)
    assert best > 0.3


def test_clusters_that_span_subsets_cover() -> None:
    assert designs.covered(designs.spanning(RUNS), 0.6) >= designs.least(0.94, RUNS)
    assert designs.covered(designs.spanning_pairs(RUNS), 0.0) >= designs.least(0.94, RUNS)


@pytest.mark.parametrize("p", [0.5, 0.95, 0.98])
def test_a_gate_keeps_its_level_near_1(p: float) -> None:
    assert max(designs.gates_at_the_line(p, 50, RUNS)) <= designs.most(0.025, RUNS)


def test_a_correction_covers_and_stays_in_range() -> None:
    found = designs.corrected(20, 0.9, 0.99, 0.05, RUNS)
    assert designs.covered(found.filter(pl.col("ci_low").is_not_null()), 0.9) >= designs.least(0.94, RUNS)
    assert found.filter(~pl.col("value").is_between("ci_low", "ci_high")).is_empty()


def test_unequal_clusters_near_1_cover() -> None:
    assert designs.covered(designs.unequal(40, 0.9, 0.4, RUNS), 0.9) >= designs.least(0.94, RUNS)


def test_interval_and_test_agree() -> None:
    found = designs.pairs(0.99, 0.98, 200, RUNS)
    excludes = (pl.col("ci_low") > 0) | (pl.col("ci_high") < 0)
    assert found.filter(excludes != (pl.col("p") < 0.05)).is_empty()
