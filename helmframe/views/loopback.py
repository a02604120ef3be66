"""Pages that this machine alone can open: what the servers of the explorer and of the dashboard share."""

import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

LOOPBACK = "127.0.0.1"


class LoopbackHandler(BaseHTTPRequestHandler):
    """Answers with pages that nothing keeps, frames or leaks; `policy` is their content-security policy."""

    protocol_version = "HTTP/1.1"
    policy: ClassVar[str]

    def has_loopback_host(self) -> bool:
        """Whether the page was asked for by our address: another name that leads here is a stranger's."""
        port = self.connection.getsockname()[1]
        return self.headers.get("Host", "") in (f"{LOOPBACK}:{port}", f"localhost:{port}")

    def respond(self, status: HTTPStatus, kind: str, text: str) -> None:
        """Send a text of this kind."""
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
        """Nothing: addresses hold tokens."""


class LoopbackServer(ThreadingHTTPServer):
    """Serves on the loopback interface, to whoever has the `token` in its address.

    Another user of this machine lacks the token; a page of another site lacks it too, and its host name.
    """

    daemon_threads = True

    def __init__(self, handler: type[LoopbackHandler], port: int) -> None:
        self.token = secrets.token_urlsafe(24)
        super().__init__((LOOPBACK, port), handler)
