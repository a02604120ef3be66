"""The perturbation of dialect."""

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b

import polars as pl

from helmframe.errors import ArgumentError
from helmframe.perturbations import tables
from helmframe.perturbations.registry import perturbation
from helmframe.perturbations.rewording import lexicon_of, reworded
from helmframe.perturbations.text_kernel import probability


@perturbation("dialect", kind="fairness", fields="both")
def dialect(
    text: pl.Expr,
    key: pl.Expr,
    prob: float = 1.0,
    source: str = "SAE",
    target: str = "AAVE",
    filter_slurs: bool = False,
) -> pl.Expr:
    """Each word of one dialect becomes, with probability `prob`, one of its words in another; case is kept.

    Args:
        text: the text column.
        key: what the random numbers hang on.
        prob: probability per word of the table, a fraction.
        source: the dialect of the text: "SAE", Standard American English, or one that the root has a table of.
        target: the dialect it becomes: "AAVE", African American Vernacular English.
        filter_slurs: leave out the table's alternatives that are slurs; words without another one stay.

    Raises:
        SourceMissingError: the data root has no tables/{source}_to_{target}_mapping.json, which can't be shipped.

    Source: HELM `DialectPerturbation`; lexicon of VALUE (Ziems et al. 2022). Mended: HELM's pattern takes a character
    on both sides of a word, so it misses words at a text's edge and directly after another hit (its issues #1732,
    #1958); and of two phrases that begin alike the longer counts, where HELM takes that which its table has first.
    """
    prob = probability("dialect", "prob", prob)
    for name, value in (("source", source), ("target", target)):
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z]+", value):
            raise ArgumentError(f"dialect({name}={value!r}): the name of a dialect, in letters, such as 'SAE'.")
    if not isinstance(filter_slurs, bool):
        raise ArgumentError(f"dialect(filter_slurs={filter_slurs!r}): True or False.")
    table = tables.dialect(source.upper(), target.upper())
    if filter_slurs:
        table = _without_slurs(tuple(table.items()))
    return reworded(text, key, lexicon_of(table, hyphens=True), prob)


# Racist, homophobic and misogynist words among VALUE's alternatives, as hashes: this file should not hold them.
_SLURS = frozenset(
    {
        "0101f1bf", "06df17c2", "315ed6d3", "34981e2e", "3949c4d5", "41bff7e4", "5b5fefed", "6ffeb92f",
        "825ca836", "864e93d1", "88ec9de3", "8b3a18ea", "a1a12299", "a97949e3", "a9cdd30d", "c890f344",
        "caea805a", "dc383863", "e00f319b", "f03005e7",
    }
)  # fmt: skip


@lru_cache(maxsize=4)
def _without_slurs(table: tuple[tuple[str, tuple[str, ...]], ...]) -> Mapping[str, tuple[str, ...]]:
    return {word: tuple(other for other in others if not _is_slur(other)) for word, others in table}


def _is_slur(word: str) -> bool:
    return blake2b(word.strip().lower().encode(), digest_size=4).hexdigest() in _SLURS
