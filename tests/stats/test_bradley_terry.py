from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize

from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError
from helmframe.stats import bradley_terry

MODELS = ["u", "v", "w", "x"]
STRENGTHS = np.array([0.9, 0.2, -0.3, -0.8])


def battles(n: int = 400, position: float = 0.0, style: float = 0.0, ties: float = 0.2, seed: int = 1) -> pl.DataFrame:
    """Draw battles of four models with planted strengths; four battles share a prompt."""
    random = np.random.default_rng(seed)
    a = random.integers(0, 4, n)
    b = (a + random.integers(1, 4, n)) % 4
    length = random.normal(size=(2, n))
    odds = STRENGTHS[a] - STRENGTHS[b] + position + style * (length[0] - length[1])
    won = random.random(n) < 1 / (1 + np.exp(-odds))
    names = np.array(MODELS)
    winner = np.where(random.random(n) < ties, "tie", np.where(won, "model_a", "model_b"))
    return pl.DataFrame(
        {"model_a": names[a], "model_b": names[b], "winner": winner, "prompt": np.arange(n) // 4,
         "length_a": length[0], "length_b": length[1]}
    )  # fmt: skip


def strengths(board: Any) -> list[float]:
    values: list[float] = board.table.sort("model")["strength"].to_list()
    return values


def test_the_estimate_maximises_the_likelihood() -> None:
    rows = battles(position=0.3)
    board = bradley_terry(rows)
    number = {model: index for index, model in enumerate(MODELS)}
    a, b = (rows[name].replace_strict(number).to_numpy() for name in ("model_a", "model_b"))
    share = rows["winner"].replace_strict({"model_a": 1.0, "model_b": 0.0, "tie": 0.5}).to_numpy()

    def loss(theta: Any) -> Any:
        strength = np.append(theta[:3], -theta[:3].sum())
        odds = strength[a] - strength[b] + theta[3]
        return np.sum(np.logaddexp(0, odds) - share * odds)

    best = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-9}).x
    assert np.allclose(strengths(board), np.append(best[:3], -best[:3].sum()), atol=1e-5)
    assert board.effects["value"].item() == pytest.approx(best[3], abs=1e-5)


def test_two_models_have_the_log_odds_of_their_wins() -> None:
    rows = pl.DataFrame({"model_a": ["x"] * 40, "model_b": ["y"] * 40, "winner": ["x"] * 30 + ["y"] * 10})
    board = bradley_terry(rows, position=False)
    assert board.pairs["difference"].item() == pytest.approx(np.log(3))
    # CR3 of independent battles is the usual standard error, up to n/(n − 1)
    half = (board.pairs["ci_high"] - board.pairs["ci_low"]).item() / 2
    assert half == pytest.approx(2.0227 * np.sqrt(1 / 30 + 1 / 10) * 40 / 39, rel=1e-3)
    assert board.table["elo"].to_list() == pytest.approx([1000 + 200 * np.log10(3), 1000 - 200 * np.log10(3)])


def test_winners_may_be_sides_names_ties_or_shares() -> None:
    sides = battles()
    first = pl.when(pl.col("winner") == "model_a")
    named = sides.with_columns(
        winner=first.then("model_a")
        .when(pl.col("winner") == "model_b")
        .then("model_b")
        .otherwise(pl.lit("tie (bothbad)"))
    )
    shares = sides.with_columns(pl.col("winner").replace_strict({"model_a": 1.0, "model_b": 0.0, "tie": 0.5}))
    boards = [bradley_terry(rows) for rows in (sides, named, shares)]
    assert strengths(boards[0]) == strengths(boards[1]) == strengths(boards[2])


def test_rows_without_a_winner_are_counted() -> None:
    rows = battles()
    more = pl.concat([rows, rows.head(6).with_columns(winner=pl.Series(["invalid", "", None] * 2))])
    board = bradley_terry(more)
    assert (board.n, board.n_dropped) == (400, 6)
    assert strengths(board) == strengths(bradley_terry(rows))
    assert "6 rows" in board.notes[0]


def test_a_planted_position_bias_is_found() -> None:
    biased = bradley_terry(battles(2_000, position=0.5), cluster="prompt").effects.row(0, named=True)
    assert biased["effect"] == "position"
    assert biased["ci_low"] <= 0.4 <= biased["ci_high"]  # 20 % of the battles tie at random
    assert biased["p"] < 1e-6


def test_strengths_are_those_at_equal_covariates() -> None:
    rows = battles(4_000, style=0.7, ties=0.0)
    board = bradley_terry(rows, covariates="length")
    length = board.effects.filter(effect="length").row(0, named=True)
    scale = float(np.sqrt(np.mean((rows["length_a"] - rows["length_b"]).to_numpy() ** 2)))
    assert length["ci_low"] <= 0.7 * scale <= length["ci_high"]
    assert np.allclose(strengths(board), STRENGTHS - STRENGTHS.mean(), atol=0.2)
    difference = rows.select(pl.exclude("length_a", "length_b"), length=pl.col("length_a") - pl.col("length_b"))
    assert strengths(bradley_terry(difference, covariates=["length"])) == strengths(board)


def test_clusters_widen_the_intervals_of_repeated_battles() -> None:
    rows = battles(200).with_row_index("battle")
    repeated = pl.concat([rows] * 5)
    once, alone, clustered = (
        bradley_terry(rows.drop("prompt")),
        bradley_terry(repeated),
        bradley_terry(repeated, cluster="battle"),
    )
    errors = [board.table["stderr"].to_numpy() for board in (once, alone, clustered)]
    assert np.allclose(errors[2], errors[0], rtol=1e-6)
    assert np.all(errors[1] < 0.6 * errors[0])
    assert clustered.n_clusters == 200


