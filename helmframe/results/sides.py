"""Two results compared, or two folders of some: what differs between them, and by how much they differ."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from helmframe.errors import ArgumentError, NotComparableError, SourceMissingError, StoreError, UnknownNameError
from helmframe.results._data import ResultsData, reader_of
from helmframe.results._early_stopping import refuse
from helmframe.results._pairing import Comparison, ScoringOptions, paired, rename_instances, same_instances
from helmframe.results._perturbed import worst_sides

# What two results may differ in, and the column of their completions that says it.
_AXES = {"model": "model", "prompt": "adapter_id", "decoding": "decoding"}
# Those whose values are paired by name where both sides have them.
_NAMED = ("model", "setting", "perturbation")
_Reader = TypeVar("_Reader", bound=Callable[..., ResultsData])
# Ours first; what reads other tools' results stands above ours, and adds itself.
_READERS: list[Callable[..., ResultsData]] = []
_TOLD = ["scenario", "scenario_version", "model", "setting", "perturbation", "adapter_id", "decoding"]


def compare_results(
    a: ResultsData | str | Path,
    b: ResultsData | str | Path,
    *,
    axis: str | Sequence[str] = (),
    metrics: str | Sequence[str] | None = None,
    labels: tuple[str, str] | None = None,
    worst: int | str | None = None,
    errors: str = "refuse",
    mean: str | None = None,
    higher_is_better: Mapping[str, bool] | None = None,
    ci: float = 0.95,
) -> "Comparison":
    """A − b over the instances that both answered, with interval and test; what differs is in the column `differs`.

    Instances are the same by their id where both runs read the same version of a scenario, else by their content: their
    input and references. Those with the same input and other references are not paired, and `differs` counts them. What
    both have under one name (a model, a setting, a perturbation) is compared name by name, and what one of them alone
    has is left out; where they share no name, each must have one.

    Args:
        a: results; the folder of some; or a folder of HELM's, lm-eval's or Inspect's.
        b: the same.
        axis: what may differ: model, prompt, decoding. Default: exactly one of them, whichever it is.
        metrics: default the main metric.
        labels: names of the sides; default the models where these differ, else "a" and "b".
        worst: compare worst cases, as in `Results.compare`.
        errors: What to do where more than 1 % of a side's requests failed: "refuse"; "drop" these instances on both
            sides; "worst" counts a failure as the metric's worst bound.
        mean: over subsets, "macro" or "micro"; default the scenario's own.
        higher_is_better: metric → direction, for metrics of other tools that we don't know.
        ci: level of the interval.

    Raises:
        NotComparableError: more than one thing differs and was not named, nothing is shared, or too many requests
            failed.
        StoreError: a folder holds no results.
    """
    one, two = loaded(a), loaded(b)
    refuse(one.manifest, "a comparison")
    refuse(two.manifest, "a comparison")
    said = [axis] if isinstance(axis, str) else list(axis)
    for each in said:
        if each not in _AXES:
            raise UnknownNameError.among("axis of comparison", each, _AXES)
    pair = _Pair.of(one, two)
    if len(pair.differs) > 1 and set(pair.differs) - set(said):
        raise NotComparableError(
            f"these differ in {' and '.join(pair.differs)}; a difference could come from any of them. "
            f"If that is meant: hf.compare(a, b, axis={pair.differs!r})."
        )
    names = labels or pair.labels()
    if names[0] == names[1]:
        raise ArgumentError(f"labels={names!r}: the two sides need two names.")
    read = _read(pair.one, pair.two, metrics, mean, higher_is_better)
    sides = {names[0]: pair.one.scores, names[1]: pair.two.scores}
    for column, values in pair.shared.items():
        # worst cases are over all variants, and check that these are the same
        if column != "perturbation" or worst is None:
            sides = {name: rows.filter(pl.col(column).is_in(values)) for name, rows in sides.items()}
    if worst is not None:
        scored = {name: rows.filter(pl.col("metric").is_in(list(read.metrics))) for name, rows in sides.items()}
        sides = worst_sides(
            scored,
            worst,
            read.higher_is_better,
            {**reader_of(one).perturbation_kinds(), **reader_of(two).perturbation_kinds()},
        )
    table = paired(
        pl.concat([scores.with_columns(side=pl.lit(name)) for name, scores in sides.items()], how="diagonal_relaxed"),
        "side",
        list(pair.shared),
        base=names[1],
        read=read,
        errors=errors,
        ci=ci,
    )
    return Comparison(table.with_columns(differs=pl.lit(pair.told())))


@dataclass(frozen=True)
class _Pair:
    """Two results whose instances have one name, what both have by name (`shared`), what differs, and notes."""

    one: ResultsData
    two: ResultsData
    shared: Mapping[str, list[str]]
    differs: list[str]
    notes: list[str]
    about: tuple[pl.DataFrame, pl.DataFrame]

    @classmethod
    def of(cls, one: ResultsData, two: ResultsData) -> "_Pair":
        about = [_told(each) for each in (one, two)]
        changed = _changed(*about)
        foreign = any("tool" in each.manifest for each in (one, two))
        unlike = 0
        if changed or foreign:
            two, unlike = _called_as(one, two, foreign=foreign)
            about[1] = _told(two)
        if not set(about[0]["scenario"]) & set(about[1]["scenario"]):
            raise NotComparableError(
                f"no scenario is on both sides: {_named(about[0], 'scenario')}; {_named(about[1], 'scenario')}."
            )
        shared: dict[str, list[str]] = {}
        alone: list[str] = []
        for column in ("scenario", *_NAMED):
            both = sorted(set(about[0][column]) & set(about[1][column]))
            if both:
                shared[column] = both
                alone += [f"{column} {name!r}" for name in sorted({*about[0][column], *about[1][column]} - {*both})]
                about = [each.filter(pl.col(column).is_in(both)) for each in about]
            elif max(each[column].n_unique() for each in about) > 1:
                raise NotComparableError(
                    f"no {column} is on both sides, and there are several: {_named(about[0], column)}; "
                    f"{_named(about[1], column)}. Compare runs of one {column} each, or results.compare({column!r})."
                )
        differs = [name for name, column in _AXES.items() if _values(about[0], column) != _values(about[1], column)]
        notes = ["other versions, paired by content"] if changed and not foreign else []
        notes += [f"{unlike:,} instances not paired: their references differ"] if unlike else []
        notes += [f"one side alone has {', '.join(alone)}"] if alone else []
        return cls(one, two, shared, differs, notes, (about[0], about[1]))

    def told(self) -> str:
        """What differs, and what else there is to know of the pairing."""
        return "; ".join([", ".join(self.differs) or "nothing", *self.notes])

    def labels(self) -> tuple[str, str]:
        if "model" in self.differs:
            return str(self.about[0]["model"][0]), str(self.about[1]["model"][0])
        return "a", "b"


def reader(read: _Reader) -> _Reader:
    """A decorator: this reads the folders of a tool, and says `SourceMissingError` of those that are not its."""
    _READERS.append(read)
    return read


def loaded(said: object) -> ResultsData:
    """Results as they are, or of a folder: a run's, HELM's, lm-eval's or Inspect's.

    Raises:
        StoreError: there are none.
        ArgumentError: it is neither.
    """
    if isinstance(said, ResultsData):
        return said
    if not isinstance(said, str | Path):
        raise ArgumentError(
            f"compare() takes results or the folder of some, not {type(said).__name__}: .score() first."
        )
    ours, *others = _READERS
    try:
        return ours(said)
    except StoreError as error:
        not_ours = error
    for read in others:
        try:
            return read(said)
        except SourceMissingError:
            continue
    raise StoreError(f"{not_ours} Nor are they HELM's, lm-eval's or Inspect's.")


def _read(
    one: ResultsData,
    two: ResultsData,
    metrics: str | Sequence[str] | None,
    mean: str | None,
    higher_is_better: Mapping[str, bool] | None,
) -> ScoringOptions:
    """As the first says it, of metrics that both have."""
    both = [name for name in one.main_metrics if name in two.metric_names] if metrics is None else metrics
    if not both:
        raise NotComparableError(
            f"{one.main_metrics[0]!r} is the main metric of the first and was not scored in the second: rescore() it, "
            "or say metrics=…"
        )
    reader_of(two).scoring_options(both, mean, None)
    return reader_of(one).scoring_options(both, mean, higher_is_better)


def _told(results: ResultsData) -> pl.DataFrame:
    return results.completions.select(_TOLD).unique().collect()


def _changed(a: pl.DataFrame, b: pl.DataFrame) -> bool:
    """Whether ids may be of other instances: of the scenarios on both sides one is of another version, or none is."""
    there = [
        {
            str(name): set(rows["scenario_version"])
            for (name,), rows in each.partition_by("scenario", as_dict=True).items()
        }
        for each in (a, b)
    ]
    shared = there[0].keys() & there[1].keys()
    return not shared or any(there[0][name] != there[1][name] for name in shared)


def _values(about: pl.DataFrame, column: str) -> set[Any]:
    return set(about.select("scenario", column).iter_rows())


def _named(about: pl.DataFrame, column: str) -> str:
    return ", ".join(map(repr, about[column].unique().sort().to_list()))


def _called_as(one: ResultsData, two: ResultsData, *, foreign: bool) -> tuple[ResultsData, int]:
    """Return the second results with the first's instances, paired by content, and how many differ in references.

    Raises:
        NotComparableError: If inputs are the same on both sides, and no references.
    """
    pairs, unlike = same_instances(one.completions, two.completions, foreign=foreign)
    if unlike and pairs.is_empty():
        raise NotComparableError(
            f"{unlike:,} instances have the same input on both sides, and all have other references, so their scores "
            "measure other things."
        )
    completions = rename_instances(two.completions, pairs)
    return replace(two, completions=completions, scores=rename_instances(two.scores, pairs), path=None), unlike
