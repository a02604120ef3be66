"""The charts of some results: `results.plot`."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe.columns import ORIGINAL
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.results.boards import competitor
from helmframe.results.comparisons import Comparisons
from helmframe.stats.table import AXES, table
from helmframe.views.charts.calibration import calibration
from helmframe.views.charts.confusion import confusion
from helmframe.views.charts.forest import forest
from helmframe.views.charts.heatmap import heatmap
from helmframe.views.charts.leaderboard import leaderboard
from helmframe.views.charts.pareto import pareto
from helmframe.views.charts.perturbations import perturbations
from helmframe.views.charts.robustness import robustness
from helmframe.views.charts.scores import scores
from helmframe.views.charts.theme import nothing
from helmframe.views.charts.words import TAKEN

if TYPE_CHECKING:
    from helmframe.views.charts.theme import Drawn


def _import_altair() -> None:
    with suppress(Exception):  # raised where a chart is drawn
        import_module("altair")


@dataclass(frozen=True)
class Plot:
    """The charts of some results: Altair charts over tables that are small already.

    A model has the same colour in all of them. `chart.save("x.png")`, `.svg` and `.html` need no network. With mode
    "dark" they are for dark pages. `hf.charts` has the same functions for any frame of the documented schema.
    """

    results: Comparisons

    def __post_init__(self) -> None:
        if find_spec("altair") is None:
            raise ArgumentError("charts need the package altair: pip install 'helmframe[plots]'.")
        # it takes a second or two to import, while the scores are read
        threading.Thread(target=_import_altair, name="helmframe-altair", daemon=True).start()

    def scores(self, metric: str | None = None, *, mode: str = "light") -> Drawn:
        """Score with its interval, by whatever the run varied; chance as a tick.

        Args:
            metric: default the main one of each scenario.
            mode: "light" or "dark".
        """
        return scores(self._main(metric), models=self._models, metrics=self._metrics, mode=mode)

    def heatmap(self, x: str, y: str, metric: str | None = None, *, mode: str = "light") -> Drawn:
        """The score of each pair of values of two columns, such as "model", "perturbation" or one of the scenario's.

        Args:
            x: one column.
            y: another.
            metric: default the main one.
            mode: "light" or "dark".
        """
        name = metric or self.results.main_metrics[0]
        found = self.results.table(list(dict.fromkeys([x, y, *AXES])), metrics=name)
        return heatmap(found, x, y, metrics=self._metrics, mode=mode)

    def robustness(self, metric: str | None = None, *, mode: str = "light") -> Drawn:
        """Original to worst, over the perturbations that count as robustness, and the paired drop.

        Args:
            metric: default the main one.
            mode: "light" or "dark".
        """
        name = metric or self.results.main_metrics[0]
        found = self.results.robustness(metrics=name)
        if found.is_empty() and len(self._values("perturbation")) > 1:
            why = "nothing that was asked counts as robustness: hf.list_perturbations() says what does"
            return nothing(why, mode, f"{name}, original to worst")
        return robustness(found, models=self._models, metrics=self._metrics, mode=mode)

    def perturbations(self, metric: str | None = None, *, mode: str = "light") -> Drawn:
        """The paired drop under each perturbation, of any family, placebos too; those of one name weak to strong.

        Args:
            metric: default the main one.
            mode: "light" or "dark".
        """
        name = metric or self.results.main_metrics[0]
        there = [each for each in self._values("perturbation") if each != ORIGINAL]
        placebos = [each for each in there if self.results.kinds().get(each, {}).get("repeats")]
        placebo = placebos[0] if placebos and len(there) > 1 else None
        found = self.results.robustness(metrics=name, perturbations=there, placebo=placebo)
        return perturbations(found, models=self._models, metrics=self._metrics, mode=mode)

    def forest(
        self, axis: str | None = None, *, base: str | None = None, metric: str | None = None, mode: str = "light"
    ) -> Drawn:
        """Paired differences between models, settings or perturbations, as `results.compare` finds them.

        Args:
            axis: what is compared; default the first of model, setting and perturbation that has several values.
            base: as in `results.compare`.
            metric: default the main one.
            mode: "light" or "dark".
        """
        varied = [name for name in ("model", "setting", "perturbation") if len(self._values(name)) > 1]
        chosen = axis or next(iter(varied), "model")
        if chosen in ("model", "setting", "perturbation") and chosen not in varied:
            return nothing(f"one {chosen} only: there is nothing to compare it with", mode, "differences")
        found = self.results.compare(chosen, base=base, metrics=metric)
        return forest(found, models=self._models, metrics=self._metrics, mode=mode)

    def calibration(self, *, confidence: str | None = None, bins: int = 10, mode: str = "light") -> Drawn:
        """How often answers are right, over how sure the model was of them.

        Args:
            confidence: None, the probability of the likeliest option, where options were asked one by one; "max_prob",
                that of the completion; or a column.
            bins: how many at most; 30 answers each at least.
            mode: "light" or "dark".
        """
        completions = self.results.completions
        return calibration(completions, confidence=confidence, bins=bins, models=self._models, mode=mode)

    def pareto(self, x: str = "latency", y: str = "score", *, mode: str = "light") -> Drawn:
        """A point per model (and setting): what it gains for what it takes.

        Args:
            x: latency (s), prompt_tokens, output_tokens, or a metric, such as a `cost(prices=…)` that was scored.
            y: a metric; "score" is the main one.
            mode: "light" or "dark".
        """
        mains = self.results.main_metrics
        if y == "score" and len(mains) > 1:
            return nothing(f"scenarios have several main metrics: say y={mains[0]!r}, or another", mode, "trade-offs")
        gained = mains[0] if y == "score" else y
        for name in (x, gained):
            if name not in (*self.results.metric_names, *TAKEN):
                raise UnknownNameError.among("number of these results", name, [*self.results.metric_names, *TAKEN])
        found = pl.concat([self._of_models(name) for name in (x, gained)], how="diagonal_relaxed")
        return pareto(found, x, gained, models=self._models, metrics=self._metrics, mode=mode)

    def confusion(self, *, mode: str = "light") -> Drawn:
        """How often each answer was given where each class is right; a panel per model.

        Args:
            mode: "light" or "dark".
        """
        return confusion(self.results.completions, mode=mode)

    def leaderboard(self, *, mean: str = "win_rate", mode: str = "light") -> Drawn:
        """Models from best to worst, and between which ranks each lies.

        Args:
            mean: as in `results.leaderboard`.
            mode: "light" or "dark".
        """
        asked = self.results.completions.select("model", "setting").unique().sort("model", "setting").collect()
        if asked.height < 2:
            return nothing("one model only: there is nobody to rank it with", mode, "leaderboard")
        model_of = {competitor(model, setting): model for model, setting in asked.iter_rows()}
        board = self.results.leaderboard(mean=mean)
        return leaderboard(board, models=self._models, model_of=model_of, mode=mode)

    @property
    def _metrics(self) -> Any:
        return self.results.manifest["metrics"]

    @cached_property
    def _models(self) -> list[str]:
        return self._values("model")

    def _values(self, column: str) -> list[str]:
        return self.results.completions.select(pl.col(column).unique().sort()).collect()[column].to_list()

    def _main(self, metric: str | None) -> pl.DataFrame:
        """The table of one metric, or of each scenario's main one."""
        if metric is not None or len(self.results.main_metrics) == 1:
            return self.results.table(metrics=metric or self.results.main_metrics[0])
        mains = {name: each["main"]["metric"] for name, each in self.results.manifest["scenarios"].items()}
        rows = self.results.table(metrics=self.results.main_metrics)
        return rows.filter(pl.col("scenario").replace(mains) == pl.col("metric"))

    def _of_models(self, name: str) -> pl.DataFrame:
        """One number of each model and setting, over original inputs: a metric, or what its answers took."""
        if name in self.results.metric_names:
            found = self.results.table(["model", "setting", "perturbation"], metrics=name, pool=["scenario", "split"])
            return found.filter(pl.col("perturbation") == ORIGINAL)
        told = ["scenario", "instance_id", "part", "cluster", "setting", "trial", "model", "output_index"]
        rows = self.results.completions.filter(pl.col("perturbation") == ORIGINAL)
        rows = rows.select(*told, metric=pl.lit(name), score=pl.col(name).cast(pl.Float64))
        return table(rows, ["model", "setting"], fractions=[])
