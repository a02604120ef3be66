"""The dashboard as pages of this machine: what `helmframe dashboard` serves, to nobody else."""

import secrets
from http import HTTPStatus
from urllib.parse import parse_qsl

from helmframe.errors import HelmframeError
from helmframe.views.dashboard import POLICY, Dashboard
from helmframe.views.html import page
from helmframe.views.loopback import LOOPBACK, LoopbackHandler, LoopbackServer


class DashboardServer(LoopbackServer):
    """Serves one dashboard."""

    def __init__(self, dashboard: Dashboard, port: int = 0) -> None:
        self.dashboard = dashboard
        super().__init__(_Handler, port)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"


class _Handler(LoopbackHandler):
    server: DashboardServer
    policy = POLICY

    def do_GET(self) -> None:  # noqa: N802 - so http.server calls it
        path, _, query = self.path.partition("?")
        token, slash, name = path.removeprefix("/").partition("/")
        pages = {"": self.server.dashboard.page, "instance": self.server.dashboard.instance}
        render = pages.get(name) if slash else None
        if not self.has_loopback_host() or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            problem = "Open the address that helmframe dashboard printed: it holds a token."
            self.respond(HTTPStatus.FORBIDDEN, "text/html", page("problem.html", problem=problem))
        elif render is None:
            self.respond(HTTPStatus.NOT_FOUND, "text/html", page("problem.html", problem="There is no such page."))
        else:
            try:
                self.respond(HTTPStatus.OK, "text/html", render(dict(parse_qsl(query))))
            except HelmframeError as error:
                self.respond(HTTPStatus.BAD_REQUEST, "text/html", page("problem.html", problem=str(error)))
