"""Methods of `Results` for rows: requests, completions with scores, failed requests, and SQL."""

import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from helmframe._core.checks import is_integer
from helmframe._schema import (
    COMPLETIONS,
    CONVERSATION,
    OF_REQUEST,
    ROW_COLUMNS,
    SCORES,
    SOURCE_PREFIX,
    TURN,
    conform,
)
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.metrics.score import parse
from helmframe.results._data import INSTANCE, ResultsData, filter_equal, reader_of, with_scores
from helmframe.results._pairing import Failures
from helmframe.stats.frames import list_names

COMPLETION_ID = "completion_id"


def requests(results: ResultsData) -> pl.LazyFrame:
    """Return one row per request as sent, with `prompt`.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
    >>> results.requests.collect()["prompt"].str.contains("Answer").all()
    True
    """
    response_columns = [column.name for column in COMPLETIONS.adds if column.name not in ("output_index", "request_id")]
    rows = results.completions.drop(response_columns)
    prefixes = results.prefixes.unique("prefix_id")
    joined = rows.join(prefixes, on="prefix_id", how="left", maintain_order="left", validate="m:1")
    return joined.with_columns(prompt=pl.col("prefix") + pl.col("suffix")).drop("prefix")


def rows(results: ResultsData, *, metric: str | None = None, score: float | None = None, **equals: Any) -> pl.DataFrame:
    """Return wide rows, one per completion: input, prompt, completion, output, references, and one column per metric.

    Rows of conversations also have `turn` and `conversation`: `rows(turn=2)`. Rows with images have the column
    `images`, the sha256 of each image; `results.images` has thumbnails. A metric over an instance's outputs or options
    has the same score in each row of the instance.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(8)
    >>> results = plan.generate(hf.models.oracle()).score()
    >>> results.rows(score=1.0).height, results.rows(model="oracle").height
    (8, 8)

    Args:
        results: Results of a run.
        metric: The metric of `score`; default the main metric.
        score: Only rows with this score.
        **equals: column=value.

    Raises:
        UnknownNameError: If a metric or column is unknown.
        ArgumentError: If a value has another type than its column, or the metric is of a whole set.
    """
    turn = [name for name in (TURN, CONVERSATION) if name in results.completions.collect_schema()]
    parsed = parse(results.completions).join(
        results.prefixes.unique("prefix_id"), on="prefix_id", how="left", maintain_order="left"
    )
    columns = {"prompt": pl.col("prefix") + pl.col("suffix"), "images": image_digests(parsed)}
    frame = parsed.with_columns(**columns).select(*COMPLETIONS.key, *turn, *ROW_COLUMNS, "images").collect()
    if frame["images"].list.len().sum() == 0:
        frame = frame.drop("images")
    frame = with_scores(frame, results.scores.collect())
    unscored = [name for name in _row_metrics(results) if name not in frame.columns]
    frame = frame.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in unscored)
    frame = frame.drop(name for name in OF_REQUEST if frame[name].null_count() == frame.height)
    if score is not None:
        frame = filter_equal(frame, _row_metric(results, metric, "rows"), score)
    for column, value in equals.items():
        if column not in frame.columns:
            raise UnknownNameError.among("column of these rows", column, frame.columns)
        frame = filter_equal(frame, column, value)
    return frame


