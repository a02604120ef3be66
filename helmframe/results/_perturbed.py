"""The questions about perturbations that results answer: which of them count, and what to count.

The original belongs to every family. Of the others the manifest says whether they count as robustness or fairness; what
it does not name counts as the registry says, and what is not registered here either, as robustness.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from helmframe._core.expressions import look_up_pairs
from helmframe._core.text import normalised
from helmframe._schema import ORIGINAL, VARIANTS
from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError
from helmframe.metrics.helm_outputs import helm_scores
from helmframe.metrics.score import parse
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.stats.frames import map_chunks
from helmframe.stats.gap import gap
from helmframe.stats.helm_definition import helm_definition
from helmframe.stats.robustness import consistency, robustness
from helmframe.stats.worst_case import worst_at_k, worst_case, worst_scores

FAMILIES = ("robustness", "fairness")
DEFINITIONS = ("paired", "helm")
Said = str | Sequence[str] | None


@dataclass(frozen=True)
class Scored:
    """The scores that a question is about, and how they are read.

    Args:
        scores: `SCORES`, with the columns of `keys`.
        chunks: The same, in chunks of whole instances.
        completions: `COMPLETIONS`, with the columns of `keys`.
        keys: The columns whose values make a group.
        metrics: The names of all metrics.
        higher_is_better: metric → direction, of the metrics that have one.
        fractions: The metrics whose scores lie between 0 and 1.
        mean: Over subsets, "macro" or "micro".
        perturbations: What the manifest has of each perturbation.
    """

    scores: pl.LazyFrame
    chunks: Sequence[pl.LazyFrame]
    completions: pl.LazyFrame
    keys: Sequence[str]
    metrics: Sequence[str]
    higher_is_better: Mapping[str, bool]
    fractions: Collection[str]
    mean: str
    perturbations: Mapping[str, Mapping[str, Any]]

    def under(self, names: Collection[str]) -> list[pl.LazyFrame]:
        """The chunks under these perturbations alone, and the original."""
        return [chunk.filter(pl.col("perturbation").is_in([ORIGINAL, *names])) for chunk in self.chunks]

    def there(self) -> list[str]:
        """The perturbations that were asked."""
        return _there(self.chunks)

    def chosen(self, said: Said, *, default: str | None) -> list[str]:
        """As `_chosen`, of those that were asked."""
        return _chosen(self.there(), said, default=default, known=self.perturbations)


def changes(
    scored: Scored, family: str, *, perturbations: Said, placebo: str | None, definition: str, ci: float
) -> pl.DataFrame:
    """`stats.robustness` over a family, or HELM's numbers for it."""
    if definition not in DEFINITIONS:
        raise ArgumentError.unknown_value(f"definition={definition!r}", definition, DEFINITIONS)
    names = scored.chosen(perturbations, default=family)
    if definition == "helm":
        if placebo is not None:
            raise ArgumentError("definition='helm' knows no placebo; leave out one of them.")
        kinds = {name: [family] for name in names}
        counted = helm_scores(scored.scores, scored.completions, list(scored.higher_is_better))
        table = helm_definition(_changed_input(replace(scored, scores=counted)), scored.keys, families=kinds)
        return table.filter(pl.col("perturbation").is_in([ORIGINAL, family, *names]))
    if placebo is not None:
        (placebo,) = scored.chosen(placebo, default=family)
        names = [name for name in names if name != placebo]
    return robustness(
        scored.under([*names, placebo] if placebo else names),
        scored.keys,
        higher_is_better=dict.fromkeys(scored.metrics) | dict(scored.higher_is_better),
        fractions=scored.fractions,
        ci=ci,
        mean=scored.mean,
        placebo=placebo,
    )


def worst(scored: Scored, *, k: int | None, perturbations: Said, ci: float) -> pl.DataFrame:
    """`stats.worst_case`, or `stats.worst_at_k` where k is said; placebos are drawn from, but no variants."""
    names = scored.there() if k is not None and perturbations is None else scored.chosen(perturbations, default=None)
    rows, better = scored.under(names), scored.higher_is_better
    if k is None:
        return worst_case(
            rows, scored.keys, higher_is_better=better, fractions=scored.fractions, ci=ci, mean=scored.mean
        )
    return worst_at_k(
        rows, scored.keys, k, higher_is_better=better, fractions=scored.fractions, ci=ci, mean=scored.mean
    )


