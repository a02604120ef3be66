from collections.abc import Callable
from typing import TypeAlias

import polars as pl

from helmframe.stats import helm_definition

FAMILIES = {"typos": ["robustness"], "gender": ["fairness"]}
Build: TypeAlias = Callable[..., pl.DataFrame]


def rows(table: pl.DataFrame) -> dict[str, tuple[object, ...]]:
    return {row[0]: row[1:] for row in table.select("perturbation", "original", "perturbed", "worst", "n").iter_rows()}


def test_a_family_is_over_all_instances_a_perturbation_over_those_it_changed(answers: Build) -> None:
    frame = answers(original=[1, 1, 0, 1], typos=[0, 1, 1, 1], gender=[1, 1, 1, 0])
    # typos left the last two as they were: HELM has no such copies
    kept = ~((pl.col("perturbation") == "typos") & pl.col("instance_id").is_in(["id2", "id3"]))
    table = helm_definition(frame.with_columns(changed=pl.col("changed") & kept), [], families=FAMILIES)
    assert rows(table) == {
        "original": (0.75, None, None, 4),
        "robustness": (0.75, None, 0.5, 4),
        "fairness": (0.75, None, 0.5, 4),
        "gender": (0.75, 0.75, 0.5, 4),
        "typos": (1.0, 0.5, 0.5, 2),
    }
    assert table["denominator"].to_list() == ["all instances"] * 3 + ["instances it changed"] * 2


def test_a_family_without_perturbations_is_the_original(answers: Build) -> None:
    table = helm_definition(answers(original=[1, 0], typos=[0, 0]), [], families=FAMILIES)
    assert rows(table)["fairness"] == (0.5, None, 0.5, 2)


def test_the_lowest_is_taken_also_where_lower_is_better(answers: Build) -> None:
    table = helm_definition(answers(original=[3.0], typos=[1.0]), [], families=FAMILIES)
    assert rows(table)["robustness"] == (3.0, None, 1.0, 1)


def test_each_seed_is_a_perturbation_of_its_own(answers: Build) -> None:
    frame = answers(original=[1, 1], typos=[1, 0])
    again = answers(typos=[0, 1]).with_columns(perturbation_seed=pl.lit(1))
    table = helm_definition(pl.concat([frame, again]), [], families=FAMILIES).filter(perturbation="typos")
    assert table.select("perturbation_seed", "worst").rows() == [(0, 0.5), (1, 0.5)]
    assert rows(helm_definition(pl.concat([frame, again]), [], families=FAMILIES))["robustness"][2] == 0.0


def test_means_are_over_instances_then_trials_then_runs(answers: Build) -> None:
    # subset a: trials .5 and 1; subset b, larger, 0
    one = answers(original=[1, 0]).with_columns(subset=pl.lit("a"))
    two = answers(original=[1, 1]).with_columns(subset=pl.lit("a"), trial=pl.lit(1))
    three = answers(original=[0, 0, 0, 0]).with_columns(subset=pl.lit("b"))
    assert rows(helm_definition(pl.concat([one, two, three]), [], families={}))["original"] == (0.375, None, None, 6)


def test_an_instance_of_which_something_failed_has_no_worst(answers: Build) -> None:
    table = helm_definition(answers(original=[1, 1], typos=[None, 0]), [], families=FAMILIES)
    assert rows(table)["robustness"] == (1.0, None, 0.0, 1)