def to_frame(results: ResultsData, *, metrics: str | Sequence[str] | None = None) -> pl.DataFrame:
    """Return one flat table: the scores, each with the input, references, prompt and completion that it rates.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
    >>> results.to_frame(metrics="exact_match").select("metric", "score", "output").row(0)
    ('exact_match', 1.0, 'Perfect fifth')

    Args:
        results: Results of a run.
        metrics: The metrics; default all.

    Returns:
        `SCORES` with `completion_id`, input, perturbed_input, references, choices, prompt, completion, reasoning, error
        and the scenario's own columns. A score that joins an instance's outputs or options has none of the columns of a
        single completion: they are null. With a grid, `setting_fields` is a struct of its fields, such as `shots`.

    Raises:
        UnknownNameError: If a metric is unknown.
    """
    names = reader_of(results).metric_list(metrics)
    completions = numbered(results.completions.collect())
    scores = conform(results.scores.filter(pl.col("metric").is_in(names)).collect(), SCORES)
    rows = with_completion_ids(scores, completions)
    prefixes = results.prefixes.unique("prefix_id").collect()
    joined = completions.join(prefixes, on="prefix_id", how="left", maintain_order="left")
    joined = joined.with_columns(prompt=pl.col("prefix") + pl.col("suffix"))
    of_instance = ["input", "references", *(name for name in completions.columns if name.startswith(SOURCE_PREFIX))]
    of_completion = ["perturbed_input", "choices", "prompt", "completion", "reasoning", "error"]
    instances = joined.unique(INSTANCE, maintain_order=True).select(*INSTANCE, *of_instance)
    rows = rows.join(instances, on=INSTANCE, how="left", maintain_order="left")
    stored = joined.select(COMPLETION_ID, *of_completion)
    rows = rows.join(stored, on=COMPLETION_ID, how="left", maintain_order="left", validate="m:1")
    fields = reader_of(results).settings
    if fields.width == 1:
        return rows
    fields = fields.select("setting", setting_fields=pl.struct(pl.exclude("setting")))
    return rows.join(fields, on="setting", how="left", maintain_order="left", validate="m:1")


def numbered(completions: pl.DataFrame, first: int = 0) -> pl.DataFrame:
    """Return the completions with `completion_id`, a number from `first` on: equal prompts share a `request_id`."""
    return completions.with_columns(pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias(COMPLETION_ID))


