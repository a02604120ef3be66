"""HELM's other boards on made-up rows: the requests of crfm-helm's scenarios and ours, side by side.

A case writes a few rows in the layout of the publisher. crfm-helm's own scenario class reads them in place of its
downloads. Our spec reads them through its `download`, or as the Parquet of its Hub repository.
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import helmframe as hf
from helmframe._core.specs import Download, ScenarioSpec
from helmframe._plan import Plan
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.mirror import mirror
from tests.acceptance import helm_peer
from tests.acceptance.figures import shown
from tests.acceptance.helm_raw_files import shard, written
from tests.acceptance.test_helm_entries import requests

# Ends of lines, quotes, spaces at both ends, and letters beyond ASCII.
TEXTS = (
    "A nurse records a temperature of 38.5 °C.",
    ' A “quoted” line, with "two" kinds of quotes. ',
    "First line\nsecond line; it's the last",
    "Zoë owes €1,000 – 5 % of it now",
    "percent 10% and a backslash \\ here",
    "a\ttab and a no-break\u00a0space",
)


@dataclass(frozen=True)
class Case:
    """An entry of HELM, its scenario module, and the files that both sides read.

    Attributes:
        entry: The run entry, without a model.
        module: The module of HELM's scenario class.
        files: Part of the URL → path below the publisher's folder.
        write: A function that writes the files to the publisher's folder.
        tables: Split → Parquet file below the publisher's folder, for the Hub.
        said: Further keys for `helm_scenario_child.patched`.
    """

    entry: str
    module: str
    write: Callable[[Path], object]
    files: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[str, Any] = field(default_factory=dict)
    scenario: str = ""

    @property
    def name(self) -> str:
        """Return the name of our spec."""
        return self.scenario or self.entry.partition(":")[0]


def text(number: int, prefix: str = "") -> str:
    return f"{prefix}{TEXTS[number % len(TEXTS)]}"


def as_json(rows: object, path: str) -> Callable[[Path], object]:
    return lambda folder: written(json.dumps(rows), folder / path)


def as_lines(rows: Sequence[object], path: str) -> Callable[[Path], object]:
    return lambda folder: written("".join(json.dumps(row) + "\n" for row in rows), folder / path)


def as_csv(rows: Sequence[Mapping[str, Any]], path: str, separator: str = ",") -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows, infer_schema_length=None).write_csv(target, separator=separator)

    return write


def as_parquet(rows: Sequence[Mapping[str, Any]], path: str, schema: Any = None) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None).write_parquet(target)

    return write


def together(*writers: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: [write(folder) for write in writers]


def compare(helm: helm_peer.Peer, case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    """Compare the requests of an entry with crfm-helm's, byte by byte, and its references."""
    publisher = folder / "publisher"
    case.write(publisher)
    question = {
        "entry": case.entry,
        "module": case.module,
        "window": [1_000_000, 1_000_000],
        "files": {part: str(publisher / path) for part, path in case.files.items()},
        "tables": {split: str(publisher / path) for split, path in case.tables.items()},
        **{key: _below(publisher, value) if key in ("responses", "output") else value for key, value in case.said.items()},
    }
    theirs = helm.ask(question)
    assert "error" not in theirs, theirs["error"]
    spec = find_scenario(case.name)
    publish(spec, case, publisher, folder / "source")
    root = folder / "root"
    mirror(case.name, root, source=folder / "source")
    monkeypatch.setenv("HELMFRAME_DATA", str(root))
    plan = hf.entry(case.entry)
    assert isinstance(plan, Plan)
    ours = sorted(map(list, requests(plan, 1_000_000)), key=str)
    helms = sorted(([str(row[0]), *row[1:]] for row in theirs["requests"]), key=str)
    equal = sum(one == other for one, other in zip(ours, helms, strict=False))
    shown(number, f"{case.entry}: requests equal to crfm-helm's", f"{equal}/{len(helms)}", "all")
    assert len(helms) >= 5
    assert [row[2] for row in ours] == [row[2] for row in helms]
    assert ours == helms
    assert sorted(references(plan), key=str) == sorted(([str(row[0]), *row[1:]] for row in theirs["references"]), key=str)


