"""One text under one perturbation, for tests."""

from typing import Any

import polars as pl

from helmframe.perturbations.call import call


def changed(text: str, perturbation: str, *, id: str = "id0", seed: int = 0, **arguments: Any) -> str:
    """The text of instance `id` after the perturbation."""
    (out,) = each_changed([text], perturbation, ids=[id], seed=seed, **arguments)
    assert out is not None
    return out


def each_changed(
    texts: list[str | None], perturbation: str, *, ids: list[str] | None = None, seed: int = 0, **arguments: Any
) -> list[str | None]:
    """The texts after the perturbation, each of an instance of its own."""
    frame = pl.DataFrame(
        {"id": ids or [f"id{place}" for place in range(len(texts))], "text": pl.Series(texts, dtype=pl.String)}
    )
    expression = call(perturbation, **arguments).on(pl.col("text"), id="id", seed=seed)
    return frame.select(expression).to_series().to_list()


def is_part(short: str, long: str) -> bool:
    """Whether the characters of `short` come in `long` in the same order."""
    rest = iter(long)
    return all(each in rest for each in short)


def near(share: float, expected: float, count: int) -> bool:
    """Whether a share of `count` lies within four standard errors of what was promised."""
    return bool(abs(share - expected) < 4 * (expected * (1 - expected) / count) ** 0.5)
