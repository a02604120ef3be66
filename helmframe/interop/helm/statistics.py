"""HELM's statistics: read as `HELM_STATS` and `SCORES`, and computed by HELM's rules as `stats.json`.

Source: HELM `metric.py` (evaluate, compute_worst_case_metrics), `statistic.py`, `basic_metrics.py`.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import polars as pl

from helmframe._core.yaml import reading
from helmframe._schema import HELM_STATS, OF_REQUEST, ORIGINAL, SCORES
from helmframe.interop.helm.metric_specs import SEPARATE
from helmframe.interop.helm.runs import RUN, Run
from helmframe.interop.helm.state_reader import StatsKey
from helmframe.interop.helm.variants import Variant, parse_variant
from helmframe.interop.imports import check_row
from helmframe.metrics.score import parse

CONTEXT = ["description", "split", "sub_split"]
# HELM computes these over all instances at once, so they have no worst case and no value per instance
OF_ALL = ("bbq_accuracy",)
_ROBUSTNESS, _FAIRNESS = (
    json.dumps(
        {"name": name, "robustness": name == "robustness", "fairness": name == "fairness", "computed_on": "worst"}
    )
    for name in ("robustness", "fairness")
)
_SUMS = ("count", "sum", "sum_squared", "min", "max")
Row: TypeAlias = dict[str, Any]
_KEY = ["instance_id", "perturbation", "perturbation_seed", "trial", "window_index"]
_ROWS = 100_000  # as Python objects, which take ten times the memory
_STATS = {
    "instance_id": pl.String,
    "perturbation": pl.String,
    "perturbation_seed": pl.Int64,
    "trial": pl.Int64,
    "window_index": pl.Int64,
    "metric": pl.String,
    "score": pl.Float64,
}


def stats_of(rows: pl.DataFrame, sets: pl.DataFrame, *, worst: bool) -> list[dict[str, Any]]:
    """Return HELM's `stats.json`.

    Args:
        rows: One per trial, instance, variant and statistic, or one per request of these: trial, instance_id,
            description (the perturbation as HELM describes it, as JSON; null for the original), robustness, fairness,
            split, sub_split, name, score.
        sets: The metrics of whole sets: trial, description, split, sub_split, name, score.
        worst: Whether HELM computes worst cases; it has none in language modelling.

    Returns:
        Means over instances, reduced to one value per trial; count, mean, min, max and (population) variance are over
        trials. Also the worst cases: the lowest score of an instance, whichever is better.
    """
    tables = [rows, *(_worst_cases(rows) if worst else ())]
    stacked = pl.concat([table.select("trial", *CONTEXT, "name", "score") for table in tables])
    means = stacked.group_by("trial", *CONTEXT, "name", maintain_order=True).agg(pl.col("score").mean())
    columns = means.columns
    derived = pl.concat([sets.select(columns), _derived(rows)])
    derived = derived.unique(["trial", *CONTEXT, "name"], keep="first", maintain_order=True)
    complete = pl.concat([means, _counted(rows), derived])
    gathered = complete.group_by(*CONTEXT, "name", maintain_order=True).agg("score")
    return [
        stat(name, split, sub_split, description, values)
        for description, split, sub_split, name, values in gathered.iter_rows()
    ]


def stat(
    name: str, split: str, sub_split: str | None, description: str | None, values: Sequence[float | None]
) -> dict[str, Any]:
    """Return a statistic in HELM's JSON format; nulls are ignored."""
    valid = [float(value) for value in values if value is not None and not math.isnan(value)]
    total, squared = math.fsum(valid), math.fsum(value * value for value in valid)
    low, high = (min(valid), max(valid)) if valid else (None, None)
    return summed(name, split, sub_split, description, (len(valid), total, squared, low, high))


def summed(
    name: str,
    split: str | None,
    sub_split: str | None,
    description: str | None,
    sums: tuple[int, float, float, float | None, float | None],
) -> dict[str, Any]:
    """Return a statistic in HELM's JSON format, from its count, sum, sum of squares, minimum and maximum."""
    metric_name: dict[str, Any] = {"name": name}
    if split is not None:
        metric_name["split"] = split
    if sub_split is not None:
        metric_name["sub_split"] = sub_split
    if description is not None:
        metric_name["perturbation"] = json.loads(description)
    count, total, squared, low, high = sums
    statistic: dict[str, Any] = {"name": metric_name, "count": count, "sum": total, "sum_squared": squared}
    if count:
        mean = total / count
        variance = max(squared / count - mean * mean, 0.0)
        statistic |= {"min": low, "max": high, "mean": mean}
        statistic |= {"variance": variance, "stddev": math.sqrt(variance)}
    return statistic


