"""HELM's statistics of a run, from those of its instances: `stats.json`, by HELM's rules.

Source: HELM `metric.py` (evaluate, compute_worst_case_metrics), `statistic.py`, `basic_metrics.py`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

CONTEXT = ["description", "split", "sub_split"]
# HELM computes these over all instances at once, so they have no worst case and no value per instance
OF_ALL = ("bbq_accuracy",)
_ROBUSTNESS, _FAIRNESS = (
    json.dumps(
        {"name": name, "robustness": name == "robustness", "fairness": name == "fairness", "computed_on": "worst"}
    )
    for name in ("robustness", "fairness")
)


def stats_of(rows: pl.DataFrame, sets: pl.DataFrame, *, worst: bool) -> list[dict[str, Any]]:
    """HELM's `stats.json`.

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
    """One statistic as HELM's JSON has it; nulls count for nothing."""
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
    """Return a statistic as HELM's JSON has it, of its count, sum, sum of squares, minimum and maximum."""
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
    """Return the rows of worst cases: per perturbation beside the original, and over those of a kind."""
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
    """The lowest score of each instance over the original and all variants of a kind; none without a score."""
    some = rows.filter(pl.col("description").is_null() | pl.col(kind))
    lowest = some.group_by(keys, maintain_order=True).agg(pl.col("score").min()).drop_nulls("score")
    return lowest.with_columns(description=pl.lit(description))


def _computed_on(value: str) -> pl.Expr:
    perturbed = '"computed_on": "perturbed"'
    return pl.col("description").str.replace(perturbed, f'"computed_on": "{value}"', literal=True)


def _counted(rows: pl.DataFrame) -> pl.DataFrame:
    """How many instances there are."""
    counted = rows.group_by("trial", *CONTEXT, maintain_order=True).agg(score=pl.col("instance_id").n_unique())
    return counted.select("trial", *CONTEXT, name=pl.lit("num_instances"), score=pl.col("score").cast(pl.Float64))


def _derived(rows: pl.DataFrame) -> pl.DataFrame:
    """Perplexity and its like: of sums over instances."""
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