def with_completion_ids(scores: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
    """Return the scores with the `completion_id` of their completion; null if a metric joins several completions.

    Args:
        scores: `SCORES`.
        completions: `COMPLETIONS` of the same instances, with `completion_id`.
    """
    keys = [name for name in COMPLETIONS.key if name in scores.columns]
    conformed = completions.with_columns(
        (pl.col(name) if name in completions.columns else pl.lit(None)).cast(scores.schema[name]).alias(name)
        for name in OF_REQUEST
    )
    ids = conformed.select(*keys, COMPLETION_ID)
    # a score of a whole request has no option or window
    whole = ids.with_columns(pl.lit(None, dtype=scores.schema[name]).alias(name) for name in OF_REQUEST)
    ids = pl.concat([ids, whole]).unique().unique(keys, keep="none")
    return scores.join(ids, on=keys, how="left", nulls_equal=True, maintain_order="left", validate="m:1")


def image_digests(completions: pl.LazyFrame) -> pl.Expr:
    """Return the sha256 of each image of a prompt, as a list of texts; null for prompts of text."""
    if "blocks" not in completions.collect_schema():
        return pl.lit(None, dtype=pl.List(pl.String))
    media = pl.element().filter(pl.element().struct.field("type") == "image").struct.field("media")
    names = pl.col("blocks").list.last().struct.field("content").list.eval(media.struct.field("name"))
    references = names.list.eval(pl.element().filter(pl.element().str.starts_with('{"at": ')))
    return references.list.eval(pl.element().str.extract(r'"sha256": "([0-9a-f]{64})"', 1))


def wrong(results: ResultsData, metric: str | None = None) -> pl.DataFrame:
    """Return the rows that score 0, by a metric of correctness.

    A score over an instance's outputs or options is listed once, in the first row of the instance.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(8)
    >>> results = plan.generate(hf.models.echo()).score()
    >>> results.wrong("exact_match").height
    8

    Args:
        results: Results of a run.
        metric: A metric of correctness, such as exact_match or option_accuracy; default the main metric.

    Raises:
        ArgumentError: If the metric does not measure correctness. Use `worst_outputs` for other metrics.
    """
    name = _row_metric(results, metric, "wrong")
    entry = results.manifest["metrics"][name]
    frame = _scored_rows(results, name)
    # another tool's metric declares no meaning; its values decide
    correctness = entry.get("correctness")
    if correctness is None:
        correctness = entry["higher_is_better"] is not False and frame[name].is_in([0.0, 1.0]).all()
    if not correctness:
        raise ArgumentError(
            f"wrong({name!r}): the metric doesn't measure correctness. Write results.worst_outputs(n=20, "
            f"metric={name!r})."
        )
    return frame.filter(pl.col(name) == 0.0)


def worst_outputs(
    results: ResultsData, n: int = 20, metric: str | None = None, *, higher_is_better: bool | None = None
) -> pl.DataFrame:
    """Return the n rows with the worst scores, the worst first.

    Rows with equal scores are in the order of their instances. Rows without a score are skipped. A score over an
    instance's outputs or options is listed once, in the first row of the instance.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").generate(hf.models.noisy(0.8)).score()
    >>> results.worst_outputs(2)["exact_match"].to_list()
    [0.0, 0.0]

    Args:
        results: Results of a run.
        n: The number of rows.
        metric: A metric of outputs or instances; default the main metric.
        higher_is_better: The direction of a metric that has none, or of another tool's.

    Raises:
        UnknownNameError: If the metric is unknown.
        ArgumentError: If n isn't an integer ≥ 1, the metric has no direction, or is of a whole set.
    """
    if not is_integer(n) or n < 1:
        raise ArgumentError(f"worst_outputs(n={n!r}): n must be an integer ≥ 1.")
    name = _row_metric(results, metric, "worst_outputs")
    declared = results.manifest["metrics"][name]["higher_is_better"]
    higher = declared if higher_is_better is None else higher_is_better
    if higher is None:
        raise ArgumentError(
            f"worst_outputs(metric={name!r}): the metric has no direction. Write higher_is_better=True or False."
        )
    return _scored_rows(results, name).sort(name, descending=not higher, maintain_order=True).head(n)


def errors(results: ResultsData) -> pl.DataFrame:
    """Return the failed requests with their errors; the next run retries them.

    It is displayed by model and message, the most frequent first.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(8)
    >>> results = plan.generate(hf.models.oracle()).score()
    >>> results.errors().height
    0

    Returns:
        scenario, instance_id, perturbation, perturbation_seed, setting, trial, model, output_index, attempts, error.
    """
    keys = [name for name in COMPLETIONS.key if name not in ("reference_index", "request_mode", "window_index")]
    failed = results.completions.filter(pl.col("error").is_not_null()).select(*keys, "attempts", "error").collect()
    return Failures(failed)


def sql(results: ResultsData, query: str) -> pl.DataFrame:
    """Run DuckDB SQL over the tables `completions`, `requests`, `scores` and `stats`.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(8)
    >>> results = plan.generate(hf.models.oracle()).score()
    >>> results.sql("SELECT avg(score) FROM scores WHERE metric = 'exact_match'").item()
    1.0

    Raises:
        ArgumentError: If DuckDB rejects the query.
    """
    import duckdb

    if not isinstance(query, str) or not query.strip():
        raise ArgumentError(f"sql({query!r}): query must be SQL, such as 'SELECT * FROM scores'.")
    tables = ("completions", "requests", "scores", "stats")
    with duckdb.connect() as connection:
        # otherwise DuckDB resolves unknown tables to Python variables
        connection.execute("SET python_enable_replacements = false")
        for name in tables:
            if re.search(rf"\b{name}\b", query):
                connection.register(name, getattr(results, name).collect().to_arrow())
        try:
            relation = connection.sql(query)
        except duckdb.Error as error:
            reason = str(error).partition("\n")[0]
            raise ArgumentError(
                f"sql(): DuckDB rejected the query: {reason}\nThe tables are {', '.join(tables)}."
            ) from None
        return pl.DataFrame() if relation is None else relation.pl()


def _row_metrics(results: ResultsData) -> list[str]:
    """Return the metrics that score rows."""
    return [name for name in results.metric_names if results.manifest["metrics"][name]["level"] != "set"]


def _row_metric(results: ResultsData, metric: str | None, method: str) -> str:
    """Return the name of a metric that rows have, default the main one."""
    (name,) = reader_of(results).metric_list(metric or results.main_metrics[0])
    if name not in _row_metrics(results):
        raise ArgumentError(
            f"{method}(metric={name!r}): this is a metric of the whole set, so rows have no score. Metrics with "
            f"scores of rows: {list_names(_row_metrics(results))}."
        )
    return name


def _scored_rows(results: ResultsData, metric: str) -> pl.DataFrame:
    """Return the rows that have a score of the metric, one row per score."""
    scores = results.scores.filter(pl.col("metric") == metric)
    key = [name for name in SCORES.key if name != "metric"]
    identifies = scores.select(pl.col(key).is_not_null().any()).collect().row(0, named=True)
    frame = rows(results).drop_nulls(metric)
    return frame.unique(
        [name for name in key if identifies[name] and name in frame.columns], keep="first", maintain_order=True
    )
