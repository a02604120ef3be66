"""Small subsets that predict full scores: errors beside random sampling, and intervals that cover.

AlpacaEval has 58 models on 805 instances. metabench has no matrix of models and instances, only the scores of 6,986
models: they are the abilities of simulated responses.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from helmframe.stats import choose_subset, full_scores, subset_errors
from tests.acceptance.figures import shown
from tests.acceptance.test_verdicts import least

RAW = Path("../shared/data/raw")
SIZES = (50, 100, 200)
RUNS = 2_000


def alpaca() -> pl.DataFrame:
    """Return the preference for each of 58 models on each of 805 instances, from 0 to 1."""
    wide = pl.read_csv(RAW / "alpaca_eval/preferences_by_model.csv").drop("dataset")
    rows = wide.unpivot(index="item", variable_name="model", value_name="score")
    return rows.select("model", instance_id=pl.col("item").cast(pl.String), score=pl.col("score") - 1)


def responses(ability: npt.NDArray[np.float64], n: int, random: np.random.Generator) -> pl.DataFrame:
    """Draw right and wrong responses to n instances whose difficulties and slopes vary (2PL)."""
    slope, difficulty = random.lognormal(0.2, 0.4, n), random.normal(0, 1.2, n)
    right = random.random((len(ability), n)) < 1 / (1 + np.exp(-slope * (ability[:, None] - difficulty)))
    return pl.DataFrame(
        {
            "model": np.repeat([f"m{index:04}" for index in range(len(ability))], n),
            "instance_id": np.tile([f"i{index:04}" for index in range(n)], len(ability)),
            "score": right.ravel().astype(float),
        }
    )


def printed(number: str, what: str, table: pl.DataFrame) -> dict[tuple[int, str], float]:
    """Print the errors of each size, and return them by size and method."""
    for size in table["n"].unique().sort():
        rows = table.filter(pl.col("n") == size)
        figures = "; ".join(f"{row['method']} {row['error']:.4f}" for row in rows.iter_rows(named=True))
        shown(number, f"{what}, k={size} of {rows['n_full'][0]}: root mean square error", figures,
              "below the mean of a random subset")  # fmt: skip
    return {(row["n"], row["method"]): row["error"] for row in table.iter_rows(named=True)}


@pytest.mark.shared
def test_5_errors_on_alpaca_eval() -> None:
    errors = printed("5", "AlpacaEval, 58 models", subset_errors(alpaca(), SIZES))
    for size in SIZES:
        mean = errors[size, "mean of a random subset"]
        assert errors[size, "chosen"] < 0.85 * mean
        assert errors[size, "random"] < 0.85 * mean


@pytest.mark.shared
@pytest.mark.simulation
def test_5_intervals_cover_the_score_of_each_model_of_alpaca_eval() -> None:
    rows = alpaca()
    truth = dict(rows.group_by("model").agg(pl.col("score").mean()).iter_rows())
    for size in SIZES:
        inside, widths = [], []
        for model, score in truth.items():
            new, earlier = rows.filter(pl.col("model") == model), rows.filter(pl.col("model") != model)
            chosen = choose_subset(earlier, size)
            some = new.join(chosen.select("instance_id"), on="instance_id", how="semi")
            row = full_scores(some, earlier, fractions=["score"]).row(0, named=True)
            inside.append(row["ci_low"] <= score <= row["ci_high"])
            widths.append((row["ci_high"] - row["ci_low"]) / 2)
        share = float(np.mean(inside))
        shown("5", f"AlpacaEval, k={size}, each of {len(inside)} models from the others: coverage; half-width",
              f"{share:.3f}; {np.mean(widths):.4f}", "≥ 0.95 − 3 Monte Carlo errors")  # fmt: skip
        assert share >= least(0.95, len(inside))


@pytest.mark.shared
@pytest.mark.parametrize("benchmark", ["arc", "truthfulqa", "gsm8k"])
def test_5_errors_with_the_abilities_of_metabench(benchmark: str) -> None:
    random = np.random.default_rng(len(benchmark))
    scores = pl.read_csv(RAW / "metabench/scraping/open-llm-leaderboard.csv")[benchmark].drop_nulls().to_numpy()
    share = np.clip(random.choice(scores, 150, replace=False) / 100, 0.01, 0.99)
    rows = responses(1.5 * np.log(share / (1 - share)), 800, random)
    errors = printed("5", f"responses with {benchmark}'s scores, 150 models", subset_errors(rows, SIZES))
    for size in SIZES:
        mean = errors[size, "mean of a random subset"]
        assert min(errors[size, "chosen"], errors[size, "random"]) < 0.95 * mean


@pytest.mark.simulation
@pytest.mark.parametrize(("models", "n", "size"), [(12, 200, 30), (40, 200, 30), (40, 200, 60)])
def test_5_intervals_cover_simulated_responses(models: int, n: int, size: int) -> None:
    random = np.random.default_rng(models + size)
    covered, covered_random, methods = 0, 0, []
    for _ in range(RUNS):
        rows = responses(random.normal(0, 1, models + 1), n, random)
        new, earlier = rows.filter(pl.col("model") == "m0000"), rows.filter(pl.col("model") != "m0000")
        truth = new["score"].mean()
        chosen = choose_subset(earlier, size)
        methods.append(chosen["method"][0])
        some = new.join(chosen.select("instance_id"), on="instance_id", how="semi")
        row = full_scores(some, earlier).row(0, named=True)
        covered += row["ci_low"] <= truth <= row["ci_high"]
        row = full_scores(new.sample(size, seed=1), earlier).row(0, named=True)
        covered_random += row["ci_low"] <= truth <= row["ci_high"]
    shares = covered / RUNS, covered_random / RUNS
    figures = f"{shares[0]:.3f}; {shares[1]:.3f}; {methods.count('chosen') / RUNS:.2f}"
    what = f"{models} models, k={size} of {n}, {RUNS:,} runs: coverage of a chosen subset; of a random one"
    shown("5", f"{what}; share of subsets chosen by gain", figures, "≥ 0.94; ≥ 0.94; printed")
    assert min(shares) >= least(0.94, RUNS)
