"""A real HTTP server on this machine with the batch APIs of OpenAI and Anthropic, and OpenAI's live routes."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.listening import listening

Body = dict[str, Any]


class RefusedError(Exception):
    """An error response: status and message."""

    def __init__(self, status: int, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.parameter = parameter


def letter(prompt: str) -> str:
    """Return A, B, C or D by the length of the last question of a prompt, such as "Question 7..."."""
    return "ABCD"[len(re.findall(r"Question \d+\.*", prompt)[-1]) % 4]


@dataclass
class BatchServer:
    """A server that runs a batch as soon as `open` is set.

    Attributes:
        open: While it is not set, batches are in progress.
        most: The number of requests that a batch runs before it expires; None: all.
        pause: A function that is called with the name of a stage, and may block: "upload", "batch" (before a batch is
            created), "created" (after), "poll".
        complete: A function of a chat request that returns the text or raises `RefusedError`.
        lines: A function that may change the result lines of a batch.
        metadata: Whether batches store metadata.
        requests: (method, path without the query) of all requests, in order.
    """

    url: str = ""
    open: threading.Event = field(default_factory=threading.Event)
    most: int | None = None
    pause: Callable[[str], None] = lambda stage: None
    complete: Callable[[Body], str] = lambda body: letter(body["messages"][-1]["content"])
    lines: Callable[[list[bytes]], list[bytes]] = lambda lines: lines
    metadata: bool = True
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    batches: dict[str, Body] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    live: list[Body] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, method: str, path: str) -> int:
        """Return the number of requests of a method whose path matches a pattern."""
        return sum(sent == method and re.fullmatch(path, route) is not None for sent, route in self.requests)

    @property
    def submitted(self) -> list[str]:
        """The custom_ids of all batches, in order."""
        return [entry["custom_id"] for batch in self.batches.values() for entry in batch["entries"]]

    def chat(self, body: Body) -> Body:
        text = self.complete(body)
        usage = {"prompt_tokens": len(str(body["messages"])) // 4, "completion_tokens": len(text)}
        return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}

    def message(self, params: Body) -> Body:
        text = self.complete(params)
        usage = {"input_tokens": len(str(params["messages"])) // 4, "output_tokens": len(text)}
        content = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": text}]
        return {"role": "assistant", "content": content, "stop_reason": "end_turn", "usage": usage}

    # OpenAI -----------------------------------------------------------------------------------------------------------

    def upload(self, name: str, data: bytes) -> Body:
        with self.lock:
            file = f"file-{len(self.files) + 1}"
            self.files[file] = (name, data)
        self.pause("upload")
        return {"id": file, "object": "file", "filename": name, "purpose": "batch"}

    def create(self, body: Body) -> Body:
        self.pause("batch")
        entries = [json.loads(line) for line in self.files[body["input_file_id"]][1].splitlines()]
        with self.lock:
            batch = f"batch_{len(self.batches) + 1}"
            metadata = body.get("metadata") if self.metadata else None
            fields = {"id": batch, "input_file_id": body["input_file_id"], "endpoint": body["endpoint"]}
            self.batches[batch] = {**fields, "metadata": metadata, "entries": entries, "status": "in_progress"}
        self.pause("created")
        return self.shown(batch)

    def shown(self, name: str) -> Body:
        batch = self.batches[name]
        self.run(batch)
        fields = {key: value for key, value in batch.items() if key not in ("entries", "results")}
        counts = {"total": len(batch["entries"]), "completed": batch.get("completed", 0), "failed": 0}
        return {**fields, "object": "batch", "created_at": int(time.time()), "request_counts": counts}

    def run(self, batch: Body) -> None:
        if not self.open.is_set() or "results" in batch:
            return
        good, bad = [], []
        for number, entry in enumerate(batch["entries"]):
            line: Body = {"custom_id": entry["custom_id"], "response": None, "error": None}
            if self.most is not None and number >= self.most:
                bad.append({**line, "error": {"code": "batch_expired", "message": "the batch expired"}})
                continue
            try:
                good.append({**line, "response": {"status_code": 200, "body": self.chat(entry["body"])}})
            except RefusedError as error:
                body = {"error": {"message": str(error), "param": error.parameter}}
                bad.append({**line, "response": {"status_code": error.status, "body": body}})
        batch["status"] = "expired" if self.most is not None and self.most < len(batch["entries"]) else "completed"
        if batch.get("cancelled"):
            batch["status"] = "cancelled"
        batch["completed"], batch["results"] = len(good), {}
        for key, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                batch[key] = f"file-{batch['id']}-{key[:3]}"
                data = b"\n".join(self.lines([json.dumps(line).encode() for line in lines]))
                self.files[batch[key]] = (key, data)

    # Anthropic --------------------------------------------------------------------------------------------------------

    def create_messages(self, body: Body) -> Body:
        self.pause("batch")
        with self.lock:
            batch = f"msgbatch_{len(self.batches) + 1}"
            self.batches[batch] = {"id": batch, "entries": body["requests"], "created": datetime.now(UTC).isoformat()}
        self.pause("created")
        return self.shown_messages(batch)

    def shown_messages(self, name: str) -> Body:
        batch, names = self.batches[name], ("processing", "succeeded", "errored", "canceled", "expired")
        counts = dict.fromkeys(names, 0)
        if self.open.is_set():
            for line in self.message_results(batch):
                counts[{"succeeded": "succeeded", "errored": "errored"}.get(line["result"]["type"], "expired")] += 1
        else:
            counts["processing"] = len(batch["entries"])
        status = "ended" if self.open.is_set() else "in_progress"
        fields = {"id": name, "type": "message_batch", "processing_status": status, "request_counts": counts}
        return {**fields, "created_at": batch["created"], "results_url": "https://elsewhere.invalid/results"}

    def message_results(self, batch: Body) -> list[Body]:
        lines: list[Body] = []
        for number, entry in enumerate(batch["entries"]):
            result: Body
            try:
                result = {"type": "succeeded", "message": self.message(entry["params"])}
            except RefusedError as error:
                result = {"type": "errored", "error": {"type": "error", "error": {"message": str(error)}}}
            if self.most is not None and number >= self.most:
                result = {"type": "expired"}
            lines.append({"custom_id": entry["custom_id"], "result": result})
        return lines[::-1]  # results have no order

    # HTTP -------------------------------------------------------------------------------------------------------------

    def respond(self, method: str, path: str, query: str, headers: Mapping[str, str], data: bytes) -> Any:
        """Return a reply: an object that is sent as JSON, or bytes."""
        if method == "POST" and path == "/files":
            form = message_from_bytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + data)
            parts: Any = form.get_payload()
            (file,) = [part for part in parts if part.get_filename()]
            return self.upload(file.get_filename(), file.get_payload(decode=True))
        if method == "POST" and path == "/batches":
            return self.create(json.loads(data))
        if method == "POST" and path == "/messages/batches":
            return self.create_messages(json.loads(data))
        if method == "POST" and path == "/chat/completions":
            self.live.append(json.loads(data))
            return self.chat(self.live[-1])
        if match := re.fullmatch(r"/(messages/)?batches/(\w+)/cancel", path):
            self.batches[match[2]]["cancelled"] = True
            return {}
        if path == "/batches":
            names = list(self.batches)[::-1]
            after = re.search(r"after=(\w+)", query)
            start = names.index(after[1]) + 1 if after else 0
            page = [self.shown(name) for name in names[start : start + 2]]
            return {"data": page, "has_more": start + 2 < len(names)}
        if path == "/files":
            return {"data": [{"id": file, "filename": name} for file, (name, _) in self.files.items()]}
        if path == "/messages/batches":
            return {"data": [self.shown_messages(name) for name in list(self.batches)[::-1]], "has_more": False}
        if match := re.fullmatch(r"/batches/(\w+)", path):
            self.pause("poll")
            return self.shown(match[1])
        if match := re.fullmatch(r"/files/([\w-]+)/content", path):
            return self.files[match[1]][1]
        if match := re.fullmatch(r"/messages/batches/(\w+)", path):
            self.pause("poll")
            return self.shown_messages(match[1])
        if match := re.fullmatch(r"/messages/batches/(\w+)/results", path):
            lines = [json.dumps(line).encode() for line in self.message_results(self.batches[match[1]])]
            return b"\n".join(self.lines(lines))
        raise RefusedError(404, "not here")

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self.handle_request("GET", b"")

            def do_POST(self) -> None:
                self.handle_request("POST", self.rfile.read(int(self.headers.get("Content-Length") or 0)))

            def handle_request(self, method: str, data: bytes) -> None:
                path, _, query = self.path.removeprefix("/v1").partition("?")
                server.requests.append((method, path))
                server.headers.append(dict(self.headers))
                status, reply = 200, None
                try:
                    reply = server.respond(method, path, query, dict(self.headers), data)
                except RefusedError as error:
                    status, reply = error.status, {"error": {"message": str(error), "param": error.parameter}}
                body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except ConnectionError:  # the client was killed
                    self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None: ...

        return Handler


@contextmanager
def serving_batches() -> Iterator[BatchServer]:
    """A server that listens."""
    server = BatchServer()
    with listening(server.handler()) as address:
        server.url = f"{address}/v1"
        yield server