def _worst_cases(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the rows of worst cases: per perturbation and its original, and over all perturbations of a kind."""
    rows = rows.filter(~pl.col("name").is_in(OF_ALL))
    original = rows.filter(pl.col("description").is_null())
    perturbed = rows.filter(pl.col("description").is_not_null())
    keys = ["trial", "instance_id", "split", "sub_split", "name"]
    lowest = perturbed.group_by(*keys, "description", maintain_order=True).agg(pl.col("score").min())
    both = lowest.join(original.select(*keys, before="score"), on=keys, how="inner", nulls_equal=True)
    worst = both.group_by(*keys, "description", maintain_order=True).agg(pl.min("score", "before"))
    return [
        both.with_columns(_computed_on("original"), score="before"),
        worst.with_columns(_computed_on("worst"), score=pl.min_horizontal("score", "before")).drop_nulls("score"),
        _family(rows, keys, "robustness", _ROBUSTNESS),
        _family(rows, keys, "fairness", _FAIRNESS),
    ]


def _family(rows: pl.DataFrame, keys: Sequence[str], kind: str, description: str) -> pl.DataFrame:
    """Return the lowest score of each instance over the original and all variants of a kind, without nulls."""
    some = rows.filter(pl.col("description").is_null() | pl.col(kind))
    lowest = some.group_by(keys, maintain_order=True).agg(pl.col("score").min()).drop_nulls("score")
    return lowest.with_columns(description=pl.lit(description))


def _computed_on(value: str) -> pl.Expr:
    perturbed = '"computed_on": "perturbed"'
    return pl.col("description").str.replace(perturbed, f'"computed_on": "{value}"', literal=True)


def _counted(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the number of instances as rows."""
    counted = rows.group_by("trial", *CONTEXT, maintain_order=True).agg(score=pl.col("instance_id").n_unique())
    return counted.select("trial", *CONTEXT, name=pl.lit("num_instances"), score=pl.col("score").cast(pl.Float64))


def _derived(rows: pl.DataFrame) -> pl.DataFrame:
    """Return perplexity and related metrics, computed from sums over instances."""
    sums = rows.group_by("trial", *CONTEXT, maintain_order=True).agg(
        pl.col("score").filter(pl.col("name") == name).sum().alias(name)
        for name in ("logprob", "num_perplexity_tokens", "num_bytes")
    )
    logprob, tokens, size = (pl.col(name) for name in ("logprob", "num_perplexity_tokens", "num_bytes"))
    values: Mapping[str, pl.Expr] = {
        "perplexity": pl.when(tokens > 0).then((-logprob / tokens).exp()),
        "bits_per_byte": pl.when(size > 0).then(-logprob / size / math.log(2)),
        "logprob_per_byte": pl.when(size > 0).then(logprob / size),
    }
    wide = sums.select("trial", *CONTEXT, **values)
    long = wide.unpivot(index=["trial", *CONTEXT], variable_name="name", value_name="score")
    return long.drop_nulls("score").select("trial", *CONTEXT, "name", "score")


def row_of(statistic: Mapping[str, Any], instance_id: str | None = None, trial: int | None = None) -> Row:
    """Return a row of `HELM_STATS` without the columns that are constant in a run."""
    name = statistic["name"]
    perturbation = name.get("perturbation")
    row = {
        "instance_id": instance_id,
        "trial": trial,
        "description": None if perturbation is None else json.dumps(perturbation, ensure_ascii=False),
        "split": name.get("split"),
        "sub_split": name.get("sub_split"),
        "metric": str(name["name"]),
        **{field: statistic.get(field) for field in _SUMS},
    }
    check_row(row, HELM_STATS.schema)
    return row


def frame_of(run: Run, stats: Iterable[Mapping[str, Any]], instance_stats: pl.DataFrame) -> pl.DataFrame:
    """Return `HELM_STATS` of one run.

    Args:
        run: The run.
        stats: The elements of stats.json.
        instance_stats: `rows_of` statistics of single instances.

    Raises:
        SourceBrokenError: An element of stats.json isn't in HELM's format.
    """
    rows = []
    for number, statistic in enumerate(stats):
        with reading(f"element {number} of stats.json", "in HELM's format"):
            rows.append(row_of(statistic))
    columns = {name: pl.lit(getattr(run, name)) for name in RUN}
    return pl.concat([instance_stats, rows_of(rows)]).with_columns(**columns).select(list(HELM_STATS.schema))


def rows_of(rows: Sequence[Row]) -> pl.DataFrame:
    """Return rows as a frame with the columns of `HELM_STATS` that differ within a run."""
    schema = {name: dtype for name, dtype in HELM_STATS.schema.items() if name not in RUN}
    return pl.DataFrame(rows, schema=schema, orient="row", strict=False)


def statistic_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statistic of a row of `HELM_STATS` in HELM's JSON format."""
    count, total, squared, low, high = (row[field] for field in _SUMS)
    return summed(row["metric"], row["split"], row["sub_split"], row["description"], (count, total, squared, low, high))


class Stats:
    """HELM's per-instance statistics of one run: `rows`, one per statistic, and the `variants` of the run.

    `multi_request_stats` are `rows_of` statistics of several requests; `rows` have their means.
    """

    def __init__(self, run: Run, stats: Iterable[Mapping[str, Any]]) -> None:
        rows: list[tuple[Any, ...]] = []
        frames = [pl.DataFrame(schema=_STATS)]
        self.variants: list[Variant] = []
        multi_request_rows: list[Row] = []
        multi_request_frames: list[pl.DataFrame] = []
        self.prompt_tokens: dict[StatsKey, int] = {}
        windows: Counter[tuple[str, str, int, int]] = Counter()
        for number, element in enumerate(stats):
            with reading(f"element {number}", "in HELM's format"):
                variant = parse_variant(element.get("perturbation"), run.variants)
                trial = int(element.get("train_trial_index") or 0)
                text = (run.instance(str(element["instance_id"])), variant.perturbation, variant.seed, trial)
                # a text longer than the model's window has several elements, in order
                key = (*text, windows[text] if run.models_language else None)
                windows[text] += 1
                for statistic in element["stats"]:
                    mean = statistic["sum"] / statistic["count"] if statistic["count"] else None
                    name = str(statistic["name"]["name"])
                    rows.append((*key, _metric(run, name), mean))
                    if statistic["count"] > 1:
                        multi_request_rows.append(row_of(statistic, text[0], trial))
                    if name == "num_prompt_tokens" and mean is not None:
                        self.prompt_tokens[key] = int(mean)
            if len(rows) > _ROWS:
                frames.append(pl.DataFrame(rows, schema=_STATS, orient="row"))
                rows = []
            if len(multi_request_rows) > _ROWS:
                multi_request_frames.append(rows_of(multi_request_rows))
                multi_request_rows = []
            if variant.perturbation != ORIGINAL and variant not in self.variants:
                self.variants.append(variant)
        self.multi_request_stats = pl.concat([*multi_request_frames, rows_of(multi_request_rows)])
        self.rows = pl.concat([*frames, pl.DataFrame(rows, schema=_STATS, orient="row")])

    def scores(self, completions: pl.DataFrame) -> pl.DataFrame:
        """Return `SCORES` of some of the run's completions; unchanged variants have the scores of the original."""
        unchanged = ~pl.col("changed")
        outputs = (
            parse(completions.lazy())
            .unique(_KEY, keep="first", maintain_order=True)
            .with_columns(
                _perturbation=pl.when(unchanged).then(pl.lit(ORIGINAL)).otherwise("perturbation"),
                _seed=pl.when(unchanged).then(0).otherwise("perturbation_seed"),
                # options that are scored separately have no output
                output=pl.when(pl.col("reference_index").is_null()).then("output"),
                parsed=pl.when(pl.col("reference_index").is_null()).then("parsed"),
            )
        )
        joined = outputs.join(
            self.rows.lazy(),
            left_on=["instance_id", "_perturbation", "_seed", "trial", "window_index"],
            right_on=_KEY,
            how="inner",
            nulls_equal=True,
            maintain_order="left_right",
        )
        spans_outputs = pl.col("metric").str.contains(r"@\d+$") | pl.col("reference_index").is_not_null()
        none = {name: pl.lit(None) for name in ("reason", *OF_REQUEST) if name != "window_index"}
        scored = joined.with_columns(output_index=pl.when(~spans_outputs).then(0), **none)
        return scored.select(pl.col(name).cast(dtype) for name, dtype in SCORES.schema.items()).collect()


def _metric(run: Run, name: str) -> str:
    """Return HELM's name of a metric, except for exact match of options that are scored separately."""
    return SEPARATE.get(run.adapter.method, name) if name == "exact_match" else name
