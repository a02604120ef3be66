"""Rows as others publish them."""

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from helmframe.errors import SourceBrokenError, SourceMissingError
from helmframe.scenarios.mirror import mirror
from helmframe.scenarios.raw import extract_rows, files_in, fill_layout
from tests.listening import serving_files

SPEC = """\
scenario: capitals
version: 1
source: {rows: "{data}/capitals/{region}/{split}-*.parquet"}
columns: {country: VARCHAR, capital: VARCHAR}
splits: {dev: train, validation: valid}
subsets: [region]
instances: |
  SELECT row_index, split, region, country AS input, [{'text': capital, 'correct': true}] AS "references" FROM rows
metrics: [exact_match]
main: {metric: exact_match, split: valid}
"""
JSON = ['{"country": "France", "capital": "Paris"}', '{"country": "Italy", "capital": "Rome"}']
CSV = "country,capital\nFrance,Paris\nItaly,Rome\n"
ROWS = [("France", "Paris", 0), ("Italy", "Rome", 1)]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "capitals.yaml"
    file.write_text(SPEC)
    return file


def mirrored(
    spec: Path, source: Path | str, layout: str | None = None, select: str | None = None
) -> dict[str, list[tuple[object, ...]]]:
    """The rows of each file of the mirror."""
    root = spec.parent / "to"
    mirror(spec, root, source=source, layout=layout, select=select)
    found = sorted((root / "capitals").rglob("*.parquet"))
    return {str(file.relative_to(root / "capitals")): pl.read_parquet(file).rows() for file in found}


def folder(spec: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        file = spec.parent / "raw" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return spec.parent / "raw"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("capitals/europe/validation.csv", CSV.encode()),
        ("europe/val.csv", CSV.encode()),
        ("europe/valid.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("europe/validation.tsv", CSV.replace(",", "\t").encode()),
        (
            "europe/validation-0.jsonl",
            b'{"country": "France", "capital": "Paris"}\n{"country": "Italy", "capital": "Rome"}\n',
        ),
        (
            "europe/validation.json",
            b'[{"country": "France", "capital": "Paris"}, {"country": "Italy", "capital": "Rome"}]',
        ),
    ],
)
def test_other_kinds_of_files_stand_for_parquet(spec: Path, name: str, data: bytes) -> None:
    assert mirrored(spec, folder(spec, {name: data})) == {"europe/validation-00000-of-00001.parquet": ROWS}


