"""Functions that ask a server: a real one on this machine, with clients as users write them."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from statistics import median
from typing import Any

import httpx
import pytest

import helmframe as hf
from helmframe.models import event_loop
from helmframe.models.protocol import from_any
from helmframe.models.scheduler import Outcome, queue_of
from tests.listening import listening

Reply = tuple[int, dict[str, str]]


@dataclass
class Server:
    """Answers a prompt with itself in capitals, after `status` has said with which status and headers."""

    address: str = ""
    status: Callable[[str], Reply] = lambda prompt: (200, {})
    seconds: float = 0.0
    connections: int = 0
    prompts: list[str] = field(default_factory=list)
    now: int = 0
    most: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # keeps connections
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with server.lock:
                    server.connections += 1

            def do_POST(self) -> None:
                prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["prompt"]
                with server.lock:
                    server.prompts.append(prompt)
                    server.now += 1
                    server.most.append(server.now)
                    status, headers = server.status(prompt)
                time.sleep(server.seconds)
                body = json.dumps({"text": prompt.upper()}).encode()
                with server.lock:
                    server.now -= 1
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None: ...

        return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    with listening(made.handler()) as made.address:
        yield made


@pytest.fixture
def client() -> Iterator[httpx.AsyncClient]:
    made = httpx.AsyncClient()
    yield made
    event_loop.run(made.aclose())


def asking(server: Server, client: httpx.AsyncClient) -> Callable[[str], Any]:
    async def answer(prompt: str) -> str:
        response = await client.post(f"{server.address}/complete", json={"prompt": prompt})
        response.raise_for_status()
        return str(response.json()["text"])

    return answer


def outcomes(function: Callable[[str], Any], prompts: list[str], **said: Any) -> list[Outcome]:
    model = from_any(function, **said)
    found = queue_of(model, model.fingerprint()).run(prompts, {}, labels=lambda index: {})
    return sorted(outcome for batch in found for outcome in batch)


def texts(found: list[Outcome]) -> list[str | None]:
    return [outcome.completion.text if outcome.completion else None for outcome in found]


def test_a_client_made_in_a_notebook_answers_a_plan_scored_there(server: Server) -> None:
    async def cells() -> tuple[int, int]:
        client = httpx.AsyncClient()
        plan = hf.scenario("sampler").where(subject="music").limit(4).adapt(shots=0).generate(asking(server, client))
        first = plan.score().completions.collect()
        again = plan.score(fresh=True).completions.collect()
        event_loop.run(client.aclose())
        return first["error"].null_count(), again["error"].null_count()

    assert asyncio.run(cells()) == (4, 4)
    assert len(server.prompts) == 8


def test_connections_are_reused_by_the_next_run(server: Server, client: httpx.AsyncClient) -> None:
    function = asking(server, client)
    assert texts(outcomes(function, ["a", "b"], workers=1)) == ["A", "B"]
    assert texts(outcomes(function, ["c", "d"], workers=1)) == ["C", "D"]
    assert server.connections == 1


def test_a_server_that_is_busy_gets_the_time_it_asks_for(server: Server, client: httpx.AsyncClient) -> None:
    server.status = lambda prompt: (429, {"Retry-After": "1"}) if len(server.prompts) == 1 else (200, {})
    started = time.monotonic()
    (found,) = outcomes(asking(server, client), ["a"])
    assert time.monotonic() - started > 1
    assert (found.completion is not None, found.attempts) == (True, 2)
    assert found.latency is not None
    assert found.latency < 1


def test_a_request_that_is_refused_is_not_made_again(server: Server, client: httpx.AsyncClient) -> None:
    server.status = lambda prompt: (400 if prompt == "b" else 200, {})
    found = outcomes(asking(server, client), ["a", "b", "c"])
    assert texts(found) == ["A", None, "C"]
    assert str(found[1].error).startswith("HTTPStatusError: Client error '400 Bad Request'")
    assert server.prompts.count("b") == 1


def test_a_server_that_stands_four_at_once_gets_fewer_and_answers_all(
    server: Server, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helmframe.models.retries.FIRST_PAUSE", 0.05)
    monkeypatch.setattr("helmframe.models.pace.PAUSES", (0.05, 0.05, 0.05))
    server.seconds = 0.01
    server.status = lambda prompt: (429 if server.now > 4 else 200, {})
    prompts = [f"p{number}" for number in range(150)]
    found = outcomes(asking(server, client), prompts)
    assert texts(found) == [prompt.upper() for prompt in prompts]
    # as a rule: while this machine is busy, more are on their way at times
    assert median(server.most) <= 6
    refused = len(server.prompts) - len(prompts)
    assert 0 < refused < 100


def test_a_plain_function_with_its_own_client_is_retried_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helmframe.models.retries.FIRST_PAUSE", 0.01)
    server.status = lambda prompt: (503 if len(server.prompts) % 3 == 1 else 200, {})

    def answer(prompt: str) -> str:
        return str(httpx.post(server.address, json={"prompt": prompt}).raise_for_status().json()["text"])

    found = outcomes(answer, ["a", "b", "c", "d"])
    assert texts(found) == ["A", "B", "C", "D"]
    assert sum(outcome.attempts for outcome in found) == len(server.prompts) > 4


def test_a_server_that_dies_costs_little_and_the_next_run_asks_the_rest(
    server: Server, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helmframe.models.retries.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("helmframe.models.pace.PAUSES", (0.02, 0.04))
    server.status = lambda prompt: (200 if len(server.prompts) <= 10 else 503, {})
    model = hf.model(asking(server, client), name="served", version="1")
    plan = hf.scenario("sampler").adapt(shots=0).generate(model)
    errors = plan.score().completions.collect()["error"]
    rows = len(errors)
    assert errors.null_count() == 10
    assert "doesn't respond" in str(errors.drop_nulls()[-1])
    assert len(server.prompts) < 100
    server.status = lambda prompt: (200, {})
    before = len(server.prompts)
    assert plan.score().completions.collect()["error"].null_count() == rows
    assert len(server.prompts) == before + rows - 10
