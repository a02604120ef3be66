"""Instances of a report: where models disagree, where a perturbation changed the score, and the worst.

They are selected by their scores; texts are read only for the instances shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.models.prompts import as_messages
from helmframe.results import Results
from helmframe.results._boards import competitor_name
from helmframe.results._data import reader_of
from helmframe.views.diff import changes
from helmframe.views.display import number
from helmframe.views.html import LONGEST, Thumbnail, thumbnails

INSTANCES = 10
WORSENED = 20
MOST_COMPLETIONS = 16
_START = 300  # characters of a completion before the parsed output
_INSTANCE = ["scenario", "instance_id"]
_REQUEST = [*_INSTANCE, "setting", "trial", "model", "output_index"]
_VARIANT = ["perturbation", "perturbation_seed"]


@dataclass(frozen=True)
class CompletionRow:
    """One completion: its keys, its score, its text, and the changed pieces of the input."""

    keys: Sequence[str]
    score: str
    text: str
    change: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Instance:
    """One instance with its completions; `heads` names their keys, `more` counts the completions not shown."""

    name: str
    input: str
    right: str
    images: Sequence[Thumbnail]
    heads: Sequence[str]
    completions: Sequence[CompletionRow]
    more: int

    @property
    def differs(self) -> bool:
        """Return whether any input was perturbed."""
        return any(row.change for row in self.completions)


@dataclass(frozen=True)
class ReportSection:
    """A section of the report: instances or rows, and a text on how they were selected."""

    text: str
    instances: Sequence[Instance] = ()
    rows: Sequence[Mapping[str, Any]] = ()


def disagreements(results: Results) -> ReportSection | None:
    """Return the instances whose scores differ most between models, or None if there is only one model."""
    sides = ["model", "setting"]
    if results.completions.select(sides).unique().collect().height < 2:
        return None
    per_side = _main_scores(results).filter(pl.col("perturbation") == ORIGINAL)
    per_side = per_side.group_by(*_INSTANCE, "subset", *sides).agg(pl.col("good").mean()).drop_nulls("good")
    spread = per_side.group_by(*_INSTANCE, "subset").agg(n=pl.len(), spread=pl.col("good").max() - pl.col("good").min())
    scored = spread.filter(pl.col("n") > 1).collect()
    differing = scored.filter(pl.col("spread") > 0)
    picks = _pick(differing.with_columns(low=-pl.col("spread")))
    text = f"Models score differently on {differing.height:,} of {scored.height:,} original instances."
    if picks.height < differing.height:
        text += f" The {picks.height} largest differences:"
    return ReportSection(text, _instances(results, picks, pl.col("perturbation") == ORIGINAL))


def worst(results: Results) -> ReportSection:
    """Return the instances with the lowest mean score over all models and variants."""
    scored = _main_scores(results).group_by(*_INSTANCE, "subset").agg(low=pl.col("good").mean()).drop_nulls("low")
    means = scored.collect()
    text = "The lowest means of the main metric over all models and variants. Requests that failed are excluded."
    return ReportSection(text if means.height else "No instance has a score.", _instances(results, _pick(means)))


def worsened(results: Results) -> ReportSection | None:
    """Return the completions that a perturbation made worse, with the change, or None without perturbations."""
    placebos = [name for name, metadata in reader_of(results).perturbation_entries().items() if metadata.get("repeats")]
    scores = _main_scores(results).group_by(*_REQUEST, *_VARIANT).agg(pl.col("good").mean())
    originals = scores.filter(pl.col("perturbation") == ORIGINAL).select(*_REQUEST, before="good")
    variants = scores.filter(~pl.col("perturbation").is_in([ORIGINAL, *placebos]))
    pairs = variants.join(originals, on=_REQUEST, how="inner", nulls_equal=True).drop_nulls(["good", "before"])
    changes = pairs.with_columns(change=pl.col("good") - pl.col("before")).collect()
    if changes.is_empty():
        return None
    worse, better = changes.filter(pl.col("change") < 0), changes.filter(pl.col("change") > 0).height
    # round-robin, so that one perturbation does not fill the page
    position = pl.int_range(pl.len()).over("perturbation", "model")
    order = (
        worse.sort("change", *_REQUEST, *_VARIANT).with_columns(position=position).sort("position", *_VARIANT, "model")
    )
    picks = order.head(WORSENED)
    text = f"{worse.height:,} of {changes.height:,} completions of perturbed inputs score worse than the original, "
    text += f"{better:,} score better."
    if picks.height < worse.height:
        text += f" {picks.height} of the largest drops:"
    return ReportSection(text, rows=[_worsened_row(row) for row in _flips(results, picks)])


def _pick(means: pl.DataFrame) -> pl.DataFrame:
    """Return the lowest scores, round-robin over scenarios; ties are taken round-robin over subsets."""
    turn, position = (pl.int_range(pl.len()).over("scenario", *more) for more in (("subset", "low"), ()))
    ordered = means.sort("low", *_INSTANCE).with_columns(turn=turn).sort("low", "turn", *_INSTANCE)
    return ordered.with_columns(position=position).sort("position", "scenario").head(INSTANCES)


def _worsened_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("instance_id", "perturbation", "completion", "perturbed_completion")},
        "model": competitor_name(row["model"], row["setting"]),
        "score": f"{number(row['score'])} → {number(row['perturbed_score'])}",
        "change": _change(row),
    }


def _flips(results: Results, picks: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of `results.flips` for the picks, in their order."""
    if picks.is_empty():
        return []
    picked = _select(results, picks)
    keys = [*_REQUEST, *_VARIANT]
    frames = []
    for metric in set(_main_metrics(results).values()):
        metric_picks = picks.filter(
            pl.col("scenario").is_in([name for name, main in _main_metrics(results).items() if main == metric])
        )
        flips = pl.DataFrame(picked.flips(metric=metric)).drop("diff")
        frames.append(metric_picks.select(*keys, "position").join(flips, on=keys, how="inner", nulls_equal=True))
    return pl.concat(frames).unique(keys, maintain_order=True).sort("position", *_VARIANT, "model").to_dicts()


