from collections.abc import Callable
from typing import Any, TypeAlias

import polars as pl

from helmframe.stats import worst_case

HIGHER = {"exact_match": True}
FRACTIONS = ["exact_match"]
Build: TypeAlias = Callable[..., pl.DataFrame]


def only(table: pl.DataFrame) -> dict[str, Any]:
    assert table.height == 1
    return table.row(0, named=True)


def test_worst_is_the_mean_of_the_lowest_of_each_instance(answers: Build) -> None:
    frame = answers(original=[1, 1, 0, 1], typos=[1, 0, 1, 1], lowercase=[1, 1, 1, 0])
    row = only(worst_case(frame, ["model"], higher_is_better=HIGHER, fractions=FRACTIONS))
    assert (row["value"], row["k"], row["n"], row["interval"]) == (0.25, 2, 4, "Wilson, n small")


def test_worst_is_the_highest_where_lower_is_better(answers: Build) -> None:
    frame = answers(original=[1.0, 2.0], typos=[3.0, 1.0])
    assert only(worst_case(frame, [], higher_is_better={"exact_match": False}))["value"] == 2.5


def test_an_instance_with_a_failed_variant_has_no_worst(answers: Build) -> None:
    frame = answers(original=[1, 0, 1], typos=[1, 1, None])
    row = only(worst_case(frame, [], higher_is_better=HIGHER))
    assert (row["value"], row["n"], row["n_dropped"], row["n_error"]) == (0.5, 2, 1, 1)


def test_an_instance_that_lacks_a_variant_has_no_worst(answers: Build) -> None:
    frame = answers(original=[1, 0, 1], typos=[1, 1])
    row = only(worst_case(frame, [], higher_is_better=HIGHER))
    assert (row["n"], row["n_dropped"]) == (2, 1)


def test_worst_is_taken_per_trial(answers: Build) -> None:
    # one variant fails in each trial; the worst of each trial is 0, its mean over both too
    frame = answers(original=[1, 1], typos=[0, 1])
    other = answers(original=[1, 1], typos=[1, 1]).with_columns(trial=pl.lit(1))
    row = only(worst_case(pl.concat([frame, other]), [], higher_is_better=HIGHER))
    assert row["value"] == 0.75


def test_without_perturbations_there_is_no_worst(answers: Build) -> None:
    row = only(worst_case(answers(original=[1, 0]), [], higher_is_better=HIGHER))
    assert (row["value"], row["k"], row["interval"]) == (None, None, "no interval: nothing was perturbed")


def test_scenarios_with_other_numbers_of_variants_have_no_common_worst(answers: Build) -> None:
    one = answers(original=[1, 0], typos=[1, 0])
    two = answers(original=[1, 0], typos=[1, 0], lowercase=[1, 1]).with_columns(scenario=pl.lit("other"))
    row = only(worst_case(pl.concat([one, two]), [], higher_is_better=HIGHER))
    assert (row["value"], row["k"], row["interval"]) == (None, None, "no interval: scenarios differ in k")


def test_the_table_names_what_it_is_the_worst_of(answers: Build) -> None:
    frame = answers(original=[1, 0], typos=[1, 0], lowercase=[1, 1])
    again = answers(typos=[0, 1]).with_columns(perturbation_seed=pl.lit(1))
    row = only(worst_case(pl.concat([frame, again]), [], higher_is_better=HIGHER))
    assert (row["variants"], row["k"]) == ("original, lowercase, typos × 2", 3)
