"""Comparisons: of the values of one axis of results, and of two results or folders of results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from helmframe._core.registry import Registry
from helmframe._schema import STRICT
from helmframe.adapters.adapt import adapter_id
from helmframe.errors import ArgumentError, NotComparableError, SourceMissingError, StoreError, UnknownNameError
from helmframe.results._data import OVERLAPPING, ResultsData, adapters_with_parser, reader_of, with_overlap
from helmframe.results._early_stopping import refuse_stopped, with_differences
from helmframe.results._pairing import (
    ROW_KEYS,
    Comparison,
    ScoringOptions,
    Sensitivity,
    compare_sides,
    match_instances,
    rename_instances,
)
from helmframe.results._robustness import worst_sides
from helmframe.stats.variance import ALL as ALL_MODELS
from helmframe.stats.variance import FACETS, VarianceComponents
from helmframe.stats.variance import sensitivity as stats_sensitivity
from helmframe.stats.variance import variance_components as stats_components

# The axes that two results may differ in, and the columns of completions with their values.
_AXES = {"model": "model", "prompt": "adapter_id", "parser": "answer_parser", "decoding": "decoding"}
# The columns whose values are paired by name if both sides have them.
_PAIRED_COLUMNS = ("model", "setting", "perturbation")
_IDENTITY_COLUMNS = ["scenario", "scenario_version", *_PAIRED_COLUMNS, *list(_AXES.values())[1:]]
_Loader = TypeVar("_Loader", bound=Callable[..., ResultsData])


@dataclass(frozen=True)
class Loader:
    """A function that loads the folders of a tool, and raises `SourceMissingError` for other folders."""

    function: Callable[..., ResultsData]


# "run" loads helmframe's own folders; the others are in `helmframe.interop`.
LOADERS: Registry[Loader] = Registry("loader", packages=["helmframe.interop"], decorator="register_loader")


def compare(
    results: ResultsData,
    axis: str,
    base: str | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    worst: int | str | None = None,
    errors: str = "refuse",
    mean: str | None = None,
    higher_is_better: Mapping[str, bool] | None = None,
    ci: float = 0.95,
    overlap: pl.DataFrame | None = None,
    equivalence: float | None = None,
    interval: str = "confidence",
) -> "Comparison":
    """Compare the values of one axis by paired differences: model, setting or perturbation.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music")
    >>> results = plan.generate({"good": hf.models.noisy(0.9), "bad": hf.models.noisy(0.3)}).score()
    >>> table = results.compare("model", base="bad")
    >>> table.select("a", "b", "difference", "ci_low", "ci_high", "n").rows()
    [('good', 'bad', 0.53125, 0.3644951711897465, 0.6913061289193114, 32)]

    Args:
        results: Results of a run.
        axis: The axis to compare; or one of its values, if `base` is another: `compare("large", "small")`.
        base: The value to compare the others with; default the plan's first, for perturbations the original.
        metrics: The metrics; default the main metric.
        worst: Compare the worst case instead of each variant: "all", over the original and all variants; a number k,
            expected over k seeds.
        errors: The action if more than 1 % of the requests failed: "refuse"; "drop" these instances on both sides;
            "worst" counts a failure as the metric's worst bound.
        mean: The mean over subsets, "macro" or "micro"; default the scenario's.
        higher_is_better: A dict of metric → direction, for unknown metrics of other tools.
        ci: The level of the interval.
        overlap: The frame of `plan.overlap(…)`: compare within clean and within contaminated instances, as in `table`.
        equivalence: A margin: the largest difference that doesn't matter. The column `verdict` is then "equivalent",
            "different" or "undecided", by two one-sided tests (TOST), as in `hf.stats.compare`.
        interval: "confidence", or "bayes" for posterior intervals, as in `hf.stats.compare`.

    Returns:
        The columns of `hf.stats.compare`, as a frame that is displayed as a short table. For a run that stopped early
        (`until`), the intervals are valid at every look, and there are no p values.

    Raises:
        UnknownNameError: If the axis or base is unknown.
        NotComparableError: If the run has only one value of the axis, too many requests failed, or worst cases are over
            different variants; or the run stopped early, with `equivalence`.
    """
    if equivalence is not None:
        refuse_stopped(results.manifest, "a test of equivalence")
    results = with_overlap(results, overlap)
    if interval == "bayes":
        refuse_stopped(results.manifest, "a posterior interval")
    if axis not in _COMPARED:
        results, axis = _only_two(results, axis, base)
    options = reader_of(results).scoring_options(metrics, mean, higher_is_better)
    scores = results.scores
    if worst is not None:
        refuse_stopped(results.manifest, "a worst case")
        scores = _worst_by_value(results, axis, worst, options)
    by = [name for name in ROW_KEYS if name != axis]
    if overlap is not None:
        refuse_stopped(results.manifest, "a comparison by overlap")
        by.append(OVERLAPPING)
        scores = reader_of(results).with_source_columns(scores, by)
    base = _first_value(results, axis) if base is None else base
    table = compare_sides(
        scores, axis, by,
        base=base, options=options, errors=errors, ci=ci, equivalence=equivalence, interval=interval,
    )  # fmt: skip
    table = reader_of(results).in_order(table, by)
    if "until" in results.manifest:
        table = with_differences(table, scores, results.manifest["until"], axis, mean=options.mean, ci=ci)
    return Comparison(table.rename({OVERLAPPING: "overlap"}, strict=False))


def sensitivity(
    results: ResultsData,
    axis: str = "setting",
    *,
    metrics: str | Sequence[str] | None = None,
    errors: str = "refuse",
    mean: str | None = None,
    higher_is_better: Mapping[str, bool] | None = None,
    ci: float = 0.95,
) -> "Sensitivity":
    """Compute how much scores, and the order of models, depend on the setting of a grid.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").adapt(shots=[0, 2, 4])
    >>> results = plan.generate({"good": hf.models.noisy(0.9), "bad": hf.models.noisy(0.3)}).score()
    >>> table = results.sensitivity()
    >>> table.select("model", "n_levels", "flips").rows()
    [('all', 3, 0.0), ('good', 3, 0.0), ('bad', 3, 0.0)]

    Args:
        results: Results of a run.
        axis: "setting", or "perturbation".
        metrics: The metrics; default the main metric.
        errors: The action if more than 1 % of the requests failed: "refuse"; "drop" these instances everywhere; "worst"
            counts a failure as the metric's worst bound.
        mean: The mean over subsets, "macro" or "micro"; default the scenario's.
        higher_is_better: A dict of metric → direction, for unknown metrics of other tools.
        ci: The level of the intervals.

    Returns:
        The columns of `hf.stats.sensitivity`, as a frame that is displayed as a short table: the range and the standard
        deviation of the scores over the levels, and the share of pairs of models whose order flips.

    Raises:
        UnknownNameError: If the axis is unknown.
        ArgumentError: If the run has only one value of the axis.
        NotComparableError: If too many requests failed, or the run stopped early.
    """
    if axis not in _VARIED:
        raise UnknownNameError.among("axis of sensitivity", axis, _VARIED)
    refuse_stopped(results.manifest, "a sensitivity")
    options = reader_of(results).scoring_options(metrics, mean, higher_is_better)
    by = [name for name in _ROW_AXES if name not in (axis, "model")]
    table = stats_sensitivity(
        results.scores.filter(pl.col("metric").is_in(list(options.metrics))),
        axis,
        by,
        higher_is_better=options.higher_is_better,
        fractions=options.fractions,
        errors=errors,
        ranges=options.ranges,
        ci=ci,
        mean=options.mean,
    )
    is_all = pl.col("model") != ALL_MODELS
    ordered_table = table.with_columns(first=is_all).sort("first", maintain_order=True).drop("first")
    ordered = reader_of(results).in_order(ordered_table.filter(is_all), ["scenario", *by, "model"])
    return Sensitivity(pl.concat([ordered_table.filter(~is_all), ordered]))


def variance_components(
    results: ResultsData,
    facets: Sequence[str] | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    judges: Sequence[str] | None = None,
    errors: str = "refuse",
    mean: str | None = None,
    higher_is_better: Mapping[str, bool] | None = None,
    ci: float = 0.95,
) -> VarianceComponents:
    """Estimate how much of the variance of scores is due to instances, settings, perturbations, trials and judges.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").adapt(shots=[0, 2, 4])
    >>> results = plan.generate(hf.models.noisy(0.7), n=2, temperature=1.0).score()
    >>> results.variance_components().table["component"].to_list()[:3]
    ['instance', 'setting', 'instance × setting']

    Args:
        results: Results of a run.
        facets: The axes that are crossed with instances: setting, perturbation, trial; default those that the run
            varied. Other axes make separate decompositions.
        metrics: The metrics; default the main metric.
        judges: The metrics of several judges with one scale: they are one metric, and the judge is a facet.
        errors: The action if more than 1 % of the requests failed, as in `compare`.
        mean: The mean over subsets, "macro" or "micro"; default the scenario's.
        higher_is_better: A dict of metric → direction, for unknown metrics of other tools.
        ci: The level of the intervals.

    Returns:
        `VarianceComponents`: `table` has the components with their intervals, and `designs` the cheapest way to halve
        the standard error.

    Raises:
        UnknownNameError: If a facet is unknown.
        ArgumentError: If no axis has several values and there are no repeated outputs, or `judges` has fewer than two.
        NotComparableError: If too many requests failed, the grid isn't complete, or the run stopped early.
    """
    refuse_stopped(results.manifest, "a variance decomposition")
    if judges is not None and (metrics is not None or len(set(judges)) < 2):
        raise ArgumentError(
            f"variance_components(judges={judges!r}): judges must be two or more metrics, without metrics=…."
        )
    options = reader_of(results).scoring_options(metrics if judges is None else judges, mean, higher_is_better)
    scores = results.scores.filter(pl.col("metric").is_in(list(options.metrics)))
    counts = scores.select(pl.col(name).n_unique() for name in FACETS).collect()
    names = [name for name in FACETS if counts[name].item() > 1] if facets is None else list(facets)
    for name in names:
        if name not in FACETS:
            raise UnknownNameError.among("facet", name, FACETS)
    by = [name for name in (*_ROW_AXES, "trial") if name not in names]
    fractions, ranges, directions = list(options.fractions), options.ranges, options.higher_is_better
    if judges is not None:
        scores = scores.with_columns(judge=pl.col("metric"), metric=pl.lit("judges"))
        names.append("judge")
        fractions = ["judges"] if {*judges} <= {*fractions} else []
        ranges = {"judges": ranges[judges[0]]}
        directions = {"judges": directions[judges[0]]} if judges[0] in directions else {}
    result = stats_components(
        scores, names, by, errors=errors, higher_is_better=directions, fractions=fractions, ranges=ranges, ci=ci,
        mean=options.mean,
    )  # fmt: skip
    keys = ["scenario", *by]
    return VarianceComponents(*(reader_of(results).in_order(part, keys) for part in (result.table, result.designs)))


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
    equivalence: float | None = None,
    interval: str = "confidence",
) -> "Comparison":
    """Compare a with b over the instances that both completed: a − b with interval and test.

    The column `differs` lists the axes that differ. Instances are paired by id if both runs read the same version of a
    scenario, else by their input and references. Instances with the same input and different references are not paired,
    and `differs` counts them. Models, settings and perturbations that both have are compared by name, and the others
    are skipped. If they share no name, each side must have exactly one.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music")
    >>> new, old = (plan.generate({"model": hf.models.noisy(accuracy)}).score() for accuracy in (0.9, 0.3))
    >>> table = hf.compare(new, old, labels=("new", "old"))
    >>> table.select("a", "b", "difference", "win", "tie", "loss").rows()
    [('new', 'old', 0.53125, 17, 15, 0)]

    Args:
        a: Results, a folder of results, or a folder of HELM's, lm-eval's or Inspect's results.
        b: The same.
        axis: The axes that may differ: model, prompt, parser (of answers), decoding. By default, any one of them may
            differ.
        metrics: The metrics; default the main metric.
        labels: The names of the sides; default the models if these differ, else "a" and "b".
        worst: Compare worst cases, as in `Results.compare`.
        errors: The action if more than 1 % of a side's requests failed: "refuse"; "drop" these instances on both sides;
            "worst" counts a failure as the metric's worst bound.
        mean: The mean over subsets, "macro" or "micro"; default the scenario's.
        higher_is_better: A dict of metric → direction, for unknown metrics of other tools.
        ci: The level of the interval.
        equivalence: A margin, as in `Results.compare`.
        interval: "confidence", or "bayes" for posterior intervals, as in `hf.stats.compare`.

    Raises:
        NotComparableError: If more than one axis differs and `axis` lacks it, nothing is shared, or too many requests
            failed.
        StoreError: If a folder contains no results.
    """
    first, second = load_results(a), load_results(b)
    refuse_stopped(first.manifest, "a comparison")
    refuse_stopped(second.manifest, "a comparison")
    axes = [axis] if isinstance(axis, str) else list(axis)
    for name in axes:
        if name not in _AXES:
            raise UnknownNameError.among("axis of comparison", name, _AXES)
    pair = _ResultsPair.of(first, second)
    if len(pair.differs) > 1 and set(pair.differs) - set(axes):
        raise NotComparableError(
            f"compare(): the results differ in {' and '.join(pair.differs)}, and a difference could come from any of "
            f"them. To compare anyway, write hf.compare(a, b, axis={pair.differs!r}).{_parser_hint(pair.differs)}"
        )
    names = labels or pair.labels()
    if names[0] == names[1]:
        raise ArgumentError(f"compare(labels={names!r}): labels must be two different names.")
    options = _shared_options(pair.first, pair.second, metrics, mean, higher_is_better)
    sides = {names[0]: pair.first.scores, names[1]: pair.second.scores}
    for column, values in pair.shared.items():
        # worst cases are over all variants, and check that these are the same
        if column != "perturbation" or worst is None:
            sides = {name: rows.filter(pl.col(column).is_in(values)) for name, rows in sides.items()}
    if worst is not None:
        worst_inputs = {
            name: rows.filter(pl.col("metric").is_in(list(options.metrics))) for name, rows in sides.items()
        }
        sides = worst_sides(
            worst_inputs,
            worst,
            options.higher_is_better,
            {**reader_of(first).perturbation_entries(), **reader_of(second).perturbation_entries()},
        )
    table = compare_sides(
        pl.concat([scores.with_columns(side=pl.lit(name)) for name, scores in sides.items()], how="diagonal_relaxed"),
        "side",
        list(pair.shared),
        base=names[1],
        options=options,
        errors=errors,
        ci=ci,
        equivalence=equivalence,
        interval=interval,
    )
    return Comparison(table.with_columns(differs=pl.lit(pair.describe())))


def register_loader(name: str) -> Callable[[_Loader], _Loader]:
    """Register a function that loads the folders of a tool, and raises `SourceMissingError` for other folders."""

    def register(load: _Loader) -> _Loader:
        LOADERS.add(name, Loader(load))
        return load

    return register


def load_results(source: object) -> ResultsData:
    """Return results unchanged, or load them from a folder: a run's, HELM's, lm-eval's or Inspect's.

    Raises:
        StoreError: If the folder contains no results.
        ArgumentError: If `source` is neither results nor a path.
    """
    if isinstance(source, ResultsData):
        return source
    if not isinstance(source, str | Path):
        raise ArgumentError(
            f"compare(): each side must be Results or a folder of results, not {type(source).__name__}. Write "
            "plan.score() to get the results of a plan."
        )
    try:
        return LOADERS["run"].function(source)
    except StoreError as error:
        run_error = error
    for name in LOADERS:
        if name == "run":
            continue
        try:
            return LOADERS[name].function(source)
        except SourceMissingError:
            continue
    raise StoreError(f"{run_error} The folder contains no results of HELM, lm-eval or Inspect either.")


def _parser_hint(differs: Sequence[str]) -> str:
    return " To parse both alike: a.rescore(answer_parser='lenient'), and b too." if "parser" in differs else ""


# The axes that `compare` takes.
_COMPARED = ("model", "setting", "perturbation")
# The axes that `sensitivity` takes, and the axes besides the model whose values are separate rows.
_VARIED = ("setting", "perturbation")
_ROW_AXES = ("split", "model", "setting", "perturbation")


def _only_two(results: ResultsData, value: str, base: str | None) -> tuple[ResultsData, str]:
    """Return the results with two values of an axis only, and the axis.

    Raises:
        UnknownNameError: No axis has these values. The message lists the axes.
        ArgumentError: `base` is missing.
    """
    for axis in _COMPARED:
        values = set(results.scores.select(pl.col(axis).unique()).collect()[axis])
        if value not in values:
            continue
        if base is None:
            other = next(iter(sorted(values - {value})), "…")
            raise ArgumentError(
                f"compare({value!r}): {value!r} is a {axis}. Write compare({value!r}, {other!r}) for two of them, or "
                f"compare({axis!r}) for all."
            )
        if base in values:
            is_compared = pl.col(axis).is_in([value, base])
            completions = results.completions.filter(is_compared)
            return replace(results, completions=completions, scores=results.scores.filter(is_compared), path=None), axis
    raise UnknownNameError.among("axis of comparison", value, _COMPARED)


def _first_value(results: ResultsData, axis: str) -> str | None:
    """Return the value of an axis that the plan has first; None leaves the choice to `compare_sides`."""
    values = set(results.scores.select(pl.col(axis).unique()).collect()[axis])
    in_order = [value for value in reader_of(results).values_in_order(axis) if value in values]
    return in_order[0] if len(values) > 1 and in_order else None


def _worst_by_value(results: ResultsData, axis: str, worst: int | str, options: ScoringOptions) -> pl.LazyFrame:
    if axis == "perturbation":
        raise ArgumentError(
            "compare('perturbation', worst=…): a worst case is over all perturbations. Write compare('model', "
            "worst=…), or remove worst."
        )
    rows = results.scores.filter(pl.col("metric").is_in(list(options.metrics)))
    values = rows.select(pl.col(axis).unique().sort()).collect().to_series().to_list()
    sides = {value: rows.filter(pl.col(axis) == value) for value in values}
    worst_scores = worst_sides(sides, worst, options.higher_is_better, reader_of(results).perturbation_entries())
    return pl.concat([scores.with_columns(pl.lit(value).alias(axis)) for value, scores in worst_scores.items()])


@dataclass(frozen=True)
class _ResultsPair:
    """Two results with the same instance names, the values that both have (`shared`), what differs, and notes."""

    first: ResultsData
    second: ResultsData
    shared: Mapping[str, list[str]]
    differs: list[str]
    notes: list[str]
    identities: tuple[pl.DataFrame, pl.DataFrame]

    @classmethod
    def of(cls, first: ResultsData, second: ResultsData) -> "_ResultsPair":
        sides = [_identity_rows(results) for results in (first, second)]
        changed = _versions_differ(*sides)
        foreign = any("tool" in results.manifest for results in (first, second))
        n_mismatched = 0
        if changed or foreign:
            second, n_mismatched = _rename_like(first, second, foreign=foreign)
            sides[1] = _identity_rows(second)
        if not set(sides[0]["scenario"]) & set(sides[1]["scenario"]):
            raise NotComparableError(
                f"compare(): the sides share no scenario. The first has {_quoted(sides[0], 'scenario')}; the second "
                f"has {_quoted(sides[1], 'scenario')}."
            )
        shared: dict[str, list[str]] = {}
        unshared: list[str] = []
        for column in ("scenario", *_PAIRED_COLUMNS):
            both = sorted(set(sides[0][column]) & set(sides[1][column]))
            if both:
                shared[column] = both
                unshared += [f"{column} {name!r}" for name in sorted({*sides[0][column], *sides[1][column]} - {*both})]
                sides = [side.filter(pl.col(column).is_in(both)) for side in sides]
            elif max(side[column].n_unique() for side in sides) > 1:
                raise NotComparableError(
                    f"compare(): the sides share no {column}, and a side has several. The first has "
                    f"{_quoted(sides[0], column)}; the second has {_quoted(sides[1], column)}. Compare runs with one "
                    f"{column} each, or write results.compare({column!r})."
                )
        differs = [name for name, column in _AXES.items() if _values(sides[0], column) != _values(sides[1], column)]
        notes = ["scenario version, so paired by content"] if changed and not foreign else []
        notes += [f"{n_mismatched:,} instances not paired: their references differ"] if n_mismatched else []
        notes += [f"only one side has {', '.join(unshared)}"] if unshared else []
        return cls(first, second, shared, differs, notes, (sides[0], sides[1]))

    def describe(self) -> str:
        """Return what differs, and the notes on the pairing."""
        return "; ".join([", ".join(self.differs) or "nothing", *self.notes])

    def labels(self) -> tuple[str, str]:
        if "model" in self.differs:
            return str(self.identities[0]["model"][0]), str(self.identities[1]["model"][0])
        return "a", "b"


def _shared_options(
    first: ResultsData,
    second: ResultsData,
    metrics: str | Sequence[str] | None,
    mean: str | None,
    higher_is_better: Mapping[str, bool] | None,
) -> ScoringOptions:
    """Return the scoring options of the first results, for metrics that both have."""
    both = [name for name in first.main_metrics if name in second.metric_names] if metrics is None else metrics
    if not both:
        raise NotComparableError(
            f"compare(): the second results lack {first.main_metrics[0]!r}, the main metric of the first. Write "
            f"rescore({first.main_metrics[0]!r}) on them, or select metrics=…."
        )
    reader_of(second).scoring_options(both, mean, None)
    return reader_of(first).scoring_options(both, mean, higher_is_better)


def _identity_rows(results: ResultsData) -> pl.DataFrame:
    ids = {old: adapter_id(adapter) for old, adapter in adapters_with_parser(results.manifest, STRICT).items()}
    rows = results.completions
    if "answer_parser" not in rows.collect_schema():  # completions of earlier versions and of other tools
        rows = rows.with_columns(answer_parser=pl.lit(None, dtype=pl.String))
    return rows.with_columns(pl.col("adapter_id").replace(ids)).select(_IDENTITY_COLUMNS).unique().collect()


def _versions_differ(a: pl.DataFrame, b: pl.DataFrame) -> bool:
    """Return whether ids may identify different instances: no shared scenario, or one in different versions."""
    versions_a, versions_b = (
        {
            str(name): set(rows["scenario_version"])
            for (name,), rows in side.partition_by("scenario", as_dict=True).items()
        }
        for side in (a, b)
    )
    shared = versions_a.keys() & versions_b.keys()
    return not shared or any(versions_a[name] != versions_b[name] for name in shared)


def _values(rows: pl.DataFrame, column: str) -> set[Any]:
    return set(rows.select("scenario", column).iter_rows())


def _quoted(rows: pl.DataFrame, column: str) -> str:
    return ", ".join(map(repr, rows[column].unique().sort().to_list()))


def _rename_like(first: ResultsData, second: ResultsData, *, foreign: bool) -> tuple[ResultsData, int]:
    """Return the second results with the first's instance names, and the number of mismatched references.

    Raises:
        NotComparableError: If the sides share inputs, and all references differ.
    """
    pairs, n_mismatched = match_instances(first.completions, second.completions, foreign=foreign)
    if n_mismatched and pairs.is_empty():
        raise NotComparableError(
            f"compare(): {n_mismatched:,} instances have the same input on both sides but different references, so "
            "their scores aren't comparable. Run both sides on the same version of the scenario."
        )
    completions = rename_instances(second.completions, pairs)
    scores = rename_instances(second.scores, pairs)
    return replace(second, completions=completions, scores=scores, path=None), n_mismatched
