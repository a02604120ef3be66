"""A real S3 server, read in each way there is: what is asked of it, and what is said when it fails.

DuckDB 2 asks for more than DuckDB 1: files of up to 2 MiB whole, and for a column of lists or structs a million bytes
per row group, whatever its size. No setting removes both without many times the requests, so its limits are wider.
"""

import importlib
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from helmframe._core.specs import Equals, Sample
from helmframe.config import configure
from helmframe.errors import SourceBrokenError, SourceDeniedError, SourceError, SourceMissingError
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.load import count, load, load_train
from helmframe.scenarios.spec_file import load_scenario
from helmframe.scenarios.validation import check_where, values
from tests.s3_server import ACCESS, BUCKET, SECRET, S3Server, Traffic, start_server
from tests.scenarios.readers import DUCKDB_1, READERS

pytestmark = pytest.mark.shared
MMLU = find_scenario("mmlu")
PHILOSOPHY = [Equals("subject", ("philosophy",))]
LIMIT = 30.0  # seconds within which every failure must be said
FOOTER = 16_384  # bytes that DuckDB asks for first, at the end of a file
WIDE = """\
scenario: wide
version: 1
source: {rows: "{data}/wide/{split}-*.parquet"}
columns: {q: VARCHAR, options: "VARCHAR[]", a: BIGINT}
splits: {test: test}
instances: |
  SELECT row_index, split, q AS input,
         list_transform(options, lambda option, i: {'text': option, 'correct': i - 1 = a}) AS "references"
  FROM rows
metrics: [exact_match]
main: {metric: exact_match}
"""


@pytest.fixture(params=READERS, autouse=True)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HELMFRAME_S3_READER", request.param)
    return str(request.param)


def philosophy(data: str | None = None) -> pl.DataFrame:
    return pl.concat(load(MMLU, where=PHILOSOPHY, data=data))


def cost(s3: S3Server, action: Callable[[], object]) -> Traffic:
    before = s3.traffic()
    action()
    time.sleep(0.2)  # the server counts a request after it has answered it
    return s3.traffic() - before


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def chunks(file: Path) -> list[tuple[str, int]]:
    """The column chunks of a Parquet file: which column, how many bytes."""
    metadata = pq.ParquetFile(file).metadata
    groups = [metadata.row_group(each) for each in range(metadata.num_row_groups)]
    every = [group.column(each) for group in groups for each in range(metadata.num_columns)]
    return [(chunk.path_in_schema, chunk.total_compressed_size) for chunk in every]


def failure(kind: type[SourceError], data: str | None = None) -> str:
    """The message of the failure, which must be of this kind, in time, and hold no credential anywhere."""
    started = time.monotonic()
    with pytest.raises(kind) as caught:
        philosophy(data)
    assert time.monotonic() - started < LIMIT
    everything = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert SECRET not in everything
    assert ACCESS not in everything
    assert caught.value.__context__ is None
    assert "scenario 'mmlu'" in str(caught.value)
    return str(caught.value)


def test_a_bucket_gives_the_same_rows_as_a_folder(s3: S3Server, shared: Path) -> None:
    assert_frame_equal(philosophy(), philosophy(str(shared / "scenarios")))


def test_the_pool_of_a_bucket_is_that_of_a_folder(s3: S3Server, shared: Path) -> None:
    assert_frame_equal(
        load_train(MMLU, where=PHILOSOPHY), load_train(MMLU, where=PHILOSOPHY, data=f"{shared}/scenarios")
    )


def test_one_subject_costs_the_listing_and_its_own_files(s3: S3Server, shared: Path) -> None:
    spent = cost(s3, philosophy)
    assert spent.sent <= size(shared / "scenarios" / "mmlu" / "philosophy")
    assert spent.requests <= 12


def test_the_check_of_a_where_costs_no_more_than_footers(s3: S3Server) -> None:
    spent = cost(s3, lambda: check_where(MMLU, PHILOSOPHY))
    assert spent.sent <= 2 * FOOTER


def test_the_values_of_a_column_of_the_path_cost_the_listing_alone(s3: S3Server) -> None:
    found: list[object] = []
    spent = cost(s3, lambda: found.extend(values(MMLU, "subject")))
    assert found == ["abstract_algebra", "anatomy", "high_school_us_history", "philosophy"]
    assert spent.sent == 0


def test_counting_reads_footers_only(s3: S3Server, shared: Path) -> None:
    gsm8k = find_scenario("gsm8k")
    spent = cost(s3, lambda: count(gsm8k))
    assert spent.sent <= (2 * FOOTER if DUCKDB_1 else size(shared / "scenarios" / "gsm8k" / "main"))


