"""Findings of results in words: each sentence states numbers of one row of a table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import polars as pl

from helmframe._core.safe_text import display_labels
from helmframe._schema import ORIGINAL
from helmframe.errors import HelmframeError, listed
from helmframe.results._boards import competitor_name
from helmframe.results._comparison import compare
from helmframe.results._data import Chunk, ResultsData, reader_of
from helmframe.results._robustness import fairness, robustness
from helmframe.results._tables import missing_scores, shown_metrics
from helmframe.results._tables import table as aggregate_table
from helmframe.stats.frames import map_chunks
from helmframe.stats.robustness import ALL

# The most sentences of one kind; one more sentence counts the others.
MOST = 6
_LONGEST_NAME = 48
_LONGEST_ERROR = 160
_LONGEST_MESSAGE = 500


@dataclass(frozen=True)
class Finding:
    """A sentence on results, and the row of the table that it states.

    Args:
        kind: "failures", "scores", "models", "settings", "robustness" or "fairness".
        text: The sentence. Names of models and data are in it, so escape it in HTML.
        table: The call that returns the table.
        row: The columns that identify the row in the table; empty for a sentence on several rows.
        estimate: The number in the table: a count, a score, a difference a − b, or a change.
        low: The lower end of its interval in the table.
        high: The upper end of its interval in the table.
        significant: Whether the difference is significant over all rows of its kind; None if it wasn't tested.
    """

    kind: str
    text: str
    table: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    significant: bool | None = None


def findings(results: ResultsData, *, ci: float = 0.95) -> list[Finding]:
    """Return the findings of results in words: failures, scores, differences, and effects of perturbations.

    Models and settings are compared on original inputs by the main metric of each scenario. A difference is significant
    if its p value is below 1 − ci, adjusted by Holm for all differences of its kind. A change under a perturbation is
    significant if its interval excludes 0, adjusted by Bonferroni for all changes of its kind.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music")
    >>> results = plan.generate({"good": hf.models.noisy(0.9), "bad": hf.models.noisy(0.3)}).score()
    >>> for finding in results.findings():
    ...     print(finding.text)
    good has the best score, 81.2 % [64.7, 91.1] (exact_match, n = 32, chance 25.0 %).
    good beats bad by 53.1 points [36.4, 69.1].

    Args:
        results: Results of a run.
        ci: The level of the intervals.
    """
    context = MainScores.of(results, ci)
    return [
        *_failures(results),
        *_scores(context),
        *_differences(context, "model"),
        *_differences(context, "setting"),
        *_changes(context, "robustness"),
        *_changes(context, "fairness"),
    ]


class _Sign(NamedTuple):
    """The unit and direction of a metric."""

    unit: str
    higher_is_better: bool | None


@dataclass(frozen=True)
class MainScores:
    """The results, and what all sentences need: main metrics, and the table of the main scores on original inputs."""

    results: ResultsData
    ci: float
    mains: Mapping[str, str]
    table: pl.DataFrame

    @classmethod
    def of(cls, results: ResultsData, ci: float) -> "MainScores":
        scored = results.manifest["metrics"]
        first = results.main_metrics[:1]
        scenarios = results.manifest["scenarios"]
        mains = {
            name: metric
            for name, entry in scenarios.items()
            for metric in ([entry["main"]["metric"]] if entry["main"]["metric"] in scored else first)
        }
        table = pl.DataFrame()
        if mains:
            table = aggregate_table(results, metrics=list(dict.fromkeys(mains.values())), ci=ci)
            table = table.filter(_is_main(mains), pl.col("perturbation") == ORIGINAL, pl.col("value").is_not_null())
        if "split" in table.columns:
            splits = {name: entry["main"].get("split") for name, entry in scenarios.items()}
            is_other = pl.any_horizontal(
                (pl.col("scenario") == name) & (pl.col("split") != split)
                for name, split in splits.items()
                if table.filter(scenario=name, split=split).height
            )
            table = table.filter(~is_other)
        return cls(results, ci, mains, table)

    def sign(self, metric: str) -> _Sign:
        """Return the unit and direction of a metric."""
        entry = self.results.manifest["metrics"][metric]
        return _Sign(str(entry["unit"]), entry["higher_is_better"])

    def compared_metrics(self) -> list[str]:
        """Return the main metrics that score rows and have a direction."""
        entries = self.results.manifest["metrics"]
        names = dict.fromkeys(self.mains.values())
        return [
            name for name in names if entries[name]["level"] != "set" and entries[name]["higher_is_better"] is not None
        ]

    def location(self, row: Mapping[str, Any], *names: str) -> str:
        """Return where a row applies: " on SCENARIO" and " with SETTING" if the results have several."""
        words = {"scenario": "on", "model": "for", "setting": "with"}
        parts = [
            f" {words[name]} {_name(row[name])}"
            for name in names
            if row.get(name) not in (None, "") and self.n_values(name) > 1
        ]
        return "".join(parts)

    def n_values(self, axis: str) -> int:
        """Return the number of values of an axis among the main scores."""
        return self.table[axis].n_unique() if axis in self.table.columns else 1


def error_groups(results: ResultsData) -> pl.DataFrame:
    """Return the failed requests by message, the most frequent first; numbers in messages are ignored.

    Returns:
        message (of the first request), n, models, first (the key of the first request), n_unsent (the requests that
        were cancelled because their model stopped), stopped (these models), total (of all requests).
    """
    message = pl.col("error").str.replace_all(r"\s+", " ").str.slice(0, _LONGEST_MESSAGE)
    key = pl.struct("scenario", "instance_id", "perturbation", "perturbation_seed", "setting", "trial", "model")

    def groups_in(chunk: Chunk) -> pl.DataFrame:
        columns = chunk.completions.collect_schema().names()
        # a model that doesn't respond has a latency of 0
        is_unsent = (
            pl.col("error").is_not_null() & (pl.col("attempts") == 0) & pl.col("latency").is_null()
            if {"attempts", "latency"} <= {*columns}
            else pl.lit(value=False)
        )
        groups = chunk.completions.with_columns(_unsent=is_unsent.fill_null(value=False)).group_by(
            kind=message.str.replace_all(r"\d+", "0")
        )
        stopped = pl.col("model").filter(pl.col("_unsent")).unique()
        values = {"n": pl.len().cast(pl.Int64), "message": message.first(), "models": pl.col("model").unique()}
        unsent = {"n_unsent": pl.col("_unsent").sum().cast(pl.Int64), "stopped": stopped}
        return groups.agg(**values, first=key.first(), **unsent).collect()

    counts = pl.concat(map_chunks(reader_of(results).chunks, groups_in)).group_by("kind", maintain_order=True)
    models, stopped = (
        pl.col(name).list.explode(keep_nulls=False, empty_as_null=False).unique().sort()
        for name in ("models", "stopped")
    )
    sums = (pl.col(name).sum() for name in ("n", "n_unsent"))
    groups = counts.agg(pl.col("message").first(), *sums, models, pl.col("first").first(), stopped)
    groups = groups.with_columns(total=pl.col("n").sum()).drop_nulls("kind").drop("kind")
    return groups.sort(pl.col("n"), "message", descending=[True, False])


def stop_note(groups: pl.DataFrame, manifest: Mapping[str, Any]) -> str:
    """Return which models stopped because of their first requests, and how to resume; "" if none did.

    Args:
        groups: The failed requests, as `error_groups` returns them.
        manifest: The manifest of the run.
    """
    stopped = groups.filter(pl.col("n_unsent") > 0)
    if stopped.is_empty():
        return ""
    names = list(dict.fromkeys(name for models in stopped["stopped"] for name in models))
    line = 'plan.score(resume="last")' if manifest.get("unpinned") else "plan.score()"
    whose, noun = ("its", "the model") if len(names) == 1 else ("their", "the models")
    return (
        f"{_name(listed(names), _LONGEST_ERROR)} stopped: {whose} first requests all failed with one permanent error, "
        f"and {stopped['n_unsent'].sum():,} other requests were cancelled. Correct {noun}, then resume: {line}."
    )


def _failures(results: ResultsData) -> Iterator[Finding]:
    """Yield counts of failed requests, and of completions without a score or an output."""
    errors = error_groups(results)
    if errors.height:
        failed, total = int(errors["n"].sum()), int(errors["total"][0])
        text = f"{failed:,} of {total:,} requests failed ({_share(failed, total)})."
        often = "The error is" if errors.height == 1 else f"The most frequent error, {errors['n'][0]:,} times, is"
        message = _name(errors["message"][0], _LONGEST_ERROR)
        stopped = stop_note(errors, results.manifest)
        if stopped:
            yield Finding("failures", stopped, "results.errors()", {}, int(errors["n_unsent"].sum()))
        yield Finding("failures", f"{text} {often}: {message}", "results.errors()", {}, failed)
    for name, missing in missing_scores(results, shown_metrics(results)).items():
        yield Finding(
            "failures",
            f"{_name(missing.text, 2 * _LONGEST_ERROR)}.",
            "results.scores",
            {"metric": name},
            missing.n_rows,
        )
    yield from _flagged(results)


_FLAGS = {
    "n_unparsed": ("parsed", "have no parsed output and score 0"),
    "n_truncated": ("truncated", "ended at the token limit"),
    "n_starved": ("starved", "are empty because reasoning used all tokens"),
}


def _flagged(results: ResultsData) -> Iterator[Finding]:
    """Yield the counts of unparsed, truncated and starved completions by the main metrics."""
    mains = _row_mains(results)
    if not mains:
        return

    def counts_in(chunk: Chunk) -> pl.DataFrame:
        columns = chunk.scores.collect_schema().names()
        counts = [
            (pl.col(column).not_() if column == "parsed" else pl.col(column)).sum().cast(pl.Int64).alias(name)
            for name, (column, _) in _FLAGS.items()
            if column in columns
        ]
        return chunk.scores.filter(_is_main(mains)).select(pl.len().cast(pl.Int64).alias("n"), *counts).collect()

    sums = pl.concat(map_chunks(reader_of(results).chunks, counts_in), how="diagonal_relaxed").sum().row(0, named=True)
    for name, (_, sentence) in _FLAGS.items():
        count = sums.get(name) or 0
        if count:
            text = f"{count:,} of {sums['n']:,} completions ({_share(count, sums['n'])}) {sentence}."
            yield Finding("failures", text, "results.table()", {"column": name}, count)


def _row_mains(results: ResultsData) -> dict[str, str]:
    """Return scenario → main metric, for scenarios whose main metric scores rows."""
    entries = results.manifest["metrics"]
    mains = {name: entry["main"]["metric"] for name, entry in results.manifest["scenarios"].items()}
    return {name: metric for name, metric in mains.items() if metric in entries and entries[metric]["level"] != "set"}


def _scores(context: MainScores) -> Iterator[Finding]:
    """Yield the best score of each scenario; the only score if there is one."""
    if context.table.is_empty():
        return
    for (scenario,), rows in context.table.partition_by("scenario", as_dict=True, maintain_order=True).items():
        metric = context.mains[str(scenario)]
        sign = context.sign(metric)
        best = rows.sort("value", descending=sign.higher_is_better is not False, maintain_order=True).row(0, named=True)
        name = _name(competitor_name(best["model"], best.get("setting") or ""))
        chance = best.get("chance")
        notes = [metric, f"n = {best['n']:,}", *([f"chance {_score(chance, sign)}"] if chance is not None else [])]
        noun = "has the best score," if rows.height > 1 and sign.higher_is_better is not None else "scores"
        text = f"{name} {noun} {_score(best['value'], sign)}{_ends(best['ci_low'], best['ci_high'], sign)}"
        text += f"{context.location(best, 'scenario')} ({', '.join(notes)})."
        keys = [key for key in ("scenario", "split", "model", "setting", "perturbation", "metric") if key in best]
        yield Finding(
            "scores",
            text,
            "results.table()",
            {key: best[key] for key in keys},
            best["value"],
            best["ci_low"],
            best["ci_high"],
        )


def _differences(context: MainScores, axis: str) -> Iterator[Finding]:
    """Yield the paired differences of each model (or setting) from the best one, on original inputs."""
    metrics = context.compared_metrics()
    if context.n_values(axis) < 2 or not metrics:
        return
    base = _best(context, axis)
    originals = context.results.scores.filter(pl.col("perturbation") == ORIGINAL, _is_main(context.mains))
    call = f"results.compare({axis!r}, base={base!r})"
    kind = f"{axis}s"
    try:
        table = compare(
            replace(context.results, scores=originals, path=None), axis, base=base, metrics=metrics, ci=context.ci
        )
    except HelmframeError as error:
        yield Finding(kind, f"The {kind} are not compared. {error}", call)
        return
    rows = [row for row in table.iter_rows(named=True) if row["difference"] is not None]
    sentences = [_difference(context, axis, row, call) for row in rows]
    significant = [finding for finding in sentences if finding.significant]
    insignificant = [finding for finding in sentences if not finding.significant]
    if len(insignificant) > 1:
        largest = max(insignificant, key=lambda finding: abs(finding.estimate or 0.0))
        subject = f"No{' other' if significant else ''} difference between {kind}"
        text = f"{subject} is significant ({len(insignificant):,} tested). The largest: {largest.text}"
        insignificant = [replace(largest, text=text)]
    yield from _listed(significant, kind, call, f"differences between {kind}")
    yield from insignificant


def _difference(context: MainScores, axis: str, row: Mapping[str, Any], call: str) -> Finding:
    sign = context.sign(row["metric"])
    significant = _is_significant(row, context.ci)
    a_is_better = (row["difference"] > 0) == (sign.higher_is_better is True)
    winner, loser = ("a", "b") if a_is_better else ("b", "a")
    ends = [end for end in (row["ci_low"], row["ci_high"]) if end is not None]
    # the interval of winner − loser, or of loser − winner if lower is better
    flipped = row["difference"] < 0
    low, high = (-ends[1], -ends[0]) if ends and flipped else (ends[0], ends[1]) if ends else (None, None)
    places = [name for name in ("scenario", "model", "setting") if name != axis]
    where = context.location(row, *places)
    size = _size(abs(row["difference"]), sign) + _ends(low, high, sign)
    names = {side: _name(row[side]) for side in ("a", "b")}
    if significant:
        text = f"{names[winner]} beats {names[loser]} by {size}{where}."
    else:
        text = f"{names[winner]} and {names[loser]} do not differ significantly{where}: {size}."
    keys = [name for name in ("scenario", "model", "setting", "perturbation", "metric", "a", "b") if name in row]
    return Finding(
        f"{axis}s",
        text,
        call,
        {name: row[name] for name in keys},
        row["difference"],
        row["ci_low"],
        row["ci_high"],
        significant,
    )


def _is_significant(row: Mapping[str, Any], ci: float) -> bool:
    """Return whether a difference is significant by Holm's p, else by the joint or single interval."""
    if row["p_holm"] is not None:
        return bool(row["p_holm"] < 1 - ci)
    low, high = (
        (row["joint_low"], row["joint_high"]) if row["joint_low"] is not None else (row["ci_low"], row["ci_high"])
    )
    return low is not None and (low > 0 or high < 0)


