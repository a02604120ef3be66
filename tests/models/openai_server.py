"""A real HTTP server on this machine whose replies a test says; and `transformers serve`, which speaks OpenAI's too."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

from tests.demo import ROOT
from tests.listening import listening


class Asked(NamedTuple):
    """One request."""

    route: str
    body: dict[str, Any]
    headers: dict[str, str]


class Reply(NamedTuple):
    """What is answered; a status of 0 closes the connection half way."""

    body: Any
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    seconds: float = 0.0


def completion(text: str, **choice: Any) -> Reply:
    """As a server replies to /completions."""
    return Reply({"choices": [{"index": 0, "text": text, "finish_reason": "stop", **choice}]})


def refusal(status: int, message: str, **headers: str) -> Reply:
    """An error in OpenAI's form."""
    return Reply({"error": {"message": message, "type": "invalid_request_error"}}, status, headers)


@dataclass
class Server:
    """Replies as `reply` says, and remembers what it was asked; /models lists `models` (None: there is no list)."""

    reply: Callable[[Asked], Reply] = lambda asked: completion(str(asked.body.get("prompt", "")).upper())
    models: list[str] | None = field(default_factory=lambda: ["m", "other"])
    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                listed = {"object": "list", "data": [{"id": name} for name in server.models or ()]}
                no_list = server.models is None or self.path != "/v1/models"
                self.answer(refusal(404, "not here") if no_list else Reply(listed))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked = Asked(self.path.removeprefix("/v1/"), body, dict(self.headers))
                server.asked.append(asked)
                self.answer(server.reply(asked) if self.path.startswith("/v1/") else refusal(404, "not here"))

            def answer(self, reply: Reply) -> None:
                time.sleep(reply.seconds)
                said = reply.body
                body = said if isinstance(said, bytes) else json.dumps(said).encode()
                try:
                    self.send_response(reply.status or 200)
                    for name, value in {**reply.headers, "Content-Length": str(len(body))}.items():
                        self.send_header(name.replace("_", "-"), value)
                    self.end_headers()
                    self.wfile.write(body if reply.status else body[: len(body) // 2])
                except ConnectionError:  # nobody waits any more
                    self.close_connection = True
                self.close_connection = self.close_connection or not reply.status

            def log_message(self, format: str, *args: Any) -> None: ...

        return Handler


@contextmanager
def serving() -> Iterator[Server]:
    """A server, listening."""
    made = Server()
    with listening(made.handler()) as address:
        made.url = f"{address}/v1"
        yield made


@contextmanager
def transformers_serving(folder: Path, patience: float = 180.0) -> Iterator[str]:
    """The base address of `transformers serve` with the model in this folder, in a process of its own."""
    program = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", program, "serve", str(folder), "--dtype", "float32", "--device", "cpu"]
    with running(command, {}, patience) as url:
        yield url


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], patience: float) -> Iterator[str]:
    """The base address of a server that the command starts, given --host and --port beside, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment}
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=ROOT,
        env=said,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}/v1"
            until = time.monotonic() + patience
            while not _listens(url):
                assert process.poll() is None, "the server ended; does it lack a package?"
                assert time.monotonic() < until, "the server did not start"
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()


def _listens(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/models", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False
