"""Expressions that several stages share: stripped text, references, keyed random numbers."""

from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# White space of Python's str.strip and str.split; Rust's \s lacks the four separators \x1c to \x1f.
SPACES = "".join(map(chr, (*range(9, 14), *range(28, 33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
                           0x202F, 0x205F, 0x3000)))  # fmt: skip


def stripped(text: pl.Expr) -> pl.Expr:
    """Return the text without white space at both ends, as by Python's `str.strip`."""
    return text.str.strip_chars(SPACES)


def correct_references(references: str = "perturbed_references") -> pl.Expr:
    """Return the texts of the correct references, as a list."""
    correct = pl.element().filter(pl.element().struct.field("correct"))
    return pl.col(references).list.eval(correct.struct.field("text"))


# Decoding parameters (JSON) that give a completion head-room for reasoning.
_HEAD_ROOM = r'"head_room": |"reasoning": ["1-9]'


def is_starved(columns: Collection[str]) -> pl.Expr:
    """Return whether reasoning used all tokens of a completion, so that its text is empty; null if the request failed.

    Servers that hide the reasoning return an empty text that ended at the token limit. Without head-room, a stop
    sequence may end a completion within its reasoning.

    Args:
        columns: The columns of the frame; completions stored by earlier versions lack some.
    """
    inputs = [pl.col(name) if name in columns else pl.lit(None, dtype=dtype) for name, dtype in _OF_STARVED.items()]
    return pl.map_batches(inputs, _starved, return_dtype=pl.Boolean, is_elementwise=True)


_OF_STARVED = {
    "completion": pl.String(),
    "finish_reason": pl.String(),
    "reasoning": pl.String(),
    "reasoning_tokens": pl.Int64(),
    "output_tokens": pl.Int64(),
    "decoding": pl.String(),
}


def _starved(series: Sequence[pl.Series]) -> pl.Series:
    frame = pl.select(pl.lit(values).alias(name) for name, values in zip(_OF_STARVED, series, strict=True))
    text, end = pl.col("completion"), pl.col("finish_reason")
    has_reasoning = pl.col("reasoning").is_not_null() | (pl.col("reasoning_tokens") > 0)
    at_limit = end.eq_missing("length")
    possible = (has_reasoning | at_limit).any()
    # the fast check first, because most completions are none of these
    if not frame.select(possible).item():
        return frame.select(pl.when(text.is_not_null()).then(pl.lit(value=False))).to_series()
    has_room = pl.col("decoding").str.contains(_HEAD_ROOM).fill_null(value=False)
    ended_within = end.is_null() | (end.eq_missing("stop") & ~has_room)
    shown = ~text.str.contains(r"\S") & has_reasoning.fill_null(value=False) & (at_limit | ended_within)
    hidden = (text == "") & at_limit & (pl.col("output_tokens").fill_null(1) > 0)
    return frame.select(pl.when(text.is_not_null()).then(shown | hidden)).to_series()


def look_up_pairs(needle: pl.Expr, keys: pl.Expr, values: pl.Expr) -> pl.Expr:
    """Return the text in the list `values` at the position of `needle` in the list `keys`, or null.

    >>> frame = pl.DataFrame({"output": ["B", "E"], "letters": [["A", "B"]] * 2, "texts": [["x", "y"]] * 2})
    >>> frame.select(look_up_pairs(pl.col("output"), pl.col("letters"), pl.col("texts"))).to_series().to_list()
    ['y', None]
    """

    def look_up(columns: list[pl.Series] | Any) -> pl.Series:
        needles, key_lists, value_lists = columns
        frame = pl.DataFrame({"needle": needles, "key": key_lists, "value": value_lists}).with_row_index("row")
        matches = (
            frame.filter(pl.col("key").list.len() > 0)
            .explode("key", "value")
            .filter(pl.col("key") == pl.col("needle"))
            .unique("row", keep="first", maintain_order=True)
        )
        return frame.select("row").join(matches, on="row", how="left", maintain_order="left")["value"]

    return pl.map_batches([needle, keys, values], look_up, return_dtype=pl.String, is_elementwise=True)


def key_of(salt: str, *ids: pl.Expr) -> pl.Expr:
    """Return a 64-bit number per row from `salt` and the row's ids: the same on every machine and in every order."""

    def hashed(series: pl.Series) -> pl.Series:
        start = blake2b(salt.encode(), digest_size=8)
        numbers = []
        for text in series:
            state = start.copy()
            state.update(text.encode())
            numbers.append(int.from_bytes(state.digest(), "little"))
        return pl.Series(series.name, numbers, dtype=pl.UInt64)

    present = [column.cast(pl.String).fill_null("") for column in ids]
    return pl.concat_str(present, separator="\x1f").map_batches(hashed, return_dtype=pl.UInt64, is_elementwise=True)


def keyed_draws(keys: "NDArray[np.uint64]", places: "NDArray[np.uint64]") -> "NDArray[np.uint64]":
    """Return a 64-bit random number per (key, place), by splitmix64's finaliser (Steele, Lea & Flood 2014).

    Args:
        keys: One key per draw, from `key_of`.
        places: The number of the draw for that key: the position of a character, the number of a word.
    """
    import numpy as np

    with np.errstate(over="ignore"):
        return _mixed((places + np.uint64(1)) * np.uint64(_STEP) + keys)


def row_draws(keys: "NDArray[np.uint64]", lengths: "NDArray[np.int64]") -> "NDArray[np.uint64]":
    """Return the `keyed_draws` of all places, from 0 on, of rows that follow each other.

    Args:
        keys: One key per row.
        lengths: The number of places of each row.
    """
    import numpy as np

    with np.errstate(over="ignore"):
        starts = (np.cumsum(lengths) - lengths).astype(np.uint64)
        # a place counts from the start of its row: its key is reduced by the steps of all rows before
        states = np.repeat(keys - starts * np.uint64(_STEP), lengths)
        states += np.arange(1, len(states) + 1, dtype=np.uint64) * np.uint64(_STEP)
        return _mixed(states)


_STEP = 0x9E3779B97F4A7C15


def _mixed(states: "NDArray[np.uint64]") -> "NDArray[np.uint64]":
    """Spread the bits of the states, in place: new arrays would cost as much as the arithmetic."""
    import numpy as np

    states ^= states >> np.uint64(30)
    states *= np.uint64(0xBF58476D1CE4E5B9)
    states ^= states >> np.uint64(27)
    states *= np.uint64(0x94D049BB133111EB)
    states ^= states >> np.uint64(31)
    return states
