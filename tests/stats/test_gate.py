import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, NotComparableError
from helmframe.stats.gate import Gate
from helmframe.stats.power import power


def table(*rows: tuple[float, float, float]) -> pl.DataFrame:
    """As `hf.stats.table` gives it: value, ci_low, ci_high of 100 instances each."""
    frame = pl.DataFrame(rows, ["value", "ci_low", "ci_high"], orient="row")
    return frame.with_columns(metric=pl.lit("exact_match"), n=100, interval=pl.lit("t"))


def difference(value: float, half: float, metric: str = "exact_match") -> pl.DataFrame:
    ends = {"joint_low": value - half, "joint_high": value + half}
    return pl.DataFrame({"metric": metric, "a": "new", "b": "old", "difference": value, **ends, "n": 100})


def verdicts(gate: Gate) -> list[str]:
    return gate.table["verdict"].to_list()


def test_an_interval_above_the_line_passes_one_below_fails_one_across_is_undecided() -> None:
    gate = hf.stats.gate(table((0.8, 0.7, 0.9), (0.6, 0.5, 0.69), (0.7, 0.6, 0.8)), at_least=0.7)
    assert verdicts(gate) == ["pass", "fail", "undecided"]
    assert (gate.verdict, gate.exit_code) == ("fail", 1)


@pytest.mark.parametrize(
    ("ends", "verdict", "code"),
    [((0.7, 0.9), "pass", 0), ((0.6, 0.9), "undecided", 3), ((0.5, 0.65), "fail", 1)],
)
def test_the_exit_code_says_the_verdict(ends: tuple[float, float], verdict: str, code: int) -> None:
    gate = hf.stats.gate(table((0.65, *ends)), at_least=0.7)
    assert (gate.verdict, gate.exit_code) == (verdict, code)


def test_at_most_turns_the_line_round() -> None:
    gate = hf.stats.gate(table((0.2, 0.1, 0.3), (0.4, 0.31, 0.5), (0.28, 0.2, 0.4)), at_most=0.3)
    assert verdicts(gate) == ["pass", "fail", "undecided"]
    assert gate.table.select("line", "low", "high").rows() == [(0.3, 0.1, 0.3), (0.3, 0.31, 0.5), (0.3, 0.2, 0.4)]
    assert repr(gate).startswith("fail: at most 0.3")
    # as far from the line on either side, as many are needed
    other = hf.stats.gate(table((0.72, 0.6, 0.8)), at_least=0.7)
    assert gate.table["n_needed"][2] == other.table["n_needed"][0]


def test_strict_takes_what_is_undecided_for_failed() -> None:
    assert hf.stats.gate(table((0.75, 0.6, 0.9)), at_least=0.7, strict=True).verdict == "fail"


def test_no_interval_is_undecided() -> None:
    unknown = table((0.75, 0.6, 0.9)).with_columns(ci_low=pl.lit(None, pl.Float64), ci_high=pl.lit(None, pl.Float64))
    gate = hf.stats.gate(unknown, at_least=0.7)
    assert (gate.verdict, gate.table["n_needed"].item()) == ("undecided", None)


def test_a_margin_is_how_much_worse_may_pass() -> None:
    assert hf.stats.gate(difference(0.0, 0.01), margin=0.02).verdict == "pass"
    assert hf.stats.gate(difference(-0.05, 0.01), margin=0.02).verdict == "fail"
    assert hf.stats.gate(difference(-0.05, 0.01), margin=0.1).verdict == "pass"


def test_the_direction_of_a_metric_is_respected() -> None:
    more = difference(0.05, 0.01, "toxic_fraction")
    assert hf.stats.gate(more, margin=0.02, higher_is_better={"toxic_fraction": False}).verdict == "fail"
    assert hf.stats.gate(more, margin=0.02).verdict == "pass"


