"""Access to the Hub: tokens, gated and private data sets, renames, rate limits, other endpoints, by both readers."""

import io
import logging
import os
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from huggingface_hub import close_session

from helmframe import config
from helmframe._core.safe_text import ReplyError
from helmframe._core.specs import ScenarioSpec
from helmframe.errors import SourceDeniedError, SourceError, SourceMissingError
from helmframe.scenarios import remote
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.images import ImageReader
from helmframe.scenarios.load import load
from helmframe.scenarios.mirror import mirror
from helmframe.scenarios.remote import HubPath, filesystem_of, httpfs_file, pin_revision, request_hub
from helmframe.scenarios.sources import read_guarded
from tests.hub_server import COMMIT, CONVERTED, TOKEN, Fault, Hub, hub_server
from tests.hub_tls import hub_behind_tls
from tests.listening import listening

PYTHON_AND_HTTPFS = ["python", *(["httpfs"] if httpfs_file() else [])]
STRANGER = "hf_stranger0123456789abcdefghij"
START = Callable[..., Hub]


def parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    """Return rows as a Parquet file."""
    buffer = io.BytesIO()
    pl.DataFrame(rows).write_parquet(buffer)
    return buffer.getvalue()


QUESTIONS = parquet([{"question": "1 + 1?", "answer": "It is 2.\n#### 2"}, {"question": "2 + 2?", "answer": "#### 4"}])
FILES = {f"main/{split}-00000-of-00001.parquet": QUESTIONS for split in ("train", "test")}


def gsm8k(address: str = "openai/gsm8k") -> ScenarioSpec:
    """Return the spec of GSM8K with its rows in another data set."""
    return replace(
        find_scenario("gsm8k"), hub=(("rows", f"hf://datasets/{address}/main/{{split}}-*.parquet"),), origin=""
    )


def inputs(spec: ScenarioSpec) -> list[str]:
    """Return the inputs of a scenario's test instances."""
    return [text for frame in load(spec) for text in frame.filter(split="test")["input"]]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An environment without tokens, proxies and a root of rows."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("HF_", "HUGGING", "HELMFRAME_DATA")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
    close_session()
    yield
    close_session()


