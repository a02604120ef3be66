"""Methods of `Results` for aggregated scores."""

import warnings
from collections.abc import Sequence
from typing import Any

import polars as pl

from helmframe._schema import ORIGINAL, source_column
from helmframe.errors import ArgumentError, HelmframeWarning
from helmframe.metrics.protocol import resolve_metrics
from helmframe.metrics.score import missing_reason, prepare_set_metric
from helmframe.results._data import ResultsData, filter_equal, reader_of
from helmframe.results._early_stopping import with_sequences
from helmframe.stats.aggregate_set import aggregate_set
from helmframe.stats.failures import ERRORS_ALLOWED
from helmframe.stats.table import aggregate, pivot_table, sort_table

DEFINITIONS = ("helmframe", "helm")


def stats(results: ResultsData) -> pl.LazyFrame:
    """Return `STATS` of every metric by the axes that the run varied: `table()` as a lazy frame.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
    >>> results.stats.filter(metric="exact_match").select("value", "n").collect().row(0)
    (1.0, 4)
    """
    return table(results).lazy()


def table(
    results: ResultsData,
    by: str | Sequence[str] | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    ci: float = 0.95,
    mean: str | None = None,
    pivot: str | None = None,
    pool: str | Sequence[str] | bool = (),
    definition: str = "helmframe",
) -> pl.DataFrame:
    """Aggregate scores, one row per group and metric, each with its interval.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(8)
    >>> results = plan.generate({"good": hf.models.oracle(), "bad": hf.models.echo()}).score()
    >>> results.table(metrics="exact_match").select("model", "value", "n", "chance").rows()
    [('bad', 0.0, 8, 0.25), ('good', 1.0, 8, 0.25)]

    Args:
        results: Results of a run.
        by: The columns whose values make a group: trial, subset, or a source column of the scenario (`subject`). The
            axes scenario, split, model, setting and perturbation make groups too if the run has several values of them,
            unless `pool` names them.
        metrics: The metrics; default all.
        ci: The level of the intervals.
        mean: The mean over subsets ("macro") or by size ("micro"); default the scenario's.
        pivot: One of the keys, whose values become columns that contain `value`.
        pool: The axes to average over: "model", ["model", "perturbation"]; True: all that are not in `by`.
        definition: "helm" returns HELM's values. HELM scores the output of highest log-probability among the n outputs
            of a request; "helmframe" averages all n. HELM averages a metric of a set (a calibration error, F1) over
            trials; "helmframe" treats all trials as one set: such values are biased by the size of the set.

    Returns:
        `by`, the other axes, metric and `STATS`. If axes are pooled, `pooled` lists them: "3 models, 2 perturbations".
        For metrics of choices, the baselines `chance` (guessing) and `majority` (the label that is right most often in
        its subset). For a run that stopped early (`until`): n_run and n_total (instances), and intervals that are valid
        at every look.

    Raises:
        UnknownNameError: If a column, metric or axis is unknown.
        ArgumentError: If `ci`, `mean` or `definition` is invalid, or `by` and `pool` share a column.
    """
    keys, pooled = reader_of(results).group_keys(by, pool)
    names = reader_of(results).metric_list(metrics)
    over_subsets = mean or reader_of(results).mean()
    # the repr after a table, and most charts, need rows of the same table
    if definition not in DEFINITIONS:
        raise ArgumentError.unknown_value(f"table(definition={definition!r})", definition, DEFINITIONS)
    cache_key = repr((keys, ci, over_subsets, definition))
    table = reader_of(results).last_table.get(cache_key)
    if table is None or not {*names} <= {*table["metric"]}:
        table = _aggregate(results, keys, names, ci, over_subsets, definition)
        reader_of(results).last_table.clear()
        reader_of(results).last_table[cache_key] = table
    table = table.filter(pl.col("metric").is_in(names))
    source_names = {source_column(name): name for name in reader_of(results).names(by)}
    hidden = {name for name in keys if pivot in (name, source_names.get(name))}
    table = reader_of(results).with_pooled(table, [key for key in keys if key not in hidden], pooled)
    table = reader_of(results).with_requested_names(table, by)
    return table if pivot is None else pivot_table(table, [source_names.get(key, key) for key in keys], pivot)


