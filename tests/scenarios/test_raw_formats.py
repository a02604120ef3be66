"""Formats of publishers: tables, JSON, XML, text and archives, as rows of DuckDB."""

import bz2
import gzip
import io
import json
import lzma
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helmframe import config
from helmframe.errors import CapabilityError, SourceBrokenError, SpecError
from helmframe.scenarios.mirror import mirror
from helmframe.scenarios.raw import read_rows, unpack
from tests.scenarios.publisher import Publisher, publisher


def read(folder: Path, content: bytes | str, kind: str, name: str = "file", **options: Any) -> list[tuple[Any, ...]]:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    connection = duckdb.connect()
    expression = read_rows([(name, file)], kind, options, folder, connection)
    return connection.sql(f"SELECT * FROM {expression}").fetchall()


def columns(folder: Path, content: str, kind: str, **options: Any) -> list[str]:
    (folder / "file").write_text(content)
    connection = duckdb.connect()
    return connection.sql(
        f"SELECT * FROM {read_rows([('file', folder / 'file')], kind, options, folder, connection)}"
    ).columns


def test_cells_are_texts_and_empty_ones_null(tmp_path: Path) -> None:
    assert read(tmp_path, 'a,b,c\n007,1.50,TRUE\n"x\ny",,"say ""hi"""\n', "csv") == [
        ("007", "1.50", "TRUE"),
        ("x\ny", None, 'say "hi"'),
    ]


def test_lines_end_in_any_way(tmp_path: Path) -> None:
    assert read(tmp_path, "a,b\r\n1,2\n3,4\r\n\n5\n", "csv") == [("1", "2"), ("3", "4"), ("5", None)]


def test_columns_without_a_header_are_numbered(tmp_path: Path) -> None:
    assert columns(tmp_path, ",".join("abcdefghijkl"), "csv", header=False)[:2] == ["column0", "column1"]
    assert columns(tmp_path, "a,,a\n1,2,3\n", "csv") == ["a", "column1", "a_1"]


def test_delimiter_quote_and_encoding_are_options(tmp_path: Path) -> None:
    text = "a;b\n'x;y';\xe9\n".encode("latin-1")
    assert read(tmp_path, text, "csv", delimiter=";", quote="'", encoding="latin-1") == [("x;y", "é")]
    assert read(tmp_path, 'a\tb\n"x\ty"\n', "tsv", quote="") == [('"x', 'y"')]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert columns(tmp_path, "\ufeffa,b\n1,2\n", "csv") == ["a", "b"]
    assert columns(tmp_path, '\ufeff{"a": 1}\n', "jsonl") == ["a"]


def test_a_wrong_encoding_or_a_longer_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceBrokenError, match=r"file isn't utf-8 text.*encoding: latin-1"):
        read(tmp_path, b"a\n\xe9\n", "csv")
    with pytest.raises(SourceBrokenError, match="file: line 2 has 3 cells, more than the 2 columns"):
        read(tmp_path, "a,b\n1,2,3\n", "csv")


def test_texts_that_look_like_times_remain_texts(tmp_path: Path) -> None:
    uuid = "550E8400-E29B-41D4-A716-446655440000"
    line = {"a": "2020-01-01", "b": "12:30", "c": uuid, "d": {"date": "2020-01-01 10:00:00"}, "e": ["2021-05-05"]}
    assert read(tmp_path, json.dumps(line), "jsonl") == [
        ("2020-01-01", "12:30", uuid, {"date": "2020-01-01 10:00:00"}, ["2021-05-05"])
    ]


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a": 2}]', '{"a": 1}\n{\n "a": 2}', ' \n[\n{"a": 1},\n{"a": 2}]\n'])
def test_json_is_an_array_or_objects_in_a_row(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text, "json") == [(1,), (2,)]


def test_an_object_is_one_row(tmp_path: Path) -> None:
    ((name, content),) = read(tmp_path, '{"q1": {"a": 1}, "q2": {"a": 2}}', "objects")
    assert (name, json.loads(content)) == ("file", {"q1": {"a": 1}, "q2": {"a": 2}})


def test_text_is_one_row_per_file_and_lines_are_one_row_each(tmp_path: Path) -> None:
    assert read(tmp_path, "one\r\ntwo\n", "text") == [("file", "one\r\ntwo\n")]
    assert read(tmp_path, "one\r\n\n two", "lines") == [("one",), ("",), (" two",)]


