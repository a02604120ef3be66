"""`Results`: the tables of a run, and what is computed from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from helmframe._core.registry import render
from helmframe._schema import conform
from helmframe.errors import ArgumentError, CapabilityError, StoreError
from helmframe.results import _comparison, _judging, _robustness, _rows, _tables
from helmframe.results._data import TABLES, ResultsData, reader_of
from helmframe.results.charts import Plot
from helmframe.results.sides import reader
from helmframe.store import Address, RunFolder, address_of, listing, write_text


@dataclass(frozen=True, repr=False)
class Results(ResultsData):
    """The outcome of a run, self-contained: it needs neither bucket nor spec nor model.

    `completions`, `scores`, `prefixes`, `verdicts`, `helm_stats` are lazy tables (`hf.schema()` documents them); the
    methods aggregate, compare and show. `path` is where they lie; None where the tables are others than there.

    The repr, `table`, `robustness`, `fairness` and `worst_case` read a run's folder shard by shard and keep sums, so
    their memory does not grow with it. Metrics of whole sets, `consistency`, `gap`, `compare`, `flips`, `rows` and
    HELM's definition of robustness do not add up, and read all of it.
    """

    # aggregated scores
    table = _tables.table
    value = _tables.value
    stats = property(_tables.stats)
    # rows
    requests = property(_rows.requests)
    rows = _rows.rows
    wrong = _rows.wrong
    worst_outputs = _rows.worst_outputs
    errors = _rows.errors
    sql = _rows.sql
    # perturbations and groups of instances
    robustness = _robustness.robustness
    fairness = _robustness.fairness
    worst_case = _robustness.worst_case
    consistency = _robustness.consistency
    gap = _robustness.gap
    flips = _robustness.flips
    # comparisons
    compare = _comparison.compare
    leaderboard = _comparison.leaderboard
    gate = _comparison.gate
    # judges, and scores by other metrics
    rescore = _judging.rescore
    judge = _judging.judge
    agreement = _judging.agreement
    corrected = _judging.corrected
    position_bias = _judging.position_bias
    to_label = _judging.to_label

    @property
    def plot(self) -> Plot:
        """Charts: `results.plot.scores()`."""
        return Plot(self)

    def explore(
        self,
        *,
        metric: str = "",
        scenario: str | None = None,
        model: str | None = None,
        perturbation: str | None = None,
        setting: str | None = None,
        low: float | None = None,
        high: float | None = None,
        only: str = "all",
        find: str = "",
        order: str = "run",
    ) -> Any:
        """The results row by row, in a notebook: filters, pages, and all there is about an instance that is clicked.

        What is shown is read when it is shown, so a million completions open at once. In a terminal: `helmframe view`.

        Args:
            metric: The metric that is shown at first; default the main one of each scenario. The other parameters
                filter the rows shown at first.
            scenario: Only rows of this scenario.
            model: Only rows of this model.
            perturbation: Only rows of this perturbation.
            setting: Only rows of this setting.
            low: Only scores of at least this.
            high: Only scores of at most this.
            only: "all", "unscored" or "unparsed".
            find: A text that the instance id contains.
            order: "run", "lowest" or "highest" score first.

        Raises:
            ArgumentError, UnknownNameError: no such filter, or value.
            CapabilityError: anywidget is not there.
        """
        if find_spec("anywidget") is None:
            raise CapabilityError("explore() needs the package anywidget: pip install 'helmframe[widgets]'.")
        filters = {
            "metric": metric, "scenario": scenario, "model": model, "perturbation": perturbation, "setting": setting,
            "low": low, "high": high, "only": only, "find": find, "order": order,
        }  # fmt: skip
        return render(self, "explore", filters)

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
        target = address_of(path)
        if isinstance(target, Path) and target.is_dir():
            raise ArgumentError(f"report: {target} is a folder. Name a file: report({str(target / 'report.html')!r}).")
        write_text(render(self, "report", title), target)
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
        pool: str | Sequence[str] | bool = (),
    ) -> Address:
        """Write `table(…)` as a file: .csv and .json hold every number, .md and .tex (booktabs) what people read.

        `results.write_table("scores.tex", pivot="model")`

        Args:
            path: the file, on disk or in a bucket; its name says which kind; one that is there is replaced.
            by: as in `table`; so are the others.
            metrics: which; default all.
            ci: level of the intervals.
            mean: over subsets ("macro") or by size ("micro").
            pivot: One of the keys, whose values become columns.
            pool: The axes to average over, as in `table`.

        Raises:
            ArgumentError: another kind of file.
            CapabilityError: LaTeX needs tabulate: pip install 'helmframe[report]'.
            StoreError: the file can't be written.
        """
        target = address_of(path)
        table = self.table(by, metrics=metrics, ci=ci, mean=mean, pivot=pivot, pool=pool)
        write_text(render(self, "table", table, str(target)), target)
        return target

    def to_parquet(self, folder: str | Path) -> Address:
        """The results as one folder of Parquet and a manifest, on disk or in a bucket; `hf.load` reads it.

        `scores/scenario=S/model=M/….parquet`, and so completions and verdicts: names percent-encoded, as Hive, DuckDB
        and Polars read them. The columns are those of `hf.schema()`, then the scenario's own; the manifest is in each
        file's footer (key "helmframe") and, written last, in manifest.json: without it there are no results.

        Raises:
            StoreError: there is something else in the folder, or it can't be written.
        """
        target = address_of(folder)
        if listing(target):
            raise StoreError(f"{target} is not empty; choose another folder.")
        copied = RunFolder(target)
        for shard, chunk in enumerate(reader_of(self).chunks):
            for name, rows in (("completions", chunk.completions), ("scores", chunk.scores)):
                copied.add_partitioned(name, conform(rows.collect(), TABLES[name], name), self.manifest, shard)
        for name, rows in (("verdicts", self.verdicts), ("helm_stats", self.helm_stats)):
            copied.add_partitioned(name, conform(rows.collect(), TABLES[name], name), self.manifest)
        copied.add("prefixes", "all", self.prefixes.unique("prefix_id", maintain_order=True).collect())
        copied.write_manifest(self.manifest)
        return target

    def to_helm(self, folder: str | Path) -> Address:
        """The results as HELM's run directories, for `helm-summarize`; `hf.read_helm` reads them.

        Statistics that HELM recorded (`helm_stats`) are written unchanged; others are computed by HELM's rules.

        Raises:
            StoreError: there is something else in the folder.
        """
        target: Address = render(self, "helm", folder)
        return target

    def __repr__(self) -> str:
        return str(render(self, "text"))

    def _repr_html_(self) -> str:
        return str(render(self, "html"))


reader(Results.load)
