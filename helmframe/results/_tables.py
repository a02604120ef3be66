"""Methods of `Results` for aggregated scores, and for the cost of completions."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from helmframe._schema import ORIGINAL, source_column
from helmframe.errors import ArgumentError, HelmframeError, HelmframeWarning, UnknownNameError
from helmframe.metrics.protocol import resolve_metrics
from helmframe.metrics.score import missing_reason, prepare_set_metric
from helmframe.models.budget import Price, Prices, estimated_tokens, read_prices
from helmframe.results._data import CLEAN, OVERLAPPING, Chunk, ResultsData, filter_equal, reader_of, with_overlap
from helmframe.results._early_stopping import refuse_stopped, with_sequences
from helmframe.results._pairing import ScoreTable, range_of
from helmframe.stats.aggregate_set import aggregate_set
from helmframe.stats.compare import gap
from helmframe.stats.failures import ERRORS_ALLOWED
from helmframe.stats.frames import map_chunks
from helmframe.stats.table import add_bounds, aggregate, check_table_errors, pivot_table, sort_table

DEFINITIONS = ("helmframe", "helm")
# The share of repeated instances above which an interval is marked.
DUPLICATES_ALLOWED = 0.01


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
    overlap: pl.DataFrame | None = None,
    errors: str = "drop",
    interval: str = "confidence",
) -> pl.DataFrame:
    """Aggregate scores, one row per group and metric, each with its interval.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(8)
    >>> results = plan.generate({"good": hf.models.oracle(), "bad": hf.models.echo()}).score()
    >>> results.table(metrics="exact_match").select("model", "value", "n", "chance").rows()
    [('good', 1.0, 8, 0.25), ('bad', 0.0, 8, 0.25)]

    Args:
        results: Results of a run.
        by: The columns whose values make a group: trial, subset, a source column of the scenario (`subject`), or a
            field of a grid (`shots`, `temperature`). The axes scenario, split, model, setting and perturbation make
            groups too if the run has several values of them, unless `pool` names them.
        metrics: The metrics; default all.
        ci: The level of the intervals.
        mean: The mean over subsets ("macro") or by size ("micro"); default the scenario's.
        pivot: One of the keys, whose values become columns that contain `value`.
        pool: The axes to average over: "model", ["model", "perturbation"]; True: all that are not in `by`.
        definition: "helm" returns HELM's values. HELM scores the output of highest log-probability among the n outputs
            of a request; "helmframe" averages all n. HELM averages a metric of a set (a calibration error, F1) over
            trials; "helmframe" treats all trials as one set: such values are biased by the size of the set.
        overlap: The frame of `plan.overlap(…)`, for `by="overlap"`: the groups are "contaminated" (an n-gram of the
            input or the references is in the corpus) and "clean".
        errors: "drop" excludes failed requests. "bounds" also adds the values if all of them had the worst or the best
            score, as in `hf.stats.table`: bound_low, bound_high, bound_ci_low and bound_ci_high.
        interval: "confidence", or "bayes" for posterior intervals, which suit small n, as in `hf.stats.table`. Metrics
            of a set have confidence intervals only.

    Returns:
        `by`, the other axes, metric and `STATS`, as a frame that is displayed as a short table; `.frame` has all
        columns. If axes are pooled, `pooled` lists them: "3 models, 2 perturbations".
        For metrics of choices, the baselines `chance` (guessing) and `majority` (the label that is right most often in
        its subset). For a run that stopped early (`until`): n_run and n_total (instances), and intervals that are valid
        at every look. If instances of different clusters have the same input and references: n_duplicates, the number
        of repeats, which make intervals too short; `interval` marks rows with more than 1 %. With `overlap`: gap,
        gap_low and gap_high, the score of contaminated instances minus that of clean ones, with the interval of two
        independent samples; null for metrics of a set.

    Raises:
        UnknownNameError: If a column, metric or axis is unknown.
        ArgumentError: If `ci`, `mean`, `definition` or `errors` is invalid, `by` and `pool` share a column, or
            `overlap` isn't that of these instances.
        NotComparableError: If the run stopped early, with `errors="bounds"`: its intervals include failures already.
    """
    check_table_errors(errors)
    if errors == "bounds":
        refuse_stopped(results.manifest, "bounds of failed requests")
    results = with_overlap(results, overlap)
    keys, pooled = reader_of(results).group_keys(by, pool)
    names = reader_of(results).metric_list(metrics)
    over_subsets = mean or reader_of(results).mean()
    # the repr after a table, and most charts, need rows of the same table
    if definition not in DEFINITIONS:
        raise ArgumentError.unknown_value(f"table(definition={definition!r})", definition, DEFINITIONS)
    if interval == "bayes":
        refuse_stopped(results.manifest, "a posterior interval")
    cache_key = repr((keys, ci, over_subsets, definition, errors, interval))
    table = reader_of(results).last_table.get(cache_key)
    if table is None or not {*names} <= {*table["metric"]}:
        table = _aggregate(results, keys, names, ci, over_subsets, definition, errors, interval)
        reader_of(results).last_table.clear()
        reader_of(results).last_table[cache_key] = table
    table = table.filter(pl.col("metric").is_in(names))
    if overlap is not None and OVERLAPPING in keys:
        table = _with_gap(results, table, keys, ci, over_subsets)
    source_names = {source_column(name): name for name in reader_of(results).names(by)}
    hidden = {name for name in keys if pivot is not None and pivot in (name, source_names.get(name))}
    table = reader_of(results).with_pooled(table, [key for key in keys if key not in hidden], pooled)
    table = reader_of(results).with_requested_names(table, by)
    return (
        ScoreTable(table) if pivot is None else pivot_table(table, [source_names.get(key, key) for key in keys], pivot)
    )


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
        HelmframeWarning: If more than 1 % of the completions have no score, because their request or the metric failed;
            the value excludes them.
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
        reason = _reason(results, name, scores.select(keys), failed) or "See results.rows()."
        raise ArgumentError(f"value({name!r}): nothing was scored. {reason}")
    if failed > ERRORS_ALLOWED * n:
        reason = _reason(results, name, scores.select(keys), failed, f" of {n:,}")
        warnings.warn(f"value({name!r}): {reason}", HelmframeWarning, stacklevel=2)
    return float(value)


class MissingScores(NamedTuple):
    """The number of a metric's rows without a score, and a sentence with the first reason."""

    n_rows: int
    text: str