def _best(context: MainScores, axis: str) -> str:
    """Return the value of an axis with the best mean rank over scenarios and the other axes."""
    higher = [name for name in context.mains if context.sign(context.mains[name]).higher_is_better is not False]
    places = [name for name in ("scenario", "model", "setting") if name != axis and name in context.table.columns]
    good = pl.when(pl.col("scenario").is_in(higher)).then(-pl.col("value")).otherwise(pl.col("value"))
    position = good.rank("average").over(places) if places else good.rank("average")
    means = (
        context.table.with_columns(position=position).group_by(axis, maintain_order=True).agg(pl.col("position").mean())
    )
    return str(means.sort("position", maintain_order=True)[axis][0])


def _changes(context: MainScores, family: str) -> Iterator[Finding]:
    """Yield the significant changes under perturbations of a family, and how many others were tested."""
    metrics = context.compared_metrics()
    function = {"robustness": robustness, "fairness": fairness}[family]
    call = f"results.{family}()"
    if not metrics or not reader_of(context.results).perturbation_entries():
        return

    def changes_at(level: float) -> pl.DataFrame:
        table = pl.DataFrame(function(context.results, metrics=metrics, ci=level))
        if table.is_empty():
            return table
        return table.filter(_is_main(context.mains), pl.col("perturbation") != ALL, pl.col("change").is_not_null())

    changes = changes_at(context.ci)
    if changes.is_empty():
        return
    n_tested = changes["change_low"].count()
    if n_tested == 0:
        text = f"No change under a perturbation has an interval ({changes.height:,} computed): too few inputs changed."
        yield Finding(family, text, call)
        return
    # Bonferroni: an interval of this level excludes 0 if the change is significant over all of them
    joint = changes_at(1 - (1 - context.ci) / n_tested) if n_tested > 1 else changes
    ends = zip(joint["change_low"], joint["change_high"], strict=True)
    flags = [low is not None and (low > 0 or high < 0) for low, high in ends]
    pairs = zip(changes.iter_rows(named=True), flags, strict=True)
    rows = [pair for pair in pairs if pair[0]["change_low"] is not None]
    rows.sort(key=lambda pair: -abs(pair[0]["change"]))
    selected = [pair for pair in rows if pair[1]]
    yield from _listed([_change(context, family, *pair) for pair in selected], family, call, "significant changes")
    n_others = len(rows) - len(selected)
    if n_others and selected:
        yield Finding(family, f"No other change under a perturbation is significant ({n_others:,} tested).", call)
    elif n_others:
        largest = _change(context, family, *rows[0])
        count = "one perturbation" if n_others == 1 else f"{n_others:,} tested"
        text = f"No change under a perturbation is significant ({count}). The largest: {largest.text}"
        yield replace(largest, text=text)


