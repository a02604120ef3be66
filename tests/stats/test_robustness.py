from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pytest

from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.stats import consistency, robustness

HIGHER = {"exact_match": True}
FRACTIONS = ["exact_match"]
Build: TypeAlias = Callable[..., pl.DataFrame]


def test_robustness_shows_levels_and_flips(answers: Build) -> None:
    frame = answers(original=[1, 1, 0, 0], typos=[1, 0, 1, 1])
    row = robustness(frame, ["model"], higher_is_better=HIGHER, fractions=FRACTIONS).row(1, named=True)
    assert row["perturbation"] == "typos"
    assert (row["original"], row["perturbed"], row["worst"], row["k"]) == (0.5, 0.75, 0.25, 1)
    assert (row["right_to_wrong"], row["wrong_to_right"], row["changed"]) == (1, 2, 1.0)


def test_robustness_has_a_row_per_perturbation_and_one_for_all(answers: Build) -> None:
    frame = answers(original=[1, 1], typos=[1, 0], lowercase=[0, 1])
    table = robustness(frame, [], higher_is_better=HIGHER)
    assert table.select("perturbation", "worst", "k").rows() == [
        ("all", 0.0, 2),
        ("lowercase", 0.5, 1),
        ("typos", 0.5, 1),
    ]


def test_the_drop_is_paired(answers: Build) -> None:
    frame = answers(original=[1, 0, 1, 1], typos=[0, 0, 0, 1])
    row = robustness(frame, [], higher_is_better=HIGHER, fractions=FRACTIONS).row(0, named=True)
    assert row["change"] == -0.5
    # d = −1, 0, −1, 0: s²/n = 1/12, t₃ = 3.182; cut at −1 it is not
    assert (round(row["change_low"], 2), round(row["change_high"], 2)) == (-1.0, 0.42)
    assert row["interval"] == "t, n small"


def test_the_drop_is_over_changed_variants_only(answers: Build) -> None:
    frame = answers(original=[1, 1, 1, 1], typos=[0, 1, 1, 0])
    kept = frame.with_columns(changed=(pl.col("perturbation") == "typos") & pl.col("instance_id").is_in(["id0", "id1"]))
    row = robustness(kept, [], higher_is_better=HIGHER).row(1, named=True)
    assert (row["change"], row["n"], row["n_changed"], row["changed"]) == (-0.5, 4, 2, 0.5)


def test_nothing_changed_leaves_no_drop(answers: Build) -> None:
    frame = answers(original=[1, 0], typos=[1, 0]).with_columns(changed=pl.lit(value=False))
    row = robustness(frame, [], higher_is_better=HIGHER).row(0, named=True)
    assert (row["change"], row["n_changed"], row["interval"]) == (None, 0, "no interval: no input was changed")


def test_a_model_that_never_flips_still_has_an_interval(answers: Build) -> None:
    frame = answers(original=[1, 0] * 25, typos=[1, 0] * 25)
    row = robustness(frame, [], higher_is_better=HIGHER, fractions=FRACTIONS).row(0, named=True)
    assert (row["change"], round(row["change_low"], 3), round(row["change_high"], 3)) == (0.0, -0.071, 0.071)


def test_flips_are_counted_for_zero_or_one_only(answers: Build) -> None:
    row = robustness(answers(original=[0.5, 1], typos=[0.2, 1]), [], higher_is_better=HIGHER).row(0, named=True)
    assert (row["right_to_wrong"], row["wrong_to_right"]) == (None, None)


def test_seeds_are_variants(answers: Build) -> None:
    frame = answers(original=[1, 1], typos=[1, 0])
    again = answers(typos=[0, 1]).with_columns(perturbation_seed=pl.lit(1))
    row = robustness(pl.concat([frame, again]), [], higher_is_better=HIGHER).row(1, named=True)
    assert (row["perturbation"], row["perturbed"], row["worst"], row["k"]) == ("typos", 0.5, 0.0, 2)


def test_no_perturbation_gives_no_rows(answers: Build) -> None:
    assert robustness(answers(original=[1, 0]), ["model"], higher_is_better=HIGHER).height == 0


def test_a_metric_without_direction_is_named(answers: Build) -> None:
    with pytest.raises(ArgumentError, match="Metric 'exact_match' has no direction"):
        robustness(answers(original=[1], typos=[0]), [], higher_is_better={})


def test_noise_alone_lowers_the_worst_but_not_the_drop(answers: Build) -> None:
    random = np.random.default_rng(3)
    noisy = {name: (random.random(2000) < 0.7).astype(float).tolist() for name in ("original", "a", "b", "c")}
    row = robustness(answers(**noisy), [], higher_is_better=HIGHER, fractions=FRACTIONS).row(1, named=True)
    assert row["perturbation"] == "all"
    assert row["worst"] == pytest.approx(0.7**4, abs=0.03)
    assert row["change_low"] < 0 < row["change_high"]


