"""A checksum tells whether two runs have read the same data, wherever it lies."""

import os
import shutil
import threading
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe._core.specs import Condition, Equals
from helmframe._plan import spec_of
from helmframe.scenarios import checksums
from helmframe.scenarios.checksums import Data, data_checksum
from tests.s3_server import S3Server

SPEC = """scenario: capitals
version: 1
source: {rows: "{data}/{region}/{split}.parquet"}
subsets: [region]
splits: {test: test, train: train}
instances: |
  SELECT row_index, split, region, question AS input, [{'text': answer, 'correct': true}] AS "references" FROM rows
adapter: {method: generation, shots: 0}
metrics: [exact_match]
main: {metric: exact_match}
"""


def written(folder: Path, answer: str = "Lima") -> Path:
    for region in ("south", "north"):
        for split in ("test", "train"):
            (folder / region).mkdir(parents=True, exist_ok=True)
            rows = pl.DataFrame(
                {"question": [f"{region} {split}?"], "answer": [answer if region == "south" else "Oslo"]}
            )
            rows.write_parquet(folder / region / f"{split}.parquet")
    (folder / "capitals.yaml").write_text(SPEC)
    return folder


def checksum(folder: Path, *where: Condition, splits: tuple[str, ...] = ("test",)) -> Data:
    (spec,) = spec_of(hf.scenario(folder / "capitals.yaml")).scenarios
    return data_checksum(spec, where=where, splits=splits, data=str(folder))


def test_the_same_files_elsewhere_are_the_same_data(tmp_path: Path) -> None:
    here = checksum(written(tmp_path / "here"))
    there = checksum(Path(shutil.copytree(tmp_path / "here", tmp_path / "there")))
    os.utime(tmp_path / "there" / "south" / "test.parquet", (0, 0))
    assert checksum(tmp_path / "there") == there
    assert here["checksum"] == there["checksum"]
    assert here["files"] == 2
    assert here["bytes"] == sum(
        (tmp_path / "here" / each / "test.parquet").stat().st_size for each in ("north", "south")
    )


def test_another_byte_is_other_data(tmp_path: Path) -> None:
    before = checksum(written(tmp_path))
    assert checksum(written(tmp_path, "Bogo")) != before


def test_of_very_much_sizes_and_times_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = checksum(written(tmp_path))
    monkeypatch.setattr(checksums, "MOST_BYTES", 10)
    times = checksum(tmp_path)
    assert times != before
    assert times["bytes"] == before["bytes"]
    os.utime(tmp_path / "south" / "test.parquet", (0, 0))
    assert checksum(tmp_path) != times


def test_only_what_the_plan_reads_counts(tmp_path: Path) -> None:
    north = Equals("region", ("north",))
    before = checksum(written(tmp_path), north)
    assert checksum(written(tmp_path, "Bogo"), north) == before
    assert before["files"] == 1
    assert checksum(tmp_path, north, splits=("test", "train"))["files"] == 2


def test_a_frame_has_its_own() -> None:
    def of(answer: str) -> str | None:
        frame = pl.DataFrame({"question": ["?"], "answer": [answer]})
        (spec,) = spec_of(hf.scenario(frame, input="question", references="answer", name="framed")).scenarios
        return data_checksum(spec)["checksum"]

    assert of("a") == of("a") != of("b")


def test_nothing_is_read_once_the_run_has_stopped(tmp_path: Path) -> None:
    (spec,) = spec_of(hf.scenario(written(tmp_path) / "capitals.yaml")).scenarios
    stop = threading.Event()
    stop.set()
    assert data_checksum(spec, data=str(tmp_path), stop=stop)["checksum"] is None


def test_in_a_bucket_the_servers_tags_tell(s3: S3Server) -> None:
    (spec,) = spec_of(hf.scenario("mmlu")).scenarios
    where = [Equals("subject", ("philosophy",))]
    before = data_checksum(spec, where=where)
    assert before == data_checksum(spec, where=where)
    assert before["address"].startswith("s3://")
    assert before["files"] == 1
    assert before["checksum"] is not None
    assert data_checksum(spec, where=where, splits=("test", "train"))["checksum"] != before["checksum"]


def test_a_run_says_what_it_stands_on(tmp_path: Path) -> None:
    folder = written(tmp_path)
    plan = hf.scenario(folder / "capitals.yaml", data=str(folder)).generate(lambda prompt: "Oslo")
    results = plan.score()
    (said,) = results.manifest["data"]["capitals"]
    assert said == checksum(folder)
    assert hf.load(str(results.path)).manifest["data"] == results.manifest["data"]
