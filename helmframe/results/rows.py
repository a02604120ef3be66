"""Results row by row: requests, completions with their scores, what failed, and SQL over all of it."""

import re
from typing import Any

import polars as pl

from helmframe.columns import COMPLETIONS, OF_REQUEST, ROW_COLUMNS
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.metrics import parse
from helmframe.results.held import only, with_scores
from helmframe.results.tables import Tables


class Rows(Tables):
    """Results that are read row by row."""

    @property
    def requests(self) -> pl.LazyFrame:
        """One row per request as sent, with `prompt`."""
        answers = [column.name for column in COMPLETIONS.adds if column.name not in ("output_index", "request_id")]
        rows = self.completions.drop(answers)
        prefixes = self.prefixes.unique("prefix_id")
        joined = rows.join(prefixes, on="prefix_id", how="left", maintain_order="left", validate="m:1")
        return joined.with_columns(prompt=pl.col("prefix") + pl.col("suffix")).drop("prefix")

    def rows(self, *, metric: str | None = None, score: float | None = None, **equals: Any) -> pl.DataFrame:
        """Wide rows, one per completion: input, prompt, completion, output, references, and each metric as a column.

        Args:
            metric: with `score`: the metric it is about; default the main one.
            score: only rows with this score.
            **equals: column=value.

        Raises:
            UnknownNameError: no such metric or column.
            ArgumentError: a value of another type than its column.
        """
        read = parse(self.completions).join(
            self.prefixes.unique("prefix_id"), on="prefix_id", how="left", maintain_order="left"
        )
        frame = (
            read.with_columns(prompt=pl.col("prefix") + pl.col("suffix"))
            .select(*COMPLETIONS.key, *ROW_COLUMNS)
            .collect()
        )
        frame = with_scores(frame, self.scores.filter(pl.col("output_index").is_not_null()).collect())
        frame = frame.drop(name for name in OF_REQUEST if frame[name].null_count() == frame.height)
        if score is not None:
            frame = only(frame, self._metrics(metric or self.main_metrics[0])[0], score)
        for column, value in equals.items():
            if column not in frame.columns:
                raise UnknownNameError.among("column of these rows", column, frame.columns)
            frame = only(frame, column, value)
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

    def sql(self, query: str) -> pl.DataFrame:
        """DuckDB SQL over the tables `completions`, `requests`, `scores` and `stats`.

        `results.sql("SELECT metric, avg(score) FROM scores GROUP BY ALL")`

        Raises:
            ArgumentError: what DuckDB says against it.
        """
        import duckdb

        if not isinstance(query, str) or not query.strip():
            raise ArgumentError(f"sql({query!r}): write a query, such as 'SELECT * FROM scores'.")
        tables = ("completions", "requests", "scores", "stats")
        with duckdb.connect() as connection:
            # Else a table that is not there might be found among the variables of this file.
            connection.execute("SET python_enable_replacements = false")
            for name in tables:
                if re.search(rf"\b{name}\b", query):
                    connection.register(name, getattr(self, name).collect().to_arrow())
            try:
                answer = connection.sql(query)
            except duckdb.Error as error:
                raise ArgumentError(f"sql(): {error}\nThe tables are {', '.join(tables)}.") from None
            return pl.DataFrame() if answer is None else answer.pl()