def missing_scores(
    results: ResultsData, metrics: Sequence[str], where: Mapping[str, Any] | None = None
) -> dict[str, MissingScores]:
    """Return metric → how many of its rows have no score and the first reason, without failed requests.

    The result excludes metrics whose rows all have a score or a failed request.

    Args:
        results: Results of a run.
        metrics: The metrics to check.
        where: The values of columns that rows must have; default all rows.
    """
    reader = reader_of(results)
    values = where or {}
    matches = [pl.col("metric").is_in(list(metrics)), *(pl.col(key).eq_missing(pl.lit(values[key])) for key in values)]
    has_reason = pl.col("score").is_null() & pl.col("reason").is_not_null()

    def counts_of(chunk: Chunk) -> pl.DataFrame:
        rows = reader.with_source_columns(chunk.scores, list(values), chunk.completions).filter(matches)
        first = pl.col("reason").filter(has_reason).first()
        return rows.group_by("metric").agg(total=pl.len(), missing=has_reason.sum(), reason=first).collect()

    counts = (
        pl.concat(map_chunks(reader.chunks, counts_of))
        .group_by("metric", maintain_order=True)
        .agg(pl.col("total", "missing").sum(), pl.col("reason").drop_nulls().first())
        .filter(pl.col("missing") > 0)
    )
    rows_by_metric = {row["metric"]: row for row in counts.iter_rows(named=True)}
    return {
        name: _summary(name, results.manifest["metrics"][name]["level"], rows_by_metric[name])
        for name in metrics
        if name in rows_by_metric
    }