def _below(folder: Path, path: Any) -> Any:
    """Return a path, or paths by name, below a folder."""
    if isinstance(path, Mapping):
        return {name: str(folder / each) for name, each in path.items()}
    return str(folder / path)


def references(plan: Plan) -> list[list[Any]]:
    """Return the id, split and references of the evaluated instances."""
    frame = plan.instances().collect()
    return [
        [row["instance_id"].rpartition("/")[2], row["split"], [[ref["text"], ref["correct"]] for ref in row["references"]]]
        for row in frame.iter_rows(named=True)
        if row["split"] != "train"
    ]


def publish(spec: ScenarioSpec, case: Case, publisher: Path, source: Path) -> None:
    """Write the rows at the address of the spec's source, from the files of its `download` or the Hub's Parquet."""
    address = dict(spec.source)["rows"]
    assert isinstance(address, str)
    layout = address.removeprefix("{data}/")
    if not spec.download:
        for split, path in case.tables.items():
            target = source / layout.format(split=split, **case.said.get("values", {})).replace("*", shard("")[1:-8])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((publisher / path).read_bytes())
        return
    written_files: dict[str, int] = {}
    for entry in spec.download:
        names = [name for name, _ in entry.values]
        choices = [_choices(value) for _, value in entry.values]
        for combination in itertools.product(*choices):
            theirs = dict(zip(names, (pair[0] for pair in combination), strict=True))
            ours = dict(zip(names, (pair[1] for pair in combination), strict=True))
            url = _filled(entry.url, {**theirs, "revision": entry.revision})
            found = [path for part, path in case.files.items() if part in url]
            if not found:
                continue
            path = _filled(layout, ours)
            number = written_files[path] = written_files.get(path, -1) + 1
            target = source / path.replace("*", f"{number:05}-of-00009")
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(entry, publisher / found[0], publisher, case, target)


def _copy(entry: Download, path: Path, publisher: Path, case: Case, target: Path) -> None:
    """Write the rows that the entry's SQL selects from a file of the publisher."""
    connection = duckdb.connect()
    connection.execute(f"CREATE VIEW rows AS SELECT * FROM {_reader(entry, path)}")
    for name, table in entry.tables:
        (other,) = [each for part, each in case.files.items() if part in _filled(table.url, {"revision": table.revision})]
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {_reader(table, publisher / other)}")
    connection.execute(f"COPY ({entry.select or 'SELECT * FROM rows'}) TO '{target}' (FORMAT parquet)")
    connection.close()


def _reader(entry: Download, path: Path) -> str:
    kind = entry.format or {".jsonl": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}[
        path.suffix if path.is_file() else Path(entry.files).suffix
    ]
    if path.is_dir():
        path = path / Path(entry.files).name
    options = dict(entry.options)
    if kind == "parquet":
        return f"read_parquet('{path}')"
    if kind == "json":
        return f"read_json('{path}', maximum_object_size = 33554432, sample_size = -1)"
    if kind == "jsonl":
        return f"read_json('{path}', format = 'newline_delimited', sample_size = -1)"
    if kind == "objects":
        return f"(SELECT content::JSON AS json FROM read_text('{path}'))"
    if kind == "text":
        return f'(SELECT content AS "text" FROM read_text(\'{path}\') ORDER BY filename)'
    if kind == "lines":
        # the last line end starts no line
        return f"(SELECT unnest(string_split(regexp_replace(content, '\\n$', ''), chr(10))) AS line FROM read_text('{path}'))"
    delimiter = options.get("delimiter") or ("\t" if kind == "tsv" else ",")
    header = str(options.get("header", True)).lower()
    return f"read_csv('{path}', sample_size = -1, header = {header}, delim = '{delimiter}')"


def _choices(value: Any) -> list[tuple[str, str]]:
    """Return pairs of the publisher's spelling and ours."""
    values = value if isinstance(value, tuple) else (value,)
    return [pair if isinstance(pair, tuple) else (str(pair), str(pair)) for pair in values]


def _filled(template: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", value)
    return template
