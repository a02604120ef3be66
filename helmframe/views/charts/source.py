"""What charts read of results: the models in order, the metrics, and small tables."""

import threading
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.errors import ArgumentError
from helmframe.results import Results
from helmframe.stats import table


def _import_altair() -> None:
    with suppress(Exception):  # raised where a chart is drawn
        import_module("altair")


class Source:
    """The tables and names of results that charts share.

    Raises:
        ArgumentError: Altair is not installed.
    """

    def __init__(self, results: Results) -> None:
        if find_spec("altair") is None:
            raise ArgumentError("charts need the package altair: pip install 'helmframe[plots]'.")
        self.results = results
        # it takes a second or two to import, while the scores are read
        threading.Thread(target=_import_altair, name="helmframe-altair", daemon=True).start()

    @property
    def metrics(self) -> Any:
        return self.results.manifest["metrics"]

    @cached_property
    def models(self) -> list[str]:
        return self.values("model")

    def values(self, column: str) -> list[str]:
        return self.results.completions.select(pl.col(column).unique().sort()).collect()[column].to_list()

    def main(self, metric: str | None) -> pl.DataFrame:
        """The table of one metric, or of each scenario's main one."""
        if metric is not None or len(self.results.main_metrics) == 1:
            return self.results.table(metrics=metric or self.results.main_metrics[0])
        mains = {name: metadata["main"]["metric"] for name, metadata in self.results.manifest["scenarios"].items()}
        rows = self.results.table(metrics=self.results.main_metrics)
        return rows.filter(pl.col("scenario").replace(mains) == pl.col("metric"))

    def of_models(self, name: str) -> pl.DataFrame:
        """One number of each model and setting, over original inputs: a metric, or what its answers took."""
        if name in self.results.metric_names:
            statistics = self.results.table(
                ["model", "setting", "perturbation"], metrics=name, pool=["scenario", "split"]
            )
            return statistics.filter(pl.col("perturbation") == ORIGINAL)
        columns = ["scenario", "instance_id", "subset", "cluster", "setting", "trial", "model", "output_index"]
        rows = self.results.completions.filter(pl.col("perturbation") == ORIGINAL)
        rows = rows.select(*columns, metric=pl.lit(name), score=pl.col(name).cast(pl.Float64))
        return table(rows, ["model", "setting"], fractions=[])
