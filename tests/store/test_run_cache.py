"""A run's own completions: in the process and in the run's folder, read back while the run is unfinished."""

from typing import Any

import polars as pl
import pytest

from helmframe.store import Address, ProcessCompletions, RunFolder
from helmframe.store.run_cache import RunCompletions, add_requests, clear_requests, stored_counts, unfinished
from tests.store.rows import FINGERPRINT, answers

MANIFEST: dict[str, Any] = {"status": "running", "unpinned": {"model": [FINGERPRINT]}}
PREFIXES = pl.DataFrame({"prefix_id": ["p", "other"], "prefix": ["Question: ", "Frage: "]})


@pytest.fixture
def run(root: Address) -> RunFolder:
    """A run with requests a, b and c, of which a and b have a completion."""
    run = RunFolder.new(root)
    requests = answers([b"a", b"b", b"c"], [1, 2, 3]).drop("completion")
    rows = requests.with_columns(
        model=pl.lit("model"),
        scenario=pl.lit("mmlu"),
        prefix_id=pl.lit("p"),
        instance_id=pl.col("row_index").cast(pl.String),
    )
    add_requests(
        run.path, "mmlu", rows.select("model", "scenario", "instance_id", "row_index", "request_id", "prefix_id"), 0
    )
    stored = answers([b"a", b"b"], [1, 2]).with_columns(prefix_id=pl.lit("p"))
    RunCompletions(run.path, FINGERPRINT, "mmlu").append(stored, PREFIXES)
    return run


def test_completions_are_in_the_process_and_in_the_folder(run: RunFolder) -> None:
    assert ProcessCompletions(FINGERPRINT, "mmlu").read(0, 9).height >= 2
    assert stored_counts(run.path) == {(FINGERPRINT[:32], "mmlu"): 2}


def test_an_unfinished_run_has_the_requests_with_a_completion(run: RunFolder) -> None:
    result = unfinished(run, MANIFEST)
    assert result is not None
    assert result.completions["request_id"].to_list() == [b"a", b"b"]
    assert result.completions["completion"].null_count() == 0
    assert result.prefixes.rows() == [("p", "Question: ")]


@pytest.mark.parametrize("manifest", [MANIFEST | {"status": "done"}, {}, MANIFEST | {"unpinned": {}}])
def test_other_runs_have_none(run: RunFolder, manifest: dict[str, Any]) -> None:
    assert unfinished(run, manifest) is None


def test_rows_that_the_tables_have_are_not_repeated(run: RunFolder) -> None:
    result = unfinished(run, MANIFEST)
    assert result is not None
    run.add("completions", "mmlu", result.completions.head(1))
    rest = unfinished(run, MANIFEST)
    assert rest is not None
    assert rest.completions["request_id"].to_list() == [b"b"]


def test_without_requests_there_is_nothing(run: RunFolder) -> None:
    clear_requests(run.path)
    assert unfinished(run, MANIFEST) is None