@pytest.fixture(params=PYTHON_AND_HTTPFS)
def start(request: pytest.FixtureRequest, alone: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[START]:
    """Start a Hub: at another endpoint, which Python reads, or as huggingface.co, which DuckDB's httpfs reads."""
    with ExitStack() as stack:

        def started(**options: Any) -> Hub:
            repositories = options.pop("repositories", {"openai/gsm8k": FILES})
            hub = stack.enter_context(hub_server(repositories, **options))
            if request.param == "python":
                monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
            else:
                for name, value in stack.enter_context(hub_behind_tls(hub)).items():
                    monkeypatch.setenv(name, value)
            return hub

        yield started


@pytest.fixture
def hub(alone: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Hub]]:
    """Start a Hub at another endpoint."""
    with ExitStack() as stack:

        def started(**options: Any) -> Hub:
            repositories = options.pop("repositories", {"openai/gsm8k": FILES})
            server = stack.enter_context(hub_server(repositories, **options))
            monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
            return server

        yield started


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list of the seconds that requests to the Hub wait; the waits themselves are left out."""
    seconds: list[float] = []
    monkeypatch.setattr("helmframe.scenarios.remote.time.sleep", seconds.append)
    return seconds


def test_rows_are_read_without_a_token(start: START) -> None:
    server = start()
    assert inputs(gsm8k()) == ["1 + 1?", "2 + 2?"]
    assert {request.token for request in server.requests} == {""}


def test_the_token_reaches_the_hub_but_not_the_host_of_large_files(
    start: START, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(gated=["openai/gsm8k"])
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert inputs(gsm8k()) == ["1 + 1?", "2 + 2?"]
    assert {(request.host, request.token) for request in server.requests} == {("hub", TOKEN), ("lfs", "")}


def test_the_token_of_a_login_reaches_the_hub(start: START, tmp_path: Path) -> None:
    start(gated=["openai/gsm8k"])
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text(f"{TOKEN}\n")
    assert inputs(gsm8k()) == ["1 + 1?", "2 + 2?"]
    assert config.redacted(f"token {TOKEN}") == "token ***"


def test_httpfs_reads_huggingface_co_and_python_another_endpoint(
    request: pytest.FixtureRequest, start: START, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[object] = []
    load_httpfs = remote._load_httpfs

    def noted(connection: Any, extension: Path) -> None:
        loaded.append(extension)
        load_httpfs(connection, extension)

    monkeypatch.setattr(remote, "_load_httpfs", noted)
    start()
    inputs(gsm8k())
    assert bool(loaded) == (request.node.callspec.params["start"] == "httpfs")


def test_huggingface_co_is_read_without_httpfs(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    del alone
    monkeypatch.setattr(remote, "httpfs_file", lambda: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub_server({"openai/gsm8k": FILES}, gated=["openai/gsm8k"]) as server, hub_behind_tls(server) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert inputs(gsm8k()) == ["1 + 1?", "2 + 2?"]
        assert {request.token for request in server.requests if request.host == "hub"} == {TOKEN}


@pytest.mark.parametrize("token", ["", STRANGER])
def test_a_gated_data_set_names_the_page_with_its_terms(
    token: str, start: START, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(gated=["openai/gsm8k"], strangers=[STRANGER])
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(SourceDeniedError, match=r"scenario 'gsm8k': .* is gated\.") as caught:
        inputs(gsm8k())
    assert f"Accept the terms at {config.hub_endpoint()}/datasets/openai/gsm8k, then set HF_TOKEN" in str(caught.value)


def test_the_terms_of_a_spec_are_named_in_place_of_the_data_sets_page(hub: START) -> None:
    hub(gated=["openai/gsm8k"])
    with pytest.raises(SourceDeniedError, match=r"Accept the terms at https://example\.org/terms, then"):
        inputs(replace(gsm8k(), terms="https://example.org/terms"))


def test_mirroring_a_gated_data_set_names_its_page(hub: START, tmp_path: Path) -> None:
    files = {"gpqa_main/train/0000.parquet": QUESTIONS}
    hub(repositories={"Idavidrein/gpqa@refs/convert/parquet": files}, gated=["Idavidrein/gpqa"])
    with pytest.raises(SourceDeniedError, match="datasets/Idavidrein/gpqa, then set HF_TOKEN"):
        mirror("gpqa", tmp_path)


def test_an_invalid_token_is_named_but_not_shown(start: START, monkeypatch: pytest.MonkeyPatch) -> None:
    start()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong0123456789abcdefghij")
    with pytest.raises(SourceDeniedError, match=r"the token is invalid or expired. Set HF_TOKEN") as caught:
        inputs(gsm8k())
    assert "hf_wrong" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("token", ["", TOKEN])
def test_a_missing_or_private_data_set_is_missing(token: str, start: START, monkeypatch: pytest.MonkeyPatch) -> None:
    start()
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(SourceMissingError, match=r"data set not found, or private. Set HF_TOKEN if it is private."):
        inputs(gsm8k("someone/else"))


def test_a_private_data_set_is_read_with_its_token(start: START, monkeypatch: pytest.MonkeyPatch) -> None:
    start(private=["openai/gsm8k"])
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert len(inputs(gsm8k())) == 2


@pytest.mark.parametrize("revision", ["@none", "@~parquet"])
def test_a_missing_revision_is_missing(revision: str, start: START) -> None:
    start()
    with pytest.raises(SourceMissingError, match="revision, folder or file not found"):
        inputs(gsm8k(f"openai/gsm8k{revision}"))


def test_a_renamed_data_set_is_followed(start: START) -> None:
    start(renamed={"gsm8k/old": "openai/gsm8k"})
    assert inputs(gsm8k("gsm8k/old")) == ["1 + 1?", "2 + 2?"]
    assert pin_revision("hf://datasets/gsm8k/old/main/*.parquet")[1] == COMMIT


def test_a_rename_with_a_token_stays_on_the_hub(start: START, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start(renamed={"gsm8k/old": "openai/gsm8k"}, gated=["openai/gsm8k"])
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert len(inputs(gsm8k("gsm8k/old"))) == 2
    assert {request.token for request in server.requests if request.host == "lfs"} == {""}


@pytest.mark.parametrize("revision", ["~parquet", CONVERTED])
def test_the_parquet_conversion_has_two_spellings(revision: str, hub: START) -> None:
    hub(repositories={"openai/gsm8k@refs/convert/parquet": FILES})
    assert inputs(gsm8k(f"openai/gsm8k@{revision}")) == ["1 + 1?", "2 + 2?"]


def test_httpfs_reads_the_parquet_conversion(start: START) -> None:
    start(repositories={"openai/gsm8k@refs/convert/parquet": FILES})
    assert inputs(gsm8k("openai/gsm8k@~parquet")) == ["1 + 1?", "2 + 2?"]


def test_all_pages_of_a_tree_are_read(start: START) -> None:
    server = start(page_size=1)
    assert len(inputs(gsm8k())) == 2
    assert sum("/tree/" in request.path for request in server.requests) > 1


def test_a_mirror_of_the_hub_may_link_to_the_hub_and_send_whole_files(
    hub: START, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = hub(page_size=1, links="http://127.0.0.1:9", ranges=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert inputs(gsm8k()) == ["1 + 1?", "2 + 2?"]
    assert sum("/tree/" in request.path for request in server.requests) > 1


@pytest.mark.parametrize("path", ["/tree/", "/resolve/", "/revision/"])
def test_a_rate_limit_waits_as_long_as_the_hub_requests(path: str, hub: START, waits: list[float]) -> None:
    server = hub(faults=[Fault(429, "7", path)])
    assert pin_revision("hf://datasets/openai/gsm8k/main/*.parquet")[1] == COMMIT
    assert len(inputs(gsm8k())) == 2
    assert waits == [7.0]
    assert server.faults == []


def test_a_limit_while_rows_are_read_is_waited_for(request: pytest.FixtureRequest, start: START) -> None:
    """DuckDB requests the size of a file by HEAD; only Python sends GET alone."""
    method = "HEAD" if request.node.callspec.params["start"] == "httpfs" else "GET"
    server = start(faults=[Fault(429, "0", "/resolve/", method), Fault(503, "0", "/resolve/", method)])
    assert len(inputs(gsm8k())) == 2
    assert server.faults == []


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failure_of_the_server_is_repeated_with_growing_waits(status: int, hub: START, waits: list[float]) -> None:
    hub(faults=[Fault(status), Fault(status), Fault(status)])
    assert len(inputs(gsm8k())) == 2
    assert waits == [0.5, 1.0, 2.0]


def test_a_wait_of_more_than_five_minutes_is_an_error_at_once(hub: START, waits: list[float]) -> None:
    hub(failing=[Fault(429, "86400")])
    with pytest.raises(SourceError, match=r"the Hub's limit of requests is reached .*Try again later, or set HF_TOKEN"):
        inputs(gsm8k())
    assert waits == []


def test_a_limit_that_lasts_is_an_error_after_five_waits(hub: START, waits: list[float]) -> None:
    hub(failing=[Fault(429, "2")])
    with pytest.raises(SourceError, match="the Hub's limit of requests is reached"):
        inputs(gsm8k())
    assert waits == [2.0] * 5


def test_a_date_to_wait_for_is_read(hub: START, waits: list[float]) -> None:
    hub(faults=[Fault(429, "Wed, 21 Oct 2015 07:28:00 GMT")])
    assert len(inputs(gsm8k())) == 2
    assert waits == [0.5]


def test_an_endpoint_that_cannot_be_reached_is_an_error_at_once(
    alone: None, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    del alone
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"scenario 'gsm8k': .*http://127\.0\.0\.1:9"):
        inputs(gsm8k())
    assert waits == []
    assert pin_revision("hf://datasets/openai/gsm8k/x.parquet") == ("hf://datasets/openai/gsm8k/x.parquet", None)


def test_a_mirror_pins_the_commit_at_another_endpoint(hub: START, tmp_path: Path) -> None:
    server = hub()
    assert mirror("gsm8k", tmp_path).rows == 4
    assert COMMIT in (tmp_path / "manifests" / "gsm8k.json").read_text()
    assert any(f"resolve/{COMMIT}/" in request.path for request in server.requests)


def test_images_are_read_with_the_token(hub: START, monkeypatch: pytest.MonkeyPatch) -> None:
    repositories = {"lmms-lab/POPE": {"data/images/a.png": b"a picture"}}
    hub(repositories=repositories, gated=["lmms-lab/POPE"])
    spec = replace(find_scenario("pope"), hub=(("rows", "hf://datasets/lmms-lab/POPE/data/{split}-*.parquet"),))
    with pytest.raises(SourceDeniedError, match="lmms-lab/POPE, then set HF_TOKEN"):
        ImageReader(spec)._file("data/images/a.png")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert ImageReader(spec)._file("data/images/a.png") == [b"a picture"]
    with pytest.raises(SourceMissingError, match="not found"):
        ImageReader(spec)._file("data/images/b.png")


def test_a_file_system_of_the_hub_lists_and_reads(hub: START) -> None:
    hub(repositories={"o/n": {"a.csv": b"x\n1\n", "b/c.csv": b"x\n2\n", "empty.csv": b""}})
    files = filesystem_of("hf://datasets/o/n/a.csv")
    assert files.find("datasets/o/n") == ["datasets/o/n/a.csv", "datasets/o/n/b/c.csv", "datasets/o/n/empty.csv"]
    assert files.ls("datasets/o/n/b", detail=False) == ["datasets/o/n/b/c.csv"]
    assert files.glob("datasets/o/n/*/*.csv") == ["datasets/o/n/b/c.csv"]
    assert files.cat_file("hf://datasets/o/n/b/c.csv") == b"x\n2\n"
    assert not files.exists("datasets/o/n/d.csv")
    sizes = filesystem_of("hf://datasets/o/n")
    assert [sizes.info(f"datasets/o/n/{name}")["size"] for name in ("a.csv", "empty.csv")] == [4, 0]


def test_no_credential_is_in_errors_logs_and_reprs(
    start: START, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start(gated=["openai/gsm8k"], strangers=[STRANGER], faults=[Fault(503)])
    monkeypatch.setenv("HF_TOKEN", STRANGER)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SourceDeniedError) as caught:
        inputs(gsm8k())
    error: BaseException | None = caught.value
    shown = [*traceback.TracebackException.from_exception(caught.value, capture_locals=True).format(), caplog.text]
    while error is not None:
        shown.append(repr(error))
        error = error.__cause__ or error.__context__
    shown += [repr(config.hub_token()), repr(filesystem_of("hf://datasets/o/n")), filesystem_of("hf://x").to_json()]
    assert "The Hub: status 503" in caplog.text
    assert not [text for text in shown if STRANGER in text]


def test_a_password_in_the_endpoint_is_not_shown(hub: START, monkeypatch: pytest.MonkeyPatch) -> None:
    server = hub(gated=["openai/gsm8k"])
    for endpoint in (server.endpoint, "http://127.0.0.1:9"):
        monkeypatch.setenv("HF_ENDPOINT", endpoint.replace("://", "://me:a-password@"))
        with pytest.raises(SourceError) as caught:
            inputs(gsm8k())
        assert "a-password" not in "".join(traceback.format_exception(caught.value))


def test_an_address_of_something_else_is_an_error() -> None:
    with pytest.raises(SourceError, match=r"must be hf://datasets/OWNER/NAME/PATH"):
        HubPath.parse("hf://spaces/owner/name/file")


def test_the_url_of_a_file_is_at_the_configured_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org/")
    path = HubPath.parse("hf://datasets/o/n@~parquet/a b/test/0000.parquet")
    assert path.url == "https://hub.example.org/datasets/o/n/resolve/refs%2Fconvert%2Fparquet/a%20b/test/0000.parquet"
    assert path.page == "https://hub.example.org/datasets/o/n"


def test_a_redirect_to_large_files_is_followed(hub: START) -> None:
    hub()
    path = HubPath.parse("datasets/openai/gsm8k/main/test-00000-of-00001.parquet")
    assert request_hub("GET", path.url).content == QUESTIONS


class _Endless(BaseHTTPRequestHandler):
    """A server whose replies have no end: compressed zeros, or spaces."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        if "compressed" in self.path:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        compressor = zlib.compressobj(9, wbits=31)
        self.close_connection = True
        with suppress(ConnectionError):
            while True:
                data = b" " * (1 << 20)
                if "compressed" in self.path:
                    data = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.mark.parametrize("branch", ["main", "compressed"])
def test_a_reply_without_end_is_refused(branch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(_Endless) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        path = HubPath.parse(f"hf://datasets/o/n@{branch}/x.parquet")
        with pytest.raises(ReplyError, match=r"the response is larger than 33,554,432 bytes"):
            request_hub("GET", path.api("revision"))
        assert pin_revision(f"hf://datasets/o/n@{branch}/x.parquet")[1] is None
        # only the requested bytes of a file are read
        assert request_hub("GET", path.url, span=(3, 7)).content == b"    "
        with pytest.raises(SourceError, match="larger than"):
            read_guarded("s", "hf://datasets/o/n/x.parquet", lambda: request_hub("GET", path.api("tree")))