def test_an_archive_is_unpacked(spec: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "rows.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("europe/validation.csv")
        info.size = len(CSV)
        archive.addfile(info, io.BytesIO(CSV.encode()))
        # what points out of the archive stays in it, and what is no file is left
        outside = tarfile.TarInfo("../../asia/validation.csv")
        outside.size = len(CSV)
        archive.addfile(outside, io.BytesIO(CSV.encode()))
        link = tarfile.TarInfo("africa/validation.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    both = {f"{region}/validation-00000-of-00001.parquet": ROWS for region in ("asia", "europe")}
    assert mirrored(spec, tmp_path / "rows.tar.gz") == both
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as packed:
        packed.writestr("europe/dev.csv", CSV)
    assert mirrored(spec, tmp_path / "rows.zip")["europe/dev-00000-of-00001.parquet"] == ROWS


def test_a_layout_and_a_select_make_the_columns_of_anything(spec: Path) -> None:
    raw = folder(spec, {"data/val/europe_val.csv": b"Paris,France\nRome,Italy\n"})
    select = "SELECT column1 AS country, column0 AS capital FROM rows"
    assert mirrored(spec, raw, "data/{split}/{region}_val.csv", select) == {
        "europe/validation-00000-of-00001.parquet": ROWS
    }


def test_a_select_that_duckdb_rejects_raises(spec: Path) -> None:
    raw = folder(spec, {"europe/dev.csv": CSV.encode()})
    with pytest.raises(SourceBrokenError, match="land"):
        mirrored(spec, raw, select="SELECT land AS country, capital FROM rows")


def test_types_are_those_that_the_spec_says(spec: Path) -> None:
    raw = folder(spec, {"europe/dev.csv": b"country,capital\n1,2\n"})
    assert mirrored(spec, raw) == {"europe/dev-00000-of-00001.parquet": [("1", "2", 0)]}


def test_an_incomplete_layout_raises(spec: Path) -> None:
    raw = folder(spec, {"validation.csv": CSV.encode()})
    with pytest.raises(SourceBrokenError, match=r"the path has no \{region\}"):
        mirrored(spec, raw, layout="{split}.csv")


@pytest.fixture
def served(spec: Path) -> Iterator[str]:
    root = folder(spec, {"europe/dev.csv": CSV.encode()}).parent
    with serving_files(root) as address:
        yield address


def test_a_url_is_fetched(spec: Path, served: str) -> None:
    layout = "{split}.csv"
    with pytest.raises(SourceBrokenError, match="region"):
        mirrored(spec, f"{served}/raw/europe/dev.csv", layout)
    with zipfile.ZipFile(spec.parent / "rows.zip", "w") as packed:
        packed.writestr("europe/dev.csv", CSV)
    assert mirrored(spec, f"{served}/rows.zip") == {"europe/dev-00000-of-00001.parquet": ROWS}


def test_a_url_without_a_file_raises(spec: Path, served: str) -> None:
    with pytest.raises(SourceMissingError, match="the server returned status 404"):
        mirrored(spec, f"{served}/nothing.zip")


def test_an_invalid_archive_raises(spec: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.tar").write_bytes(b"no archive")
    with pytest.raises(SourceBrokenError, match=r"unpacking .*rows\.tar failed \(ReadError: "):
        mirrored(spec, tmp_path / "rows.tar")
    with pytest.raises(SourceMissingError, match=r"nowhere not found\. Write a folder"):
        mirrored(spec, tmp_path / "nowhere")


def test_the_first_folder_of_a_layout_is_no_other_scenarios(tmp_path: Path) -> None:
    for name in ("capitals/a/dev.csv", "rivers/a/dev.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(CSV)
    found = files_in(tmp_path, "rivers/{region}/{split}-*.parquet")
    assert {str(path.relative_to(tmp_path)): values for path, values in found.items()} == {
        "rivers/a/dev.csv": {"region": "a", "split": "dev"}
    }


def test_a_star_before_the_last_is_the_default_folder() -> None:
    assert fill_layout("a/*/{split}-*.parquet", {"split": "test"}, "0-of-1") == "a/default/test-0-of-1.parquet"


ALL = {name: name for name in ("question", "short_answers", "long_answers")}


def page(question: str, passage: str, *answers: str) -> dict[str, Any]:
    """A page that is one passage, in bytes, of which some are answers."""
    text = passage.encode()
    places = []
    for each in answers:
        start = text.index(each.encode())
        places.append({"start_byte": start, "end_byte": start + len(each.encode())})
    whole = {"start_byte": 0, "end_byte": len(text)}
    annotations = [{"long_answer": whole, "short_answers": places}, {"long_answer": whole, "short_answers": []}]
    return {"question_text": question, "document_html": passage, "annotations": annotations}


def written(path: Path, *pages: dict[str, Any]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(each) + "\n" for each in pages)
    return path


def test_answers_are_cut_out_by_their_bytes_and_lose_what_is_of_html(tmp_path: Path) -> None:
    passage = "<p>Caf\u00e9\u00a0Fran\u00e7ais &amp; <b>Co</b> of Gen\u00e8ve</p>"
    raw = written(
        tmp_path / "nq-dev-00.jsonl.gz",
        page("who is it", passage, "Caf\u00e9\u00a0Fran\u00e7ais &amp; <b>Co</b>", "Gen\u00e8ve"),
    )
    rows = pl.read_parquet(extract_rows(raw, tmp_path, ALL)).to_dicts()
    assert rows == [
        {
            "question": "who is it",
            "short_answers": ["Caf\u00e9 Fran\u00e7ais & Co", "Gen\u00e8ve"],
            "long_answers": ["Caf\u00e9 Fran\u00e7ais & Co of Gen\u00e8ve"] * 2,
        }
    ]


def test_columns_are_named_as_wanted(tmp_path: Path) -> None:
    raw = written(tmp_path / "nq.jsonl.gz", page("q", "<p>yes</p>", "yes"), page("r", "<p>no</p>"))
    frame = pl.read_parquet(extract_rows(raw, tmp_path, {"answer": "short_answers"}))
    assert frame.to_dict(as_series=False) == {"answer": [["yes"], []]}


def test_a_file_of_rows_is_given_back(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "q", "short_answers": ["a"], "long_answers": ["b"]}\n')
    assert extract_rows(rows, tmp_path, ALL) == rows


def test_a_line_that_is_none_of_theirs_is_named(tmp_path: Path) -> None:
    raw = written(tmp_path / "nq.jsonl.gz", page("q", "<p>yes</p>", "yes"), {"question_text": "r"})
    with pytest.raises(
        SourceBrokenError, match=r"nq\.jsonl\.gz: line 2 isn't in the format of Natural Questions: KeyError"
    ):
        extract_rows(raw, tmp_path, ALL)
