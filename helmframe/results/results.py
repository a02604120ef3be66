"""`Results`: the tables of a run, with the methods that analyse and export them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from helmframe._core.registry import render
from helmframe._schema import conform
from helmframe.engines.logs import read_logs
from helmframe.errors import ArgumentError, CapabilityError, StoreError
from helmframe.results import _boards, _comparison, _findings, _judging, _robustness, _rows, _tables
from helmframe.results._comparison import register_loader
from helmframe.results._data import TABLES, ResultsData, folder_description, reader_of
from helmframe.results.charts import Plot
from helmframe.store import Address, RunFolder, address_of, below, listing, write_text
from helmframe.store.files import is_on_hub, upload, write


@dataclass(frozen=True, repr=False)
class Results(ResultsData):
    """The results of a run, independent of its store, plan and models.

    `completions`, `scores`, `prefixes`, `verdicts`, `helm_stats` and `images` are lazy tables (`hf.schema()` documents
    them). The methods aggregate, compare and display them. `path` is the folder of the tables, or None if they were
    changed.

    The repr, `table`, `robustness`, `fairness` and `worst_case` read a run's folder shard by shard in constant memory.
    Metrics of whole sets, `consistency`, `gap`, `compare`, `flips`, `rows` and HELM's definition of robustness read the
    whole folder at once.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
    >>> results.scores.filter(metric="exact_match").collect()["score"].to_list()
    [1.0, 1.0, 1.0, 1.0]
    """

    # aggregated scores
    table = _tables.table
    value = _tables.value
    stats = property(_tables.stats)
    # tokens and money
    cost = _tables.cost
    # rows
    requests = property(_rows.requests)
    rows = _rows.rows
    to_frame = _rows.to_frame
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
    findings = _findings.findings
    leaderboard = _boards.leaderboard
    gate = _boards.gate
    sensitivity = _comparison.sensitivity
    variance_components = _comparison.variance_components
    full_scores = _boards.full_scores
    subset_errors = _boards.subset_errors
    # judges, and scores by other metrics
    rescore = _judging.rescore
    judge = _judging.judge
    agreement = _judging.agreement
    corrected = _judging.corrected
    position_bias = _judging.position_bias
    bradley_terry = _judging.bradley_terry
    to_label = _judging.to_label
    labels = _judging.labels

    @property
    def plot(self) -> Plot:
        """Return the charts of these results.

        >>> import helmframe as hf
        >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
        >>> "scores" in dir(results.plot)
        True
        """
        return Plot(self)

    def logs(self) -> pl.DataFrame:
        """Return what the run logged and its model functions printed (`LOGS`), by time, with scenario and instance.

        >>> import helmframe as hf
        >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
        >>> "message" in results.logs().columns
        True

        Raises:
            ArgumentError: The results aren't those of a run's folder.
        """
        if self.path is None:
            raise ArgumentError("logs(): these results have no folder. Load the run: hf.load(path).logs().")
        return read_logs(RunFolder(self.path))

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
        """Open the viewer of these results in a notebook: findings, charts, and every instance with its completions.

        With filters, the viewer opens the instances that match. Rows are loaded on demand, so a million completions
        open at once. In a terminal, run `helmframe view`.

        >>> import helmframe as hf
        >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
        >>> widget = results.explore(order="lowest")

        Args:
            metric: The initial metric; default the main metric of each scenario. The other parameters are the initial
                filters.
            scenario: Only rows of this scenario.
            model: Only rows of this model.
            perturbation: Only rows of this perturbation.
            setting: Only rows of this setting.
            low: Only scores of at least this.
            high: Only scores of at most this.
            only: "all", "wrong", "flipped" (by a perturbation), "worse", "disagree" (the models), "unparsed",
                "unscored", "failed", "slow", "labelled" or "unlabelled".
            find: A text in the instance id, the input or the completion, regardless of case.
            order: "run", "lowest" or "highest" score first, "slowest" first, or "random", the order of `to_label`.

        Raises:
            ArgumentError: If a filter is invalid.
            UnknownNameError: If a metric, scenario, model, perturbation or setting is unknown.
            CapabilityError: If anywidget is not installed: pip install 'helmframe[widgets]'.
        """
        if find_spec("anywidget") is None:
            raise CapabilityError("explore() requires the package anywidget: pip install 'helmframe[widgets]'")
        filters = {
            "metric": metric, "scenario": scenario, "model": model, "perturbation": perturbation, "setting": setting,
            "low": low, "high": high, "only": only, "find": find, "order": order,
        }  # fmt: skip
        return render(self, "explore", filters)

    def report(self, path: str | Path, *, title: str | None = None) -> Address:
        """Write a report: one self-contained HTML file without scripts, which needs no network; or Markdown, or PDF.

        It starts with the findings in words, a table of models and scenarios, and a chart. Then come robustness,
        comparisons, all scores, disagreements between models, outputs that a perturbation made worse, the worst
        instances (with a word diff), failed requests, plan and manifest; details are folded. Texts of models and data
        are escaped, and long texts are truncated. Markdown has the findings and the tables only.

        >>> import tempfile
        >>> import helmframe as hf
        >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     results.report(f"{folder}/report.html").name
        'report.html'

        Args:
            path: The file, on disk or in a bucket; an existing file is replaced. Its end sets the format: .md, .pdf, or
                else HTML. PDF needs an installed Chromium or Chrome.
            title: The title; default the scenarios' names.

        Raises:
            ArgumentError: If `path` is a folder.
            CapabilityError: If a package is missing: pip install 'helmframe[report]'; or there is no browser for PDF.
            StoreError: The file isn't writable.
        """
        target = address_of(path)
        if isinstance(target, Path) and target.is_dir():
            raise ArgumentError(
                f"report(): {target} is a folder. Write the path of a file: report({str(target / 'report.html')!r})."
            )
        match Path(str(target)).suffix.lower():
            case ".md":
                write_text(render(self, "report_markdown", title), target)
            case ".pdf":
                write(render(self, "report_pdf", title), target)
            case _:
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
        """Write `table(…)` as a file: .csv and .json with full precision, .md and .tex (booktabs) rounded.

        In .csv, an apostrophe precedes texts that a spreadsheet would run as a formula: those that start with =, +, -,
        @, a tab or a line break. Remove the first apostrophe to get the original text.

        >>> import tempfile
        >>> import helmframe as hf
        >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = results.write_table(f"{folder}/scores.csv", metrics="exact_match", pivot="model")
        ...     file.read_text().split()
        ['scenario,perturbation,metric,oracle', 'sampler,original,exact_match,1.0']

        Args:
            path: The file, on disk or in a bucket; its extension sets the format; an existing file is replaced.
            by: As in `table`; so are the other parameters.
            metrics: The metrics; default all.
            ci: The level of the intervals.
            mean: The mean over subsets ("macro") or by size ("micro").
            pivot: One of the keys, whose values become columns.
            pool: The axes to average over, as in `table`.

        Raises:
            ArgumentError: If the extension is unsupported.
            CapabilityError: If LaTeX is written without tabulate: pip install 'helmframe[report]'.
            StoreError: The file isn't writable.
        """
        target = address_of(path)
        table = self.table(by, metrics=metrics, ci=ci, mean=mean, pivot=pivot, pool=pool)
        write_text(render(self, "table", table, str(target)), target)
        return target

    def to_parquet(self, folder: str | Path) -> Address:
        """Write the results as a folder of Parquet files and a manifest, on disk or in a bucket; `hf.load` reads it.

        The tables completions, scores and verdicts are a folder each, which pandas, Polars, DuckDB, pyarrow and Spark
        read with default arguments: `pd.read_parquet("folder/scores")`. Their columns are those of `hf.schema()`, then
        the scenario's own. `completion_id`, a number, joins scores and completions. README.md and
        schema.json describe the columns, and so do the fields of each file. The manifest is in each file's footer (key
        "helmframe") and in manifest.json, which is written last and completes the folder.

        `hf://datasets/OWNER/NAME` or a folder in it uploads the folder to the Hugging Face Hub, in one commit. A data
        set that doesn't exist is created as a private one. Completions may have rows of data that is not public:
        check its terms before you publish the data set.

        >>> import tempfile
        >>> import helmframe as hf
        >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     hf.load(results.to_parquet(f"{folder}/run")).value("exact_match")
        1.0

        Raises:
            StoreError: The folder isn't empty, or isn't writable.
        """
        target = address_of(folder)
        if is_on_hub(target):
            with TemporaryDirectory() as temporary:
                self.to_parquet(Path(temporary, "results"))
                upload(Path(temporary, "results"), str(target))
            return target
        if listing(target):
            raise StoreError(f"to_parquet(): folder {target} isn't empty. Write another folder.")
        copied = RunFolder(target)
        n_written = 0
        for shard, chunk in enumerate(reader_of(self).chunks):
            completions = conform(chunk.completions.collect(), TABLES["completions"], "completions")
            completions = _rows.numbered(completions, n_written)
            scores = conform(chunk.scores.collect(), TABLES["scores"], "scores")
            n_written += completions.height
            copied.add_exported(TABLES["completions"], completions, self.manifest, shard)
            copied.add_exported(TABLES["scores"], _rows.with_completion_ids(scores, completions), self.manifest, shard)
        for name, rows in (("verdicts", self.verdicts), ("helm_stats", self.helm_stats)):
            copied.add_exported(TABLES[name], conform(rows.collect(), TABLES[name], name), self.manifest)
        copied.add("prefixes", "all", self.prefixes.unique("prefix_id", maintain_order=True).collect())
        tables = [name for name in ("scores", "completions", "verdicts") if listing(below(target, name))]
        for name, text in folder_description(tables).items():
            write_text(text, below(target, name))
        copied.write_manifest(self.manifest)
        return target

    def to_helm(self, folder: str | Path) -> Address:
        """Write the results as HELM's run directories, for `helm-summarize`; `hf.read_helm` reads them.

        Statistics that HELM recorded (`helm_stats`) are written unchanged; others are computed by HELM's rules.

        >>> import tempfile
        >>> import helmframe as hf
        >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     results.to_helm(f"{folder}/runs").name
        'runs'

        Raises:
            StoreError: If the folder is not empty.
        """
        target: Address = render(self, "helm", folder)
        return target

    def to_every_eval_ever(
        self,
        folder: str | Path,
        *,
        organization: str = "unknown",
        relationship: str = "other",
        metrics: str | Sequence[str] | None = None,
    ) -> Address:
        """Write the results as records of Every Eval Ever, schema 0.3; `hf.read_every_eval_ever` reads them.

        Each scenario and model has a record `data/SCENARIO/DEVELOPER/MODEL/UUID.json` with the table's values and
        intervals, and `UUID_samples.jsonl` with a line for each completion and main metric. The names are the same
        each time. `every_eval_ever validate` checks them.

        >>> import tempfile
        >>> import helmframe as hf
        >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = results.to_every_eval_ever(folder, organization="Example University")
        ...     sorted(file.suffix for file in path.rglob("*.json*"))
        ['.json', '.jsonl']

        Args:
            folder: A folder, or `s3://bucket/prefix`.
            organization: The organization that provides the results.
            relationship: Its relationship to the model: "first_party", "third_party", "collaborative" or "other".
            metrics: The metrics of the records; default those of `table()`.

        Raises:
            ArgumentError: The relationship is unknown.
            StoreError: The folder has records, or isn't writable.
        """
        options = {"organization": organization, "relationship": relationship, "metrics": metrics}
        target: Address = render(self, "every_eval_ever", folder, **options)
        return target

    def to_eval_results(
        self,
        *,
        model: str | None = None,
        datasets: Mapping[str, str | tuple[str, str]] | None = None,
        source: str | None = None,
        path: str | Path | None = None,
    ) -> str:
        """Return the main score of each scenario as YAML for a model page of the Hugging Face Hub.

        Save it as `.eval_results/NAME.yaml` in the model's repository. The scores are those of original texts; notes
        have the metric, the number of instances and the interval.

        >>> import helmframe as hf
        >>> results = hf.scenario("sampler").where(subject="music").generate(hf.models.oracle()).score()
        >>> print(results.to_eval_results(datasets={"sampler": ("org/sampler", "music")}).partition("date")[0])
        - dataset:
            id: org/sampler
            task_id: music
          value: 1.0
        <BLANKLINE>

        Args:
            model: The model; required if the results have several.
            datasets: Scenario → its data set on the Hub, or data set and task id; default the source of the rows.
            source: The URL of the logs.
            path: The file to write.

        Raises:
            ArgumentError: The results have several models or settings, or the data set is unknown.
            UnknownNameError: The results have no such model.
        """
        return str(render(self, "eval_results", model=model, datasets=datasets, source=source, path=path))

    def log_to(
        self, tracker: str, *, project: str = "helmframe", name: str | None = None, report: bool = True, **options: Any
    ) -> None:
        """Log the results to an experiment tracker: MLflow, Weights & Biases or Trackio.

        >>> import helmframe as hf
        >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
        >>> results.log_to("mlfow")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        helmframe.errors.UnknownNameError: Unknown tracker 'mlfow'. Did you mean 'mlflow'?...

        It logs each score with the ends of its interval, the changes under perturbations, the manifest, the table of
        scores and the report. The names of numbers are `METRIC/SCENARIO/MODEL`, with the values of other axes that
        vary. Trackio receives the numbers only. Nothing else in helmframe sends results to a tracker.

        Args:
            tracker: "mlflow", "wandb" or "trackio".
            project: The project of W&B and Trackio, or the experiment of MLflow.
            name: The name of the tracker's run; default the name of the results' folder.
            report: Whether to log the report too.
            **options: Options of `wandb.init` or `trackio.init`; for MLflow `tracking_uri`.

        Raises:
            UnknownNameError: The tracker is unknown.
            CapabilityError: The tracker's package is not installed.
        """
        render(self, "tracker", tracker, project=project, run_name=name, report=report, options=options)

    def to_lm_eval(self, folder: str | Path) -> Path:
        """Write the results as lm-eval's folder: `MODEL/results_TIME.json` and `MODEL/samples_SCENARIO_TIME.jsonl`.

        `hf.read_lm_eval` and tools for lm-eval's logs read them. A task is a scenario with its setting and
        perturbation. Metrics have lm-eval's names if the definitions are equal, else ours.

        >>> import tempfile
        >>> import helmframe as hf
        >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     hf.read_lm_eval(results.to_lm_eval(folder)).value("exact_match")
        1.0

        Raises:
            StoreError: The folder isn't empty.
        """
        target: Path = render(self, "lm_eval", folder)
        return target

    def __repr__(self) -> str:
        return str(render(self, "text"))

    def _repr_html_(self) -> str:
        return str(render(self, "html"))


register_loader("run")(Results.load)
