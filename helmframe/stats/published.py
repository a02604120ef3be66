"""Published means of models over scenarios → a leaderboard: `hf.stats.leaderboard_of_means`."""

from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl

from helmframe.errors import ArgumentError, SourceMissingError, UnknownNameError
from helmframe.stats.board import Leaderboard
from helmframe.stats.standing import Column, build_leaderboard

_MISSING = ("", "-", "–", "—", "NA", "N/A", "nan", "null")


def leaderboard_of_means(
    means: pl.DataFrame | str | Path,
    columns: Sequence[str] | None = None,
    *,
    model: str | None = None,
    mean: str = "win_rate",
    lower_is_better: Collection[str] = (),
    ci: float = 0.95,
) -> Leaderboard:
    """Models ranked by what others published of them: one row per model, one column per scenario.

    `hf.stats.leaderboard_of_means("helm_lite.csv", columns=["MMLU", "GSM8K"])`

    Of instances nothing is known, so that only scenarios can be drawn anew: intervals and ranks tell what other
    scenarios of the kind would leave open. From scores, `results.leaderboard()` tells what other instances would.

    Args:
        means: a Polars frame, or a CSV file; a dash or nothing where a model has no value.
        columns: which are scenarios; default all that hold numbers. Leave out a published mean of the others.
        model: the column that names the models; default the first that holds text.
        mean: "win_rate" or "mean", as in `hf.stats.leaderboard`.
        lower_is_better: columns where the lower value is the better one.
        ci: level of intervals and ranks.

    Raises:
        SourceMissingError: there is no such file.
        UnknownNameError: a column that is not there.
        ArgumentError: a value that is no number, a model named twice or not at all, or one model alone.
    """
    import numpy as np

    frame = _frame(means)
    if {"instance_id", "score"} <= set(frame.columns):
        raise ArgumentError("these are scores of instances, not means of scenarios: hf.stats.leaderboard(frame).")
    named = model or next((name for name, dtype in frame.schema.items() if not dtype.is_numeric()), None)
    if named is None or named not in frame.columns:
        raise UnknownNameError.among(
            "column", named or "model", frame.columns, hint="Say model=…, which names the models."
        )
    pool = frame[named].cast(pl.String).to_list()
    for name in pool:
        if name is None or pool.count(name) > 1:
            raise ArgumentError(f"column {named!r} should name each model once: {name!r}.")
    chosen = [name for name in frame.columns if name != named] if columns is None else list(columns)
    for name in [*chosen, *lower_is_better]:
        if name not in frame.columns or name == named:
            raise UnknownNameError.among("column", name, [column for column in frame.columns if column != named])
    if mean == "micro":
        raise ArgumentError("mean='micro' needs how many instances a column has, which means don't say: mean='mean'.")
    board_columns = [
        Column(name, np.array(_numbers(frame[name]), dtype=np.float64), higher_is_better=name not in lower_is_better)
        for name in chosen
    ]
    return build_leaderboard(board_columns, pool, mean=mean, ci=ci)


def _frame(means: pl.DataFrame | str | Path) -> pl.DataFrame:
    if isinstance(means, pl.DataFrame):
        return means
    if not isinstance(means, str | Path):
        raise ArgumentError(f"leaderboard() takes a Polars frame or a CSV file, not {type(means).__name__}.")
    path = Path(means).expanduser()
    if not path.is_file():
        raise SourceMissingError(f"there is no file {path}.")
    return pl.read_csv(path, infer_schema=False)


def _numbers(values: pl.Series) -> list[float]:
    """The values as numbers, NaN where there is none."""
    texts = values.cast(pl.String).str.strip_chars()
    texts = texts.set(texts.is_in(_MISSING), None)
    numbers = texts.cast(pl.Float64, strict=False)
    wrong = texts.filter(texts.is_not_null() & (numbers.is_null() | numbers.is_infinite()))
    if wrong.len():
        raise ArgumentError(f"column {values.name!r} holds {wrong[0]!r}, which is no number. Choose columns=….")
    return [float("nan") if number is None else number for number in numbers]