def _change(context: MainScores, family: str, row: Mapping[str, Any], significant: bool) -> Finding:
    sign = context.sign(row["metric"])
    change = row["change"]
    worse = (change < 0) == (sign.higher_is_better is True)
    low, high = row["change_low"], row["change_high"]
    where = context.location(row, "scenario", "setting")
    perturbation, model = _name(row["perturbation"]), _name(row.get("model") or "the model")
    if not significant:
        text = f"{perturbation} changes {model} by {_minus(_size(change, sign))}{_ends(low, high, sign)}{where}."
    else:
        ends = _ends(-high, -low, sign) if change < 0 else _ends(low, high, sign)
        size = _size(abs(change), sign) + ends
        cost, gain = f"{perturbation} costs {model} {size}", f"{model} gains {size} under {perturbation}"
        text = f"{cost if worse else gain}{where}."
    keys = [name for name in ("scenario", "split", "model", "setting", "metric", "perturbation") if name in row]
    return Finding(
        family,
        text,
        f"results.{family}()",
        {name: row[name] for name in keys},
        change,
        row["change_low"],
        row["change_high"],
        significant,
    )


def _listed(sentences: Sequence[Finding], kind: str, call: str, noun: str) -> Iterator[Finding]:
    """Yield the first findings, and one that counts the others."""
    yield from sentences[:MOST]
    if len(sentences) > MOST:
        yield Finding(kind, f"{len(sentences) - MOST:,} more {noun} are in the table.", call)


