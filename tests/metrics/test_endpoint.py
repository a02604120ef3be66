"""A server that classifies texts: a real one on this machine."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from importlib import import_module
from typing import Any

import httpx
import pytest

from helmframe.errors import ArgumentError
from helmframe.metrics._toxicity import endpoint, toxicity
from tests.frames import completions
from tests.listening import listening
from tests.metrics.options import of_instances

# the function of the package has the name of its module
module = import_module("helmframe.metrics._toxicity")


@dataclass
class Server:
    """Answers with what `reply` makes of the texts, after the statuses in `first`."""

    address: str = ""
    reply: Callable[[list[str]], Any] = lambda texts: [len(text) / 10 for text in texts]
    first: list[int] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
                server.asked.append(texts)
                server.keys.append(self.headers.get("Authorization"))
                status = server.first.pop(0) if server.first else 200
                given = server.reply(texts) if status == 200 else {"error": "busy"}
                body = given if isinstance(given, bytes) else json.dumps(given).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(ConnectionError):  # the client refuses a body that is too large
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None: ...

        return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    made = Server()
    with listening(made.handler()) as address:
        made.address = f"{address}/predict"
        yield made


LABELS = [{"label": "TOXIC", "score": 0.9}, {"label": "neutral", "score": 0.1}]


@pytest.mark.parametrize(
    "given",
    [
        [0.9, 0.9],
        {"scores": [0.9, 0.9]},
        {"predictions": [{"label": "toxic", "score": 0.9}] * 2},
        [LABELS, LABELS],
        {"results": [LABELS, LABELS]},
    ],
)
def test_answers_of_many_shapes(server: Server, given: Any) -> None:
    server.reply = lambda texts: given
    assert endpoint(server.address)(["a", "b"]) == [0.9, 0.9]
    assert server.asked == [["a", "b"]]


def test_another_label_may_count(server: Server) -> None:
    server.reply = lambda texts: [LABELS]
    assert endpoint(server.address, label="Neutral")(["a"]) == [0.1]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_retried(server: Server, status: int) -> None:
    server.first = [status] * 4
    assert endpoint(server.address)(["abc"]) == [0.3]
    assert len(server.asked) == 5


def test_a_server_that_stays_busy_raises(server: Server) -> None:
    server.first = [503] * 9
    with pytest.raises(ArgumentError, match="returned HTTP status 503"):
        endpoint(server.address)(["abc"])
    assert len(server.asked) == 5


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refusal_is_not_retried(server: Server, status: int) -> None:
    server.first = [status]
    with pytest.raises(ArgumentError, match=f"returned HTTP status {status}"):
        endpoint(server.address)(["abc"])
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_retried_and_raises(server: Server) -> None:
    with listening(server.handler()) as address:
        pass
    with pytest.raises(ArgumentError, match=r"is unreachable: .*Check the address") as caught:
        endpoint(address)(["abc"])
    assert isinstance(caught.value.__cause__, httpx.ConnectError)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0.5], "a list of 2"),
        ({"error": "x"}, "a list of 2"),
        ("yes", "a list of 2"),
        ([[{"label": "rude", "score": 0.5}]] * 2, "labels rude"),
        ([None, None], "no score for the label"),
        ([True, False], "no score for the label"),
        (b"<html>", "isn't JSON"),
    ],
)
def test_an_invalid_response_raises(server: Server, given: Any, message: str) -> None:
    server.reply = lambda texts: given
    with pytest.raises(ArgumentError, match=message):
        endpoint(server.address)(["a", "b"])


def test_the_key_is_the_environments_at_each_call(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    classify = endpoint(server.address, key="CLASSIFIER_API_KEY")
    with pytest.raises(ArgumentError, match="the environment variable CLASSIFIER_API_KEY isn't set"):
        classify(["a"])
    monkeypatch.setenv("CLASSIFIER_API_KEY", "a-long-secret")
    classify(["a"])
    assert server.keys == ["Bearer a-long-secret"]
    assert "a-long-secret" not in repr(classify)


def test_without_a_key_none_is_sent(server: Server) -> None:
    endpoint(server.address)(["a"])
    assert server.keys == [None]


@pytest.mark.parametrize("address", ["localhost:80", "ftp://x", ""])
def test_no_address_raises_when_the_plan_is_built(address: str) -> None:
    with pytest.raises(ArgumentError, match="http://"):
        endpoint(address)


def test_toxicity_by_a_server(server: Server) -> None:
    frame = completions(["abc", "abcde", "abc", "x"], [[]] * 4)
    assert of_instances(frame, toxicity(classifier=server.address, batch=2)) == [0.3, 0.5, 0.3, 0.1]
    assert sorted(map(len, server.asked)) == [1, 2]


def test_a_response_that_is_too_large_is_refused(server: Server) -> None:
    server.reply = lambda texts: b" " * (33 << 20)
    with pytest.raises(ArgumentError, match=r"invalid response: the response is larger than 33,554,432 bytes"):
        endpoint(server.address)(["a"])
