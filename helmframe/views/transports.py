"""The transports of the viewer: a local web server (`helmframe view`), and a notebook widget (`hf.view`)."""

from __future__ import annotations

import io
import json
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from helmframe._core.registry import view
from helmframe._core.yaml import decode_json
from helmframe.results import Results
from helmframe.views.display import html_table, number
from helmframe.views.viewer import Viewer
from helmframe.views.viewer_rows import Filters

LOOPBACK = "127.0.0.1"
LONGEST_REQUEST = 65_536  # bytes of a body
_LONGEST_HEAD = 65_536  # bytes of the request line and the headers
# Seconds until an idle connection is closed, for a whole request, and for sending a response.
IDLE_SECONDS, REQUEST_SECONDS, RESPONSE_SECONDS = 15.0, 30.0, 60.0
MOST_CONNECTIONS = 64
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>helmframe viewer</title><link rel="stylesheet" href="page.css"><link rel="icon" href="data:,">
</head><body><main></main><script type="module" src="page.js"></script></body></html>
"""
_STYLE = """:root { color-scheme: light dark; }
html, body { margin: 0; height: 100%; color: CanvasText; background: Canvas; }
main { display: block; min-height: 100%; }
"""
_SCRIPT = """import { mountPage } from "./viewer.js";
mountPage(document.querySelector("main"));
"""
# Scripts and requests of this origin only; styles of the page itself, and small pictures.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_SCRIPT_FILE = Path(__file__).with_name("viewer.js")
_WRONG_ADDRESS = "Open the address that `helmframe view` printed; it contains a token."


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


class ViewerServer(ThreadingHTTPServer):
    """A server of one viewer on the loopback interface, which requires the `token` of its address.

    Other users of this machine and pages of other sites do not have the token.
    """

    daemon_threads = True

    def __init__(self, viewer: Viewer, port: int = 0) -> None:
        self.viewer = viewer
        self.token = secrets.token_urlsafe(24)
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def address(self) -> str:
        """Return the address to open in a browser."""
        return f"http://{LOOPBACK}:{self.server_port}/?token={self.token}"

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


class _Handler(BaseHTTPRequestHandler):
    """A handler whose pages are neither cached nor framed.

    A connection that is idle, or whose request is slow or too long, is closed.
    """

    protocol_version = "HTTP/1.1"
    server: ViewerServer

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

    def do_GET(self) -> None:
        files = {
            "/": ("text/html", _PAGE),
            "/page.css": ("text/css", _STYLE),
            "/page.js": ("text/javascript", _SCRIPT),
        }
        path = self.path.partition("?")[0]
        if not self._has_loopback_host():
            self._respond(HTTPStatus.FORBIDDEN, "text/plain", "unknown host")
        elif path == "/viewer.js":
            self._respond(HTTPStatus.OK, "text/javascript", _SCRIPT_FILE.read_text(encoding="utf-8"))
        elif path not in files:
            self._respond(HTTPStatus.NOT_FOUND, "text/plain", "not found")
        else:
            self._respond(HTTPStatus.OK, *files[path])

    def do_POST(self) -> None:
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > LONGEST_REQUEST:
            self.close_connection = True
            self._respond_json(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": "request too long"})
            return
        body = self.rfile.read(int(size))
        token = self.headers.get("X-Token", "")
        if (
            self.path != "/api"
            or not self._has_loopback_host()
            or not secrets.compare_digest(token.encode(), self.server.token.encode())
        ):
            self._respond_json(HTTPStatus.FORBIDDEN, {"error": _WRONG_ADDRESS})
            return
        try:
            request = decode_json(body)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            self._respond_json(HTTPStatus.BAD_REQUEST, {"error": "the request must be a JSON object"})
            return
        self._respond_json(HTTPStatus.OK, self.server.viewer.respond(request))

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing, because addresses contain tokens."""

    def _has_loopback_host(self) -> bool:
        """Return whether the request names this host, which protects from DNS rebinding."""
        port = self.server.server_port
        return self.headers.get("Host", "") in (f"{LOOPBACK}:{port}", f"localhost:{port}")

    def _respond_json(self, status: HTTPStatus, value: dict[str, Any]) -> None:
        self._respond(status, "application/json", json.dumps(value, allow_nan=False))

    def _respond(self, status: HTTPStatus, kind: str, text: str) -> None:
        """Send a response with a body of this content type."""
        data = text.encode("utf-8", "surrogatepass")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        with suppress(ConnectionError):  # the browser left the page
            self.wfile.write(data)


@view("Viewer.widget")
def viewer_widget(viewer: Viewer) -> Any:
    """Return the widget of a viewer."""
    return _widget_class()(viewer)


@view("Results.explore")
def results_widget(results: Results, filters: Mapping[str, Any]) -> Any:
    """Return the viewer of results as a widget, opened with these filters."""
    return viewer_widget(Viewer.of_results(results, Filters.of(dict(filters))))


@cache
def _widget_class() -> Any:
    """Return the class of the widget, whose page sends its requests to the kernel."""
    import anywidget

    class ViewerWidget(anywidget.AnyWidget):
        """The widget of `hf.view()` and `results.explore()`; frontends without widgets show a table as HTML."""

        _esm = _SCRIPT_FILE

        def __init__(self, viewer: Viewer) -> None:
            super().__init__()
            self._viewer = viewer
            self.on_msg(self._respond)

        def _respond(self, _: Any, message: dict[str, Any], __: list[bytes]) -> None:
            self.send(self._viewer.respond(message))

        def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
            bundle = super()._repr_mimebundle_(**options)
            if bundle is None:
                return None
            data, metadata = bundle
            return {**data, "text/html": fallback_html(self._viewer)}, metadata

    return ViewerWidget


_FALLBACK_COLUMNS = ("instance_id", "perturbation", "model", "score", "completion")


def fallback_html(viewer: Viewer) -> str:
    """Return the first rows of the only run, or the table of runs, as HTML without scripts, escaped."""
    run = viewer.start["run"]
    if run is None:
        runs = viewer.respond({"method": "runs"})["result"]["runs"]
        rows = [[entry["run"], entry["status"], ", ".join(entry["scenarios"])] for entry in runs]
        return f"<div>{len(rows):,} runs</div>{html_table(['run', 'status', 'scenarios'], rows[:50])}"
    request = {"method": "page", "params": {"run": run, "filters": viewer.start["filters"]}}
    page = viewer.respond(request)["result"]
    cells = [
        [number(row[name]) if name == "score" else str(row[name] or "") for name in _FALLBACK_COLUMNS]
        for row in page["rows"]
    ]
    return f"<div>{len(cells):,} of {page['total']:,} rows</div>{html_table(_FALLBACK_COLUMNS, cells)}"
