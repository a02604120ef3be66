"""Local web servers of the explorer and the dashboard (`helmframe view`, `helmframe dashboard`)."""

import io
import json
import secrets
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from helmframe._core.yaml import decode_json, reading
from helmframe.errors import ArgumentError, HelmframeError
from helmframe.views.dashboard import POLICY, Dashboard
from helmframe.views.explore import Explorer
from helmframe.views.html import page

LOOPBACK = "127.0.0.1"
LONGEST_REQUEST = 65_536  # bytes of a body
_LONGEST_HEAD = 65_536  # bytes of the request line and the headers
_MOST_FIELDS = 50  # of a query
# Seconds until an idle connection is closed, for a whole request, and for sending a response.
IDLE_SECONDS, REQUEST_SECONDS, RESPONSE_SECONDS = 15.0, 30.0, 60.0
MOST_CONNECTIONS = 64
_EXPLORER_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>helmframe: results</title><link rel="stylesheet" href="page.css"><link rel="icon" href="data:,">
</head><body><h1>helmframe: results</h1><main></main><script type="module" src="page.js"></script></body></html>
"""
_EXPLORER_STYLE = """:root { color-scheme: light dark; }
body { font: 14px system-ui, sans-serif; margin: 12px; color: CanvasText; background: Canvas; }
h1 { font-size: 16px; }
"""
_EXPLORER_SCRIPT = """import { mount } from "./explore.js";
const token = new URLSearchParams(location.search).get("token") ?? "";
async function query(request) {
  const headers = { "Content-Type": "application/json", "X-Token": token };
  const response = await fetch("query", { method: "POST", headers, body: JSON.stringify(request) });
  const value = await response.json();
  if ("error" in value) throw new Error(value.error);
  return value;
}
mount(document.querySelector("main"), query);
"""
_EXPLORER_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class _BoundedReader(io.RawIOBase):
    """A reader of a socket that limits the time and the bytes of a request; `start` begins the next request."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.start()

    def start(self) -> None:
        """Reset the limits before the next request."""
        self._deadline: float | None = None
        self._n_bytes = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes, as `io.RawIOBase` does.

        Raises:
            TimeoutError: The connection is idle, or the request takes too long or is too long.
        """
        seconds = IDLE_SECONDS if self._deadline is None else self._deadline - time.monotonic()
        if seconds <= 0 or self._n_bytes > _LONGEST_HEAD + 2 * LONGEST_REQUEST:
            raise TimeoutError
        self._connection.settimeout(min(seconds, IDLE_SECONDS))
        size = self._connection.recv_into(buffer)
        self._deadline = self._deadline or time.monotonic() + REQUEST_SECONDS
        self._n_bytes += size
        self._connection.settimeout(RESPONSE_SECONDS)
        return size


class LoopbackHandler(BaseHTTPRequestHandler):
    """A handler whose pages are neither cached nor framed; `policy` is their content-security policy.

    A connection that is idle, or whose request is slow or too long, is closed.
    """

    protocol_version = "HTTP/1.1"
    policy: ClassVar[str]

    def setup(self) -> None:
        """Bound what the connection may send."""
        super().setup()
        self.rfile.close()
        self._reader = _BoundedReader(self.connection)
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        """Handle a request; a connection that breaks ends without a traceback."""
        self._reader.start()
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def parse_request(self) -> bool:
        """Parse the request line and the headers, which may not be too long."""
        parsed = super().parse_request()
        if parsed and sum(len(name) + len(value) for name, value in self.headers.items()) > _LONGEST_HEAD:
            self.close_connection = True
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return False
        return parsed

    def has_loopback_host(self) -> bool:
        """Return whether the request names this host, which protects from DNS rebinding."""
        port = self.connection.getsockname()[1]
        return self.headers.get("Host", "") in (f"{LOOPBACK}:{port}", f"localhost:{port}")

    def respond(self, status: HTTPStatus, kind: str, text: str) -> None:
        """Send a response with a body of this content type."""
        data = text.encode("utf-8", "surrogatepass")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Security-Policy", self.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing, because addresses contain tokens."""


