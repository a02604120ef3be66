"""A root filled with a scenario's rows."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from helmframe.errors import ArgumentError, SourceBrokenError, SourceDeniedError, SourceError, SourceMissingError
from helmframe.scenarios.load import load
from helmframe.scenarios.mirror import Outcome, mirror
from helmframe.scenarios.spec_file import load_scenario

SPEC = """\
scenario: capitals
version: 3
license: CC0
source: {rows: "{data}/capitals/{region}/{split}-*.parquet"}
columns: {country: VARCHAR, capital: VARCHAR}
splits: {dev: train, validation: valid}
subsets: [region]
instances: |
  SELECT row_index, split, region, country AS input, [{'text': capital, 'correct': true}] AS "references" FROM rows
metrics: [exact_match]
main: {metric: exact_match, split: valid}
"""
ROWS = {
    "europe/dev-00000-of-00001": [("France", "Paris")],
    "europe/validation-00000-of-00002": [("Italy", "Rome"), ("Spain", "Madrid")],
    "europe/validation-00001-of-00002": [("Norway", "Oslo")],
    "asia/validation-00000-of-00001": [("Japan", "Tokyo")],
}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "capitals.yaml"
    file.write_text(SPEC)
    return file


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, rows in ROWS.items():
        file = tmp_path / "source" / "capitals" / f"{name}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows, schema=["country", "capital"], orient="row").write_parquet(file)
    return tmp_path / "source"


def manifest(root: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((root / "manifests" / "capitals.json").read_text())
    return said


def instances(spec: Path, root: Path) -> pl.DataFrame:
    return pl.concat(load(load_scenario(spec), splits=("train", "valid"), data=str(root)))


def test_a_mirror_is_read_as_its_source(tmp_path: Path, spec: Path, source: Path) -> None:
    assert mirror(spec, tmp_path / "to", source=source) == Outcome("capitals", written=4, unchanged=0, rows=5)
    assert instances(spec, tmp_path / "to").equals(instances(spec, source))


def test_rows_know_their_place_in_their_subset(tmp_path: Path, spec: Path, source: Path) -> None:
    mirror(spec, tmp_path / "to", source=source)
    rows = pl.read_parquet(tmp_path / "to" / "capitals" / "europe" / "*.parquet").sort("row_index")
    assert rows.rows() == [
        *(("France", "Paris", 0), ("Italy", "Rome", 1)),
        *(("Spain", "Madrid", 2), ("Norway", "Oslo", 3)),
    ]


def test_the_manifest_says_where_rows_are_from_and_what_they_hash_to(tmp_path: Path, spec: Path, source: Path) -> None:
    mirror(spec, tmp_path / "to", source=source)
    said = manifest(tmp_path / "to")
    assert {key: said[key] for key in ("scenario", "version", "status", "license", "rows", "revision")} == {
        "scenario": "capitals",
        "version": "3",
        "status": "whole",
        "license": "CC0",
        "rows": 5,
        "revision": None,
    }
    assert said["columns"] == {"country": "VARCHAR", "capital": "VARCHAR", "row_index": "BIGINT"}
    assert said["source"] == str(source)
    last = said["files"][-1]
    assert (last["path"], last["rows"], last["first"]) == ("capitals/europe/validation-00001-of-00002.parquet", 1, 3)
    assert last["source"] == f"{source}#capitals/europe/validation-00001-of-00002.parquet"
    assert len(last["sha256"]) == 64


def test_twice_changes_nothing(tmp_path: Path, spec: Path, source: Path) -> None:
    mirror(spec, tmp_path / "to", source=source)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (tmp_path / "to").rglob("*.*")}
    assert mirror(spec, tmp_path / "to", source=source) == Outcome("capitals", written=0, unchanged=4, rows=5)
    after = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (tmp_path / "to").rglob("*.*")}
    assert after == before


def test_a_mirror_that_was_interrupted_goes_on(tmp_path: Path, spec: Path, source: Path) -> None:
    mirror(spec, tmp_path / "whole", source=source)

    def stop(path: str, done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt(path)

    with pytest.raises(KeyboardInterrupt):
        mirror(spec, tmp_path / "to", source=source, report=stop)
    assert (manifest(tmp_path / "to")["status"], len(manifest(tmp_path / "to")["files"])) == ("partial", 2)
    assert mirror(spec, tmp_path / "to", source=source) == Outcome("capitals", written=2, unchanged=2, rows=5)
    assert manifest(tmp_path / "to") == manifest(tmp_path / "whole")


def test_a_source_that_changed_is_mirrored_anew(tmp_path: Path, spec: Path, source: Path) -> None:
    mirror(spec, tmp_path / "to", source=source)
    file = source / "capitals" / "asia" / "validation-00000-of-00001.parquet"
    pl.DataFrame({"country": ["Japan", "India"], "capital": ["Tokyo", "Delhi"]}).write_parquet(file)
    assert mirror(spec, tmp_path / "to", source=source) == Outcome("capitals", written=1, unchanged=3, rows=6)


def test_other_bytes_than_were_mirrored_are_an_error(tmp_path: Path, spec: Path, source: Path) -> None:
    mirror(spec, tmp_path / "to", source=source)
    file = tmp_path / "to" / "capitals" / "asia" / "validation-00000-of-00001.parquet"
    data = bytearray(file.read_bytes())
    data[10] ^= 1
    file.write_bytes(data)
    with pytest.raises(
        SourceBrokenError, match=r"asia/.* has changed since it was mirrored: its SHA-256 must be \w{64}"
    ):
        mirror(spec, tmp_path / "to", source=source)


def test_rows_that_already_know_their_place_keep_it(tmp_path: Path, spec: Path, source: Path) -> None:
    file = source / "capitals" / "asia" / "validation-00000-of-00001.parquet"
    pl.DataFrame({"country": ["Japan"], "capital": ["Tokyo"], "row_index": [7]}).write_parquet(file)
    mirror(spec, tmp_path / "to", source=source)
    assert pl.read_parquet(tmp_path / "to" / "capitals" / "asia" / "*.parquet")["row_index"].to_list() == [7]


def test_scenarios_that_share_a_file_agree_on_its_rows(tmp_path: Path, spec: Path, source: Path) -> None:
    later = tmp_path / "later.yaml"
    later.write_text(
        SPEC.replace("scenario: capitals", "scenario: later").replace("{split}-*", "validation-*").replace(
            "splits: {dev: train, validation: valid}\n", ""
        ).replace("row_index, split,", "row_index, 'valid' AS split,")
    )  # fmt: skip
    mirror(later, tmp_path / "to", source=source)
    assert mirror(spec, tmp_path / "to", source=source).written == 3  # those in Europe; Asia's has the same place
    assert mirror(later, tmp_path / "to", source=source).written == 0
    assert mirror(spec, tmp_path / "to", source=source).written == 0
    assert instances(spec, tmp_path / "to").equals(instances(spec, source))


def test_a_missing_column_raises(tmp_path: Path, spec: Path, source: Path) -> None:
    file = source / "capitals" / "asia" / "validation-00000-of-00001.parquet"
    pl.DataFrame({"land": ["Japan"], "capital": ["Tokyo"]}).write_parquet(file)
    with pytest.raises(SourceBrokenError, match=r"has no 'country' \(VARCHAR\); it has land, capital"):
        mirror(spec, tmp_path / "to", source=source)


def test_a_layout_that_matches_no_file_raises(tmp_path: Path, spec: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceMissingError, match=r"matches capitals/\{region\}/\{split\}-"):
        mirror(spec, tmp_path / "to", source=tmp_path / "empty")
    with pytest.raises(SourceMissingError, match="isn't on the Hub"):
        mirror(spec, tmp_path / "to")


def test_rows_that_come_with_helmframe_need_no_mirror(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"'sampler' needs no mirror: its rows are part of helmframe\."):
        mirror("sampler", tmp_path)
    with pytest.raises(ArgumentError, match=r"'numeracy' needs no mirror: helmframe generates its rows\."):
        mirror("numeracy", tmp_path)


def test_a_read_only_root_raises(tmp_path: Path, spec: Path, source: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match=r"the mirror at .*file can't be read or written: .*Not a directory"):
        mirror(spec, tmp_path / "file", source=source)
    with pytest.raises(SourceError, match="Write a folder or s3://"):
        mirror(spec, "gs://bucket", source=source)
    assert issubclass(SourceDeniedError, SourceError)