def test_elements_are_rows(tmp_path: Path) -> None:
    xml = '<r xmlns="http://x"><q id="1">How?<a>So.</a> <a n="2">Or so.</a></q><other/><q id="2"/></r>'
    expected = [
        {"@id": "1", "#text": "How? ", "a": [{"#text": "So."}, {"@n": "2", "#text": "Or so."}]},
        {"@id": "2"},
    ]
    assert [json.loads(row) for (row,) in read(tmp_path, xml, "xml", element="q")] == expected
    assert [json.loads(row) for (row,) in read(tmp_path, xml, "xml")] == [expected[0], {}, expected[1]]
    with pytest.raises(SourceBrokenError, match="file isn't XML: mismatched tag"):
        read(tmp_path, "<a><b></a>", "xml")


def test_an_element_in_one_of_its_own_name_is_a_part_of_it(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "<r><q>1<q>2</q></q></r>", "xml", element="q")
    assert json.loads(row[0]) == {"#text": "1", "q": [{"#text": "2"}]}


def test_a_sheet_of_excel_is_read(tmp_path: Path) -> None:
    sheets: dict[str, list[list[object]]] = {"first": [["a", "b"], ["x", 1], ["y", 2]], "second": [["c"], ["z"]]}
    content = workbook(sheets)
    assert read(tmp_path, content, "xlsx", "t.xlsx") == [("x", 1), ("y", 2)]
    assert read(tmp_path, content, "xlsx", "t.xlsx", sheet="second") == [("z",)]
    with pytest.raises(SourceBrokenError, match="can't be read as an Excel file"):
        read(tmp_path, b"none", "xlsx", "t.xlsx")


def test_names_of_class_labels_are_rows(tmp_path: Path) -> None:
    labels = {"names": ["no", "yes"], "_type": "ClassLabel"}
    features = {"label": labels, "tags": {"feature": labels, "_type": "Sequence"}, "text": {"_type": "Value"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table({"label": [1]}).replace_schema_metadata(metadata), tmp_path / "p.parquet")
    expected = [(name, index, text) for name in ("label", "tags") for index, text in enumerate(("no", "yes"))]
    assert read(tmp_path, (tmp_path / "p.parquet").read_bytes(), "class_names", "p.parquet") == expected


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fastexcel", "py7zr"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CapabilityError, match=r"package fastexcel\. Run: pip install 'helmframe\[mirror\]'"):
        read(tmp_path, b"", "xlsx")
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c")
    with pytest.raises(CapabilityError, match=r"package py7zr\. Run: pip install 'helmframe\[mirror\]'"):
        unpack(tmp_path / "a.7z", tmp_path)


ROW = '{"q": "a"}\n'


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: bytes(pa.Codec("zstd").compress(data, asbytes=True)),
}


@pytest.mark.parametrize("ending", PACKERS)
def test_compressed_files_are_read(tmp_path: Path, ending: str) -> None:
    packed = PACKERS[ending](ROW.encode())
    assert read(tmp_path, packed, "jsonl", f"f.jsonl{ending}") == [("a",)]
    with pytest.raises(SourceBrokenError, match=rf"decompressing f.jsonl{ending} failed .*Download it again"):
        read(tmp_path, b"no" + packed, "jsonl", f"f.jsonl{ending}")


