"""Local web servers of the explorer and the dashboard (`helmframe view`, `helmframe dashboard`)."""

import json
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from helmframe.errors import HelmframeError
from helmframe.views.dashboard import POLICY, Dashboard
from helmframe.views.explore import Explorer
from helmframe.views.html import page

LOOPBACK = "127.0.0.1"
LONGEST_REQUEST = 65_536  # bytes
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


class LoopbackHandler(BaseHTTPRequestHandler):
    """A handler whose pages are neither cached nor framed; `policy` is their content-security policy."""

    protocol_version = "HTTP/1.1"
    policy: ClassVar[str]

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
        super().__init__((LOOPBACK, port), handler)


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
            request = json.loads(body)
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
                self.respond(HTTPStatus.OK, "text/html", render(dict(parse_qsl(query))))
            except HelmframeError as error:
                self.respond(HTTPStatus.BAD_REQUEST, "text/html", page("problem.html", problem=str(error)))
