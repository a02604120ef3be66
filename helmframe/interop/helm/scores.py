"""HELM's per_instance_stats.json as `SCORES`, joined to the answers they are about."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from helmframe._schema import OF_REQUEST, ORIGINAL, SCORES
from helmframe.errors import SourceBrokenError
from helmframe.interop.helm.helm_stats import Row, row_of, rows_of
from helmframe.interop.helm.metric_specs import SEPARATE
from helmframe.interop.helm.runs import Run
from helmframe.interop.helm.state_reader import StatsKey
from helmframe.interop.helm.variants import Variant, parse_variant
from helmframe.metrics.score import parse

_KEY = ["instance_id", "perturbation", "perturbation_seed", "trial", "window_index"]
_ROWS = 100_000  # held as Python's objects, which take ten times the memory
_STATS = {
    "instance_id": pl.String,
    "perturbation": pl.String,
    "perturbation_seed": pl.Int64,
    "trial": pl.Int64,
    "window_index": pl.Int64,
    "metric": pl.String,
    "score": pl.Float64,
}


class Stats:
    """HELM's statistics of one run, instance by instance: `rows`, one per statistic; `variants` that it has.

    `of_several` are `rows_of` statistics of several requests, of which `rows` have the mean.
    """

    def __init__(self, run: Run, stats: Iterable[Mapping[str, Any]]) -> None:
        rows: list[tuple[Any, ...]] = []
        frames = [pl.DataFrame(schema=_STATS)]
        self.variants: list[Variant] = []
        several: list[Row] = []
        frames_of_several: list[pl.DataFrame] = []
        self.prompt_tokens: dict[StatsKey, int] = {}
        windows: Counter[tuple[str, str, int, int]] = Counter()
        for number, element in enumerate(stats):
            try:
                variant = parse_variant(element.get("perturbation"), run.variants)
                trial = int(element.get("train_trial_index") or 0)
                text = (run.instance(str(element["instance_id"])), variant.perturbation, variant.seed, trial)
                # a text longer than the model's window has several elements, in order
                key = (*text, windows[text] if run.models_language else None)
                windows[text] += 1
                for stat in element["stats"]:
                    mean = stat["sum"] / stat["count"] if stat["count"] else None
                    name = str(stat["name"]["name"])
                    rows.append((*key, _metric(run, name), mean))
                    if stat["count"] > 1:
                        several.append(row_of(stat, text[0], trial))
                    if name == "num_prompt_tokens" and mean is not None:
                        self.prompt_tokens[key] = int(mean)
            except (KeyError, TypeError, AttributeError) as error:
                problem = f"element {number} is not as HELM has it: {type(error).__name__} {error}."
                raise SourceBrokenError(problem) from None
            if len(rows) > _ROWS:
                frames.append(pl.DataFrame(rows, schema=_STATS, orient="row"))
                rows = []
            if len(several) > _ROWS:
                frames_of_several.append(rows_of(several))
                several = []
            if variant.perturbation != ORIGINAL and variant not in self.variants:
                self.variants.append(variant)
        self.of_several = pl.concat([*frames_of_several, rows_of(several)])
        self.rows = pl.concat([*frames, pl.DataFrame(rows, schema=_STATS, orient="row")])

    def scores(self, completions: pl.DataFrame) -> pl.DataFrame:
        """`SCORES` of some of the run's completions; an unchanged variant has its original's."""
        unchanged = ~pl.col("changed")
        answers = (
            parse(completions.lazy())
            .unique(_KEY, keep="first", maintain_order=True)
            .with_columns(
                _perturbation=pl.when(unchanged).then(pl.lit(ORIGINAL)).otherwise("perturbation"),
                _seed=pl.when(unchanged).then(0).otherwise("perturbation_seed"),
                # of options asked about one by one none is the answer
                output=pl.when(pl.col("reference_index").is_null()).then("output"),
                parsed=pl.when(pl.col("reference_index").is_null()).then("parsed"),
            )
        )
        joined = answers.join(
            self.rows.lazy(),
            left_on=["instance_id", "_perturbation", "_seed", "trial", "window_index"],
            right_on=_KEY,
            how="inner",
            nulls_equal=True,
            maintain_order="left_right",
        )
        several = pl.col("metric").str.contains(r"@\d+$") | pl.col("reference_index").is_not_null()
        none = {name: pl.lit(None) for name in ("reason", *OF_REQUEST) if name != "window_index"}
        scored = joined.with_columns(output_index=pl.when(~several).then(0), **none)
        return scored.select(pl.col(name).cast(dtype) for name, dtype in SCORES.schema.items()).collect()


def _metric(run: Run, name: str) -> str:
    """HELM's name, but for what it calls exact match where options are scored one by one."""
    return SEPARATE.get(run.adapter.method, name) if name == "exact_match" else name
