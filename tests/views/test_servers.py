"""The page of `helmframe view` is for whoever has its address, on this machine."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

import helmframe as hf
from helmframe.views import servers
from helmframe.views.dashboard import Dashboard
from helmframe.views.explore import Explorer
from helmframe.views.servers import LONGEST_REQUEST, DashboardServer, ExplorerServer, LoopbackServer

OPEN = json.dumps({"kind": "open"})


@pytest.fixture
def server() -> Iterator[ExplorerServer]:
    results = hf.scenario("sampler").where(subject="music").limit(3).generate(hf.models.oracle()).score()
    with ExplorerServer(Explorer(results)) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()


def ask(server: ExplorerServer, body: str = OPEN, path: str = "/query", **headers: str) -> tuple[int, Any]:
    request_headers = {"X-Token": server.token, "Host": f"127.0.0.1:{server.server_port}"}
    request_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
    status, _, text = call(server, "POST", path, body, request_headers)
    return status, json.loads(text)


def call(server: LoopbackServer, method: str, path: str, body: str | None, headers: dict[str, str]) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


def test_it_listens_on_loopback_and_requires_its_token(server: ExplorerServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    status, found = ask(server)
    assert status == 200
    assert found["mains"] == ["exact_match"]


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"X_Token": "guess"}, "/query"),
        ({"X_Token": "é"}, "/query"),
        ({"Host": "evil.example"}, "/query"),
        ({}, "/other"),
    ],
)
def test_others_get_nothing(server: ExplorerServer, headers: dict[str, str], path: str) -> None:
    status, found = ask(server, path=path, **headers)
    assert status == 403
    assert list(found) == ["error"]


def test_what_is_no_question_is_refused(server: ExplorerServer) -> None:
    assert ask(server, "{")[0] == 400
    assert ask(server, "[]")[0] == 400
    assert ask(server, "x" * (LONGEST_REQUEST + 1))[0] == 413
    assert "kind='all'" in ask(server, json.dumps({"kind": "all"}))[1]["error"]


def test_the_page_holds_no_data_and_a_policy_against_strangers_scripts(server: ExplorerServer) -> None:
    for path in ("/", "/page.js", "/page.css", "/explore.js"):
        status, headers, text = call(server, "GET", path, None, {})
        assert status == 200
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert server.token not in text
    assert call(server, "GET", "/../plan.py", None, {})[0] == 404
    assert call(server, "GET", "/", None, {"Host": "evil.example"})[0] == 403


def connect(server: ExplorerServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_port), timeout=10)


@pytest.mark.parametrize(
    "body",
    [
        "[" * 30_000,
        '{"kind": ' + '{"a":' * 10_000,
        '{"kind": "page", "filters": {"low": 1e999}}',
        '{"kind": "page", "filters": {"low": ' + "9" * 400 + "}}",
        '{"kind": "page", "filters": {"find": "\\ud800"}}',
        '{"kind": "page", "page": ' + "9" * 4_000 + "}",
        '{"kind": {"a": []}}',
        '{"kind": "bars", "by": ["model"]}',
    ],
)
def test_odd_requests_get_a_response(server: ExplorerServer, body: str) -> None:
    status, response = ask(server, body)
    assert status in (200, 400)
    assert "error" in response or response["rows"] is not None


def test_a_connection_that_sends_nothing_is_closed(server: ExplorerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "IDLE_SECONDS", 0.2)
    with connect(server) as idle:
        assert idle.recv(1) == b""


def test_a_request_that_is_sent_slowly_is_closed(server: ExplorerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "REQUEST_SECONDS", 0.5)
    with connect(server) as slow:
        started = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - started < 8:
                slow.sendall(b"G")
                time.sleep(0.05)
        assert time.monotonic() - started < 8


def test_long_and_many_headers_are_refused(server: ExplorerServer) -> None:
    for headers in ({"X-Long": "a" * 60_000, "X-Other": "b" * 10_000}, {f"X-{n}": "a" for n in range(200)}):
        assert call(server, "GET", "/", None, headers)[0] == 431


def test_the_number_of_connections_is_limited(server: ExplorerServer) -> None:
    with ExitStack() as stack:
        for _ in range(servers.MOST_CONNECTIONS):
            stack.enter_context(connect(server))
        deadline = time.monotonic() + 10
        while server._free._value and time.monotonic() < deadline:
            time.sleep(0.01)
        with connect(server) as refused:
            assert refused.recv(1) == b""
    deadline = time.monotonic() + 10
    while not server._free._value and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ask(server)[0] == 200


def test_an_address_with_many_fields_is_refused() -> None:
    with DashboardServer(Dashboard(results_folder())) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            assert call(made, "GET", f"/{made.token}/?" + "&".join(["a=1"] * 100), None, {})[0] == 400
        finally:
            made.shutdown()
            thread.join()


def results_folder() -> Any:
    return hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle()).score().path
