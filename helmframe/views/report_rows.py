"""The instances that a report shows: where models disagree, what a perturbation turned, and the worst.

They are found in the scores alone; texts are read of those that are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.results import Results
from helmframe.results._data import reader_of
from helmframe.results.boards import competitor
from helmframe.views.diff import changes
from helmframe.views.display import number
from helmframe.views.html import LONGEST

INSTANCES = 10
TURNED = 20
MOST_ANSWERS = 16
_START = 300  # characters of a completion before what was read from it
_INSTANCE = ["scenario", "instance_id"]
_REQUEST = [*_INSTANCE, "setting", "trial", "model", "output_index"]
_VARIANT = ["perturbation", "perturbation_seed"]


@dataclass(frozen=True)
class Answer:
    """One answer: what tells it apart, its score, what was said, and the pieces of the input that were changed."""

    keys: Sequence[str]
    score: str
    answer: str
    change: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Instance:
    """One instance with its answers; `heads` names what tells them apart, `more` counts those left out."""

    name: str
    input: str
    right: str
    heads: Sequence[str]
    answers: Sequence[Answer]
    more: int

    @property
    def differs(self) -> bool:
        """Whether any of them was asked something else than the original."""
        return any(each.change for each in self.answers)


@dataclass(frozen=True)
class Told:
    """Instances, or rows, and a sentence on how they were chosen."""

    said: str
    instances: Sequence[Instance] = ()
    rows: Sequence[Mapping[str, Any]] = ()


def disagreed(results: Results) -> Told | None:
    """The instances whose scores differ most between models; None where there is one model only."""
    sides = ["model", "setting"]
    if results.completions.select(sides).unique().collect().height < 2:
        return None
    per_side = _of_mains(results).filter(pl.col("perturbation") == ORIGINAL)
    per_side = per_side.group_by(*_INSTANCE, "subset", *sides).agg(pl.col("good").mean()).drop_nulls("good")
    spread = per_side.group_by(*_INSTANCE, "subset").agg(n=pl.len(), spread=pl.col("good").max() - pl.col("good").min())
    found = spread.filter(pl.col("n") > 1).collect()
    differing = found.filter(pl.col("spread") > 0)
    picks = _first(differing.with_columns(low=-pl.col("spread")))
    said = f"Models score differently on {differing.height:,} of {found.height:,} instances, asked as they are."
    if picks.height < differing.height:
        said += f" The {picks.height} that differ most:"
    return Told(said, _instances(results, picks, pl.col("perturbation") == ORIGINAL))


def worst(results: Results) -> Told:
    """The instances with the lowest mean score over all models and variants."""
    scored = _of_mains(results).group_by(*_INSTANCE, "subset").agg(low=pl.col("good").mean()).drop_nulls("low")
    found = scored.collect()
    said = "The lowest mean of the main metric over all models and variants; requests that failed do not count."
    return Told(said if found.height else "Nothing was scored.", _instances(results, _first(found)))


def turned(results: Results) -> Told | None:
    """The answers that a perturbation made worse, with the change; None where nothing was perturbed."""
    placebos = [name for name, about in reader_of(results).perturbation_kinds().items() if about.get("repeats")]
    scores = _of_mains(results).group_by(*_REQUEST, *_VARIANT).agg(pl.col("good").mean())
    originals = scores.filter(pl.col("perturbation") == ORIGINAL).select(*_REQUEST, before="good")
    variants = scores.filter(~pl.col("perturbation").is_in([ORIGINAL, *placebos]))
    pairs = variants.join(originals, on=_REQUEST, how="inner", nulls_equal=True).drop_nulls(["good", "before"])
    changes = pairs.with_columns(change=pl.col("good") - pl.col("before")).collect()
    if changes.is_empty():
        return None
    worse, better = changes.filter(pl.col("change") < 0), changes.filter(pl.col("change") > 0).height
    # by turns, so that one perturbation does not fill the page
    place = pl.int_range(pl.len()).over("perturbation", "model")
    order = worse.sort("change", *_REQUEST, *_VARIANT).with_columns(place=place).sort("place", *_VARIANT, "model")
    picks = order.head(TURNED)
    sentence = f"Of {changes.height:,} answers to perturbed inputs {worse.height:,} score worse than the original's, "
    sentence += f"{better:,} better."
    if picks.height < worse.height:
        sentence += f" {picks.height} of those that fell most:"
    return Told(sentence, rows=[_turn(row) for row in _flips(results, picks)])


def _first(found: pl.DataFrame) -> pl.DataFrame:
    """The lowest of each scenario by turns; of those that are equal one of each subset by turns."""
    turn, place = (pl.int_range(pl.len()).over("scenario", *more) for more in (("subset", "low"), ()))
    ordered = found.sort("low", *_INSTANCE).with_columns(turn=turn).sort("low", "turn", *_INSTANCE)
    return ordered.with_columns(place=place).sort("place", "scenario").head(INSTANCES)


def _turn(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("instance_id", "perturbation", "completion", "perturbed_completion")},
        "model": competitor(row["model"], row["setting"]),
        "score": f"{number(row['score'])} → {number(row['perturbed_score'])}",
        "change": _change(row),
    }


def _flips(results: Results, picks: pl.DataFrame) -> list[dict[str, Any]]:
    """What `results.flips` tells of the picks, in their order."""
    if picks.is_empty():
        return []
    some = _only(results, picks)
    keys = [*_REQUEST, *_VARIANT]
    frames = []
    for metric in set(_mains(results).values()):
        of = picks.filter(pl.col("scenario").is_in([name for name, main in _mains(results).items() if main == metric]))
        flips = pl.DataFrame(some.flips(metric=metric)).drop("diff")
        frames.append(of.select(*keys, "place").join(flips, on=keys, how="inner", nulls_equal=True))
    return pl.concat(frames).unique(keys, maintain_order=True).sort("place", *_VARIANT, "model").to_dicts()


def _instances(results: Results, picks: pl.DataFrame, of: pl.Expr | None = None) -> list[Instance]:
    """The picked instances in order, with their answers, or those that `of` leaves."""
    if picks.is_empty():
        return []
    rows = _only(results, picks).rows()
    rows = rows if of is None else rows.filter(of)
    names = ["model", "setting", *_VARIANT, "trial", "output_index"]
    heads = [name for name in names if name == "model" or rows[name].n_unique() > 1]
    first = pl.col("perturbation") != ORIGINAL
    by_instance = rows.sort(first, *names, maintain_order=True).partition_by(_INSTANCE, as_dict=True)
    mains = _mains(results)
    return [
        _instance(by_instance[key].to_dicts(), heads, mains[str(key[0])])
        for key in picks.select(_INSTANCE).iter_rows()
        if key in by_instance
    ]


def _instance(rows: list[dict[str, Any]], heads: Sequence[str], metric: str) -> Instance:
    row = rows[0]
    answers = [
        Answer([str(each[head]) for head in heads], number(each.get(metric)), _answer(each), _change(each))
        for each in rows[:MOST_ANSWERS]
    ]
    return Instance(
        name=f"{row['scenario']}, {row['instance_id']}",
        input=row["input"] or "",
        right=" | ".join(each[:LONGEST] for each in row["correct"] or []) or "–",
        heads=heads,
        answers=answers,
        more=max(0, len(rows) - MOST_ANSWERS),
    )


def _answer(row: Mapping[str, Any]) -> str:
    """The completion, and what was read from it where that is something else."""
    if row["completion"] is None:
        return f"failed: {row['error']}"
    read = row["output"]
    same = read is None or read.strip() == row["completion"].strip()
    if same:
        return str(row["completion"])
    start = row["completion"][:_START]
    return f"{start}{'…' if len(start) < len(row['completion']) else ''} → {read}"


def _change(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    before, after = row["input"] or "", row["perturbed_input"] or ""
    return [] if before == after else list(changes(before[:LONGEST], after[:LONGEST]))


def _only(results: Results, picks: pl.DataFrame) -> Results:
    """The results of some instances."""
    each = [
        (pl.col("scenario") == name) & pl.col("instance_id").is_in(some["instance_id"].unique().to_list())
        for (name,), some in picks.partition_by("scenario", as_dict=True).items()
    ]
    of = pl.any_horizontal(each)
    return replace(results, completions=results.completions.filter(of), scores=results.scores.filter(of), path=None)


def _mains(results: Results) -> dict[str, str]:
    """Scenario → its main metric, or the first that has a score for each answer or instance."""
    known = [name for name, about in results.manifest["metrics"].items() if about["level"] != "set"]
    mains = {name: about["main"]["metric"] for name, about in results.manifest["scenarios"].items()}
    return {name: main if main in known else known[0] for name, main in mains.items() if known}


def _of_mains(results: Results) -> pl.LazyFrame:
    """The scores of main metrics, as `good`: higher is better."""
    each = [(pl.col("scenario") == name) & (pl.col("metric") == main) for name, main in _mains(results).items()]
    rows = results.scores.filter(pl.any_horizontal(each) if each else pl.lit(value=False))
    lower = [name for name, higher in reader_of(results).directions().items() if not higher]
    sign = pl.when(pl.col("metric").is_in(lower)).then(-1.0).otherwise(1.0)
    return rows.select(*_REQUEST, "subset", *_VARIANT, good=pl.col("score").fill_nan(None) * sign)