def tar(files: dict[str, bytes], mode: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def packed_zip(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def packed_7z(files: dict[str, bytes]) -> bytes:
    import py7zr

    packed = io.BytesIO()
    with py7zr.SevenZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(content, name)
    return packed.getvalue()


def workbook(sheets: dict[str, list[list[object]]]) -> bytes:
    """A minimal .xlsx file: a zip of XML."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    files, listed, related, types = {}, "", "", ""
    for number, (name, lines) in enumerate(sheets.items(), 1):
        cells = "".join(
            f"<row>{''.join(f'<c><v>{cell}</v></c>' if isinstance(cell, int) else inline(cell) for cell in line)}</row>"
            for line in lines
        )
        files[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>'
        )
        listed += f'<sheet name="{name}" sheetId="{number}" r:id="r{number}"/>'
        related += f'<Relationship Id="r{number}" Type="{office}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        types += f'<Override PartName="/xl/worksheets/sheet{number}.xml" ContentType="{kind}.worksheet+xml"/>'
    files["xl/workbook.xml"] = f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{listed}</sheets></workbook>'
    files["xl/_rels/workbook.xml.rels"] = f'<Relationships xmlns="{package}/relationships">{related}</Relationships>'
    files["_rels/.rels"] = (
        f'<Relationships xmlns="{package}/relationships"><Relationship Id="r" Type="{office}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>'
    )
    files["[Content_Types].xml"] = (
        f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" '
        f'ContentType="{kind}.sheet.main+xml"/>{types}</Types>'
    )
    return packed_zip({name: content.encode() for name, content in files.items()})


def inline(cell: object) -> str:
    if cell is None:
        return "<c/>"
    return f'<c t="inlineStr"><is><t xml:space="preserve">{cell}</t></is></c>'


MEMBERS = {
    "top/asia_test.jsonl": b'{"q": "India"}\n',
    "top/europe_test.jsonl": b'{"q": "Italy"}\n',
    "top/europe_dev.jsonl": b'{"q": "France"}\n',
    "top/README": b"none",
    "../../escaped.txt": b"none",
}
ARCHIVES: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    ".zip": packed_zip,
    ".tar": lambda files: tar(files, "w"),
    ".tar.gz": lambda files: tar(files, "w:gz"),
    ".tar.bz2": lambda files: tar(files, "w:bz2"),
    ".tar.xz": lambda files: tar(files, "w:xz"),
    ".tar.zst": lambda files: PACKERS[".zst"](tar(files, "w")),
    ".7z": lambda files: packed_7z({name: content for name, content in files.items() if ".." not in name}),
}

SPEC = """\
scenario: capitals
version: 1
source: {{rows: "{{data}}/capitals/{{region}}/{{split}}-*.parquet"}}
columns: {{q: VARCHAR}}
splits: {{dev: train, test: test}}
subsets: [region]
download:
{download}
instances: |
  SELECT row_index, split, region, q AS input, [{{'text': q, 'correct': true}}] AS "references" FROM rows
metrics: [exact_match]
main: {{metric: exact_match, split: test}}
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setattr(config, "_settings", config._Settings())
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "store"))
    with publisher({}) as server:
        monkeypatch.setenv("HELMFRAME_DOWNLOAD_BASE", server.address)
        yield server


def mirrored(folder: Path, download: str) -> dict[str, list[tuple[Any, ...]]]:
    (folder / "capitals.yaml").write_text(SPEC.format(download=download))
    mirror(folder / "capitals.yaml", folder / "to")
    root = folder / "to" / "capitals"
    return {path.relative_to(root).as_posix(): pl.read_parquet(path).rows() for path in sorted(root.rglob("*.parquet"))}


@pytest.mark.parametrize("ending", ARCHIVES)
def test_files_in_an_archive_match_a_pattern(tmp_path: Path, server: Publisher, ending: str) -> None:
    server.files[f"data.example/rows{ending}"] = ARCHIVES[ending](MEMBERS)
    download = f"  - {{url: 'https://data.example/rows{ending}', files: 'top/{{region}}_{{split}}.jsonl'}}"
    assert mirrored(tmp_path, download) == {
        "asia/test-00000-of-00001.parquet": [("India", 0)],
        "europe/dev-00000-of-00001.parquet": [("France", 0)],
        "europe/test-00000-of-00001.parquet": [("Italy", 1)],
    }
    assert not list(tmp_path.rglob("escaped.txt"))


def test_a_name_without_an_ending_may_be_an_archive(tmp_path: Path, server: Publisher) -> None:
    server.files["drive.example/uc"] = packed_zip(MEMBERS)
    download = "  - {url: 'https://drive.example/uc?id=1', files: '**/asia_{split}.jsonl', values: {region: Asia}}"
    assert mirrored(tmp_path, download) == {"Asia/test-00000-of-00001.parquet": [("India", 0)]}


