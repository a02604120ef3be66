"""HELM's other boards on made-up rows: the requests of crfm-helm's scenarios and ours, side by side.

A case writes a few rows in the layout of the publisher. crfm-helm's own scenario class reads them in place of its
downloads. Our spec reads them through its `download`, or as the Parquet of its Hub repository.
"""

import csv
import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import polars as pl
import pytest

import helmframe as hf
from helmframe._core.specs import Download, ScenarioSpec
from helmframe._plan import Plan
from helmframe.errors import HelmframeError
from helmframe.interop.helm.entries import Entry, parse_entry
from helmframe.interop.helm.expanders import EXPANDERS
from helmframe.interop.helm.plans import drafts_of
from helmframe.interop.helm.scenario_lookup import scenario_index
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.mirror import mirror
from tests.acceptance import helm_peer
from tests.acceptance.figures import shown
from tests.acceptance.helm_raw_files import shard, written
from tests.acceptance.test_helm_entries import requests
from tests.acceptance.test_helm_language import adapter_differences

# Ends of lines, quotes, spaces at both ends, and letters beyond ASCII.
TEXTS = (
    "A nurse records a temperature of 38.5 °C.",
    ' A “quoted” line, with "two" kinds of quotes. ',
    "First line\nsecond line; it's the last",
    "Zoë owes €1,000 – 5 % of it now",
    "percent 10% and a backslash \\ here",
    "a\ttab and a no-break\u00a0space",
)
# Some of their subsets have no few-shot examples: HELM sets their number to 0, and our maximum has no effect.
NO_EXAMPLES = ("decodingtrust_ood_style", "opinions_qa")


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
        **{
            key: _below(publisher, value) if key in ("responses", "output") else value
            for key, value in case.said.items()
        },
    }
    theirs = helm.ask(question)
    assert "error" not in theirs, theirs["error"]
    spec = find_scenario(case.name)
    root = folder / "root"
    if not spec.generated:
        publish(spec, case, publisher, folder / "source")
        # a draw makes the splits of rows that have none
        drawn = any(source.name.startswith("rows-") for source in (folder / "source").rglob("*.parquet"))
        layout = _layout(spec).replace("{split}-*", "rows-*") if drawn else None
        mirror(case.name, root, source=folder / "source", layout=layout)
    monkeypatch.setenv("HELMFRAME_DATA", str(root))
    plan = hf.entry(case.entry)
    assert isinstance(plan, Plan)
    ours = sorted(map(list, requests(plan, 1_000_000)), key=str)
    helms = sorted(([str(row[0]), *row[1:]] for row in theirs["requests"]), key=str)
    equal = sum(one == other for one, other in zip(ours, helms, strict=False))
    shown(number, f"{case.entry}: requests equal to crfm-helm's", f"{equal}/{len(helms)}", "all")
    assert len(helms) >= 5
    for one, other in zip(ours, helms, strict=False):
        assert one == other, difference(str(one), str(other))
    assert ours == helms
    assert sorted(references(plan), key=str) == sorted(
        ([str(row[0]), *row[1:]] for row in theirs["references"]), key=str
    )


