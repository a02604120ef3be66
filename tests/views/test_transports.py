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
from helmframe.views import transports
from helmframe.views.transports import LONGEST_REQUEST, ViewerServer
from helmframe.views.viewer import Viewer

OPEN = json.dumps({"id": 1, "method": "open"})


@pytest.fixture
def server() -> Iterator[ViewerServer]:
    results = hf.scenario("sampler").where(subject="music").limit(3).generate(hf.models.oracle()).score()
    with ViewerServer(Viewer.of(results)) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()


def post(server: ViewerServer, body: str = OPEN, path: str = "/api", **headers: str) -> tuple[int, Any]:
    request_headers = {"X-Token": server.token, "Host": f"127.0.0.1:{server.server_port}"}
    request_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
    status, _, text = call(server, "POST", path, body, request_headers)
    return status, json.loads(text)


def call(server: ViewerServer, method: str, path: str, body: str | None, headers: dict[str, str]) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


def test_it_listens_on_loopback_and_requires_its_token(server: ViewerServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    status, response = post(server)
    assert status == 200
    assert response["result"]["n_runs"] == 1


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"X_Token": "guess"}, "/api"),
        ({"X_Token": "é"}, "/api"),
        ({"Host": "evil.example"}, "/api"),
        ({}, "/other"),
    ],
)
def test_others_get_nothing(server: ViewerServer, headers: dict[str, str], path: str) -> None:
    status, response = post(server, path=path, **headers)
    assert status == 403
    assert list(response) == ["error"]


def test_invalid_requests_are_refused(server: ViewerServer) -> None:
    assert post(server, "{")[0] == 400
    assert post(server, "[]")[0] == 400
    assert post(server, "x" * (LONGEST_REQUEST + 1))[0] == 413
    assert "method='all'" in post(server, json.dumps({"method": "all"}))[1]["error"]


def test_the_page_has_no_data_and_a_policy_against_other_scripts(server: ViewerServer) -> None:
    for path in ("/", "/page.js", "/page.css", "/viewer.js"):
        status, headers, text = call(server, "GET", path, None, {})
        assert status == 200
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert server.token not in text
    assert call(server, "GET", "/../plan.py", None, {})[0] == 404
    assert call(server, "GET", "/", None, {"Host": "evil.example"})[0] == 403


def connect(server: ViewerServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_port), timeout=10)


@pytest.mark.parametrize(
    "body",
    [
        "[" * 30_000,
        '{"method": ' + '{"a":' * 10_000,
        '{"method": "page", "params": {"filters": {"low": 1e999}}}',
        '{"method": "page", "params": {"filters": {"low": ' + "9" * 400 + "}}}",
        '{"method": "page", "params": {"filters": {"find": "\\ud800"}}}',
        '{"method": "page", "params": {"page": ' + "9" * 4_000 + "}}",
        '{"method": {"a": []}}',
        '{"method": "page", "params": ["model"]}',
    ],
)
def test_odd_requests_get_a_response(server: ViewerServer, body: str) -> None:
    status, response = post(server, body)
    assert status in (200, 400)
    assert {"error", "result"} & set(response)


def test_a_connection_that_sends_nothing_is_closed(server: ViewerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "IDLE_SECONDS", 0.2)
    with connect(server) as idle:
        assert idle.recv(1) == b""


def test_a_request_that_is_sent_slowly_is_closed(server: ViewerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "REQUEST_SECONDS", 0.5)
    with connect(server) as slow:
        started = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - started < 8:
                slow.sendall(b"G")
                time.sleep(0.05)
        assert time.monotonic() - started < 8


def test_long_and_many_headers_are_refused(server: ViewerServer) -> None:
    for headers in ({"X-Long": "a" * 60_000, "X-Other": "b" * 10_000}, {f"X-{n}": "a" for n in range(200)}):
        assert call(server, "GET", "/", None, headers)[0] == 431


def test_the_number_of_connections_is_limited(server: ViewerServer) -> None:
    with ExitStack() as stack:
        for _ in range(transports.MOST_CONNECTIONS):
            stack.enter_context(connect(server))
        deadline = time.monotonic() + 10
        while server._free._value and time.monotonic() < deadline:
            time.sleep(0.01)
        with connect(server) as refused:
            assert refused.recv(1) == b""
    deadline = time.monotonic() + 10
    while not server._free._value and time.monotonic() < deadline:
        time.sleep(0.01)
    assert post(server)[0] == 200