def test_values_rename_order_and_select_files(tmp_path: Path, server: Publisher) -> None:
    server.files["data.example/rows.zip"] = packed_zip(MEMBERS)
    download = """\
  - url: https://data.example/rows.zip
    files: top/{region}_{split}.jsonl
    values: {split: {test: test}, region: {europe: all, asia: all}}
"""
    assert mirrored(tmp_path, download) == {
        "all/test-00000-of-00002.parquet": [("Italy", 0)],
        "all/test-00001-of-00002.parquet": [("India", 1)],
    }


def test_a_damaged_archive_is_named(tmp_path: Path, server: Publisher) -> None:
    server.files["data.example/rows.zip"] = packed_zip(MEMBERS)[:60] + b"x" * 60
    with pytest.raises(SourceBrokenError, match=r"unpacking .*rows.zip failed"):
        mirrored(tmp_path, "  - {url: 'https://data.example/rows.zip', files: 'top/{region}_{split}.jsonl'}")


def test_files_that_are_not_in_the_archive_are_named(tmp_path: Path, server: Publisher) -> None:
    server.files["data.example/rows.zip"] = packed_zip(MEMBERS)
    server.files["data.example/rows.jsonl"] = ROW.encode()
    with pytest.raises(SpecError, match=r"no file in https://data.example/rows.zip matches \{region\}/\{split\}.csv"):
        mirrored(tmp_path, "  - {url: 'https://data.example/rows.zip', files: '{region}/{split}.csv'}")
    with pytest.raises(SpecError, match=r"rows.zip has 5 files, such as .*Write `files: PATTERN`"):
        mirrored(tmp_path, "  - {url: 'https://data.example/rows.zip', values: {region: a, split: test}}")
    with pytest.raises(SpecError, match=r"rows.jsonl isn't an archive"):
        mirrored(tmp_path, "  - {url: 'https://data.example/rows.jsonl', files: '*.jsonl', values: {region: a}}")


def test_texts_of_an_archive_are_one_file(tmp_path: Path, server: Publisher) -> None:
    server.files["data.example/notes.zip"] = packed_zip({f"n/{number}.txt": b"text %d" % number for number in (2, 1)})
    download = """\
  - url: https://data.example/notes.zip
    files: n/*.txt
    format: text
    values: {region: notes, split: test}
    select: SELECT filename || ' has ' || "text" AS q FROM rows
"""
    assert mirrored(tmp_path, download) == {
        "notes/test-00000-of-00001.parquet": [("n/1.txt has text 1", 0), ("n/2.txt has text 2", 1)]
    }


def test_tables_are_joined(tmp_path: Path, server: Publisher) -> None:
    server.files |= {
        "data.example/asia/test.tsv": b"country\tid\nIndia\tb\nJapan\ta\n",
        "data.example/asia/capitals.json": b'{"a": {"name": "Tokyo"}, "b": {"name": "Delhi"}}',
        "data.example/names.zip": packed_zip({"names.csv": b"id,word\na,first\nb,second\n"}),
    }
    download = """\
  - url: https://data.example/{place}/{split}.tsv
    values: {place: {asia: Asia}, region: Asia, split: test}
    tables:
      capitals: {url: "https://data.example/{place}/capitals.json", format: objects}
      names: {url: "https://data.example/names.zip", files: names.csv}
    select: |
      WITH numbered AS (SELECT *, row_number() OVER () AS number FROM rows)
      SELECT concat(country, ': ', capitals.json->id->>'name', ', ', word, ', ', place) AS q
      FROM numbered JOIN names USING (id), capitals ORDER BY number -- in the order of the file
"""
    assert mirrored(tmp_path, download) == {
        "Asia/test-00000-of-00001.parquet": [("India: Delhi, second, Asia", 0), ("Japan: Tokyo, first, Asia", 1)]
    }


def test_columns_of_the_source_win_over_placeholders(tmp_path: Path, server: Publisher) -> None:
    server.files["data.example/all.csv"] = b"q,split\nItaly,test\nFrance,dev\n"
    download = "".join(
        f"""\
  - url: https://data.example/all.csv
    values: {{region: europe, split: {split}}}
    select: SELECT * FROM rows WHERE split = '{split}'
"""
        for split in ("dev", "test")
    )
    assert mirrored(tmp_path, download) == {
        "europe/dev-00000-of-00001.parquet": [("France", 0)],
        "europe/test-00000-of-00001.parquet": [("Italy", 1)],
    }