def difference(one: str, other: str) -> str:
    """Return the beginnings of both texts' first difference."""
    equal = next((index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
    start = max(equal - 40, 0)
    return f"\nours:  {one[start : start + 200]!r}\nHELM: {other[start : start + 200]!r}"


def _below(folder: Path, path: Any) -> Any:
    """Return a path, or paths by name, below a folder."""
    if isinstance(path, Mapping):
        return {name: str(folder / each) for name, each in path.items()}
    return str(folder / path)


def references(plan: Plan) -> list[list[Any]]:
    """Return the id, split and references of the evaluated instances."""
    frame = plan.instances().collect()
    return [
        [
            row["instance_id"].rpartition("/")[2],
            row["split"],
            [[ref["text"], ref["correct"]] for ref in row["references"]],
        ]
        for row in frame.iter_rows(named=True)
        if row["split"] != "train"
    ]


def _layout(spec: ScenarioSpec) -> str:
    return str(dict(spec.source)["rows"]).removeprefix("{data}/")


def publish(spec: ScenarioSpec, case: Case, publisher: Path, source: Path) -> list[Path]:
    """Write the rows at the address of the spec's source, from the files of its `download` or the Hub's Parquet.

    Return the files in the order of `download`.
    """
    layout, targets = _layout(spec), []
    if not spec.download:
        for split, path in case.tables.items():
            target = source / _filled(layout, {"split": split, **case.said.get("values", {})}).replace(
                "*", shard("")[1:-8]
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((publisher / path).read_bytes())
            targets.append(target)
        return targets
    numbers: Counter[str] = Counter()
    for entry in spec.download:
        names = [name for name, _ in entry.values]
        for combination in itertools.product(*(_choices(value) for _, value in entry.values)):
            theirs = dict(zip(names, (pair[0] for pair in combination), strict=True))
            ours = dict(zip(names, (pair[1] for pair in combination), strict=True))
            url = _filled(entry.url, {**theirs, "revision": entry.revision})
            found = [publisher / path for part, path in case.files.items() if part in url]
            files = [file for path in found for file in members(path, _filled(entry.files, theirs))]
            if not files:
                continue
            path = _filled(layout, ours).replace("{split}-*", "rows-*")
            target = source / path.replace("*", f"{numbers[path]:05}-of-00009")
            numbers[path] += 1
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(entry, files, publisher, case, target)
            targets.append(target)
    return targets


def members(path: Path, pattern: str) -> list[Path]:
    """Return the files of an unpacked archive that match a pattern, without the archive's outer folders."""
    if path.is_file():
        return [path]
    parts = pattern.split("/")
    globs = (sorted(path.glob("/".join(parts[start:]))) for start in range(len(parts)))
    return next((files for files in globs if files), [])


def _copy(entry: Download, files: Sequence[Path], publisher: Path, case: Case, target: Path) -> None:
    """Write the rows that the entry's SQL selects from files of the publisher."""
    connection = duckdb.connect()
    _table(connection, "rows", entry, files, target)
    for name, table in entry.tables:
        url = _filled(table.url, {"revision": table.revision})
        (other,) = [publisher / path for part, path in case.files.items() if part in url]
        _table(connection, name, table, [other], target)
    connection.execute(f"COPY ({entry.select or 'SELECT * FROM rows'}) TO '{target}' (FORMAT parquet)")
    connection.close()


def _table(connection: Any, name: str, entry: Download, files: Sequence[Path], target: Path) -> None:
    """Make a view of the rows of files."""
    suffixes = {".jsonl": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
    kind = entry.format or suffixes[files[0].suffix]
    options = dict(entry.options)
    if kind in ("objects", "text", "lines"):
        texts = [file.read_bytes().decode(str(options.get("encoding", "utf-8"))) for file in files]
        rows = [line for text in texts for line in text.removesuffix("\n").split("\n")] if kind == "lines" else texts
        column = {"objects": "json", "text": "text", "lines": "line"}[kind]
        frame = target.with_name(f"{name}-{target.stem}.made")
        names = {"filename": [file.name for file in files]} if kind != "lines" else {}
        pl.DataFrame({**names, column: rows}).write_parquet(frame)
        made = (
            f"(SELECT json::JSON AS json FROM read_parquet('{frame}'))"
            if kind == "objects"
            else f"read_parquet('{frame}')"
        )
    elif kind == "xml":
        root = ElementTree.parse(files[0]).getroot()
        rows = [json.dumps(_element(element)) for element in root.iter(str(options["element"]))]
        frame = target.with_name(f"{name}-{target.stem}.made")
        pl.DataFrame({"json": rows}).write_parquet(frame)
        made = f"(SELECT json::JSON AS json FROM read_parquet('{frame}'))"
    elif kind == "parquet":
        made = f"read_parquet('{files[0]}')"
    elif kind in ("json", "jsonl"):
        made = f"read_json('{files[0]}', sample_size = -1, maximum_object_size = 33554432)"
    else:
        # a sheet has the same rows as CSV here
        delimiter = str(options.get("delimiter") or ("\t" if kind == "tsv" else ","))
        with files[0].open(encoding="utf-8", newline="") as file:
            cells = [[cell or None for cell in row] for row in csv.reader(file, delimiter=delimiter)]
        header = cells.pop(0) if options.get("header", True) else [f"column{index}" for index in range(len(cells[0]))]
        frame = target.with_name(f"{name}-{target.stem}.made")
        pl.DataFrame(cells, schema=dict.fromkeys(map(str, header), pl.String), orient="row").write_parquet(frame)
        made = f"read_parquet('{frame}')"
    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {made}")


def _element(element: ElementTree.Element) -> dict[str, Any]:
    """Return an element as JSON: attributes as "@name", the text as "#text", and lists of children by tag."""
    children: dict[str, Any] = {}
    for child in element:
        children.setdefault(child.tag, []).append(_element(child))
    attributes = {f"@{name}": value for name, value in element.attrib.items()}
    return {**attributes, **({"#text": element.text} if element.text else {}), **children}


def _choices(value: Any) -> list[tuple[str, str]]:
    """Return pairs of the publisher's spelling and ours."""
    values = value if isinstance(value, tuple) else (value,)
    return [pair if isinstance(pair, tuple) else (str(pair), str(pair)) for pair in values]


def _filled(template: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", value)
    return template


def compare_entries(shared: Path, names: Sequence[str], number: str) -> dict[str, tuple[int, int]]:
    """Print how many entries of HELM's .conf files become plans, and have HELM's adapter; return plans and entries.

    Entries whose run spec couldn't be recorded count for the plans only.
    """
    known = scenario_index()
    recorded = pl.read_parquet(shared / "helm_run_specs.parquet")
    counts = {}
    for name in names:
        rows = recorded.filter(conf=f"run_entries_{name}.conf").select("entry", "run_spec").rows()
        reasons: Counter[str] = Counter()
        plans = equal = compared = 0
        for text_of_entry, run_spec in rows:
            try:
                drafts = drafts_of(parse_entry(text_of_entry), known)
                plans += all(bool(draft.setting) for draft in drafts)
            except HelmframeError as error:
                reasons[str(error).partition("\n")[0]] += 1
                continue
            if run_spec is None:
                continue
            entry = parse_entry(text_of_entry)
            bare = tuple((key, value) for key, value in entry.arguments if key not in EXPANDERS)
            (draft,) = drafts_of(Entry(entry.name, bare), known)
            helms = json.loads(run_spec)["adapter_spec"]
            differences = [*adapter_differences(draft, helms)]
            if helms["max_train_instances"] == 0 and draft.spec.scenario in NO_EXAMPLES:
                differences = [each for each in differences if not each.startswith("max_train_instances")]
            compared += 1
            equal += not differences
            reasons.update(f"adapter: {each}" for each in differences)
        shown(number, f"run_entries_{name}.conf: entries that become plans", f"{plans}/{len(rows)}", "see the test")
        shown(number, f"run_entries_{name}.conf: adapters equal to HELM's", f"{equal}/{compared}", "all")
        for reason, count in reasons.most_common(12):
            print(f"     {count:4} {reason[:200]}")
        counts[name] = (plans, len(rows))
        assert equal == compared, name
    return counts