def worst_sides(
    sides: Mapping[str, pl.LazyFrame],
    worst: int | str,
    higher_is_better: Mapping[str, bool],
    perturbations: Mapping[str, Mapping[str, Any]],
) -> dict[str, pl.LazyFrame]:
    """The sides of a comparison with the worst score of each instance in place of its variants' scores.

    Args:
        sides: label → `SCORES`.
        worst: "all", over the original and all variants; k, the expected worst of k draws.
        higher_is_better: metric → direction.
        perturbations: what the manifest says of them.

    Raises:
        NotComparableError: the worst cases are over other variants.
        ArgumentError: another word in `worst`.
    """
    if worst != "all" and (isinstance(worst, bool) or not isinstance(worst, int)):
        raise ArgumentError(f"worst={worst!r} should be 'all', or how many draws: worst=4.")
    k = worst if isinstance(worst, int) else None
    found: dict[str, pl.LazyFrame] = {}
    pools: dict[str, pl.DataFrame] = {}
    for label, scores in sides.items():
        variants = [name for name in _there([scores]) if k is not None or not _is_placebo(name, perturbations)]
        kept = scores.filter(pl.col("perturbation").is_in([ORIGINAL, *variants]))
        table, pools[label] = worst_scores(kept, higher_is_better=higher_is_better, k=k)
        found[label] = table.lazy()
    check_alike(pools)
    return found


def check_alike(tables: Mapping[str, pl.DataFrame]) -> None:
    """That worst cases are over the same variants, as only such can be compared or ranked.

    Args:
        tables: label → a table with `variants` and, where there are, k and scenario, as `worst_case` gives it.

    Raises:
        NotComparableError: they are not; says whose is over which.
    """
    on = [name for name in ("scenario", "k", "variants") if all(name in table.columns for table in tables.values())]
    pools = {label: table.select(on).unique().sort(on) for label, table in tables.items()}
    first = next(iter(pools.values()), None)
    if first is None or all(pool.equals(first) for pool in pools.values()):
        return
    told = "; ".join(
        f"{label!r} over {' and '.join(pool['variants'].unique().sort())}" for label, pool in pools.items()
    )
    raise NotComparableError(
        f"a worst case falls with the number of its variants, and these have others: {told}. "
        "Ask both under the same perturbations and seeds, or compare worst@k of the same k: worst=4."
    )


def stays(scored: Scored, *, perturbations: Said, exact: bool, ci: float) -> pl.DataFrame:
    """`stats.consistency` over completions; placebos too."""
    there = _there([scored.completions])
    names = there if perturbations is None else scored.chosen(perturbations, default=None)
    repeated = pl.col("repeat") > 0
    said = pl.col("output") if exact else normalised(pl.col("output"))
    texts = [
        pl.col(name).list.eval(pl.element().struct.field("text")) for name in ("references", "perturbed_references")
    ]
    # an option whose text was perturbed is still the same option
    own = pl.when(~texts[0].list.contains(pl.col("output"))).then(look_up_pairs(pl.col("output"), texts[1], texts[0]))
    answers = (
        parse(scored.completions.filter(pl.col("perturbation").is_in([ORIGINAL, *names])))
        .filter((pl.col("perturbation") == ORIGINAL) | pl.col("changed") | repeated)
        .with_columns(
            answer=pl.when(pl.col("choices").is_null()).then(said).otherwise(pl.coalesce(own, "output")),
            failed=pl.col("completion").is_null(),
        )
    )
    return consistency(answers, scored.keys, ci=ci, mean=scored.mean)


def gaps(scored: Scored, group: str, *, reference: object, ci: float) -> pl.DataFrame:
    """`stats.gap` of every perturbation."""
    return gap(
        scored.scores, group, scored.keys, reference=reference, fractions=scored.fractions, ci=ci, mean=scored.mean
    )


def flips(scored: Scored, perturbation: str | None, metric: str) -> pl.DataFrame:
    """The answers whose score a perturbation changed, the original's beside them.

    Returns:
        The columns that tell them apart, then flip ("worse" or "better"), input, perturbed_input (with the references
        where those changed), completion, perturbed_completion, output, perturbed_output, score, perturbed_score.
    """
    if metric not in scored.higher_is_better:
        raise ArgumentError(f"flips(metric={metric!r}): the metric has no direction, so no change is better or worse.")
    told = _with_texts(_turned(scored, scored.chosen(perturbation, default=None), metric), scored.completions)
    worse = (pl.col("perturbed_score") < pl.col("score")) == scored.higher_is_better[metric]
    keys = [*_ANSWER[:2], *_VARIANT, *_ANSWER[2:]]
    shown = [f"{which}{name}" for name in ("input", "completion", *_VALUES) for which in ("", "perturbed_")]
    return (
        told.with_columns(flip=pl.when(worse).then(pl.lit("worse")).otherwise(pl.lit("better")))
        .select(*keys, "flip", *shown)
        .sort(pl.col("flip") != "worse", *keys)
        .collect()
    )


# An answer whatever the variant, and what one of a variant and of the original are compared by.
_ANSWER = ("scenario", "instance_id", "setting", "trial", "model", "output_index")
_VARIANT = ("perturbation", "perturbation_seed")
_VALUES = ("output", "score")