def test_davidsons_ties_are_most_likely_between_equal_models() -> None:
    random = np.random.default_rng(5)
    n = 6_000
    a = random.integers(0, 4, n)
    b = (a + random.integers(1, 4, n)) % 4
    half = np.exp((STRENGTHS[a] - STRENGTHS[b]) / 2)
    weights = np.column_stack([half, 1 / half, np.full(n, 0.8)])
    sampled = (random.random(n)[:, None] > np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)).sum(axis=1)
    names = np.array(MODELS)
    rows = pl.DataFrame(
        {"model_a": names[a], "model_b": names[b], "winner": np.array(["model_a", "model_b", "tie"])[sampled]}
    )
    board = bradley_terry(rows, ties="davidson")
    tie = board.effects.filter(effect="ties").row(0, named=True)
    assert tie["ci_low"] <= np.log(0.8) <= tie["ci_high"]
    assert "28." in tie["meaning"] or "29." in tie["meaning"] or "27." in tie["meaning"]
    assert np.allclose(strengths(board), STRENGTHS - STRENGTHS.mean(), atol=0.12)


def test_dropped_ties_do_not_count() -> None:
    rows = battles()
    assert strengths(bradley_terry(rows, ties="drop")) == strengths(
        bradley_terry(rows.filter(pl.col("winner") != "tie"))
    )


def test_ranks_are_simultaneous_and_ordered() -> None:
    board = bradley_terry(battles(3_000))
    assert board.table["model"].to_list() == MODELS
    assert board.table["rank"].to_list() == [1, 2, 3, 4]
    assert (board.table["rank_low"] <= board.table["rank"]).all()
    assert (board.table["rank_high"] >= board.table["rank"]).all()
    assert board.pairs["significant"].all()
    assert board.table["rank_low"].to_list() == board.table["rank_high"].to_list()


def test_names_and_order_do_not_matter() -> None:
    rows = battles()
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=3)
    assert np.allclose(strengths(bradley_terry(shuffled)), strengths(bradley_terry(rows)), atol=1e-9)
    swapped = rows.rename({"model_a": "model_b", "model_b": "model_a"}).with_columns(
        pl.col("winner").replace({"model_a": "model_b", "model_b": "model_a"})
    )
    assert np.allclose(strengths(bradley_terry(swapped)), strengths(bradley_terry(rows)), atol=1e-9)
    effects = [bradley_terry(frame).effects["value"].item() for frame in (rows, swapped)]
    assert effects[0] == pytest.approx(-effects[1], abs=1e-9)


def test_a_model_that_won_everything_needs_a_prior() -> None:
    rows = pl.concat([battles(), pl.DataFrame({"model_a": ["best"] * 9, "model_b": ["u"] * 9, "winner": ["best"] * 9})],
                     how="diagonal")  # fmt: skip
    with pytest.raises(NotComparableError, match=r"best won, or lost, all battles .* Write prior=1"):
        bradley_terry(rows)
    board = bradley_terry(rows, prior=1)
    assert board.table["model"][0] == "best"
    assert board.table["strength"].sum() == pytest.approx(0, abs=1e-9)


def test_unconnected_models_are_refused() -> None:
    other = pl.DataFrame({"model_a": ["p", "q"], "model_b": ["q", "p"], "winner": ["p", "p"]})
    with pytest.raises(NotComparableError, match="no battle connects p, q with u, v, w, x"):
        bradley_terry(pl.concat([other, battles()], how="diagonal"))


def test_a_position_that_decides_everything_is_refused() -> None:
    first = pl.DataFrame({"model_a": ["x", "y"] * 9, "model_b": ["y", "x"] * 9, "winner": ["model_a"] * 18})
    with pytest.raises(NotComparableError, match="position=False"):
        bradley_terry(first)
    one_order = pl.DataFrame({"model_a": ["x"] * 9, "model_b": ["y"] * 9, "winner": ["x", "y", "x"] * 3})
    with pytest.raises(ArgumentError, match="'position' has no estimate"):
        bradley_terry(one_order)


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({"winner": "somebody"}, {}, ArgumentError, "winner 'somebody' is invalid"),
        ({"winner": 2.0}, {}, ArgumentError, "from 0 to 1"),
        ({}, {"ties": "both"}, ArgumentError, "ties='both'"),
        ({}, {"prior": -1}, ArgumentError, "prior must be a number"),
        ({}, {"ci": 2}, ArgumentError, "ci must be between 0 and 1"),
        ({}, {"cluster": "prompts"}, UnknownNameError, "Did you mean 'prompt'"),
        ({}, {"covariates": "words"}, UnknownNameError, "Add a column 'words', or 'words_a' and 'words_b'"),
        ({"style": "long"}, {"covariates": "style"}, ArgumentError, "must contain numbers"),
        ({"style": 0.0}, {"covariates": "style"}, ArgumentError, "all values are 0"),
    ],
)
def test_invalid_battles_raise(change: dict[str, Any], options: Any, error: type[Exception], message: str) -> None:
    rows = battles().with_columns(**{name: pl.lit(value) for name, value in change.items()})
    with pytest.raises(error, match=message):
        bradley_terry(rows, **options)


def test_a_table_without_winners_raises() -> None:
    with pytest.raises(UnknownNameError, match="A battle has model_a, model_b, winner"):
        bradley_terry(battles().drop("winner"))


def test_the_repr_shows_elo_position_and_escapes_names() -> None:
    rows = battles().with_columns(pl.col("model_a", "model_b").replace("u", "<b>u\x1b[31m"))
    board = bradley_terry(rows)
    assert "Elo" in repr(board)
    assert "position" in repr(board)
    assert "\x1b" not in repr(board)
    assert "<b>" not in board._repr_html_()
