"""Results: what a run read, asked and scored, as lazy tables, and the tables people look at."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe import judged, robust
from helmframe.boards import board, columns_said
from helmframe.columns import COMPLETIONS, OF_REQUEST, ORIGINAL, PREFIXES, SCORES, VERDICTS, conform
from helmframe.comparison import APART, Read, paired
from helmframe.errors import ArgumentError, CapabilityError, StoreError, UnknownNameError
from helmframe.judging import judges_of, with_judges
from helmframe.metrics import METRICS, about, check_units, chosen, for_sets, parse, score, why_none
from helmframe.models.budget import Budget, Prices
from helmframe.stats import aggregate, aggregate_set
from helmframe.stats.board import Leaderboard
from helmframe.stats.gate import Gate
from helmframe.stats.table import in_order, pivoted
from helmframe.stopped import marked, refuse, with_differences, with_sequences
from helmframe.store import Address, RunFolder, address_of, listing, write_text
from helmframe.tables import Chunk, Held, with_scores
from helmframe.watch import bounded

if TYPE_CHECKING:
    from helmframe.views.charts.plot import Plot
    from helmframe.views.comparison import Comparison
    from helmframe.views.explore_widget import ExplorerWidget


@dataclass(frozen=True)
class Results:
    """The outcome of a run, self-contained: it needs neither bucket nor spec nor model.

    `completions`, `scores`, `prefixes`, `verdicts` are lazy tables (`hf.columns()` documents them); the methods
    aggregate, compare and show. `path` is where they lie; None where the tables are others than there.

    The repr, `table`, `robustness`, `fairness` and `worst_case` read a run's folder shard by shard and keep sums, so
    their memory does not grow with it. Metrics of whole sets, `consistency`, `gap`, `compare`, `flips`, `rows` and
    HELM's definition of robustness do not add up, and read all of it.
    """

    completions: pl.LazyFrame = field(repr=False)
    scores: pl.LazyFrame = field(repr=False)
    prefixes: pl.LazyFrame = field(repr=False)
    manifest: Mapping[str, Any] = field(repr=False)
    path: Address | None = None
    verdicts: pl.LazyFrame = field(default_factory=lambda: pl.LazyFrame(schema=VERDICTS.schema), repr=False)

    @classmethod
    def load(cls, path: str | Path) -> "Results":
        """Results from a run's folder, which may lie in a bucket: `s3://bucket/…`.

        Raises:
            StoreError: the folder holds none.
        """
        folder = RunFolder(address_of(path))
        manifest = folder.manifest()
        empty = {name: pl.LazyFrame(schema=table.schema) for name, table in _KEPT.items()}
        tables = {name: folder.scan(name) for name in _KEPT}
        return cls(**{name: empty[name] if table is None else table for name, table in tables.items()},
                   manifest=manifest, path=folder.path)  # fmt: skip

    # -- tables ------------------------------------------------------------------------------------------------------

    @property
    def requests(self) -> pl.LazyFrame:
        """One row per request as sent, with `prompt`."""
        answers = [column.name for column in COMPLETIONS.adds if column.name not in ("output_index", "request_id")]
        rows = self.completions.drop(answers)
        prefixes = self.prefixes.unique("prefix_id")
        joined = rows.join(prefixes, on="prefix_id", how="left", maintain_order="left", validate="m:1")
        return joined.with_columns(prompt=pl.col("prefix") + pl.col("suffix")).drop("prefix")

    @property
    def stats(self) -> pl.LazyFrame:
        """`STATS` of every metric by what the run varied: `.table()`, lazily."""
        return self.table().lazy()

    @property
    def metric_names(self) -> list[str]:
        """The metrics scored."""
        return list(self.manifest["metrics"])

    @property
    def main_metrics(self) -> list[str]:
        """The main metric of each scenario, where it was scored; else the first scored."""
        mains = [each["main"]["metric"] for each in self.manifest["scenarios"].values()]
        return list(dict.fromkeys(name for name in mains if name in self.metric_names)) or self.metric_names[:1]

    @property
    def chunks(self) -> Sequence[Chunk]:
        """Completions and scores in parts that hold their instances whole: shard by shard in a run's folder."""
        return self._held.chunks

    @property
    def answered(self) -> int:
        """How many completions there are, without those that failed."""
        return self._held.answered()

    def table(
        self,
        by: str | Sequence[str] | None = None,
        *,
        metrics: str | Sequence[str] | None = None,
        ci: float = 0.95,
        mean: str | None = None,
        pivot: str | None = None,
    ) -> pl.DataFrame:
        """Aggregated scores, one row per group and metric.

        Args:
            by: what makes a group: any of scenario, split, model, setting, perturbation, trial, part, or a column of
                the scenario's own (`subject`); default: whatever the run varied.
            metrics: which; default all.
            ci: share of intervals that should contain the true value.
            mean: over parts ("macro") or by size ("micro"); default the scenario's own.
            pivot: one of `by`: its values become columns that hold `value`.

        Returns:
            `by`, metric and `STATS`. Where there are choices also what is scored without a model: `chance`, by
            guessing; `majority`, by the answer that is right most often in its part. Of a run that stopped `until` it
            knew enough: asked, of (instances), and intervals that hold at every look.
        """
        keys = self._by(by)
        names = self._metrics(metrics)
        over_parts = mean or self._mean()
        frames = []
        per_row = [name for name in names if self.manifest["metrics"][name]["level"] != "set"]
        if per_row:
            scores = [rows.filter(pl.col("metric").is_in(per_row)) for rows in self._held.scores(keys)]
            frames.append(aggregate(scores, keys, fractions=self.fractions(), ci=ci, mean=over_parts))
        for each in chosen([name for name in names if name not in per_row]):
            rows, value = for_sets(self.completions, each)
            frames.append(
                aggregate_set(
                    self._with(rows, keys),
                    value,
                    keys,
                    metric=each.name,
                    ci=ci,
                    mean=over_parts,
                    fraction=each.unit == "fraction",
                    reason=why_none(rows, each),
                )
            )
        baselines = self._held.baselines(keys, names, over_parts)
        table = pl.concat(frames, how="diagonal_relaxed")
        if "until" in self.manifest:
            table = with_sequences(table, self.scores, self.manifest["until"], keys, mean=over_parts, ci=ci)
        table = self._held.given_examples(table, keys)
        table = table.join(baselines, on=[*keys, "metric"], how="left", nulls_equal=True, maintain_order="left")
        table = in_order(table, keys, self.metric_names)
        return table if pivot is None else pivoted(table, keys, pivot)

    def value(self, metric: str | None = None, **where: Any) -> float:
        """One aggregated score.

        Args:
            metric: default the main one.
            **where: what tells it apart, where the run varied it: model, perturbation (default "original"), setting,
                scenario …

        Raises:
            ArgumentError: the words leave more than one value, or none; or nothing was scored.
        """
        name = metric or self.main_metrics[0]
        keys = list(dict.fromkeys([*self._by(None), *where]))
        table = self.table(keys, metrics=name)
        if "perturbation" in keys and "perturbation" not in where:
            table = table.filter(pl.col("perturbation") == ORIGINAL)
        for column, value in where.items():
            table = table.filter(pl.col(column) == value)
        if table.height != 1:
            there = ", ".join(f"{key}=…" for key in keys if table[key].n_unique() > 1) or "other words"
            raise ArgumentError(f"value({name!r}): {table.height} values fit. Say more: {there}.\n{table.select(keys)}")
        value = table["value"].item()
        if value is None:
            failed = table["n_error"].item() or 0
            why = f"{failed} completions failed; results.errors() says why" if failed else "see results.rows()"
            raise ArgumentError(f"value({name!r}): nothing was scored: {why}.")
        return float(value)

    def rows(self, *, metric: str | None = None, score: float | None = None, **equals: Any) -> pl.DataFrame:
        """Wide rows, one per completion: input, prompt, completion, output, references, and each metric as a column.

        Args:
            metric: with `score`: the metric it is about; default the main one.
            score: only rows with this score.
            **equals: column=value.
        """
        shown = [
            "input",
            "perturbed_input",
            "prompt",
            "completion",
            "reasoning",
            "output",
            "parsed",
            "correct",
            "choices",
            "error",
        ]
        read = parse(self.completions).join(
            self.prefixes.unique("prefix_id"), on="prefix_id", how="left", maintain_order="left"
        )
        frame = (
            read.with_columns(prompt=pl.col("prefix") + pl.col("suffix"))
            .select(*COMPLETIONS.key, *shown, "part", "split")
            .collect()
        )
        frame = with_scores(frame, self.scores.filter(pl.col("output_index").is_not_null()).collect())
        frame = frame.drop(name for name in OF_REQUEST if frame[name].null_count() == frame.height)
        if score is not None:
            frame = frame.filter(pl.col(self._metrics(metric or self.main_metrics[0])[0]) == score)
        for column, value in equals.items():
            if column not in frame.columns:
                raise UnknownNameError.among("column of these rows", column, frame.columns)
            frame = frame.filter(pl.col(column) == value)
        return frame

    def wrong(self, metric: str | None = None) -> pl.DataFrame:
        """The rows that score 0."""
        return self.rows(metric=metric, score=0.0)

    def errors(self) -> pl.DataFrame:
        """The requests that failed: instance, model and error; each is asked again by the next run."""
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
        return self.completions.filter(pl.col("error").is_not_null()).select(*keys, "attempts", "error").collect()

    # -- questions ---------------------------------------------------------------------------------------------------

    def robustness(
        self,
        by: str | Sequence[str] | None = None,
        *,
        metrics: str | Sequence[str] | None = None,
        perturbations: str | Sequence[str] | None = None,
        placebo: str | None = None,
        definition: str = "paired",
        ci: float = 0.95,
    ) -> pl.DataFrame:
        """Original against perturbed, one row per group, metric and perturbation ("all": over all of them).

        Args:
            by: as in `table`, without perturbation.
            metrics: which; default all.
            perturbations: which, by name or family; default those that count as robustness (`hf.perturbations()`).
            placebo: a perturbation that changes nothing ("again"): also tells what the drops exceed its drop by.
            definition: "helm" gives HELM's numbers: the lowest score over original and variants, without intervals, a
                family's over all instances, a perturbation's over those it changed.
            ci: level of the drop's interval.

        Returns:
            original, mean over variants, worst (of the original and its k variants), right→wrong, wrong→right, changed
            share, and the headline: the paired drop (perturbed − original, on changed inputs) with its interval. With a
            placebo also excess, its interval and n_placebo.
        """
        scored = self._scored(by, metrics)
        table = robust.drops(
            scored, "robustness", perturbations=perturbations, placebo=placebo, definition=definition, ci=ci
        )
        return marked(self.manifest, table)

    def fairness(
        self,
        by: str | Sequence[str] | None = None,
        *,
        metrics: str | Sequence[str] | None = None,
        perturbations: str | Sequence[str] | None = None,
        placebo: str | None = None,
        definition: str = "paired",
        ci: float = 0.95,
    ) -> pl.DataFrame:
        """As `robustness`, over the perturbations that count as fairness: dialect, gender, person names, your own."""
        scored = self._scored(by, metrics)
        table = robust.drops(
            scored, "fairness", perturbations=perturbations, placebo=placebo, definition=definition, ci=ci
        )
        return marked(self.manifest, table)

    def worst_case(
        self,
        by: str | Sequence[str] | None = None,
        *,
        k: int | None = None,
        metrics: str | Sequence[str] | None = None,
        perturbations: str | Sequence[str] | None = None,
        ci: float = 0.95,
    ) -> pl.DataFrame:
        """The mean worst score over the original and all variants; with `k`, the expected worst of k draws (worst@k).

        Args:
            by: as in `table`, without perturbation.
            k: draws of one perturbation, from `perturb(…, seeds=…)` of at least as many; the original is none. A row
                per perturbation that has so many, a placebo among them.
            metrics: which; default all.
            perturbations: which, by name or family ("robustness", "fairness"); default all but placebos.
            ci: level of the interval.

        Returns:
            `by`, metric, `STATS`, k, variants (what it is the worst of), n_dropped. It falls with k whatever the model:
            only the same k and variants compare.
        """
        table = robust.worst(self._scored(by, metrics), k=k, perturbations=perturbations, ci=ci)
        return marked(self.manifest, table)

    def consistency(
        self,
        by: str | Sequence[str] | None = None,
        *,
        perturbations: str | Sequence[str] | None = None,
        exact: bool = False,
        ci: float = 0.95,
    ) -> pl.DataFrame:
        """The share of instances whose answer stays the same under each perturbation, right or wrong.

        Args:
            by: as in `table`, without perturbation and metric.
            perturbations: which, by name or family; default all, placebos too.
            exact: whether free text has to be the same to the letter, not only in its normalised words.
            ci: level of the interval.
        """
        table = robust.stays(self._scored(by, None), perturbations=perturbations, exact=exact, ci=ci)
        return marked(self.manifest, table)

    def gap(
        self,
        group: str,
        by: str | Sequence[str] | None = None,
        *,
        reference: Any = None,
        metrics: str | Sequence[str] | None = None,
        ci: float = 0.95,
    ) -> pl.DataFrame:
        """The score of each group of instances minus the score of all, or of one group, with its interval.

        `results.gap("sub_split")`, `results.gap("demographic", reference="white")`

        Args:
            group: a column: sub_split, part, or one of the scenario's own.
            by: as in `table`.
            reference: the group that the others are compared with; default all instances.
            metrics: which; default all.
            ci: level of the interval.
        """
        keys = [key for key in self._by(by) if key != group]
        scored = self._scored([*keys, group], metrics)
        return marked(self.manifest, robust.gaps(replace(scored, keys=keys), group, reference=reference, ci=ci))

    def flips(self, perturbation: str | None = None, *, metric: str | None = None) -> pl.DataFrame:
        """The answers whose score a perturbation changed, original and perturbed side by side, with a word-level diff.

        Args:
            perturbation: which; default all but placebos.
            metric: by which score; default the main one.

        Returns:
            flip ("worse" or "better"), input, perturbed_input, diff (`the [quick→quikc] fox`), both completions,
            outputs and scores; in a notebook it shows itself with the changes marked.
        """
        from helmframe.views.diff import with_diff

        (name,) = self._metrics(metric or self.main_metrics[0])
        return with_diff(robust.flips(self._scored(None, name), perturbation, name))

    def compare(
        self,
        axis: str,
        *,
        base: str | None = None,
        metrics: str | Sequence[str] | None = None,
        worst: int | str | None = None,
        errors: str = "refuse",
        mean: str | None = None,
        higher_is_better: Mapping[str, bool] | None = None,
        ci: float = 0.95,
    ) -> "Comparison":
        """Paired differences between the values of one axis: model, setting or perturbation.

        Args:
            axis: what is compared.
            base: the value that the others are compared with; default the first, of perturbations the original.
            metrics: default the main metric.
            worst: compare the worst case instead of each variant: "all", over the original and all variants; a number
                k, of k draws.
            errors: where more than 1 % failed: "refuse", "drop" those, or count them as "zero".
            mean: over parts, "macro" or "micro"; default the scenario's own.
            higher_is_better: metric → direction, for metrics of other tools that we don't know.
            ci: level of the interval.

        Returns:
            As `helmframe.stats.compare`: a frame, which shows itself as a short table. Of a run that stopped `until` it
            knew enough: intervals that hold at every look, and no p values.

        Raises:
            UnknownNameError: no such axis, or base.
            NotComparableError: the run has only one value of it, too many requests failed, or worst cases are over
                other variants.
        """
        if axis not in ("model", "setting", "perturbation"):
            raise UnknownNameError.among("axis of comparison", axis, ["model", "setting", "perturbation"])
        read = self.read_as(metrics, mean, higher_is_better)
        scores = self.scores
        if worst is not None:
            refuse(self.manifest, "worst cases")
            scores = self._worst_of_each(axis, worst, read)
        from helmframe.views.comparison import Comparison

        by = [name for name in APART if name != axis]
        table = paired(scores, axis, by, base=base, read=read, errors=errors, ci=ci)
        if "until" in self.manifest:
            table = with_differences(table, scores, self.manifest["until"], axis, mean=read.mean, ci=ci)
        return Comparison(table)

    def leaderboard(
        self,
        *,
        mean: str = "win_rate",
        columns: "Sequence[str | tuple[str, str]] | str | None" = None,
        parts: str | None = None,
        worst: int | str | None = None,
        shared: bool = False,
        errors: str = "refuse",
        higher_is_better: Mapping[str, bool] | None = None,
        ci: float = 0.95,
    ) -> Leaderboard:
        """The models ranked over scenarios, with what of their order is sure; settings of a grid rank side by side.

        Args:
            mean: "win_rate", HELM's: the share of the others that a model is better than; "mean", the mean over
                scenarios (HELM's, macro); "micro", the mean by their instances.
            columns: scenarios (their main metric), metrics (in every scenario), or (scenario, metric); default all
                scenarios. Original inputs alone count, of the main split.
            parts: over the parts of a scenario, "macro" (alike, HELM's) or "micro" (by size); default the scenario's.
            worst: rank worst cases, over the original and "all" variants, or of k draws; as in `compare`.
            shared: rank over the instances that all models answered.
            errors: where more than 1 % of a model failed: "refuse", "drop" those, or count them as "zero".
            higher_is_better: metric → direction, for metrics of other tools that we don't know.
            ci: level at which all models' ranks hold together, and of the intervals.

        Returns:
            As `helmframe.stats.leaderboard`: `.table`, `.cells`, the pool and columns it was made over, and
            `.compare(other)`, which refuses boards of others.

        Raises:
            UnknownNameError: no such column.
            ArgumentError: one model alone, or a mean over columns of several units.
            NotComparableError: too many requests failed, models were asked other instances, or worst cases are over
                other variants.
        """
        refuse(self.manifest, "ranks")
        said = columns_said(self.manifest, columns)
        read = self.read_as(list(dict.fromkeys(metric for _, metric in said)), parts, higher_is_better)
        return board(self, said, read, mean=mean, worst=worst, shared=shared, errors=errors, ci=ci)

    def gate(
        self,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        against: "str | Path | Results | None" = None,
        margin: float = 0.02,
        columns: "Sequence[str | tuple[str, str]] | str | None" = None,
        axis: str | Sequence[str] = (),
        errors: str = "refuse",
        strict: bool = False,
        ci: float = 0.95,
    ) -> Gate:
        """Whether these results may pass: surely at least (or most) so much, or not worse than a baseline by a margin.

        `results.gate(against="runs/yesterday").verdict` is "pass", "fail", or "undecided" where the interval holds the
        line; then `table` says how many instances would decide. Of all its rows together, numbers that lie on the line
        fail in (1 − ci)/2 of runs, 2.5 %; sides that are alike less often, by the margin. Original inputs of the main
        split alone count.

        Args:
            at_least: the least value that passes.
            at_most: the greatest one that does, of metrics that are better when lower.
            against: the baseline: results, or a folder of any tool's, as in `hf.compare`.
            margin: by how much these may be worse than the baseline.
            columns: scenarios (their main metric), metrics (in every scenario), or (scenario, metric); default all
                scenarios.
            axis: what may differ from the baseline, as in `hf.compare`.
            errors: where more than 1 % failed: "refuse", "drop" those, or count them as "zero".
            strict: whether "undecided" is "fail".
            ci: level of the intervals.

        Returns:
            As `helmframe.stats.gate`: `.verdict`, `.exit_code`, `.table`.

        Raises:
            ArgumentError: none of at_least, at_most and against, or two; at_least of a metric that is better when
                lower, or at_most of one that is better when higher.
            NotComparableError: too many requests failed, or as in `hf.compare`.
        """
        from helmframe.gates import gate_of

        return gate_of(
            self,
            at_least=at_least,
            at_most=at_most,
            against=against,
            margin=margin,
            columns=columns,
            axis=axis,
            errors=errors,
            strict=strict,
            ci=ci,
        )

    def rescore(self, *metrics: Any) -> "Results":
        """The same completions under other metrics, said as in `Plan.metrics`; asks no model but the judges said."""
        asked = chosen(with_judges(metrics) or tuple(self.metric_names))
        for each in asked:
            if each.check is not None:
                each.check()
        manifest = {**self.manifest, "metrics": {each.name: about(each) for each in asked}}
        if "until" in manifest:
            manifest["until"] = {**manifest["until"], "metrics": bounded(asked)}
        if judges_of(asked):
            rows = self.completions.collect()
            scores, verdicts = judged.judged(rows, asked, None, fresh=False, budget=Budget())
            return replace(self, scores=scores.lazy(), verdicts=verdicts.lazy(), manifest=manifest, path=None)
        scores = score(self.completions, asked).collect()
        check_units(scores, asked)
        none = self.verdicts.clear()
        return replace(self, scores=scores.lazy(), verdicts=none, manifest=manifest, path=None)

    # -- judges ------------------------------------------------------------------------------------------------------

    def judge(
        self,
        *judges: Any,
        against: "str | Results | None" = None,
        fresh: bool = False,
        max_requests: int | None = None,
        max_cost: float | None = None,
        prices: Prices | None = None,
    ) -> "Results":
        """These results with what judges say of the same completions; only judges are asked.

        `results.judge(hf.judge(model, "safety"))`; `results.verdicts` has each verdict, with the judge's reasons.

        Args:
            *judges: as `hf.judge` makes them, or as text.
            against: for judges of pairs: the model, or the results of one, whose completions the others are compared
                with. Each pair is judged in both orders, and the mean counts.
            fresh: whether judges are asked again what the store has.
            max_requests: ask at most so many; the same call goes on from there.
            max_cost: stop once the replies cost so much, by `prices`.
            prices: judge → price of a million prompt tokens and of a million output tokens.

        Raises:
            NotComparableError: nothing to compare with.
        """
        asked = chosen(with_judges(judges))
        if not asked or len(judges_of(asked)) < len(asked):
            raise ArgumentError("results.judge() takes judges: hf.judge(model, 'safety'); other metrics: rescore().")
        rows, others = self.completions.collect(), None
        if against is not None:
            rows, others = self._sides(rows, against)
        budget = Budget(max_requests, max_cost, prices)
        scores, verdicts = judged.judged(rows, asked, others, fresh=fresh, budget=budget)
        said = {each.name: about(each) for each in asked}
        other = ~pl.col("metric").is_in(list(said))
        return replace(
            self,
            scores=pl.concat([self.scores.filter(other), scores.lazy()], how="diagonal_relaxed"),
            verdicts=pl.concat([self.verdicts.filter(other), verdicts.lazy()], how="diagonal_relaxed"),
            manifest={**self.manifest, "metrics": {**self.manifest["metrics"], **said}},
            path=None,
        )

    def agreement(
        self,
        metric: str | None = None,
        by: str | Sequence[str] = (),
        *,
        labels: pl.DataFrame | None = None,
        level: str | None = None,
        ci: float = 0.95,
    ) -> pl.DataFrame:
        """How far judges agree with each other, and with people: Krippendorff's α, κ, shares, differences.

        Args:
            metric: a judged metric; default the only one. Other metrics of the same template count with it.
            by: columns whose values make a group.
            labels: what people say: as for `corrected`; they are the rater "human".
            level: "nominal", "ordinal" or "interval"; default "nominal" for scales of two values, else "interval".
            ci: level of the intervals, by a bootstrap over clusters of instances.

        Returns:
            As `helmframe.stats.agreement`: a row per statistic and raters.
        """
        keys = [by] if isinstance(by, str) else list(by)
        return judged.agreements(self._judged(keys), metric, keys, labels, level, ci)

    def corrected(
        self,
        labels: pl.DataFrame,
        metric: str | None = None,
        by: str | Sequence[str] | None = None,
        *,
        tuned: bool = True,
        ci: float = 0.95,
    ) -> pl.DataFrame:
        """A judged score as people would have given it: prediction-powered, from labels of some of the completions.

        Without labels an interval says nothing of the judge's own errors; with them it does.

        Args:
            labels: a Polars frame with instance_id, label (on the judge's scale), and what else tells completions apart
                (scenario, model, perturbation, …): `results.to_label(100)`, filled in. A random draw, or it misleads.
            metric: default the judged one.
            by: as in `table`.
            tuned: whether the judge is trusted as far as makes the interval narrowest, or wholly.
            ci: level of the intervals.

        Returns:
            As `helmframe.stats.prediction_powered`: value and interval, the judge's own mean, the labels' own, the
            judge's bias.
        """
        keys = self._by(by)
        said = self._judged([])
        name = said.judge_of(None)[0] if metric is None else self._metrics(metric)[0]
        scores = self._with(self.scores.filter(pl.col("metric") == name), keys).collect()
        about = self.manifest["metrics"][name]
        fraction = about["unit"] == "fraction"
        how = {"mean": self._mean(), "tuned": tuned, "fraction": fraction, "ci": ci}
        return judged.corrected(scores, labels, keys, about.get("judge", {}), **how)

    def position_bias(
        self, metric: str | None = None, by: str | Sequence[str] = (), *, ci: float = 0.95
    ) -> pl.DataFrame:
        """Of each judge of pairs how much it favours what stands first (−½ to ½), and how often its verdict turns."""
        keys = [by] if isinstance(by, str) else list(by)
        return judged.position_bias(self._judged(keys), metric, keys, ci)

    def to_label(self, n: int, seed: int = 0) -> pl.DataFrame:
        """A random n of the completions for people to score, with an empty column `label`; no scores in sight."""
        return judged.to_label(self.completions, n, seed)

    def sql(self, query: str) -> pl.DataFrame:
        """DuckDB SQL over the tables `completions`, `requests`, `scores` and `stats`.

        `results.sql("SELECT metric, avg(score) FROM scores GROUP BY ALL")`
        """
        import duckdb

        tables = ("completions", "requests", "scores", "stats")
        with duckdb.connect() as connection:
            # Else a table that is not there might be found among the variables of this file.
            connection.execute("SET python_enable_replacements = false")
            for name in tables:
                if re.search(rf"\b{name}\b", query):
                    connection.register(name, getattr(self, name).collect().to_arrow())
            try:
                return connection.sql(query).pl()
            except duckdb.CatalogException as error:
                raise ArgumentError(f"sql(): {error}\nThe tables are {', '.join(tables)}.") from None

    # -- out ---------------------------------------------------------------------------------------------------------

    @property
    def plot(self) -> "Plot":
        """Charts: `results.plot.scores()`."""
        from helmframe.views.charts.plot import Plot

        return Plot(self)

    def explore(self, **filters: Any) -> "ExplorerWidget":
        """The results row by row, in a notebook: filters, pages, and all there is about an instance that is clicked.

        What is shown is read when it is shown, so a million completions open at once. In a terminal: `helmframe view`.

        Args:
            **filters: what is shown at first: metric (default the main ones), scenario, model, perturbation, setting;
                low and high bound the score; only="unscored" or "unparsed"; find=, a part of an instance id;
                order="lowest" or "highest".

        Raises:
            ArgumentError, UnknownNameError: no such filter, or value.
            CapabilityError: anywidget is not there.
        """
        if find_spec("anywidget") is None:
            raise CapabilityError("explore() needs the package anywidget: pip install 'helmframe[widgets]'.")
        from helmframe.views.explore import Explorer
        from helmframe.views.explore_filters import Filters
        from helmframe.views.explore_widget import ExplorerWidget

        return ExplorerWidget(Explorer(self, Filters.of(filters)))

    def report(self, path: str | Path, *, title: str | None = None) -> Address:
        """Write a report: one file of HTML, to open, send or keep, that needs no network and runs nothing.

        Scores, charts, robustness and fairness, comparisons, where models disagree, answers that a perturbation turned
        and the worst instances (word by word what was changed), failed requests, plan and manifest. Texts of models and
        data are shown as text, of long ones the start.

        Args:
            path: the file, on disk or in a bucket; one that is there is replaced.
            title: default the scenarios' names.

        Raises:
            ArgumentError: `path` is a folder.
            CapabilityError: a package is missing: pip install 'helmframe[report]'.
            StoreError: the file can't be written.
        """
        from helmframe.views.report import report_html

        target = address_of(path)
        if isinstance(target, Path) and target.is_dir():
            raise ArgumentError(f"report: {target} is a folder. Name a file: report({str(target / 'report.html')!r}).")
        write_text(report_html(self, title), target)
        return target

    def write_table(
        self,
        path: str | Path,
        by: str | Sequence[str] | None = None,
        *,
        metrics: str | Sequence[str] | None = None,
        ci: float = 0.95,
        mean: str | None = None,
        pivot: str | None = None,
    ) -> Address:
        """Write `table(…)` as a file: .csv and .json hold every number, .md and .tex (booktabs) what people read.

        `results.write_table("scores.tex", pivot="model")`

        Args:
            path: the file, on disk or in a bucket; its name says which kind; one that is there is replaced.
            by: as in `table`; so are the others.
            metrics: which; default all.
            ci: level of the intervals.
            mean: over parts ("macro") or by size ("micro").
            pivot: one of `by` whose values become columns.

        Raises:
            ArgumentError: another kind of file.
            CapabilityError: LaTeX needs tabulate: pip install 'helmframe[report]'.
            StoreError: the file can't be written.
        """
        from helmframe.views.written import table_as

        target = address_of(path)
        write_text(table_as(self.table(by, metrics=metrics, ci=ci, mean=mean, pivot=pivot), str(target)), target)
        return target

    def to_parquet(self, folder: str | Path) -> Address:
        """The results as one folder of Parquet and a manifest, on disk or in a bucket; `hf.load` reads it.

        `scores/scenario=S/model=M/….parquet`, and so completions and verdicts: names percent-encoded, as Hive, DuckDB
        and Polars read them. The columns are those of `hf.columns()`, then the scenario's own; the manifest is in each
        file's footer (key "helmframe") and, written last, in manifest.json: without it there are no results.

        Raises:
            StoreError: there is something else in the folder, or it can't be written.
        """
        target = address_of(folder)
        if listing(target):
            raise StoreError(f"{target} is not empty; choose another folder.")
        copied = RunFolder(target)
        for shard, chunk in enumerate(self._held.chunks):
            for name, rows in (("completions", chunk.completions), ("scores", chunk.scores)):
                copied.add_partitioned(name, conform(rows.collect(), _KEPT[name], name), self.manifest, shard)
        copied.add_partitioned("verdicts", conform(self.verdicts.collect(), VERDICTS, "verdicts"), self.manifest)
        copied.add("prefixes", "all", self.prefixes.unique("prefix_id", maintain_order=True).collect())
        copied.write_manifest(self.manifest)
        return target

    def to_helm(self, folder: str | Path) -> Address:
        """The results as HELM's run directories, for `helm-summarize`; `hf.read_helm` reads them.

        Raises:
            StoreError: there is something else in the folder.
        """
        from helmframe.helm.write import write_helm

        return write_helm(self, folder)

    def __repr__(self) -> str:
        from helmframe.views.display import results_text

        return results_text(self)

    def _repr_html_(self) -> str:
        from helmframe.views.display import results_html

        return results_html(self)

    # -- private -----------------------------------------------------------------------------------------------------

    def _by(self, by: str | Sequence[str] | None) -> list[str]:
        if by is not None:
            return [by] if isinstance(by, str) else list(by)
        return list(self._varied)

    def _metrics(self, metrics: str | Sequence[str] | None) -> list[str]:
        names = [metrics] if isinstance(metrics, str) else list(metrics or self.metric_names)
        for name in names:
            if name not in self.metric_names:
                hint = f"It can be scored without asking again: results.rescore({name!r})." if name in METRICS else ""
                raise UnknownNameError.among("metric of these results", name, self.metric_names, hint=hint)
        return names

    def _mean(self) -> str:
        stopped_by = self.manifest.get("until", {}).get("mean")
        means = {stopped_by or each["main"]["mean"] for each in self.manifest["scenarios"].values()}
        return str(means.pop()) if len(means) == 1 else "macro"

    def read_as(
        self, metrics: str | Sequence[str] | None, mean: str | None, higher_is_better: Mapping[str, bool] | None
    ) -> Read:
        """How the scores of these metrics, default the main ones, are read."""
        names = self._metrics(metrics or self.main_metrics)
        return Read.of([self.manifest], names, higher_is_better, mean or self._mean())

    def fractions(self) -> list[str]:
        return [name for name, each in self.manifest["metrics"].items() if each["unit"] == "fraction"]

    def directions(self) -> dict[str, bool]:
        return {name: bool(each["higher_is_better"]) for name, each in self.manifest["metrics"].items()}

    def kinds(self) -> Mapping[str, Mapping[str, Any]]:
        return dict(self.manifest.get("perturbations", {}))

    def _judged(self, keys: Sequence[str]) -> judged.Judged:
        return judged.Judged(self._with(self.verdicts, keys), self.manifest["metrics"])

    def _worst_of_each(self, axis: str, worst: int | str, read: Read) -> pl.LazyFrame:
        if axis == "perturbation":
            raise ArgumentError("compare('perturbation') has a side for each perturbation: none has a worst case.")
        rows = self.scores.filter(pl.col("metric").is_in(list(read.metrics)))
        values = rows.select(pl.col(axis).unique().sort()).collect().to_series().to_list()
        sides = {value: rows.filter(pl.col(axis) == value) for value in values}
        worst_of = robust.worst_sides(sides, worst, read.higher_is_better, self.kinds())
        return pl.concat([scores.with_columns(pl.lit(value).alias(axis)) for value, scores in worst_of.items()])

    def _sides(self, rows: pl.DataFrame, against: "str | Results") -> tuple[pl.DataFrame, pl.DataFrame]:
        """The completions that are judged, and those they are compared with."""
        if isinstance(against, Results):
            return rows, against.completions.collect()
        names = rows["model"].unique().sort().to_list()
        if against not in names:
            raise UnknownNameError.among("model of these results", against, names)
        return rows.filter(pl.col("model") != against), rows.filter(pl.col("model") == against)

    def _scored(self, by: str | Sequence[str] | None, metrics: str | Sequence[str] | None) -> robust.Scored:
        """What the questions of `robust` are about, for tables by these columns but the perturbation."""
        keys = [key for key in self._by(by) if key != "perturbation"]
        asked = pl.lit(value=True) if metrics is None else pl.col("metric").is_in(self._metrics(metrics))
        return robust.Scored(
            scores=self._with(self.scores, keys).filter(asked),
            chunks=[rows.filter(asked) for rows in self._held.scores(keys)],
            completions=self._with(self.completions, keys),
            keys=keys,
            higher_is_better=self.directions(),
            fractions=self.fractions(),
            mean=self._mean(),
            perturbations=self.kinds(),
        )

    def _with(self, rows: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
        """The rows with the columns of the scenario's own that `keys` name."""
        return self._held.with_own(rows, self.completions, keys)

    @cached_property
    def _varied(self) -> list[str]:
        return self._held.varied()

    @cached_property
    def _held(self) -> Held:
        """Completions and scores in chunks: shard by shard where they lie in a run's folder, else one."""
        shards: list[dict[str, pl.LazyFrame]] = []
        if self.path is not None:
            scenarios = self.manifest["scenarios"].items()
            whole = [name for name, about in scenarios if about.get("whole_shards", False)]
            shards = RunFolder(self.path).shards(("completions", "scores"), whole)
        empty = {name: pl.LazyFrame(schema=_KEPT[name].schema) for name in ("completions", "scores")}
        chunks = [Chunk(**{**empty, **shard}) for shard in shards] or [Chunk(self.completions, self.scores)]
        return Held(chunks, self.completions.collect_schema())


_KEPT = {"completions": COMPLETIONS, "scores": SCORES, "prefixes": PREFIXES, "verdicts": VERDICTS}