def _turned(scored: Scored, names: Sequence[str], metric: str) -> pl.LazyFrame:
    """The scores of variants that differ from the original's: both, and both outputs."""
    scores = scored.scores.filter(pl.col("metric") == metric)
    originals = scores.filter(pl.col("perturbation") == ORIGINAL).select(*_ANSWER, *_VALUES)
    return (
        scores.filter(pl.col("perturbation").is_in(names))
        .select(*_ANSWER, *_VARIANT, *(pl.col(name).alias(f"perturbed_{name}") for name in _VALUES))
        .join(originals, on=_ANSWER, how="inner", nulls_equal=True)
        .filter(pl.col("perturbed_score") != pl.col("score"))
    )


def _with_texts(turned: pl.LazyFrame, completions: pl.LazyFrame) -> pl.LazyFrame:
    """With input and completion, the original's and the variant's."""
    # a metric over an instance's outputs has no output of its own: the first is shown
    first = turned.with_columns(place=pl.col("output_index").fill_null(0))
    texts = completions.with_columns(place=pl.col("output_index"), asked=_asked("perturbed_"))
    at = [*_ANSWER[:-1], "place"]
    originals = texts.filter(pl.col("perturbation") == ORIGINAL).select(*at, "completion")
    own = texts.select(*at, *_VARIANT, "input", own="asked", first=_asked(""), perturbed_completion="completion")
    return (
        first.join(own, on=[*at, *_VARIANT], how="left")
        .join(originals, on=at, how="left")
        .with_columns(
            input=pl.when(pl.col("own") == pl.col("first")).then("input").otherwise("first"), perturbed_input="own"
        )
    )


def _asked(which: str) -> pl.Expr:
    """The input, and whatever else the variant changed: references, what it asks of the adapter."""
    changed = pl.col("perturbed_references").ne_missing(pl.col("references"))
    references = pl.col(f"{which}references").list.eval(pl.element().struct.field("text")).list.join("\n")
    return pl.concat_str(pl.col(f"{which}input"), pl.when(changed).then(pl.lit("\n") + references), ignore_nulls=True)


def _changed_input(scored: Scored) -> pl.LazyFrame:
    """Return the scores with `changed` as HELM has it: whether the input is another, or HELM keeps the unchanged copy.

    References count for nothing, unless the perturbation follows HELM's rules: its `changed` is HELM's already.
    """
    key = list(VARIANTS.key)
    by_helm = pl.col("changed") & pl.col("perturbation_parameters").str.contains('"compat": "helm"', literal=True)
    changed = pl.col("perturbed_input").ne_missing(pl.col("input")) | by_helm.fill_null(value=False)
    inputs = scored.completions.select(*key, changed=changed).unique(key)
    return scored.scores.drop("changed").join(inputs, on=key, how="left", validate="m:1")


def _there(chunks: Sequence[pl.LazyFrame]) -> list[str]:
    found = map_chunks(chunks, lambda rows: rows.select(pl.col("perturbation").unique()).collect()["perturbation"])
    return sorted({name for names in found for name in names} - {ORIGINAL})


def _chosen(
    there: Sequence[str], said: Said, *, default: str | None, known: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """The perturbations said, by name, by what stands before the brackets, or by family; else the default family."""
    if said is None:
        return [name for name in there if not _is_placebo(name, known) and default in (None, _kind(name, known))]
    chosen: list[str] = []
    for wanted in [said] if isinstance(said, str) else said:
        meant = [name for name in there if wanted == name]
        meant = meant or [name for name in there if wanted == name.partition("(")[0] and "+" not in name]
        if wanted in FAMILIES and not meant:
            meant = [name for name in there if _kind(name, known) == wanted and not _is_placebo(name, known)]
        if not meant:
            names = dict.fromkeys([*there, *(name.partition("(")[0] for name in there if "+" not in name)])
            raise UnknownNameError.among("perturbation of these results", wanted, names)
        chosen += [name for name in meant if name not in chosen]
    return chosen


def _kind(name: str, known: Mapping[str, Mapping[str, Any]]) -> str:
    """As any link of the chain counts: fairness before robustness."""
    if name in known:
        return str(known[name]["kind"])
    kinds = {PERTURBATIONS[link].kind if link in PERTURBATIONS else FAMILIES[0] for link in _links(name)}
    return next((kind for kind in reversed(FAMILIES) if kind in kinds), "")


def _is_placebo(name: str, known: Mapping[str, Mapping[str, Any]]) -> bool:
    if name in known:
        return bool(known[name]["repeats"])
    return any(link in PERTURBATIONS and PERTURBATIONS[link].repeats for link in _links(name))


def _links(name: str) -> list[str]:
    """The names of a chain, without their arguments.

    >>> _links("lowercase+instructions(text='a) b')")
    ['lowercase', 'instructions']
    """
    return _ARGUMENTS.sub("", name).split("+")


_ARGUMENTS = re.compile(r"""\((?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^'"()])*\)""", re.DOTALL)
