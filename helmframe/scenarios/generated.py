"""Scenarios without data: their rows are made here, from a seed, the same on every machine."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TypeAlias

import polars as pl

from helmframe.errors import UnknownNameError
from helmframe.scenarios.generators.dyck import PAIRS, dyck
from helmframe.scenarios.generators.lengths import PROMPT_TOKENS, lengths
from helmframe.scenarios.generators.patterns import MODES, patterns
from helmframe.scenarios.generators.relations import RELATIONS, relations
from helmframe.scenarios.generators.rules import DIFFICULTIES, rules

Maker: TypeAlias = Callable[[str], list[dict[str, str]]]

# name → (the column that is the subset, its values, what makes the rows of one subset)
GENERATED: Mapping[str, tuple[str, tuple[str, ...], Maker]] = {
    "dyck_language": ("num_parenthesis_pairs", PAIRS, dyck),
    "numeracy": ("relation_type", RELATIONS, relations),
    "synthetic_efficiency": ("num_prompt_tokens", PROMPT_TOKENS, lengths),
    "synthetic_reasoning": ("mode", MODES, patterns),
    "synthetic_reasoning_natural": ("difficulty", DIFFICULTIES, rules),
}


def generated_rows(name: str, wanted: Mapping[str, Sequence[str]] | None = None) -> pl.DataFrame:
    """The rows of a generated scenario, in the order in which they are made: split, the subset's column, input, target.

    Args:
        name: of the generator, as a spec's `source: {generated: …}` says it.
        wanted: only subsets of these values, by column; one at least is made, so that the columns are there.

    Raises:
        UnknownNameError: no generator of that name.
    """
    if name not in GENERATED:
        raise UnknownNameError.among("generator", name, GENERATED)
    column, subsets, _ = GENERATED[name]
    asked = (wanted or {}).get(column, subsets)
    chosen = [each for each in subsets if each in asked] or subsets[:1]
    return pl.concat(_subset(name, each) for each in chosen)


@cache
def _subset(name: str, subset: str) -> pl.DataFrame:
    """One subset, made once a process."""
    column, _, make = GENERATED[name]
    rows = pl.DataFrame(make(subset), schema={"split": pl.String, "input": pl.String, "target": pl.String})
    return rows.with_row_index("row_index").select(
        pl.col("row_index").cast(pl.Int64), "split", pl.lit(subset).alias(column), "input", "target"
    )