def value(results: ResultsData, metric: str | None = None, *, definition: str = "helmframe", **where: Any) -> float:
    """Return one aggregated score.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(8).perturb("typos")
    >>> results = plan.generate(hf.models.oracle()).score()
    >>> results.value("exact_match"), results.value("exact_match", perturbation="typos")
    (1.0, 1.0)

    Args:
        results: Results of a run.
        metric: The metric; default the main metric.
        definition: "helm" returns HELM's value, as in `table`.
        **where: The values that identify the score, if the run varied them: model, perturbation (default "original"),
            setting, scenario …

    Raises:
        ArgumentError: If more than one value matches, or none; or nothing was scored.

    Warns:
        HelmframeWarning: If more than 1 % of the requests failed; the value excludes them.
    """
    name = metric or results.main_metrics[0]
    keys = list(dict.fromkeys([*reader_of(results).default_axes, *where]))
    scores = table(results, keys, metrics=name, definition=definition)
    if "perturbation" in keys and "perturbation" not in where:
        scores = scores.filter(pl.col("perturbation") == ORIGINAL)
    for column, value in where.items():
        available = scores[column].unique().sort().to_list()
        scores = filter_equal(scores, column, value)
        if scores.is_empty():
            raise ArgumentError.unknown_value(f"value(): no result for {column} {value!r}", value, map(str, available))
    if scores.height != 1:
        undecided = ", ".join(f"{key}=…" for key in keys if scores[key].n_unique() > 1) or "other conditions"
        raise ArgumentError(f"value({name!r}): {scores.height} results match. Add {undecided}.\n{scores.select(keys)}")
    value, n, failed = scores.select("value", "n_completions", "n_error").row(0)
    if value is None:
        reason = f"{failed} requests failed. results.errors() lists them" if failed else "See results.rows()"
        raise ArgumentError(f"value({name!r}): nothing was scored. {reason}.")
    if failed > ERRORS_ALLOWED * n:
        warnings.warn(
            f"value({name!r}): {failed:,} of {n:,} requests failed and are excluded. Rerun the plan to retry them. "
            "results.errors() lists them.",
            HelmframeWarning,
            stacklevel=2,
        )
    return float(value)


def _aggregate(
    results: ResultsData, keys: Sequence[str], names: Sequence[str], ci: float, mean: str, definition: str
) -> pl.DataFrame:
    """Return the scores of these metrics, aggregated by these columns."""
    frames = []
    helm = definition == "helm"
    per_row = [name for name in names if results.manifest["metrics"][name]["level"] != "set"]
    if per_row:
        chunks = reader_of(results).helm_scores(keys, per_row) if helm else reader_of(results).scores(keys)
        scores = [rows.filter(pl.col("metric").is_in(per_row)) for rows in chunks]
        frames.append(aggregate(scores, keys, fractions=reader_of(results).fractions(), ci=ci, mean=mean))
    for metric in resolve_metrics([name for name in names if name not in per_row]):
        rows, value = prepare_set_metric(results.completions, metric, helm=helm)
        frames.append(
            aggregate_set(
                reader_of(results).with_source_columns(rows, keys),
                value,
                keys,
                metric=metric.name,
                ci=ci,
                mean=mean,
                fraction=metric.unit == "fraction",
                smooth=metric.smooth,
                by_trial=helm,
                reason=missing_reason(rows, metric),
            )
        )
    baselines = reader_of(results).baselines(keys, names, mean)
    table = pl.concat(frames, how="diagonal_relaxed")
    if "until" in results.manifest:
        table = with_sequences(table, results.scores, results.manifest["until"], keys, mean=mean, ci=ci)
    table = reader_of(results).note_shown_examples(table, keys)
    table = table.join(baselines, on=[*keys, "metric"], how="left", nulls_equal=True, maintain_order="left")
    return sort_table(table, keys, results.metric_names)