def _instances(results: Results, picks: pl.DataFrame, condition: pl.Expr | None = None) -> list[Instance]:
    """Return the picked instances in order, with their completions; `of` filters the completions."""
    if picks.is_empty():
        return []
    rows = _select(results, picks).rows()
    rows = rows if condition is None else rows.filter(condition)
    names = ["model", "setting", *_VARIANT, "trial", "output_index"]
    heads = [name for name in names if name == "model" or rows[name].n_unique() > 1]
    first = pl.col("perturbation") != ORIGINAL
    by_instance = rows.sort(first, *names, maintain_order=True).partition_by(_INSTANCE, as_dict=True)
    mains = _main_metrics(results)
    return [
        _instance(by_instance[key].to_dicts(), heads, mains[str(key[0])], results.images)
        for key in picks.select(_INSTANCE).iter_rows()
        if key in by_instance
    ]


def _instance(rows: list[dict[str, Any]], heads: Sequence[str], metric: str, images: pl.LazyFrame) -> Instance:
    row = rows[0]
    completions = [
        CompletionRow(
            [str(record[head]) for head in heads], number(record.get(metric)), _completion_text(record), _change(record)
        )
        for record in rows[:MOST_COMPLETIONS]
    ]
    return Instance(
        name=f"{row['scenario']}, {row['instance_id']}",
        input=_shown_input(rows),
        right=" | ".join(record[:LONGEST] for record in row["correct"] or []) or "–",
        images=thumbnails(images, row.get("images") or []),
        heads=heads,
        completions=completions,
        more=max(0, len(rows) - MOST_COMPLETIONS),
    )


def _shown_input(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the input of an instance; of a later turn, the conversation as the first model received it."""
    row = rows[0]
    if (row.get("turn") or 1) == 1:
        return row["input"] or ""
    messages = as_messages(row["prompt"])
    text = row["prompt"]
    if messages is not None:
        text = "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)
    several = len({record["model"] for record in rows}) > 1
    return f"Conversation with {row['model']}:\n\n{text}" if several else text


def _completion_text(row: Mapping[str, Any]) -> str:
    """Return the completion, followed by the parsed output if it differs."""
    if row["completion"] is None:
        return f"failed: {row['error']}"
    output = row["output"]
    same = output is None or output.strip() == row["completion"].strip()
    if same:
        return str(row["completion"])
    start = row["completion"][:_START]
    return f"{start}{'…' if len(start) < len(row['completion']) else ''} → {output}"


def _change(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    before, after = row["input"] or "", row["perturbed_input"] or ""
    return [] if before == after else list(changes(before[:LONGEST], after[:LONGEST]))


def _select(results: Results, picks: pl.DataFrame) -> Results:
    """Return the results of the picked instances."""
    conditions = [
        (pl.col("scenario") == name) & pl.col("instance_id").is_in(picked["instance_id"].unique().to_list())
        for (name,), picked in picks.partition_by("scenario", as_dict=True).items()
    ]
    condition = pl.any_horizontal(conditions)
    return replace(
        results, completions=results.completions.filter(condition), scores=results.scores.filter(condition), path=None
    )


def _main_metrics(results: Results) -> dict[str, str]:
    """Map scenarios to their main metric, else to the first metric with a score per output or instance."""
    scored = [name for name, metadata in results.manifest["metrics"].items() if metadata["level"] != "set"]
    mains = {name: metadata["main"]["metric"] for name, metadata in results.manifest["scenarios"].items()}
    return {name: main if main in scored else scored[0] for name, main in mains.items() if scored}


def _main_scores(results: Results) -> pl.LazyFrame:
    """Return the scores of main metrics in the column `good`, where higher is better."""
    conditions = [
        (pl.col("scenario") == name) & (pl.col("metric") == main) for name, main in _main_metrics(results).items()
    ]
    rows = results.scores.filter(pl.any_horizontal(conditions) if conditions else pl.lit(value=False))
    lower = [name for name, higher in reader_of(results).directions().items() if not higher]
    sign = pl.when(pl.col("metric").is_in(lower)).then(-1.0).otherwise(1.0)
    return rows.select(*_REQUEST, "subset", *_VARIANT, good=pl.col("score").fill_nan(None) * sign)
