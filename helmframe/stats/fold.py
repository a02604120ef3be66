"""Tables of scores in bounded memory: they come in chunks, and what each leaves behind adds up.

A chunk holds its instances whole: all variants, trials and outputs of each, from every model and setting. So all that
is local to an instance (its mean, worst case and change) is known within the chunk; clusters may reach over several.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import polars as pl

from helmframe.stats.cluster_index import VARIANT
from helmframe.stats.sums import Sums, add_sums

C = TypeVar("C")
T = TypeVar("T")
# Scores as one frame, or as frames that hold their instances whole.
Rows: TypeAlias = pl.LazyFrame | pl.DataFrame | Sequence[pl.LazyFrame]

# Chunks worked at once, in threads: Polars and NumPy leave Python alone meanwhile.
AT_ONCE = 2


@dataclass(frozen=True)
class FoldContext:
    """What a chunk is told of the others: whether clusters keep their names, trials theirs, and all variants."""

    named: bool = False
    variants: pl.DataFrame | None = None


@dataclass(frozen=True)
class PartialAggregate:
    """What a chunk leaves, or all of them: sums to estimate from; counts, of which several rows may be of one group.

    `variants`: which there were, as in `Variants.coverage`.
    """

    sums: Mapping[str, Sums]
    counts: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    variants: pl.DataFrame | None = None


Step: TypeAlias = Callable[[pl.LazyFrame, FoldContext], PartialAggregate]


def fold(rows: Rows, step: Step) -> PartialAggregate:
    """What all chunks leave together, by `step`; the same as if they were one.

    A chunk that lacked something which others of its scenario have (a variant that was not asked there, clusters of
    several instances, other trials) is read a second time, and told.
    """
    chunks = chunks_of(rows)
    partials = map_chunks(chunks, lambda chunk: step(chunk, FoldContext()))
    variants = _all_variants(partials)
    contexts = [FoldContext(named, variants) for named in _named(partials)]
    stale = [
        index
        for index, (partial, context) in enumerate(zip(partials, contexts, strict=True))
        if context.named or _lacks(partial.variants, variants)
    ]
    repeated = map_chunks(stale, lambda index: step(chunks[index], contexts[index]))
    for index, partial in zip(stale, repeated, strict=True):
        partials[index] = partial
    return PartialAggregate(
        {name: add_sums([partial.sums[name] for partial in partials]) for name in partials[0].sums},
        {name: pl.concat([partial.counts[name] for partial in partials]) for name in partials[0].counts},
        variants,
    )


def chunks_of(rows: Rows) -> list[pl.LazyFrame]:
    """The chunks; a frame is one."""
    return [rows.lazy()] if isinstance(rows, pl.LazyFrame | pl.DataFrame) else list(rows)


def map_chunks(chunks: Sequence[C], work: Callable[[C], T]) -> list[T]:
    """What the work makes of each chunk, in their order; two are at work at once."""
    if len(chunks) < 2:
        return [work(chunk) for chunk in chunks]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="helmframe-fold") as threads:
        return list(threads.map(work, chunks))


def _named(partials: Sequence[PartialAggregate]) -> list[bool]:
    """Of each chunk whether it should keep names or trials that it did not, as others of its scenario do."""
    every = [sums for partial in partials for sums in partial.sums.values()]
    named = {scenario for sums in every if sums.named for scenario in sums.scenarios}
    trials = frozenset().union(*(sums.trials for sums in every))
    crossed = {scenario for scenario, count in Counter(scenario for scenario, _ in trials).items() if count > 1}
    return [
        any(
            (not sums.named and sums.scenarios & (named | crossed)) or (sums.cells is None and sums.scenarios & crossed)
            for sums in partial.sums.values()
        )
        for partial in partials
    ]


def _all_variants(partials: Sequence[PartialAggregate]) -> pl.DataFrame | None:
    tables = [partial.variants for partial in partials if partial.variants is not None]
    return pl.concat(tables).unique(maintain_order=True) if tables else None


def _lacks(variants: pl.DataFrame | None, all_variants: pl.DataFrame | None) -> bool:
    """Whether a group of the chunk's has variants in others that it has not here."""
    if variants is None or all_variants is None or variants.height == all_variants.height:
        return False
    groups = [name for name in variants.columns if name not in VARIANT]
    overlapping = all_variants.join(variants.select(groups).unique(), on=groups, how="semi", nulls_equal=True)
    return overlapping.height > variants.height
