"""The dashboard as pages of this machine: what `helmframe dashboard` serves, to nobody else."""

import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from helmframe.errors import HelmframeError
from helmframe.views.dashboard import POLICY, Dashboard
from helmframe.views.explore_server import LOOPBACK
from helmframe.views.html import page

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class DashboardServer(ThreadingHTTPServer):
    """Serves one dashboard on the loopback interface, to whoever has the token in its address.

    Another user of this machine lacks the token; a page of another site lacks it too, and its host name.
    """

    daemon_threads = True

    def __init__(self, dashboard: Dashboard, port: int = 0) -> None:
        self.dashboard = dashboard
        self.token = secrets.token_urlsafe(24)
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: DashboardServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        _, token, *rest = asked.path.split("/")
        pages = {"": self.server.dashboard.page, "instance": self.server.dashboard.instance}
        found = pages.get("/".join(rest)) if rest else None
        if not self._is_ours() or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            problem = "Open the address that helmframe dashboard printed: it holds a token."
            self._say(HTTPStatus.FORBIDDEN, page("problem.html", problem=problem))
        elif found is None:
            self._say(HTTPStatus.NOT_FOUND, page("problem.html", problem="There is no such page."))
        else:
            try:
                self._say(HTTPStatus.OK, found(dict(parse_qsl(asked.query))))
            except HelmframeError as error:
                self._say(HTTPStatus.BAD_REQUEST, page("problem.html", problem=str(error)))

    def _is_ours(self) -> bool:
        """Whether the page was asked for by our address: another name that leads here is a stranger's."""
        port = self.server.server_port
        return self.headers.get("Host", "") in (f"{LOOPBACK}:{port}", f"localhost:{port}")

    def _say(self, status: HTTPStatus, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the address holds the token."""
