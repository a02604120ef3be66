"""The leaderboard of some results: which columns, which competitors, of which scores."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError
from helmframe.results._data import ResultsData, reader_of
from helmframe.results._pairing import INSTANCE, ScoringOptions, check_set_failures
from helmframe.results._perturbed import worst_sides
from helmframe.results._tables import table
from helmframe.stats.board import Column, Leaderboard, build_leaderboard
from helmframe.stats.leaderboard import SAME_INSTANCES, build_columns, column_names
from helmframe.stats.ranks import Estimates

# A scenario (its main metric), a metric (in every scenario), or (scenario, metric).
Said: TypeAlias = "str | tuple[str, str]"
Named: TypeAlias = "tuple[str, str]"
_COMPETITOR = "competitor"


def board(
    results: ResultsData,
    columns: Sequence[Named],
    read: ScoringOptions,
    *,
    mean: str,
    worst: int | str | None,
    shared: bool,
    errors: str,
    ci: float,
) -> Leaderboard:
    """The board of these (scenario, metric); `read` is how the metrics are read, with the mean over subsets."""
    asked = results.completions.select("model", "setting").unique().sort("model", "setting").collect()
    pool = [competitor(*column) for column in asked.iter_rows()]
    metrics = results.manifest["metrics"]
    of_sets = [column for column in columns if metrics[column[1]]["level"] == "set"]
    if of_sets and (worst is not None or shared):
        raise ArgumentError(f"{of_sets[0][1]!r} is one number of all instances: it has no worst case, no shared=True.")
    of_rows = [column for column in columns if column not in of_sets]
    name = column_names(columns)
    made = [_of_set(results, column, pool, read, name[column], errors, ci) for column in of_sets]
    if of_rows:
        scores = results.scores.filter(among(of_rows), main_splits(results)).with_columns(_competitor())
        if worst is None:
            scores = scores.filter(pl.col("perturbation") == ORIGINAL)
        else:
            scores = _worst(scores, pool, worst, read, reader_of(results).perturbation_kinds())
        units = {metric: str(column["unit"]) for metric, column in metrics.items()}
        made += build_columns(
            scores,
            _COMPETITOR,
            pool,
            higher_is_better=read.higher_is_better,
            subsets=read.mean,
            fractions=read.fractions,
            units=units,
            names=name,
            shared=shared,
            errors=errors,
            ranges=read.ranges,
            ci=ci,
        )
    return build_leaderboard(made, pool, mean=mean, ci=ci)


def columns_said(manifest: Mapping[str, Any], said: "Sequence[Said] | str | None") -> list[Named]:
    """The (scenario, metric) that are meant; default each scenario with its main metric, or the first scored.

    Raises:
        UnknownNameError: neither a scenario nor a metric of these results.
    """
    scenarios, metrics = list(manifest["scenarios"]), list(manifest["metrics"])
    chosen: list[Named] = []
    for each in scenarios if said is None else [said] if isinstance(said, str) else said:
        if isinstance(each, tuple):
            scenario, metric = each
            for kind, name, known in (("scenario", scenario, scenarios), ("metric", metric, metrics)):
                if name not in known:
                    raise UnknownNameError.among(f"{kind} of these results", name, known)
            chosen.append((scenario, metric))
        elif each in scenarios:
            main = manifest["scenarios"][each]["main"]["metric"]
            chosen.append((each, main if main in metrics else metrics[0]))
        elif each in metrics:
            chosen += [(scenario, each) for scenario in scenarios]
        else:
            raise UnknownNameError.among("scenario or metric of these results", each, [*scenarios, *metrics])
    return list(dict.fromkeys(chosen))


def competitor(model: str, setting: str) -> str:
    """What a board calls a model, asked in one setting of a grid."""
    return f"{model} {setting}" if setting else model


def _competitor() -> pl.Expr:
    label = pl.when(pl.col("setting") == "").then(pl.col("model")).otherwise(pl.format("{} {}", "model", "setting"))
    return label.alias(_COMPETITOR)


def among(columns: Sequence[Named]) -> pl.Expr:
    """Whether a score is of one of these (scenario, metric)."""
    return pl.any_horizontal(
        [(pl.col("scenario") == scenario) & (pl.col("metric") == metric) for scenario, metric in columns]
    )


def main_splits(results: ResultsData) -> pl.Expr:
    """The main split of each scenario, where there is more than it: HELM's leaderboards show no other."""
    there = set(results.completions.select("scenario", "split").unique().collect().iter_rows())
    other = pl.lit(value=False)
    for name, each in results.manifest["scenarios"].items():
        split = each["main"].get("split")
        if (name, split) in there:
            other |= (pl.col("scenario") == name) & (pl.col("split") != split)
    return ~other


