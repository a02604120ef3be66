"""SQL of specs and conditions reads the files of its source only: on disk, in a bucket, on the Hub, and in mirrors."""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from huggingface_hub import close_session

import helmframe as hf
from helmframe._core.specs import Sql
from helmframe.errors import ArgumentError, HelmframeError, SourceBrokenError, SpecError
from helmframe.scenarios.load import load
from helmframe.scenarios.mirror import mirror
from helmframe.scenarios.remote import httpfs_file
from helmframe.scenarios.spec_file import load_scenario
from helmframe.scenarios.validation import check_where, write_examples
from tests.hub_server import hub_server
from tests.hub_tls import hub_behind_tls
from tests.s3_server import BUCKET, S3Server
from tests.scenarios.readers import READERS

SPEC = """\
scenario: foreign
version: 1
source: {rows: "{data}/foreign/{topic}/{split}-*.parquet"}
HUB
columns: {q: TYPE}
splits: {test: test}
subsets: [topic]
instances: |
  SELECT row_index, split, topic, INPUT AS input, [{'text': 'a', 'correct': true}] AS "references" FROM rows
metrics: [exact_match]
main: {metric: exact_match}
"""
HUB = "hub: {rows: 'hf://datasets/foreign/rows/foreign/{topic}/{split}-*.parquet'}"
# SQL in place of the input; PATH is a file that the source doesn't declare, FOLDER its folder.
READS = [
    "(SELECT content FROM read_text('PATH'))",
    "(SELECT content::VARCHAR FROM read_blob('PATH'))",
    "(SELECT any_value(column0) FROM read_csv('PATH', header = false))",
    "(SELECT any_value(columns(*))::VARCHAR FROM 'PATH')",
    "(SELECT any_value(q) FROM read_parquet('FOLDER/private.parquet'))",
    "(SELECT any_value(q) FROM 'FOLDER/private.parquet')",
    "(SELECT any_value(file) FROM glob('FOLDER/*'))",
    "(SELECT any_value(json)::VARCHAR FROM read_json_objects('PATH', format = 'unstructured'))",
    "(SELECT any_value(file_name) FROM parquet_metadata('FOLDER/private.parquet'))",
    "(SELECT any_value(Delimiter) FROM sniff_csv('PATH'))",
    "getenv('HOME')",
    "(SELECT content FROM query('SELECT content FROM read_text(''PATH'')'))",
    "(SELECT any_value(q) FROM secret_frame)",
]
SOME_READS = [READS[0], READS[4], READS[6]]
WRITES = [
    "q AS input FROM rows); COPY (SELECT 1) TO 'FOLDER/written.csv'; SELECT (1",
    "1) AS x; ATTACH 'FOLDER/written.db'; SELECT (1",
    "1) AS x; INSTALL httpfs; SELECT (1",
    "1) AS x; LOAD httpfs; SELECT (1",
    "1) AS x; PRAGMA database_list; SELECT (1",
    "1) AS x; SET enable_external_access = true; SELECT (1",
    "1) AS x; EXPORT DATABASE 'FOLDER/written'; SELECT (1",
]
secret_frame = pl.DataFrame({"q": ["canary"]})


def parquet(text: str) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame({"q": [text]}).write_parquet(buffer)
    return buffer.getvalue()


FILES = {"foreign/sums/test-0.parquet": parquet("1 + 1?"), "foreign/sky/test-0.parquet": parquet("Blue?")}
OTHERS = {"private.parquet": parquet("canary"), "foreign/private.parquet": parquet("canary"), "private.txt": b"canary"}


