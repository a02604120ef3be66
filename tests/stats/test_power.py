import polars as pl
import pytest
from scipy.stats import binom

import helmframe as hf
from helmframe.errors import ArgumentError, NotComparableError
from helmframe.stats.significance import mcnemar_midp


def found(n: int, effect: float, discordance: float) -> float:
    """How often McNemar's mid-p rejects at 5 %: summed over all (answers that differ, of them better)."""
    total = 0.0
    for differing in range(n + 1):
        chance = binom.pmf(differing, n, discordance)
        if chance > 1e-7:
            better = range(differing + 1)
            of = binom.pmf(better, differing, (1 + effect / discordance) / 2)
            total += chance * sum(
                each for wins, each in zip(better, of, strict=True)
                if each > 1e-7 and mcnemar_midp(wins, differing - wins) < 0.05
            )  # fmt: skip
    return total


def test_one_subject_finds_nothing_under_seven_points() -> None:
    assert hf.stats.power(n=311, p=0.7).effect == pytest.approx(0.073, abs=5e-4)
    assert hf.stats.power(n=1000, p=0.7).effect == pytest.approx(0.041, abs=5e-4)


def test_the_test_finds_it_four_times_in_five() -> None:
    result = hf.stats.power(n=200, discordance=0.2)
    assert found(200, result.effect, 0.2) == pytest.approx(0.8, abs=0.015)


@pytest.mark.parametrize(("effect", "how"), [(0.03, {"p": 0.7}), (0.1, {"discordance": 0.1}), (-0.05, {"p": 0.9})])
@pytest.mark.parametrize("wanted", [0.3, 0.8, 0.95])
def test_each_of_the_three_is_solved_from_the_other_two(effect: float, how: dict[str, float], wanted: float) -> None:
    n = hf.stats.power(effect, power=wanted, **how).n  # type: ignore[arg-type]
    assert hf.stats.power(effect, n, **how).power == pytest.approx(wanted, abs=0.02)  # type: ignore[arg-type]
    assert hf.stats.power(effect, n, **how).power >= wanted - 1e-9  # type: ignore[arg-type]
    again = hf.stats.power(n=n, power=wanted, **how)  # type: ignore[arg-type]
    assert again.effect == pytest.approx(abs(effect), rel=0.03)
    assert again.effect <= abs(effect)


def test_power_of_sides_that_differ_on_every_instance() -> None:
    assert hf.stats.power(1.0, 10, discordance=1.0).power == 1.0
    assert hf.stats.power(1.0, 3, discordance=1.0).power == 0.0


def test_clusters_cost_their_design_effect() -> None:
    alone, together = hf.stats.power(0.03, p=0.7), hf.stats.power(0.03, p=0.7, cluster_size=8, icc=0.3)
    assert together.design_effect == pytest.approx(3.1)
    assert together.n == pytest.approx(3.1 * alone.n, abs=3)


def test_a_pilot_says_what_its_own_comparison_could_have_found() -> None:
    scores = pl.DataFrame({
        "model": ["a"] * 200 + ["b"] * 200,
        "instance_id": list(range(200)) * 2,
        "cluster": [f"passage {place // 4}" for place in range(200)] * 2,
        "score": [place % 5 > 0 for place in range(200)] + [place % 7 > 1 for place in range(200)],
    })  # fmt: skip
    pilot = hf.stats.compare(scores, "model", higher_is_better={"score": True})
    # the comparison's own has t of 49 degrees of freedom for z
    assert hf.stats.power(n=200, pilot=pilot).effect == pytest.approx(pilot["mde"].item(), rel=0.04)


def test_results_are_a_pilot() -> None:
    rows = pl.DataFrame({"q": [f"question {place}?" for place in range(60)], "a": ["yes"] * 60})
    models = {name: hf.models.noisy(0.6, seed=seed) for seed, name in enumerate("ab")}
    results = hf.scenario(rows, input="q", references="a", name="asked").metrics("exact_match").generate(models).score()
    stderr = results.compare("model")["stderr"].item()
    assert hf.stats.power(0.05, pilot=results).variance == pytest.approx(60 * stderr**2)


def test_it_reads_as_a_sentence() -> None:
    found = hf.stats.power(n=311, p=0.7)
    assert repr(found).startswith("311 instances detect a difference of 0.0725 with power 80%")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p": 0.7}, "set effect, n or both"),
        ({"effect": 0.1, "n": 10, "power": 0.8, "p": 0.7}, "set effect, n or both"),
        ({"n": 100}, "exactly one of p, discordance and pilot"),
        ({"n": 100, "p": 0.7, "discordance": 0.1}, "exactly one of p, discordance and pilot"),
        ({"effect": 0.2, "discordance": 0.1}, "impossible if the sides differ on 0.1"),
        ({"n": 3, "p": 0.7}, "no difference is detectable"),
        ({"n": 100, "p": 0.7, "correlation": -1}, "impossible if each side has 0.7 right"),
        ({"n": 100, "p": 1.0}, "p=1.0"),
        ({"n": 1, "p": 0.7}, "at least 2"),
        ({"n": "many", "p": 0.7}, r"power\(n='many'\): n must be a number"),
        ({"effect": 0, "p": 0.7}, "other than 0"),
        ({"effect": 0.1, "p": 0.7, "power": 1}, "power=1"),
        ({"effect": 0.1, "p": 0.7, "icc": 2}, "icc=2"),
        ({"effect": 0.1, "p": 0.7, "cluster_size": 0}, "cluster_size=0"),
        ({"effect": 0.1, "pilot": pl.DataFrame({"n": [9], "stderr": [0.1]}), "icc": 0.1}, "icc must not be set"),
    ],
)  # fmt: skip
def test_invalid_arguments_raise(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        hf.stats.power(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [{"n": [9, 9], "stderr": [0.1, 0.1]}, {"n": [9]}, {"n": [9], "stderr": [None]}])
def test_an_invalid_pilot_raises(rows: dict[str, list[float]]) -> None:
    with pytest.raises(NotComparableError, match="pilot"):
        hf.stats.power(0.1, pilot=pl.DataFrame(rows))
