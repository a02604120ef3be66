"""Bradley–Terry from battles: equal to an independent implementation, intervals that cover, position bias found."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from helmframe.errors import NotComparableError
from helmframe.stats import bradley_terry
from tests.acceptance.figures import shown
from tests.acceptance.test_verdicts import least, most

RUNS = 2_000
BATTLES = Path("../shared/data/raw/chatbot_arena_battles")
HUMAN = BATTLES / "data/arena_data/chatbot_arena_conversations/battled_pairs_human_as_judger.csv"
JUDGED = BATTLES / "results/quora_100_test/battled_pairs.csv"
STRENGTHS = np.array([0.8, 0.3, 0.0, -0.4, -0.7])
NAMES = np.array(list("vwxyz"))


def independent(rows: pl.DataFrame, *, position: bool) -> tuple[dict[str, float], float, Any]:
    """Return strengths and position bias of scikit-learn's logistic regression, and the sandwich standard errors.

    A tie is a win and a loss, of half the weight.
    """
    from sklearn.linear_model import LogisticRegression

    models = sorted({*rows["model_a"], *rows["model_b"]})
    number = {model: index for index, model in enumerate(models)}
    count = rows.height
    design = np.zeros((count, len(models) + 1))
    design[np.arange(count), [number[model] for model in rows["model_a"]]] = 1.0
    design[np.arange(count), [number[model] for model in rows["model_b"]]] = -1.0
    design[:, -1] = float(position)
    winners = rows["winner"].to_list()
    won = np.array([1.0 if winner == "model_a" else 0.0 if winner == "model_b" else 0.5 for winner in winners])
    columns = slice(1, None) if position else slice(1, -1)  # the first model is the reference
    both = np.vstack([design, design])[:, columns]
    weight = np.concatenate([won, 1 - won])
    label = np.concatenate([np.ones(count), np.zeros(count)])
    used = weight > 0
    model = LogisticRegression(C=np.inf, fit_intercept=False, solver="newton-cholesky", tol=1e-14, max_iter=1_000)
    coefficients = model.fit(both[used], label[used], sample_weight=weight[used]).coef_[0]
    strength = np.append(0.0, coefficients[: len(models) - 1])
    # the sandwich, with the deletion of each battle: x r / (1 − leverage)
    x = design[:, columns]
    p = 1 / (1 + np.exp(-x @ coefficients))
    bread = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x)
    leverage = p * (1 - p) * np.einsum("ij,jk,ik->i", x, bread, x)
    score = x * ((won - p) / (1 - leverage))[:, None]
    covariance = bread @ (score.T @ score) @ bread
    full = np.zeros((len(models), len(models)))
    full[1:, 1:] = covariance[: len(models) - 1, : len(models) - 1]
    centre = np.eye(len(models)) - 1 / len(models)
    errors = np.sqrt(np.diag(centre @ full @ centre.T))
    centred = strength - strength.mean()
    return dict(zip(models, centred, strict=True)), float(coefficients[-1]) if position else 0.0, errors


@pytest.mark.shared
@pytest.mark.parametrize("file", [HUMAN, JUDGED], ids=["human votes", "GPT-4 as judge"])
@pytest.mark.parametrize("position", [True, False])
def test_4_strengths_equal_an_independent_implementation(file: Path, position: bool) -> None:
    rows = pl.read_csv(file).filter(pl.col("winner").is_not_null() & (pl.col("winner") != "invalid"))
    rows = rows.filter(pl.col("model_a") != pl.col("model_b"))
    board = bradley_terry(pl.read_csv(file), position=position)
    strength, bias, errors = independent(rows, position=position)
    ours = board.table.sort("model")
    off = float(np.max(np.abs(ours["strength"].to_numpy() - np.array([strength[model] for model in ours["model"]]))))
    off_error = float(np.max(np.abs(ours["stderr"].to_numpy() / errors - 1)))
    off_bias = abs(board.effects["value"].item() - bias) if position else 0.0
    shown("4", f"{file.name}, {board.n:,} battles, {len(ours)} models, position={position}: largest difference of "
          "strengths; position; standard errors (relative)",
          f"{off:.1e}; {off_bias:.1e}; {off_error:.1e}", "1e-8; 1e-8; 1e-8")  # fmt: skip
    assert board.n == rows.height
    assert max(off, off_bias, off_error) < 1e-8


@pytest.mark.shared
def test_4_human_votes_rank_gpt_4_first_without_a_position_bias() -> None:
    board = bradley_terry(pl.read_csv(HUMAN))
    first, effect = board.table.row(0, named=True), board.effects.row(0, named=True)
    shown("4", "Chatbot Arena: first; Elo; rank interval; position bias with interval",
          f"{first['model']}; {first['elo']:.0f}; {first['rank_low']}–{first['rank_high']}; {effect['value']:+.3f} "
          f"({effect['ci_low']:+.3f} to {effect['ci_high']:+.3f})", "gpt-4, 1–1, 0 included")  # fmt: skip
    assert (first["model"], first["rank_low"], first["rank_high"]) == ("gpt-4", 1, 1)
    assert effect["ci_low"] < 0 < effect["ci_high"]


@pytest.mark.shared
def test_4_a_planted_position_bias_is_found() -> None:
    rows = pl.read_csv(HUMAN)
    random = np.random.default_rng(7)
    # 10 % of the votes go to the first model, whatever the completions
    lazy = pl.Series(random.random(rows.height) < 0.1)
    biased = rows.with_columns(winner=pl.when(lazy).then(pl.lit("model_a")).otherwise("winner"))
    effect = bradley_terry(biased).effects.row(0, named=True)
    shown("4", "10 % of the votes go to model_a: position bias with interval; p",
          f"{effect['value']:+.3f} ({effect['ci_low']:+.3f} to {effect['ci_high']:+.3f}); {effect['p']:.1e}",
          "above 0, p < 0.001")  # fmt: skip
    assert effect["ci_low"] > 0
    assert effect["p"] < 0.001


def drawn(random: np.random.Generator, prompts: int, each: int, spread: float, position: float) -> pl.DataFrame:
    """Draw battles: each prompt favours some models by normal numbers with this spread; 20 % are ties."""
    a = random.integers(0, 5, (prompts, each))
    b = (a + random.integers(1, 5, (prompts, each))) % 5
    favour = random.normal(0, spread, (prompts, 5))
    odds = STRENGTHS[a] - STRENGTHS[b] + np.take_along_axis(favour, a, 1) - np.take_along_axis(favour, b, 1) + position
    won = (random.random(a.shape) < 1 / (1 + np.exp(-odds))).astype(float)
    winner = np.where(random.random(a.shape) < 0.2, 0.5, won)
    return pl.DataFrame(
        {"model_a": NAMES[a].ravel(), "model_b": NAMES[b].ravel(), "winner": winner.ravel(),
         "cluster": np.repeat(np.arange(prompts), each)}
    )  # fmt: skip


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("prompts", "each", "spread"),
    [(300, 1, 0.0), (100, 1, 0.0), (100, 5, 1.0), (40, 8, 0.8), (20, 10, 0.8), (12, 20, 0.8)],
)
def test_4_intervals_cover_and_ranks_hold(prompts: int, each: int, spread: float) -> None:
    random = np.random.default_rng(prompts)
    # the strengths that a million battles have
    truth = bradley_terry(drawn(random, 200_000, 5, spread, 0.4).drop("cluster"))
    strength, bias = truth.table.sort("model")["strength"].to_numpy(), truth.effects["value"].item()
    covered, covered_bias, ranked, refused = [], 0, 0, 0
    for _ in range(RUNS):
        try:
            board = bradley_terry(drawn(random, prompts, each, spread, 0.4))
        except NotComparableError:  # few battles: a model won or lost all of its own
            refused += 1
            continue
        table = board.table.sort("model")
        low, high = table["ci_low"].to_numpy(), table["ci_high"].to_numpy()
        covered.append((low <= strength) & (strength <= high))
        covered_bias += board.effects["ci_low"].item() <= bias <= board.effects["ci_high"].item()
        best, worst = table["rank_low"].to_numpy(), table["rank_high"].to_numpy()
        ranked += bool(((best <= np.arange(1, 6)) & (np.arange(1, 6) <= worst)).all())
    runs = RUNS - refused
    share = float(np.mean(covered))
    shown("4", f"{prompts} prompts × {each} battles, spread {spread}, {runs:,} runs ({refused} refused): coverage of "
          "strengths; of the position bias; ranks hold jointly",
          f"{share:.3f}; {covered_bias / runs:.3f}; {ranked / runs:.3f}", "0.94 to 0.97 each; ≥ 0.95")  # fmt: skip
    assert 0.94 <= share <= 0.97
    assert least(0.94, runs) <= covered_bias / runs <= most(0.965, runs)
    assert ranked / runs >= least(0.95, runs)


@pytest.mark.simulation
def test_4_without_clusters_the_intervals_of_clustered_battles_are_too_narrow() -> None:
    random = np.random.default_rng(40)
    truth = bradley_terry(drawn(random, 200_000, 5, 1.0, 0.0).drop("cluster"))
    strength = truth.table.sort("model")["strength"].to_numpy()
    shares: dict[str, list[float]] = {"clustered": [], "independent": []}
    for _ in range(RUNS // 4):
        rows = drawn(random, 40, 25, 1.0, 0.0)
        for name, frame in (("clustered", rows), ("independent", rows.drop("cluster"))):
            table = bradley_terry(frame).table.sort("model")
            low, high = table["ci_low"].to_numpy(), table["ci_high"].to_numpy()
            shares[name].append(float(np.mean((low <= strength) & (strength <= high))))
    found = {name: float(np.mean(values)) for name, values in shares.items()}
    shown("4", f"40 prompts × 25 battles, spread 1, {RUNS // 4} runs: coverage with clusters; as independent battles",
          f"{found['clustered']:.3f}; {found['independent']:.3f}", "≥ 0.94; printed")  # fmt: skip
    assert found["clustered"] >= 0.935
    assert found["independent"] < found["clustered"]


@pytest.mark.simulation
def test_4_the_position_test_keeps_its_level_and_finds_a_bias() -> None:
    random = np.random.default_rng(41)
    rejected = {0.0: 0, 0.5: 0}
    for bias in rejected:
        for _ in range(RUNS):
            effect = bradley_terry(drawn(random, 80, 6, 0.5, bias)).effects.row(0, named=True)
            rejected[bias] += effect["p"] < 0.05
    shares = {bias: count / RUNS for bias, count in rejected.items()}
    shown("4", f"80 prompts × 6 battles, {RUNS:,} runs: bias found if there is none; if it is 0.5",
          f"{shares[0.0]:.3f}; {shares[0.5]:.3f}", "0.05 + Monte Carlo error; ≥ 0.8")  # fmt: skip
    assert shares[0.0] <= most(0.05, RUNS)
    assert shares[0.5] >= 0.8