def shown_metrics(results: ResultsData) -> list[str]:
    """Return the metrics whose missing scores are shown: the main, judged and user-defined metrics.

    A bundled metric without a score usually lacks an input, such as log-probabilities.
    """
    main = results.main_metrics
    return [
        name
        for name, entry in results.manifest["metrics"].items()
        if entry["level"] != "set" and (name in main or "judge" in entry or not _is_bundled(name))
    ]


def _reason(results: ResultsData, name: str, group: pl.DataFrame, n_unscored: int, total: str = "") -> str:
    """Return why completions of one group, a frame of one row, have no score: the metric failed, or requests did."""
    reader = reader_of(results)
    parts = []
    if results.manifest["metrics"][name]["level"] != "set":
        columns = {reader.column(key): value for key, value in group.row(0, named=True).items()}
        for missing in missing_scores(results, [name], columns).values():
            parts.append(f"{missing.text}.")
            n_unscored -= missing.n_rows
    if n_unscored > 0:
        excluded = " and are excluded. Rerun the plan to retry them" if total else ""
        parts.append(f"{n_unscored:,}{total} requests failed{excluded}. results.errors() lists them.")
    return " ".join(parts)


def _aggregate(
    results: ResultsData,
    keys: Sequence[str],
    names: Sequence[str],
    ci: float,
    mean: str,
    definition: str,
    errors: str,
    interval: str,
) -> pl.DataFrame:
    """Return the scores of these metrics, aggregated by these columns."""
    frames = []
    helm = definition == "helm"
    per_row = [name for name in names if results.manifest["metrics"][name]["level"] != "set"]
    if per_row:
        chunks = reader_of(results).helm_scores(keys, per_row) if helm else reader_of(results).scores(keys)
        scores = [rows.filter(pl.col("metric").is_in(per_row)) for rows in chunks]
        fractions = reader_of(results).fractions()
        aggregated = aggregate(scores, keys, fractions=fractions, ci=ci, mean=mean, interval=interval)
        if errors == "bounds":
            ranges = {name: range_of(results.manifest["metrics"][name]) for name in per_row}
            aggregated = add_bounds(
                aggregated, scores, keys, ranges, ci=ci, mean=mean, fractions=fractions, interval=interval
            )
        frames.append(aggregated)
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
    table = _mark_duplicates(table, reader_of(results).count_duplicates(keys), keys)
    return reader_of(results).in_order(sort_table(table, [], results.metric_names), keys)


def _mark_duplicates(table: pl.DataFrame, counts: pl.DataFrame | None, keys: Sequence[str]) -> pl.DataFrame:
    """Return the table with the number of duplicates, and a mark on the intervals of rows with more than 1 %."""
    if counts is None:
        return table
    joined = (
        table.join(counts, on=keys, how="left", nulls_equal=True, maintain_order="left")
        if keys
        else table.join(counts, how="cross", maintain_order="left")
    ).with_columns(pl.col("n_duplicates").fill_null(0))
    is_marked = (pl.col("n_duplicates") > DUPLICATES_ALLOWED * pl.col("n")) & pl.col("ci_low").is_not_null()
    return joined.with_columns(
        interval=pl.when(is_marked).then(pl.format("{}, duplicates", "interval")).otherwise("interval")
    )


def _with_gap(results: ResultsData, table: pl.DataFrame, keys: Sequence[str], ci: float, mean: str) -> pl.DataFrame:
    """Return a table by overlap with the score of contaminated instances minus that of clean ones."""
    reader = reader_of(results)
    per_row = [name for name in table["metric"].unique() if results.manifest["metrics"][name]["level"] != "set"]
    columns = {"gap": "gap", "gap_low": "ci_low", "gap_high": "ci_high"}
    if not per_row or CLEAN not in table[OVERLAPPING]:
        return table.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in columns)
    scores = reader.with_source_columns(results.scores, keys).filter(pl.col("metric").is_in(per_row))
    axes = [key for key in keys if key != OVERLAPPING]
    gaps = gap(scores, OVERLAPPING, axes, reference=CLEAN, fractions=reader.fractions(), ci=ci, mean=mean)
    selected = gaps.select(*keys, "metric", **{name: pl.col(column) for name, column in columns.items()})
    return table.join(selected, on=[*keys, "metric"], how="left", nulls_equal=True, maintain_order="left")