def _is_main(mains: Mapping[str, str]) -> pl.Expr:
    """Return whether a row belongs to the main metric of its scenario."""
    pairs = [(pl.col("scenario") == name) & (pl.col("metric") == metric) for name, metric in mains.items()]
    return pl.any_horizontal(pairs) if pairs else pl.lit(value=False)


def _score(value: float, sign: _Sign) -> str:
    return _minus(f"{100 * value:.1f} %" if sign.unit == "fraction" else f"{value:.3g}")


def _size(value: float, sign: _Sign) -> str:
    if sign.unit == "fraction":
        return f"{100 * value:.1f} points"
    return f"{value:.3g}"


def _ends(low: float | None, high: float | None, sign: _Sign) -> str:
    if low is None or high is None:
        return ""
    if sign.unit == "fraction":
        return _minus(f" [{100 * low:.1f}, {100 * high:.1f}]")
    return _minus(f" [{low:.3g}, {high:.3g}]")


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _share(n: int, total: int) -> str:
    share = n / max(total, 1)
    return "less than 0.1 %" if share < 0.001 else f"{share:.1%}".replace("%", " %")


def _name(text: str, most: int = _LONGEST_NAME) -> str:
    """Return a name for a sentence: without invisible characters, cut if it is long."""
    return display_labels([str(text)], most)[str(text)]