@pytest.fixture(
    params=["disk", *(f"bucket by {name}" for name in READERS), "hub", *(["hub by httpfs"] * bool(httpfs_file()))]
)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the folder `foreign` with undeclared files, where each reader reads it."""
    for name in ("HF_TOKEN", "HELMFRAME_DATA", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    kind, _, reader = request.param.partition(" by ")
    with ExitStack() as stack:
        if kind == "disk":
            for name, content in (FILES | OTHERS).items():
                (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / "data" / name).write_bytes(content)
            monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path / "data"))
            yield str(tmp_path / "data")
        elif kind == "bucket":
            server: S3Server = request.getfixturevalue("s3_server")
            for name, value in server.environment.items():
                monkeypatch.setenv(name, value)
            filesystem = server.filesystem()
            for name, content in (FILES | OTHERS).items():
                filesystem.pipe(f"{BUCKET}/locked/{name}", content)
            monkeypatch.setenv("HELMFRAME_S3_READER", reader)
            monkeypatch.setenv("HELMFRAME_DATA", f"s3://{BUCKET}/locked")
            yield f"s3://{BUCKET}/locked"
        else:
            hub = stack.enter_context(hub_server({"foreign/rows": FILES | OTHERS}))
            if reader:
                for name, value in stack.enter_context(hub_behind_tls(hub)).items():
                    monkeypatch.setenv(name, value)
            else:
                monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
            close_session()
            stack.callback(close_session)
            yield "hf://datasets/foreign/rows"


def spec(folder: Path, place: str, sql: str = "q", dtype: str = "VARCHAR") -> Any:
    text = SPEC.replace("HUB", HUB if place.startswith("hf:") else "").replace("TYPE", f'"{dtype}"')
    file = folder / "foreign.yaml"
    file.write_text(text.replace("INPUT", sql))
    return load_scenario(file)


def filled(sql: str, place: str, near: str = "private.txt") -> str:
    return sql.replace("PATH", f"{place}/{near}").replace("FOLDER", place)


def inputs(scenario: Any) -> list[str]:
    return sorted(text for frame in load(scenario) for text in frame["input"])


def refusal(action: Callable[[], object]) -> HelmframeError:
    with pytest.raises(HelmframeError) as refused:
        action()
    assert "canary" not in str(refused.value)
    return refused.value


@pytest.mark.shared
def test_declared_files_are_read_in_every_way(place: str, tmp_path: Path) -> None:
    scenario = spec(tmp_path, place)
    assert inputs(scenario) == ["1 + 1?", "Blue?"]
    plan = hf.scenario(tmp_path / "foreign.yaml")
    assert plan.where(topic="sky").instances().collect()["input"].to_list() == ["Blue?"]
    assert plan.where("length(input) > 5").limit(1).instances().collect()["input"].to_list() == ["1 + 1?"]
    assert plan.sample(1).instances().collect().height == 2
    assert plan.where(topic="sky").explain()


@pytest.mark.shared
def test_a_select_of_a_spec_reads_no_other_file(place: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, content in OTHERS.items():
        (elsewhere / name).parent.mkdir(exist_ok=True)
        (elsewhere / name).write_bytes(content)
    for sql in READS if "://" not in place else SOME_READS:
        for folder in (str(elsewhere), f"{place}/foreign"):
            scenario = spec(tmp_path, place, filled(sql, folder))
            assert type(refusal(lambda scenario=scenario: inputs(scenario))) is SpecError, sql  # type: ignore[misc]


@pytest.mark.shared
def test_a_condition_reads_no_other_file(place: str, tmp_path: Path) -> None:
    scenario = spec(tmp_path, place)
    for sql in READS if "://" not in place else SOME_READS:
        condition = Sql(f"{filled(sql, place)} = 'x'")

        def read(condition: Sql = condition) -> None:
            check_where(scenario, [condition])
            list(load(scenario, where=[condition]))

        assert isinstance(refusal(read), ArgumentError | SpecError), sql


@pytest.mark.parametrize("sql", WRITES)
@pytest.mark.parametrize("key", ["instances", "columns", "where"])
def test_statements_are_refused(key: str, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    for name, content in FILES.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(content)
    monkeypatch.setenv("HELMFRAME_DATA", str(data))
    text = filled(sql, str(data))
    before = sorted(data.rglob("*"))
    if key == "where":
        error = refusal(lambda: check_where(spec(tmp_path, str(data)), [Sql(f"true) AS x FROM rows; {text}")]))
        assert isinstance(error, ArgumentError)
    else:
        arguments = {"sql": text} if key == "instances" else {"dtype": f"VARCHAR AS y, ({text}"}
        scenario = spec(tmp_path, str(data), **arguments)
        assert isinstance(refusal(lambda: inputs(scenario)), SpecError)
        if key == "columns":
            assert isinstance(refusal(lambda: write_examples(scenario, tmp_path / "examples")), SpecError)
    assert sorted(data.rglob("*")) == before


def test_the_type_of_a_column_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = tmp_path / "private.txt"
    private.write_text("canary")
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    (tmp_path / "foreign" / "sums").mkdir(parents=True)
    (tmp_path / "foreign" / "sums" / "test-0.parquet").write_bytes(FILES["foreign/sums/test-0.parquet"])
    scenario = spec(
        tmp_path, str(tmp_path), dtype=f"VARCHAR, content FROM read_text('{private}') AS t(content, b, c, d)"
    )
    assert isinstance(refusal(lambda: write_examples(scenario, tmp_path / "examples")), SpecError)
    assert isinstance(refusal(lambda: inputs(scenario)), SpecError)


@pytest.mark.parametrize("sql", [READS[0], READS[2], READS[4], READS[6]])
def test_a_select_of_a_mirror_reads_no_other_file(sql: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "foreign" / "sums").mkdir(parents=True)
    (source / "foreign" / "sums" / "test-0.parquet").write_bytes(FILES["foreign/sums/test-0.parquet"])
    for name, content in OTHERS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    spec(tmp_path, str(source))
    select = f"SELECT {filled(sql, str(tmp_path))} AS q FROM rows"
    error = refusal(lambda: mirror(tmp_path / "foreign.yaml", tmp_path / "to", source=source, select=select))
    assert isinstance(error, SourceBrokenError | SpecError), error
    assert not list((tmp_path / "to").rglob("*.parquet"))


def test_a_frame_has_no_files(tmp_path: Path) -> None:
    private = tmp_path / "private.txt"
    private.write_text("canary")
    frame = pl.DataFrame({"input": ["a"], "references": [["b"]]})
    for sql in READS:
        condition = f"{filled(sql, str(tmp_path))} = 'x'"
        error = refusal(lambda text=condition: hf.scenario(frame).where(text).instances().collect())  # type: ignore[misc]
        assert isinstance(error, ArgumentError | SpecError), error
