"""The page of `helmframe view` is for whoever has its address, on this machine."""

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import helmframe as hf
from helmframe.views.explore import Explorer
from helmframe.views.servers import LONGEST_REQUEST, ExplorerServer

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


def call(server: ExplorerServer, method: str, path: str, body: str | None, headers: dict[str, str]) -> Any:
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