def test_n_needed_is_what_power_asks_for() -> None:
    # two sides alike, whose difference varies by .2, under a margin of .02: 100 instances say nothing
    stderr = (0.2 / 100) ** 0.5
    gate = hf.stats.gate(difference(0.0, 1.959964 * stderr), margin=0.02)
    asked = power(0.02, pilot=pl.DataFrame({"n": [100], "stderr": [stderr]})).n
    assert (gate.verdict, gate.table["n_needed"].item()) == ("undecided", asked)


def test_n_needed_is_more_than_there_are_and_only_where_it_is_undecided() -> None:
    gate = hf.stats.gate(table((0.8, 0.7, 0.9), (0.71, 0.61, 0.81), (0.7, 0.6, 0.8)), at_least=0.7)
    assert gate.table["n_needed"].to_list()[::2] == [None, None]
    assert gate.table["n_needed"][1] > 100


@pytest.mark.parametrize(
    ("frame", "arguments", "message"),
    [
        (table((0.8, 0.7, 0.9)), {}, "exactly one of at_least, at_most"),
        (
            table((0.8, 0.7, 0.9)),
            {"at_least": 0.5, "margin": 0.1},
            "exactly one of at_least, at_most",
        ),
        (
            table((0.8, 0.7, 0.9)),
            {"at_least": 0.5, "at_most": 0.9},
            "exactly one of at_least, at_most",
        ),
        (table((0.8, 0.7, 0.9)), {"at_most": float("inf")}, "at_most=inf\\): at_most must be a finite number"),
        (table((0.8, 0.7, 0.9)), {"margin": 0.1}, "no column 'difference'. Pass a table of hf.stats.compare"),
        (difference(0.0, 0.1), {"at_least": 0.1}, "no column 'value'. Pass a table of hf.stats.table"),
        (difference(0.0, 0.1), {"margin": -0.1}, "margin must be a number ≥ 0"),
        (difference(0.0, 0.1), {"margin": float("nan")}, "margin must be a number ≥ 0"),
        (table((0.8, 0.7, 0.9)), {"at_least": float("nan")}, "at_least must be a finite number"),
        (difference(0.0, 0.1).clear(), {"margin": 0.1}, "the table has no rows"),
        (difference(0.0, 0.1), {"margin": 0.1, "ci": 95}, "ci=95"),
    ],
)
def test_invalid_arguments_raise(frame: pl.DataFrame, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        hf.stats.gate(frame, **arguments)  # type: ignore[arg-type]


def test_wilsons_interval_becomes_the_exact_one() -> None:
    from scipy.stats import binomtest

    rows = hf.stats.table(pl.DataFrame({"instance_id": range(50), "score": [1] * 47 + [0] * 3}))
    gate = hf.stats.gate(rows, at_least=0.98)
    ends = binomtest(47, 50).proportion_ci(0.95, "exact")
    assert gate.table.select("low", "high").row(0) == pytest.approx((ends.low, ends.high))
    # Wilson's upper end is .979
    assert (gate.verdict, gate.table["interval"].item()) == ("undecided", "Clopper–Pearson")
    assert rows["ci_high"].item() < 0.98


def test_a_clustered_interval_becomes_the_exact_one_at_its_effective_n() -> None:
    scores = pl.DataFrame({"instance_id": range(200), "score": [int(n % 40 > 3) for n in range(200)]})
    rows = hf.stats.table(scores.with_columns(cluster=pl.col("instance_id") // 4))
    gate = hf.stats.gate(rows, at_least=0.5).table
    assert gate["interval"].item().startswith("Clopper–Pearson at the effective n (clusters)")
    assert gate["low"].item() < rows["ci_low"].item()
    assert gate["high"].item() > rows["ci_high"].item()


def test_a_verdict_on_few_instances_is_marked() -> None:
    rows = hf.stats.table(pl.DataFrame({"instance_id": range(5), "score": [1] * 5}))
    assert "n small" in repr(hf.stats.gate(rows, at_least=0.4))


def test_the_benchmark_itself_is_judged_by_its_value_as_results_gate_does() -> None:
    scores = pl.DataFrame({"instance_id": range(10), "score": [1, 1, 1, 0, 1, 1, 0, 1, 1, 1]})
    assert hf.stats.gate(hf.stats.table(scores), at_least=0.8).verdict == "undecided"
    result = hf.stats.gate(hf.stats.table(scores), at_least=0.8, population="benchmark")
    assert (result.verdict, result.criterion) == ("pass", "at least 0.8, over this benchmark's own instances only")
    assert result.table["interval"].item() == "known: all instances of this benchmark ran"
    assert hf.stats.gate(hf.stats.table(scores), at_least=0.81, population="benchmark").verdict == "fail"
    with pytest.raises(ArgumentError, match=r"gate\(population='sample'\)"):
        hf.stats.gate(hf.stats.table(scores), at_least=0.8, population="sample")


def test_a_failed_request_leaves_the_mean_of_the_benchmark_unknown() -> None:
    scores = pl.DataFrame({"instance_id": range(200), "score": [None, *[1.0] * 199]})
    with pytest.raises(NotComparableError, match="1 requests failed, so the mean over all instances is unknown"):
        hf.stats.gate(hf.stats.table(scores), at_least=0.5, population="benchmark")
    assert hf.stats.gate(hf.stats.table(scores), at_least=0.5, population="benchmark", errors="drop").verdict == "pass"


def test_intervals_about_the_other_population_are_refused() -> None:
    scores = pl.DataFrame({"instance_id": range(10), "score": [1] * 9 + [0]})
    own = hf.stats.table(scores).with_columns(interval=pl.lit("betting (anytime, this benchmark only)"))
    with pytest.raises(ArgumentError, match="own instances only"):
        hf.stats.gate(own, at_least=0.5)
    low = own["ci_low"].item()
    assert hf.stats.gate(own, at_least=low, population="benchmark").verdict == "pass"
    assert hf.stats.gate(own, at_least=low + 0.01, population="benchmark").verdict == "undecided"
    stopped = hf.stats.table(scores.with_columns(stopped_early=True))
    with pytest.raises(ArgumentError, match="stopped early"):
        hf.stats.gate(stopped, at_least=0.5, population="benchmark")


def _compared(a: float, b: float, n: int = 1_000) -> pl.DataFrame:
    sides = {"new": [index < a * n for index in range(n)], "old": [index < b * n for index in range(n)]}
    scores = pl.concat(
        pl.DataFrame({"model": model, "instance_id": range(n), "score": score}) for model, score in sides.items()
    )
    return hf.stats.compare(scores, "model", base="old", higher_is_better={"score": True}, equivalence=0.05)


def test_a_gate_of_equivalence_fails_in_both_directions() -> None:
    assert hf.stats.gate(_compared(0.8, 0.8), equivalent=0.05).verdict == "pass"
    for a in (0.7, 0.9):
        assert hf.stats.gate(_compared(a, 0.8), equivalent=0.05).verdict == "fail"
    result = hf.stats.gate(_compared(0.81, 0.8, 100), equivalent=0.02)
    assert (result.verdict, result.criterion) == ("undecided", "equivalent within ±0.02")
    assert (result.table["n_needed"] > 100).all()
    assert hf.stats.gate(_compared(0.81, 0.8, 100), equivalent=0.02, strict=True).verdict == "fail"


def test_a_gate_of_equivalence_needs_the_test_of_the_comparison() -> None:
    table = _compared(0.8, 0.8)
    with pytest.raises(ArgumentError, match=r"equivalence=0\.05"):
        hf.stats.gate(table.drop("equivalence_low"), equivalent=0.05)
    with pytest.raises(ArgumentError, match="equivalent must be a number > 0"):
        hf.stats.gate(table, equivalent=0.0)
    with pytest.raises(ArgumentError, match="exactly one of"):
        hf.stats.gate(table, equivalent=0.05, margin=0.05)