def _worst(
    scores: pl.LazyFrame, pool: Sequence[str], worst: int | str, read: ScoringOptions, kinds: Mapping[str, Any]
) -> pl.LazyFrame:
    sides = {label: scores.filter(pl.col(_COMPETITOR) == label) for label in pool}
    found = worst_sides(sides, worst, read.higher_is_better, kinds)
    return pl.concat([rows.with_columns(pl.lit(label).alias(_COMPETITOR)) for label, rows in found.items()])


def _of_set(
    results: ResultsData, column: Named, pool: Sequence[str], read: ScoringOptions, name: str, errors: str, ci: float
) -> Column:
    """Return the column of a metric over whole sets; what two models' values share is unknown, and counts as 0."""
    import numpy as np

    scenario, metric = column
    counted = results.completions.filter(
        pl.col("scenario") == scenario, pl.col("perturbation") == ORIGINAL, main_splits(results)
    ).with_columns(_competitor())
    check_set_failures(counted, metric, _COMPETITOR, errors)
    shared, n_dropped = _shared(counted, column)
    rows = table(
        replace(results, completions=shared.drop(_COMPETITOR), path=None),
        ["scenario", "split", "model", "setting", "perturbation"],
        metrics=metric,
        ci=ci,
        mean=read.mean,
    )
    rows = rows.with_columns(model=_competitor(), n_dropped=n_dropped).sort("model")
    place = np.array([pool.index(model) for model in rows["model"]])
    values = np.full(len(pool), np.nan)
    values[place] = rows["value"].to_numpy()
    up = read.higher_is_better[metric]
    known = rows["stderr"].is_not_null().all()
    n = rows["n"].cast(pl.Float64).to_numpy()
    return Column(
        name=name,
        values=values,
        higher_is_better=up,
        unit=str(results.manifest["metrics"][metric]["unit"]),
        size=float(n.max(initial=0.0)),
        estimates=Estimates(
            index=place,
            value=values[place] if up else -values[place],
            covariance=np.diag(rows["stderr"].to_numpy() ** 2) if known else None,
            df=np.maximum(n - 1, 1.0),
            clusters=n,
        ),
        cells=rows,
    )


def _shared(completions: pl.LazyFrame, column: Named) -> tuple[pl.LazyFrame, int]:
    """Return the completions of the instances that every competitor completed, and the number of the other instances.

    Raises:
        NotComparableError: If there is no such instance, or a competitor was run on fewer than 99 % of the instances.
    """
    failed = pl.col("error").is_not_null().any()
    runs = completions.group_by(*INSTANCE, _COMPETITOR).agg(failed=failed).collect()
    n_instances = runs.select(INSTANCE).n_unique()
    for competitor, n in runs.group_by(_COMPETITOR).len().sort(_COMPETITOR).iter_rows():
        if n < SAME_INSTANCES * n_instances:
            raise NotComparableError(
                f"{competitor!r} was run on {n:,} of the {n_instances:,} instances of {column[0]!r} that others were. "
                "Run all models on the same instances."
            )
    completed = runs.filter(~pl.col("failed")).group_by(INSTANCE).len()
    shared = completed.filter(pl.col("len") == runs[_COMPETITOR].n_unique()).select(INSTANCE)
    if shared.is_empty():
        raise NotComparableError(
            f"no instance of {column[0]!r} was completed by every model, so {column[1]!r} ranks none. Rank without the "
            "models that failed."
        )
    return completions.join(shared.lazy(), on=INSTANCE, how="semi", maintain_order="left"), n_instances - shared.height
