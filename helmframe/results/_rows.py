"""Methods of `Results` for rows: requests, completions with scores, failed requests, and SQL."""

import re
from typing import Any

import polars as pl

from helmframe._core.checks import is_integer
from helmframe._schema import COMPLETIONS, CONVERSATION, OF_REQUEST, ROW_COLUMNS, SCORES, TURN
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.metrics.score import parse
from helmframe.results._data import ResultsData, filter_equal, reader_of, with_scores
from helmframe.stats.frames import list_names


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

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(8)
    >>> results = plan.generate(hf.models.oracle()).score()
    >>> results.errors().height
    0

    Returns:
        scenario, instance_id, perturbation, perturbation_seed, setting, trial, model, output_index, attempts, error.
    """
    keys = (
        "scenario",
        "instance_id",
        "perturbation",
        "perturbation_seed",
        "setting",
        "trial",
        "model",
        "output_index",
    )
    return results.completions.filter(pl.col("error").is_not_null()).select(*keys, "attempts", "error").collect()


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