def test_columns_that_nobody_asks_for_are_left_in_the_bucket(s3: S3Server, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    columns = {
        "q": [generator.bytes(60).hex() for _ in range(6000)],
        "options": [[generator.bytes(10).hex() for _ in range(4)] for _ in range(6000)],
        "page": [generator.bytes(600).hex() for _ in range(6000)],
        "a": [0] * 6000,
    }
    file = tmp_path / "test-0.parquet"
    pl.DataFrame(columns).write_parquet(file, row_group_size=1000)
    needed = sum(chunk for column, chunk in chunks(file) if not column.startswith("page"))
    s3.filesystem().put(str(file), f"{BUCKET}/wide/test-0.parquet")
    (tmp_path / "wide.yaml").write_text(WIDE)
    wide = load_scenario(tmp_path / "wide.yaml")
    spent = cost(s3, lambda: pl.concat(load(wide)))
    assert needed < 0.2 * file.stat().st_size
    # DuckDB 2: no byte twice, but for the footer
    assert spent.sent <= (needed + 2 * FOOTER if DUCKDB_1 else 1.05 * file.stat().st_size)


def test_a_sample_is_the_same_from_a_bucket(s3: S3Server, shared: Path) -> None:
    boolq = find_scenario("boolq")
    drawn = [
        pl.concat(load(boolq, sample=Sample(20), splits=("valid",), data=data))
        for data in (None, f"{shared}/scenarios")
    ]
    assert_frame_equal(*drawn)


def test_credentials_may_come_from_configure(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    configure(s3_endpoint=s3.endpoint, s3_key=ACCESS, s3_secret=SECRET, s3_region="us-east-1")
    assert philosophy().height == 311


def test_a_bucket_that_is_not_there_is_named(s3: S3Server) -> None:
    assert "s3://no-such-bucket/" in failure(SourceMissingError, "s3://no-such-bucket")


def test_a_prefix_without_files_is_named(s3: S3Server) -> None:
    assert f"s3://{BUCKET}/nowhere/mmlu/" in failure(SourceMissingError, f"s3://{BUCKET}/nowhere")


def test_a_wrong_secret_is_denied(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-not-shown")
    assert "wrong-and-not-shown" not in failure(SourceDeniedError)


def test_an_unknown_key_is_denied(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unknown-key")
    assert "AWS_ACCESS_KEY_ID" in failure(SourceDeniedError)


def test_no_credentials_are_denied(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    failure(SourceDeniedError)


def test_anonymous_reading_of_a_closed_bucket_is_denied(s3: S3Server) -> None:
    configure(s3_anonymous=True)
    failure(SourceDeniedError)


def test_a_server_that_is_down_is_an_error_in_time(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "can't be reached" in failure(SourceError)


@pytest.mark.parametrize("damage", ["truncated", "garbage", "hole"])
def test_a_damaged_file_is_broken(s3: S3Server, shared: Path, damage: str) -> None:
    folder = shared / "scenarios" / "mmlu" / "philosophy"
    whole = (folder / "test-00000-of-00001.parquet").read_bytes()
    damaged = {"truncated": whole[:9000], "garbage": b"garbage", "hole": whole[:5000] + bytes(3000) + whole[8000:]}
    root = f"{BUCKET}/{damage}"
    filesystem = s3.filesystem()
    for file in folder.iterdir():
        filesystem.put(str(file), f"{root}/mmlu/philosophy/{file.name}")
    filesystem.pipe(f"{root}/mmlu/philosophy/test-00000-of-00001.parquet", damaged[damage])
    assert "test-00000-of-00001.parquet" in failure(SourceBrokenError, f"s3://{root}")


def own_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rows: int, row_group: int) -> S3Server:
    """A server that the test may harm, with that many rows of gsm8k, which take about 800 bytes each."""
    server = start_server()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    generator = np.random.default_rng(0)
    file = tmp_path / "test-0.parquet"
    noise = [generator.bytes(400).hex() for _ in range(rows)]
    pl.DataFrame({"question": noise, "answer": "1"}).write_parquet(file, row_group_size=row_group)
    server.filesystem().put(str(file), f"{BUCKET}/gsm8k/main/test-0.parquet")
    return server


def test_a_server_that_dies_midway_is_an_error_and_not_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.import_module("helmframe.scenarios.load"), "WAITS", (0.1, 0.1))
    server = own_server(monkeypatch, tmp_path, 150_000, 2_000)  # far more than the readers fetch ahead
    try:
        frames = load(find_scenario("gsm8k"), data=f"s3://{BUCKET}", rows=1_000)
        assert next(frames).height == 1_000
        server.kill()
        started = time.monotonic()
        with pytest.raises(SourceError, match="scenario 'gsm8k'"):
            assert sum(frame.height for frame in frames) < 0
        assert time.monotonic() - started < LIMIT
    finally:
        server.stop()


def test_a_server_that_comes_back_is_read_on_from_where_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server(monkeypatch, tmp_path, 24_000, 250)
    try:
        frames = load(find_scenario("gsm8k"), data=f"s3://{BUCKET}", rows=1_000)
        first = next(frames)
        server.kill()
        with ThreadPoolExecutor(1) as pool:
            rest = pool.submit(list, frames)
            time.sleep(1.5)
            server = server.again()
            whole = pl.concat([first, *rest.result(LIMIT)])
        assert whole["row_index"].to_list() == list(range(24_000))
        assert "Retrying in" in caplog.text
        assert SECRET not in caplog.text
    finally:
        server.stop()