def _summary(name: str, level: str, counts: Mapping[str, Any]) -> MissingScores:
    unit = "instances" if level == "instance" else "completions"
    return MissingScores(
        counts["missing"],
        f"{name}: {counts['missing']:,} of {counts['total']:,} {unit} have no score: {counts['reason']}; "
        "results.scores has the reason of each row",
    )


def _is_bundled(name: str) -> bool:
    try:
        (metric,) = resolve_metrics([name])
    except HelmframeError:  # results of another program, or of a metric that isn't registered here
        return False
    return str(getattr(metric.function, "__module__", "")).startswith("helmframe.")


def cost(
    results: ResultsData, by: str | Sequence[str] = ("role", "model"), *, prices: Prices | None = None
) -> pl.DataFrame:
    """Return the tokens and the cost of the completions, one row per group, in US dollars.

    The prices are those of the run. A completion that was read from the store costs nothing in this run.
    The requests of models of perturbations are not stored in results; `manifest["cost"]` includes them.

    >>> import helmframe as hf
    >>> model = hf.model(lambda prompt: hf.models.Completion("A", prompt_tokens=1000, output_tokens=10), name="m")
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(model).score(prices={"m": (2, 8)})
    >>> results.cost().select("role", "model", "n", "prompt_tokens", "cost").row(0)
    ('model', 'm', 4, 4000, 0.00832)

    Args:
        results: Results of a run.
        by: The columns whose values make a group: role (model or judge), model, scenario, or another key of the
            completions, such as setting or perturbation. An empty list returns the total of the run.
        prices: Prices in place of those of the run, as in `Plan.score`.

    Returns:
        `by`; n (distinct requests with a completion); n_stored (completions that were read from the store);
        n_estimated (requests without token counts: four characters count as one token); prompt_tokens,
        cached_prompt_tokens (null: unknown), reasoning_tokens (null: unknown) and output_tokens of all n requests; cost
        of the requests of this run; full_cost, of all n requests; and price, the source of the prices. The costs are
        null if the price of a model in the group is unknown.

    Raises:
        UnknownNameError: If a column of `by` is unknown.
    """
    names = [by] if isinstance(by, str) else list(by)
    for name in names:
        if name not in _COST_KEYS:
            raise UnknownNameError.among("column to group the cost by", name, _COST_KEYS)
    keys = list(dict.fromkeys([*names, "role", "model"]))
    of_run = {name: Price(**entry) for name, entry in results.manifest.get("prices", {}).items()}
    all_prices = {**read_prices(None), **of_run, **read_prices(prices, standing=False)}
    heads = results.prefixes.unique("prefix_id").select("prefix_id", head=pl.col("prefix").str.len_chars())
    frames = map_chunks(
        reader_of(results).chunks, lambda chunk: _token_sums(_completion_requests(chunk.completions, heads), keys)
    )
    frames.append(_token_sums(_verdict_requests(results.verdicts), keys))
    sums = _with_cost(pl.concat(frames).group_by(keys, maintain_order=True).agg(*map(_sum, _SUMS)), all_prices)
    groups = sums.group_by(names, maintain_order=True) if names else sums.group_by(pl.lit(0).alias("\0"))
    is_known = pl.col("price").is_not_null().all()
    table = groups.agg(
        *map(_sum, _COUNTS),
        *(pl.when(is_known).then(pl.col(name).sum()).alias(name) for name in ("cost", "full_cost")),
        price=pl.when(is_known).then(pl.col("price").unique(maintain_order=True).str.join(", ")),
    )
    return table.select(*names, *_COUNTS, "cost", "full_cost", "price")


