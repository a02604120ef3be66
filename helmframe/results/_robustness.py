"""What results say of perturbations and of groups of instances."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from helmframe._core.registry import render
from helmframe.results import _perturbed as perturbed
from helmframe.results._data import ResultsData, reader_of
from helmframe.results._early_stopping import marked
from helmframe.stats.table import AXES

_WITHOUT_PERTURBATION = tuple(name for name in AXES if name != "perturbation")


class Flips(pl.DataFrame):
    """A frame of completions that a perturbation flipped; in a notebook it shows what changed."""

    def _repr_html_(self, *, _from_series: bool = False) -> str:
        return str(render(self, "html"))


def robustness(
    results: ResultsData,
    by: str | Sequence[str] | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    perturbations: str | Sequence[str] | None = None,
    placebo: str | None = None,
    definition: str = "paired",
    pool: str | Sequence[str] | bool = (),
    ci: float = 0.95,
) -> pl.DataFrame:
    """Original against perturbed, one row per group, metric and perturbation ("all": over all of them).

    Args:
        results: Results of a run.
        by: as in `table`, without perturbation.
        metrics: which; default all.
        perturbations: which, by name or family; default those that count as robustness (`hf.list_perturbations()`).
        placebo: a perturbation that changes nothing ("rerun"): adds the change beyond the placebo's.
        definition: "helm" gives HELM's numbers: the lowest score over original and variants, without intervals, a
            family's over all instances, a perturbation's over those it changed.
        pool: The axes to average over, as in `table`.
        ci: level of the change's interval.

    Returns:
        original, mean over variants, worst (of the original and its k variants), right→wrong, wrong→right, changed
        share, and the headline: the paired change (perturbed − original, on changed inputs) with its interval. With
        a placebo also excess, its interval and n_placebo.
    """
    scored, pooled = _scored(results, by, metrics, pool)
    table = perturbed.changes(
        scored, "robustness", perturbations=perturbations, placebo=placebo, definition=definition, ci=ci
    )
    return reader_of(results).as_written(
        marked(results.manifest, reader_of(results).labelled(table, scored.keys, pooled)), by
    )


def fairness(
    results: ResultsData,
    by: str | Sequence[str] | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    perturbations: str | Sequence[str] | None = None,
    placebo: str | None = None,
    definition: str = "paired",
    pool: str | Sequence[str] | bool = (),
    ci: float = 0.95,
) -> pl.DataFrame:
    """As `robustness`, over the perturbations that count as fairness: dialect, gender, person names, your own."""
    scored, pooled = _scored(results, by, metrics, pool)
    table = perturbed.changes(
        scored, "fairness", perturbations=perturbations, placebo=placebo, definition=definition, ci=ci
    )
    return reader_of(results).as_written(
        marked(results.manifest, reader_of(results).labelled(table, scored.keys, pooled)), by
    )


def worst_case(
    results: ResultsData,
    by: str | Sequence[str] | None = None,
    *,
    k: int | None = None,
    metrics: str | Sequence[str] | None = None,
    perturbations: str | Sequence[str] | None = None,
    pool: str | Sequence[str] | bool = (),
    ci: float = 0.95,
) -> pl.DataFrame:
    """The mean worst score over the original and all variants; with `k`, the expected worst of k draws (worst@k).

    Args:
        results: Results of a run.
        by: as in `table`, without perturbation.
        k: draws of one perturbation, from `perturb(…, seeds=…)` of at least as many; the original is none. A row
            per perturbation that has so many, a placebo among them.
        metrics: The metrics, each with a direction; default all that have one.
        perturbations: which, by name or family ("robustness", "fairness"); default all but placebos.
        pool: The axes to average over, as in `table`.
        ci: level of the interval.

    Returns:
        `by`, metric, `STATS`, k, variants (what it is the worst of), n_dropped. It falls with k whatever the model:
        only the same k and variants compare.
    """
    directed = list(reader_of(results).directions()) if metrics is None else metrics
    scored, pooled = _scored(results, by, directed, pool)
    table = perturbed.worst(scored, k=k, perturbations=perturbations, ci=ci)
    return reader_of(results).as_written(
        marked(results.manifest, reader_of(results).labelled(table, scored.keys, pooled)), by
    )


def consistency(
    results: ResultsData,
    by: str | Sequence[str] | None = None,
    *,
    perturbations: str | Sequence[str] | None = None,
    exact: bool = False,
    pool: str | Sequence[str] | bool = (),
    ci: float = 0.95,
) -> pl.DataFrame:
    """The share of instances whose answer stays the same under each perturbation, right or wrong.

    Args:
        results: Results of a run.
        by: as in `table`, without perturbation and metric.
        perturbations: which, by name or family; default all, placebos too.
        exact: whether free text has to be the same to the letter, not only in its normalised words.
        pool: The axes to average over, as in `table`.
        ci: level of the interval.
    """
    scored, pooled = _scored(results, by, None, pool)
    table = perturbed.stays(scored, perturbations=perturbations, exact=exact, ci=ci)
    return reader_of(results).as_written(
        marked(results.manifest, reader_of(results).labelled(table, scored.keys, pooled)), by
    )


def gap(
    results: ResultsData,
    group: str,
    by: str | Sequence[str] | None = None,
    *,
    reference: Any = None,
    metrics: str | Sequence[str] | None = None,
    pool: str | Sequence[str] | bool = (),
    ci: float = 0.95,
) -> pl.DataFrame:
    """The score of each group of instances minus the score of all, or of one group, with its interval.

    `results.gap("sub_split")`, `results.gap("demographic", reference="white")`

    Args:
        results: Results of a run.
        group: a column: sub_split, subset, or one of the scenario's own.
        by: as in `table`.
        reference: the group that the others are compared with; default all instances.
        metrics: which; default all.
        pool: The axes to average over, as in `table`.
        ci: level of the interval.
    """
    (column,) = reader_of(results).columns(group)
    scored, pooled = _scored(results, by, metrics, pool, axes=AXES, also=[column])
    keys = [key for key in scored.keys if key != column]
    table = perturbed.gaps(replace(scored, keys=keys), column, reference=reference, ci=ci)
    table = marked(results.manifest, reader_of(results).labelled(table, keys, pooled))
    return reader_of(results).as_written(table, [*reader_of(results).names(by), group])


def flips(results: ResultsData, perturbation: str | None = None, *, metric: str | None = None) -> pl.DataFrame:
    """The answers whose score a perturbation changed, original and perturbed side by side, with a word-level diff.

    Args:
        results: Results of a run.
        perturbation: which; default all but placebos.
        metric: by which score; default the main one.

    Returns:
        flip ("worse" or "better"), input, perturbed_input, diff (`the [quick→quikc] fox`), both completions,
        outputs and scores; in a notebook it shows itself with the changes marked.
    """
    (name,) = reader_of(results).metric_list(metric or results.main_metrics[0])
    return Flips(render(Flips(perturbed.flips(_scored(results, None, name)[0], perturbation, name)), "with_diff"))


def _scored(
    results: ResultsData,
    by: str | Sequence[str] | None,
    metrics: str | Sequence[str] | None,
    pool: str | Sequence[str] | bool = (),
    axes: Sequence[str] = _WITHOUT_PERTURBATION,
    also: Sequence[str] = (),
) -> tuple[perturbed.Scored, list[str]]:
    """Return what the questions of `perturbed` are about, for tables by these columns, and the axes pooled."""
    keys, pooled = reader_of(results).group_keys(by, pool, axes)
    keys = [key for key in dict.fromkeys([*keys, *also]) if key in axes or key != "perturbation"]
    asked = pl.lit(value=True) if metrics is None else pl.col("metric").is_in(reader_of(results).metric_list(metrics))
    scored = perturbed.Scored(
        scores=reader_of(results).with_source_of(results.scores, keys).filter(asked),
        chunks=[rows.filter(asked) for rows in reader_of(results).scores(keys)],
        completions=reader_of(results).with_source_of(results.completions, keys),
        keys=keys,
        metrics=results.metric_names,
        higher_is_better=reader_of(results).directions(),
        fractions=reader_of(results).fractions(),
        mean=reader_of(results).mean(),
        perturbations=reader_of(results).perturbation_kinds(),
    )
    return scored, pooled