def test_the_order_of_the_rows_does_not_matter(answers: Build) -> None:
    random = np.random.default_rng(3)
    frame = answers(**{name: random.random(200).tolist() for name in ("original", "a", "b", "c")})
    table = robustness(frame, ["model"], higher_is_better=HIGHER)
    assert robustness(frame.sample(fraction=1, shuffle=True, seed=1), ["model"], higher_is_better=HIGHER).equals(table)


def test_the_placebos_change_is_subtracted_pair_by_pair(answers: Build) -> None:
    frame = answers(original=[1, 1, 0, 1], typos=[0, 0, 0, 1], rerun=[0, 1, 1, 1])
    frame = frame.with_columns(changed=pl.col("perturbation") == "typos")
    table = robustness(frame, [], higher_is_better=HIGHER, fractions=FRACTIONS, placebo="rerun")
    assert table["perturbation"].to_list() == ["all", "rerun", "typos"]
    row = table.row(2, named=True)
    # typos − rerun: 0, −1, −1, 0
    assert (row["change"], row["excess"], row["n_placebo"]) == (-0.5, -0.5, 4)
    assert (round(row["excess_low"], 2), round(row["excess_high"], 2)) == (-1.0, 0.42)
    # its own change: −1, 0, 1, 0
    placebo = table.row(1, named=True)
    assert (placebo["change"], placebo["n_changed"], placebo["changed"], placebo["excess"]) == (0.0, 4, 0.0, None)
    assert placebo["change_low"] < 0 < placebo["change_high"]
    # the placebo is no variant
    assert (table["k"][0], table["worst"][0]) == (1, 0.25)


def test_an_instance_without_a_placebo_has_no_excess(answers: Build) -> None:
    frame = answers(original=[1, 1, 1], typos=[0, 0, 1], rerun=[1, 1])
    row = (
        robustness(frame, [], higher_is_better=HIGHER, placebo="rerun").filter(perturbation="typos").row(0, named=True)
    )
    assert (row["n_changed"], row["n_placebo"], row["excess"]) == (3, 2, -1.0)


def test_an_unknown_placebo_raises(answers: Build) -> None:
    with pytest.raises(UnknownNameError, match="Unknown perturbation 'rerun' of these scores"):
        robustness(answers(original=[1], typos=[0]), [], higher_is_better=HIGHER, placebo="rerun")


def test_outputs_are_averaged_before_they_are_compared(answers: Build) -> None:
    one = answers(original=[1, 1], typos=[0, 1])
    other = answers(original=[0, 1], typos=[1, 1]).with_columns(output_index=pl.lit(1))
    row = robustness(pl.concat([one, other]), [], higher_is_better=HIGHER).row(0, named=True)
    assert (row["original"], row["worst"], row["change"]) == (0.75, 0.75, 0.0)


def test_the_same_id_in_two_scenarios_is_two_instances(answers: Build) -> None:
    one = answers(original=[1], typos=[0])
    two = answers(original=[1], typos=[1]).with_columns(scenario=pl.lit("other"))
    row = robustness(pl.concat([one, two]), [], higher_is_better=HIGHER).row(0, named=True)
    assert (row["n"], row["perturbed"], row["change"]) == (2, 0.5, -0.5)


@pytest.fixture
def completions(scores: Build) -> Build:
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


def test_consistency_is_the_share_of_unchanged_outputs(completions: Build) -> None:
    table = consistency(completions(original=["A", "B", "C", "D"], typos=["A", "B", "A", "D"]), ["model"])
    found = row(table, "typos")
    assert (found["consistency"], found["always"], found["k"], found["n"]) == (0.75, 0.75, 1, 4)
    assert found["ci_low"] < 0.75 < found["ci_high"]
    assert found["interval"] == "Wilson, n small"


def test_all_together_counts_the_mean_and_those_that_never_change(completions: Build) -> None:
    found = row(consistency(completions(original=["A", "B"], typos=["A", "C"], lowercase=["B", "B"]), []), "all")
    assert (found["consistency"], found["always"], found["k"]) == (0.5, 0.0, 2)


def test_unparsed_outputs_are_equal(completions: Build) -> None:
    assert row(consistency(completions(original=[None, None], typos=[None, "A"]), []), "typos")["consistency"] == 0.5


def test_what_failed_is_no_pair(completions: Build) -> None:
    found = row(consistency(completions(original=["A", "!", "A"], typos=["!", "A", "A"]), []), "typos")
    assert (found["consistency"], found["n"], found["n_dropped"]) == (1.0, 1, 2)


def test_an_unknown_column_is_named(completions: Build) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown column 'modl'\. Did you mean 'model'"):
        consistency(completions(original=["A"], typos=["A"]), ["modl"])
