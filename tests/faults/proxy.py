"""A proxy in front of an S3 server that gives some requests trouble."""

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

SLOW_SECONDS = 0.7

# What happens to a request, told by its method, its path and how many of that method came before; None: nothing.
#   slow          it is answered late
#   503           it is answered by the proxy, with 503
#   torn upload   half of its body reaches the server, then both connections are cut
#   lost answer   the server does it, and the answer never arrives
#   torn answer   half of the answer arrives, then the connection is cut
Trouble = Callable[[str, str, int], str | None]


class Proxy:
    """A proxy on a port of its own, for as long as it is open; `met` counts the troubles it gave."""

    def __init__(self, endpoint: str, trouble: Trouble) -> None:
        self.host, _, port = endpoint.removeprefix("http://").partition(":")
        self.port = int(port)
        self.trouble = trouble
        self.met: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def next(self, method: str, path: str) -> str | None:
        """The trouble of this request."""
        with self._lock:
            trouble = self.trouble(method, path, self._asked[method])
            self._asked[method] += 1
            if trouble:
                self.met[trouble] += 1
            return trouble

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    proxy: Proxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Cut connections are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _forward(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        trouble = proxy.next(self.command, self.path)
        if trouble == "503":
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if trouble == "slow":
            time.sleep(SLOW_SECONDS)
        upstream = http.client.HTTPConnection(proxy.host, proxy.port, timeout=30)
        try:
            upstream.connect()
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders()
            upstream.send(body[: len(body) // 2] if trouble == "torn upload" else body)
            if trouble == "torn upload":
                self._cut()
                return
            answer = upstream.getresponse()
            data = answer.read()
        except OSError:  # the server is gone: so is the connection
            self._cut()
            return
        finally:
            upstream.close()
        if trouble == "lost answer":
            self._cut()
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        if self.command != "HEAD" and answer.getheader("Content-Length") is None:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if trouble == "torn answer" else data)
        if trouble == "torn answer":
            self._cut()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward  # noqa: N815 - http.server asks for these names

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