class LoopbackServer(ThreadingHTTPServer):
    """A server on the loopback interface that requires the `token` of its address.

    Other users of this machine and pages of other sites do not have the token.
    """

    daemon_threads = True

    def __init__(self, handler: type[LoopbackHandler], port: int) -> None:
        self.token = secrets.token_urlsafe(24)
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((LOOPBACK, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle a connection in a thread; close it if too many are open."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can start
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handle the requests of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()


class ExplorerServer(LoopbackServer):
    """A server of one explorer."""

    def __init__(self, explorer: Explorer, port: int = 0) -> None:
        self.explorer = explorer
        super().__init__(_ExplorerHandler, port)

    @property
    def address(self) -> str:
        """Return the address to open in a browser."""
        return f"http://{LOOPBACK}:{self.server_port}/?token={self.token}"


class _ExplorerHandler(LoopbackHandler):
    server: ExplorerServer
    policy = _EXPLORER_POLICY

    def do_GET(self) -> None:
        files = {
            "/": ("text/html", _EXPLORER_PAGE),
            "/page.css": ("text/css", _EXPLORER_STYLE),
            "/page.js": ("text/javascript", _EXPLORER_SCRIPT),
            "/explore.js": ("text/javascript", Path(__file__).with_name("explore.js").read_text(encoding="utf-8")),
        }
        file = files.get(self.path.partition("?")[0])
        if not self.has_loopback_host():
            self.respond(HTTPStatus.FORBIDDEN, "text/plain", "unknown host")
        elif file is None:
            self.respond(HTTPStatus.NOT_FOUND, "text/plain", "not found")
        else:
            self.respond(HTTPStatus.OK, *file)

    def do_POST(self) -> None:
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > LONGEST_REQUEST:
            self.close_connection = True
            self.respond(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "application/json", json.dumps({"error": "request too long"})
            )
            return
        body = self.rfile.read(int(size))
        token = self.headers.get("X-Token", "")
        if (
            self.path != "/query"
            or not self.has_loopback_host()
            or not secrets.compare_digest(token.encode(), self._token)
        ):
            problem = {"error": "Open the address that `helmframe view` printed; it contains a token."}
            self.respond(HTTPStatus.FORBIDDEN, "application/json", json.dumps(problem))
            return
        try:
            request = decode_json(body)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            self.respond(
                HTTPStatus.BAD_REQUEST, "application/json", json.dumps({"error": "the request must be a JSON object"})
            )
            return
        self.respond(HTTPStatus.OK, "application/json", json.dumps(self.server.explorer.respond(request)))

    @property
    def _token(self) -> bytes:
        return self.server.token.encode()


class DashboardServer(LoopbackServer):
    """A server of one dashboard."""

    def __init__(self, dashboard: Dashboard, port: int = 0) -> None:
        self.dashboard = dashboard
        super().__init__(_DashboardHandler, port)

    @property
    def address(self) -> str:
        """Return the address to open in a browser."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"


class _DashboardHandler(LoopbackHandler):
    server: DashboardServer
    policy = POLICY

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        token, slash, name = path.removeprefix("/").partition("/")
        pages = {"": self.server.dashboard.page, "instance": self.server.dashboard.instance}
        render = pages.get(name) if slash else None
        if not self.has_loopback_host() or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            problem = "Open the address that `helmframe dashboard` printed; it contains a token."
            self.respond(HTTPStatus.FORBIDDEN, "text/html", page("problem.html", problem=problem))
        elif render is None:
            self.respond(HTTPStatus.NOT_FOUND, "text/html", page("problem.html", problem="Page not found."))
        else:
            try:
                with reading("the address", "valid", ArgumentError):
                    fields = dict(parse_qsl(query, max_num_fields=_MOST_FIELDS))
                self.respond(HTTPStatus.OK, "text/html", render(fields))
            except HelmframeError as error:
                self.respond(HTTPStatus.BAD_REQUEST, "text/html", page("problem.html", problem=str(error)))