_COST_KEYS = ("role", "model", "scenario", "subset", "setting", "trial", "perturbation", "perturbation_seed")
_TOKENS = ("prompt_tokens", "cached_prompt_tokens", "reasoning_tokens", "output_tokens")
_COUNTS = ("n", "n_stored", "n_estimated", *_TOKENS)
# The counts of all requests, and the tokens of those that were sent in this run.
_SENT = {f"sent_{name}": name for name in ("prompt_tokens", "cached_prompt_tokens", "output_tokens")}
_SUMS = (*_COUNTS, *_SENT)


def _completion_requests(completions: pl.LazyFrame, heads: pl.LazyFrame) -> pl.LazyFrame:
    """Return the completions with the columns that `_token_sums` reads.

    Args:
        completions: `COMPLETIONS`.
        heads: By prefix_id, the number of characters of the prefix as `head`.
    """
    return completions.join(heads, on="prefix_id", how="left", maintain_order="left").with_columns(
        role=pl.lit("model"),
        prompt_length=pl.sum_horizontal("head", pl.col("suffix").str.len_chars()),
        text="completion",
    )


def _verdict_requests(verdicts: pl.LazyFrame) -> pl.LazyFrame:
    """Return the verdicts with the columns that `_token_sums` reads; empty completions are not judged."""
    requests = verdicts.filter(pl.col("prompt").is_not_null())
    return requests.with_columns(
        role=pl.lit("judge"),
        model="judge",
        judged="model",
        prompt_length=pl.col("prompt").str.len_chars(),
        text="reply",
    )


def _token_sums(requests: pl.LazyFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Return the counts `_SUMS` of the distinct requests that did not fail, by group."""
    columns = requests.collect_schema().names()
    missing = {"cached_prompt_tokens", "reasoning_tokens"} - set(columns)
    rows = requests.with_columns(pl.lit(None, dtype=pl.Int64).alias(name) for name in missing)
    rows = rows.filter(pl.col("text").is_not_null())
    # imported results may lack ids; models that run at the same time may send the same request to a judge
    distinct = pl.struct("request_id", *(name for name in ("judged",) if name in columns)).is_first_distinct()
    rows = rows.filter(pl.col("request_id").is_null() | distinct)
    is_estimated = pl.any_horizontal(pl.col("prompt_tokens", "output_tokens").is_null())
    rows = rows.with_columns(
        pl.coalesce("prompt_tokens", estimated_tokens(pl.col("prompt_length"))).cast(pl.Int64).alias("prompt_tokens"),
        pl.coalesce("output_tokens", estimated_tokens(pl.col("text").str.len_chars()))
        .cast(pl.Int64)
        .alias("output_tokens"),
        n=pl.lit(1, dtype=pl.Int64),
        n_stored=pl.col("cached").fill_null(value=False).cast(pl.Int64),
        n_estimated=is_estimated.cast(pl.Int64),
    ).with_columns(pl.when(pl.col("n_stored") == 0).then(name).otherwise(0).alias(sent) for sent, name in _SENT.items())
    return rows.group_by(keys, maintain_order=True).agg(*map(_sum, _SUMS)).collect()


def _sum(name: str) -> pl.Expr:
    """Return the sum of a column; null if all values are null."""
    return pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name)


def _with_cost(sums: pl.DataFrame, prices: Mapping[str, Price]) -> pl.DataFrame:
    """Return the groups with cost, full_cost and price; null if the price of the model is unknown."""
    rows = []
    for row in sums.iter_rows(named=True):
        price = prices.get(row["model"])
        full = [row[name] or 0 for name in ("prompt_tokens", "output_tokens", "cached_prompt_tokens")]
        sent = [row[f"sent_{name}"] or 0 for name in ("prompt_tokens", "output_tokens", "cached_prompt_tokens")]
        rows.append((None, None, None) if price is None else (price.cost(*sent), price.cost(*full), price.source))
    schema = {"cost": pl.Float64, "full_cost": pl.Float64, "price": pl.String}
    return sums.hstack(pl.DataFrame(rows, schema=schema, orient="row"))
