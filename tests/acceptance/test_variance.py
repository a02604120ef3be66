"""Variance components, sensitivity, equivalence, bounds and rank probabilities under simulation.

Each design plants a truth, draws data from it, and counts how often an interval covers it or a decision is wrong.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

import helmframe as hf
from helmframe.stats import compare, gate, leaderboard, table, variance_components
from helmframe.stats.variance import Grid, components_of, sensitivity_of_grid
from tests.acceptance.figures import shown
from tests.acceptance.test_verdicts import covered, frame, least, most

Floats: TypeAlias = npt.NDArray[np.float64]
Draw: TypeAlias = Callable[[np.random.Generator], Floats]
RUNS = 2_000
UP = {"score": True}


def grid_of(scores: Floats, *axes: str) -> Grid:
    """Return the grid of scores of independent instances (first axis)."""
    n = len(scores)
    influence = (scores - scores.mean(axis=0)) / n / np.sqrt(1 - 1 / n)
    levels = {axis: list(range(count)) for axis, count in zip(axes, scores.shape[1:], strict=True)}
    weight = np.full(n, 1 / n)
    return Grid({"metric": "score"}, levels, scores, weight, influence, scores / n, n - 1, None, 1.0, 0)


# -- components ------------------------------------------------------------------------------------------------------

NAMES = (
    "instance", "setting", "trial", "instance × setting", "instance × trial", "setting × trial", "residual",
)  # fmt: skip


def normal_scores(n: int, settings: int, trials: int, sd: tuple[float, ...]) -> tuple[Draw, dict[str, float]]:
    """Return a design with normal effects of these standard deviations, in the order of `NAMES`."""
    shapes = [(n, 1, 1), (1, settings, 1), (1, 1, trials), (n, settings, 1), (n, 1, trials), (1, settings, trials),
              (n, settings, trials)]  # fmt: skip

    def draw(random: np.random.Generator) -> Floats:
        return np.asarray(sum(random.normal(0, size, shape) for size, shape in zip(sd, shapes, strict=True)))

    return draw, {name: size**2 for name, size in zip(NAMES, sd, strict=True)}


def right_or_wrong(n: int, settings: int, sd: float) -> tuple[Draw, dict[str, float]]:
    """Return a design with scores of 0 and 1: three kinds of instances, and settings that shift them all."""
    p = np.array([0.45, 0.6, 0.85])
    shifts = np.random.default_rng(1).normal(0, sd, 1_000_000).clip(-0.14, 0.14).var()

    def draw(random: np.random.Generator) -> Floats:
        shift = random.normal(0, sd, (1, settings)).clip(-0.14, 0.14)
        return np.asarray(random.random((n, settings)) < random.choice(p, (n, 1)) + shift, dtype=np.float64)

    return draw, {"instance": p.var(), "setting": shifts, "residual": (p * (1 - p)).mean() - shifts}


def coverage_of_components(
    draw: Draw, truth: dict[str, float], axes: tuple[str, ...], runs: int, *, fraction: bool
) -> dict[str, tuple[float, float]]:
    """Return component → the coverage of its interval, and the mean of its estimates."""
    random = np.random.default_rng(0)
    hits: dict[str, list[bool]] = {name: [] for name in truth}
    values: dict[str, list[float]] = {name: [] for name in truth}
    for _ in range(runs):
        for part in components_of(grid_of(draw(random), *axes), 0.95, fraction=fraction):
            hits[part.name].append(part.low <= truth[part.name] + 1e-12 and part.high >= truth[part.name] - 1e-12)
            values[part.name].append(part.variance)
    return {name: (float(np.mean(hits[name])), float(np.mean(values[name]))) for name in truth}


@pytest.mark.simulation
@pytest.mark.parametrize(
    "sd", [(1, 0.3, 0.1, 0.5, 0.2, 0.05, 0.7), (1, 0.05, 0, 0.5, 0, 0, 0.7), (0.3, 1, 0.5, 0.2, 0.2, 0.2, 1)]
)
def test_1_components_of_normal_scores_cover(sd: tuple[float, ...]) -> None:
    draw, truth = normal_scores(100, 5, 3, sd)
    found = coverage_of_components(draw, truth, ("setting", "trial"), RUNS, fraction=False)
    for name, (coverage, mean) in found.items():
        limit = "0.94–0.965" if truth[name] else "≥ 0.95 (at the bound)"
        shown("1", f"{name}, variance {truth[name]:.4f}, 100 × 5 × 3, {RUNS:,} runs: coverage; mean estimate",
              f"{coverage:.3f}; {mean:.4f}", limit)  # fmt: skip
        assert coverage >= 0.935
        assert coverage <= 0.972 or truth[name] < 0.003
        assert mean == pytest.approx(truth[name], rel=0.1, abs=0.001)


@pytest.mark.simulation
@pytest.mark.parametrize("n", [50, 200, 1_000])
@pytest.mark.parametrize("settings", [3, 8, 16])
def test_2_components_of_right_or_wrong_cover_or_are_marked(n: int, settings: int) -> None:
    draw, truth = right_or_wrong(n, settings, 0.05)
    found = coverage_of_components(draw, truth, ("setting",), RUNS, fraction=True)
    # the variance within a setting depends on its mean, and 3 settings hardly show by how much
    low = 0.84 if settings == 3 else 0.92
    for name, (coverage, mean) in found.items():
        marked = name != "instance"  # with fewer than 20 levels
        shown("2", f"{name}, variance {truth[name]:.4f}, 0/1, {n} × {settings}, {RUNS:,} runs: coverage; mean",
              f"{coverage:.3f}; {mean:.4f}", f"≥ 0.94, or ≥ {low} with the mark 'few levels'")  # fmt: skip
        assert coverage >= (low if marked else 0.935)
        assert mean == pytest.approx(truth[name], rel=0.1, abs=0.001)
    scores = draw(np.random.default_rng(5))
    rows = pl.concat(
        pl.DataFrame({"setting": number, "instance_id": range(n), "score": column})
        for number, column in enumerate(scores.T)
    )
    marks = dict(variance_components(rows).table.select("component", "interval").rows())
    assert {name for name, interval in marks.items() if "few levels" in interval} == {"setting", "residual"}


def test_3_components_equal_those_of_statsmodels() -> None:
    """Compare with MixedLM of statsmodels 0.14 (REML, balanced, all estimates positive, so REML is ANOVA)."""
    i, s, t = (np.arange(size) for size in (15, 6, 3))
    two = ((7 * i[:, None] + 3 * s * i[:, None]) % 11) * 0.1 + (5 * i[:, None] % 13) * 0.3 + (3 * s * s % 7) * 0.4
    i, s, t = np.arange(10)[:, None, None], np.arange(4)[:, None], np.arange(3)
    three = (
        5 * i % 13 * 0.3 + 3 * s * s % 7 * 0.2 + t * t * 2 % 5 * 0.3 + (7 * i + 3 * s * i) % 11 * 0.1
        + (2 * i + 5 * t * i) % 7 * 0.12 + (3 * s + 4 * t * s) % 5 * 0.15
        + (i * i * 3 + s * 7 * i * t + t * 5 * s) % 17 * 0.04
    )  # fmt: skip
    golden = [
        (grid_of(two, "setting"), {"instance": 1.5399047, "setting": 0.8009366, "residual": 0.0717302}),
        (grid_of(three, "setting", "trial"),
         {"instance": 1.8655460, "setting": 0.4632175, "trial": 0.1926845, "instance × setting": 0.0872780,
          "instance × trial": 0.0421511, "setting × trial": 0.0511683, "residual": 0.0247778}),
    ]  # fmt: skip
    for grid, expected in golden:
        found = {part.name: part.variance for part in components_of(grid, 0.95)}
        largest = max(abs(found[name] - value) for name, value in expected.items())
        shown("3", f"{len(expected)} components against statsmodels: largest difference", f"{largest:.1e}", "5e-6")
        assert found == pytest.approx(expected, abs=5e-6)  # the optimizer of MixedLM


# -- sensitivity -----------------------------------------------------------------------------------------------------


def sensitivities(n: int, shifts: Floats, runs: int) -> dict[str, float]:
    """Return how often the intervals of range and sd cover, for scores of 0 and 1 that settings shift."""
    random = np.random.default_rng([n, len(shifts), int(1000 * np.ptp(shifts))])
    sd, width = shifts.std(ddof=1), np.ptp(shifts)
    hits = {"range": 0, "sd": 0}
    for _ in range(runs):
        p = random.choice([0.3, 0.6, 0.8], (n, 1))
        scores = (random.random((n, len(shifts))) < p + shifts).astype(float)
        (row,) = sensitivity_of_grid(grid_of(scores[:, None], "model", "setting"), "model", up=True, fraction=True)
        hits["sd"] += row["sd_low"] <= sd + 1e-12 and row["sd_high"] >= sd - 1e-12
        hits["range"] += row["range_low"] <= width + 1e-12 and row["range_high"] >= width - 1e-12
        assert row["range_low"] <= row["range"] <= row["range_high"]
    return {name: count / runs for name, count in hits.items()}


SHIFTS = {
    "no effect": np.zeros(6),
    "small": 0.02 * np.linspace(-1, 1, 6),
    "medium": 0.05 * np.linspace(-1, 1, 6),
    "one differs": np.array([0.15, 0, 0, 0, 0, 0]),
    "two settings": np.array([0.05, -0.05]),
}


@pytest.mark.simulation
@pytest.mark.parametrize("n", [100, 300])
@pytest.mark.parametrize("kind", SHIFTS)
def test_4_range_and_sd_over_settings_cover(n: int, kind: str) -> None:
    found = sensitivities(n, SHIFTS[kind], RUNS)
    for name, coverage in found.items():
        limit = "≥ 0.94 (at the bound)" if kind == "no effect" or name == "range" else "0.94–0.965"
        shown("4", f"{name}, {kind}, {n} instances, {RUNS:,} runs: coverage", f"{coverage:.3f}", limit)
        assert coverage >= 0.935
    # the score interval of two settings is wide for few instances
    assert kind in ("no effect", "two settings") or found["sd"] <= 0.975


def flips(n: int, means: Floats, runs: int) -> tuple[float, float]:
    """Return how often the bounds of the share of flips cover, and the mean of the observed share."""
    random = np.random.default_rng([n, *means.shape])
    difference = means[:, None] - means[None, :]
    models = len(means)
    flipped = (difference > 0).any(axis=2) & (difference < 0).any(axis=2)
    truth = flipped.sum() / (models * (models - 1))
    covers, observed = 0, 0.0
    for _ in range(runs):
        scores = (random.random((n, *means.shape)) < means).astype(float)
        row = sensitivity_of_grid(grid_of(scores, "model", "setting"), "model", up=True, fraction=True)[-1]
        covers += row["flips_low"] <= truth + 1e-9 and row["flips_high"] >= truth - 1e-9
        observed += row["flips"]
    return covers / runs, observed / runs


@pytest.mark.simulation
@pytest.mark.parametrize("n", [100, 400])
def test_5_bounds_of_flips_cover(n: int) -> None:
    means = np.array([[0.8, 0.6, 0.7], [0.6, 0.8, 0.7], [0.5, 0.5, 0.5], [0.51, 0.52, 0.53]])
    coverage, observed = flips(n, means, 500)
    shown("5", f"4 models × 3 settings, {n} instances, 500 runs: coverage; observed share (truth 0.333)",
          f"{coverage:.3f}; {observed:.3f}", "≥ 0.95")  # fmt: skip
    assert coverage >= least(0.95, 500)


# -- equivalence -----------------------------------------------------------------------------------------------------


def equivalences(difference: float, n: int, disagree: float, margin: float, runs: int) -> pl.DataFrame:
    """Return comparisons with a true difference, where `disagree` of the pairs differ."""
    random = np.random.default_rng([n, int(1e4 * abs(difference)), int(1e4 * disagree)])
    kind = random.random((runs, n))
    up, down = (disagree + difference) / 2, (disagree - difference) / 2
    same = (random.random((runs, n)) < 0.8).astype(float)
    a = np.where(kind < up, 1.0, np.where(kind < up + down, 0.0, same))
    b = np.where(kind < up, 0.0, np.where(kind < up + down, 1.0, same))
    rows = pl.concat([frame(a).with_columns(model=pl.lit("a")), frame(b).with_columns(model=pl.lit("b"))])
    rows = rows.with_columns(instance_id=pl.format("{}/{}", "run", "instance_id"))
    return compare(rows, "model", ["run"], higher_is_better=UP, base="b", equivalence=margin)


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("n", "disagree", "margin"), [(200, 0.2, 0.05), (500, 0.2, 0.05), (200, 0.08, 0.05), (1_000, 0.1, 0.02)]
)
def test_6_a_difference_at_the_margin_is_rarely_equivalent(n: int, disagree: float, margin: float) -> None:
    found = equivalences(margin, n, disagree, margin, RUNS)
    is_equivalent = pl.col("verdict") == "equivalent"
    wrong = float(found.select(is_equivalent.mean()).item())
    passed = gate_shares(found, margin)
    inside = (pl.col("equivalence_low") >= -margin) & (pl.col("equivalence_high") <= margin)
    disagreements = found.filter(is_equivalent != inside).height
    shown("6", f"difference at ±{margin}, {n} pairs, {disagree:.0%} differ, {RUNS:,} runs: equivalent; gate passes; "
          "verdicts against intervals", f"{wrong:.3f}; {passed:.3f}; {disagreements}", "0.05; 0.05; 0")  # fmt: skip
    assert wrong <= most(0.05, RUNS) + 0.01  # Tango's interval is approximate
    assert passed <= most(0.05, RUNS)
    assert disagreements == 0
    assert found.filter(is_equivalent != (pl.col("p_equivalence") <= 0.05)).is_empty()


def gate_shares(found: pl.DataFrame, margin: float) -> float:
    """Return the share of rows that pass a gate of equivalence."""
    return float((gate(found, equivalent=margin).table["verdict"] == "pass").mean())  # type: ignore[arg-type]


@pytest.mark.simulation
def test_7_equal_sides_are_equivalent_with_enough_instances() -> None:
    for n, least_power in ((500, 0.5), (2_000, 0.98)):
        found = equivalences(0.0, n, 0.2, 0.05, RUNS)
        power = float((found["verdict"] == "equivalent").mean())  # type: ignore[arg-type]
        shown(
            "7", f"equal sides, margin 0.05, {n} pairs, {RUNS:,} runs: equivalent", f"{power:.3f}", f"≥ {least_power}"
        )
        assert power >= least_power


# -- bounds ----------------------------------------------------------------------------------------------------------


def bounded(n: int, p: float, failed: float, runs: int) -> pl.DataFrame:
    """Return tables with bounds, where requests fail only on instances that the model would have wrong."""
    random = np.random.default_rng([n, int(100 * p)])
    score = (random.random((runs, n)) < p).astype(float)
    is_failed = (score == 0) & (random.random((runs, n)) < failed)
    rows = frame(score).with_columns(failed=pl.Series(is_failed.ravel()))
    return table(rows.with_columns(score=pl.when(~pl.col("failed")).then("score")), "run", errors="bounds")


@pytest.mark.simulation
@pytest.mark.parametrize(("n", "p"), [(100, 0.6), (400, 0.8)])
def test_8_bounds_cover_when_wrong_instances_fail(n: int, p: float) -> None:
    found = bounded(n, p, 0.5, RUNS)
    plain, wide = covered(found, p), covered(found, p, "bound_ci_low", "bound_ci_high")
    shown("8", f"{n} instances, truth {p}, half of the wrong ones fail, {RUNS:,} runs: interval covers; bounds "
          "cover", f"{plain:.3f}; {wide:.3f}", "–; ≥ 0.95")  # fmt: skip
    assert wide >= least(0.95, RUNS)
    assert plain < 0.9


# -- rank probabilities ------------------------------------------------------------------------------------------------


def reliability(models: int, n: int, runs: int) -> dict[float, tuple[float, int]]:
    """Return, by the share first (rounded), how often a model is truly first, and the number of cases."""
    random = np.random.default_rng(8)
    shares, first = [], []
    for _ in range(runs):
        p = random.uniform(0.3, 0.7, models)
        score = (random.random((models, n)) < p[:, None]).astype(float)
        rows = frame(score).rename({"run": "model"}).with_columns(pl.col("model").cast(pl.String))
        board = leaderboard(rows, higher_is_better=UP, mean="mean", rank_probabilities=True)
        assert board.rank_probabilities is not None
        top = dict(board.rank_probabilities.filter(rank=1).select("model", "probability").rows())
        shares += [top[str(model)] for model in range(models)]
        first += [bool(model == np.argmax(p)) for model in range(models)]
    rounded = np.round(np.array(shares) * 5) / 5
    return {
        float(share): (float(np.mean(np.array(first)[rounded == share])), int((rounded == share).sum()))
        for share in np.unique(rounded)
    }


@pytest.mark.simulation
def test_9_the_share_first_is_calibrated_for_models_that_vary() -> None:
    runs = 500
    for share, (truth, count) in reliability(5, 100, runs).items():
        shown("9", f"share first about {share}, {count} models in {runs} runs: truly first", f"{truth:.3f}", "± 0.15")
        # a share near 0.8 is too high for models within a few standard errors
        assert abs(truth - share) <= 0.15 + 2 * (0.25 / count) ** 0.5


def test_10_a_grid_is_decomposed_through_the_public_api() -> None:
    plan = hf.scenario("sampler").where(subject="music").adapt(shots=[0, 2, 4])
    results = plan.generate({"good": hf.models.noisy(0.9), "bad": hf.models.noisy(0.3)}).score()
    components = results.variance_components().table
    sensitivity = results.sensitivity()
    shown("10", "components of 2 models × 3 settings", components.height, 6)
    assert components["component"].to_list() == ["instance", "setting", "residual"] * 2
    assert sensitivity["model"].to_list() == ["all", "good", "bad"]
    squared = {row["model"]: row["sd"] ** 2 for row in sensitivity.iter_rows(named=True)}
    for row in components.filter(component="setting").iter_rows(named=True):
        assert squared[row["model"]] == pytest.approx(max(row["variance"], 0.0))
