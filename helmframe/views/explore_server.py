"""The explorer as a page of this machine: what `helmframe view` serves, to nobody else."""

import json
import secrets
from http import HTTPStatus
from pathlib import Path

from helmframe.views.explore import Explorer
from helmframe.views.loopback import LOOPBACK, LoopbackHandler, LoopbackServer

LONGEST_QUESTION = 65_536  # bytes
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>helmframe: results</title><link rel="stylesheet" href="page.css"><link rel="icon" href="data:,">
</head><body><h1>helmframe: results</h1><main></main><script type="module" src="page.js"></script></body></html>
"""
_STYLE = """:root { color-scheme: light dark; }
body { font: 14px system-ui, sans-serif; margin: 12px; color: CanvasText; background: Canvas; }
h1 { font-size: 16px; }
"""
_SCRIPT = """import { mount } from "./explore.js";
const token = new URLSearchParams(location.search).get("token") ?? "";
async function ask(question) {
  const headers = { "Content-Type": "application/json", "X-Token": token };
  const response = await fetch("ask", { method: "POST", headers, body: JSON.stringify(question) });
  const answer = await response.json();
  if ("error" in answer) throw new Error(answer.error);
  return answer;
}
mount(document.querySelector("main"), ask);
"""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class ExplorerServer(LoopbackServer):
    """Serves one explorer."""

    def __init__(self, explorer: Explorer, port: int = 0) -> None:
        self.explorer = explorer
        super().__init__(_Handler, port)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{LOOPBACK}:{self.server_port}/?token={self.token}"


class _Handler(LoopbackHandler):
    server: ExplorerServer
    policy = _POLICY

    def do_GET(self) -> None:  # noqa: N802 - so http.server calls it
        files = {
            "/": ("text/html", _PAGE),
            "/page.css": ("text/css", _STYLE),
            "/page.js": ("text/javascript", _SCRIPT),
            "/explore.js": ("text/javascript", Path(__file__).with_name("explore.js").read_text(encoding="utf-8")),
        }
        file = files.get(self.path.partition("?")[0])
        if not self.has_loopback_host():
            self.respond(HTTPStatus.FORBIDDEN, "text/plain", "no such host here")
        elif file is None:
            self.respond(HTTPStatus.NOT_FOUND, "text/plain", "nothing here")
        else:
            self.respond(HTTPStatus.OK, *file)

    def do_POST(self) -> None:  # noqa: N802
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > LONGEST_QUESTION:
            self.close_connection = True
            self.respond(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "application/json", json.dumps({"error": "too long"}))
            return
        body = self.rfile.read(int(size))
        token = self.headers.get("X-Token", "")
        if (
            self.path != "/ask"
            or not self.has_loopback_host()
            or not secrets.compare_digest(token.encode(), self._token)
        ):
            answer = {"error": "open the address that helmframe view printed, with its token"}
            self.respond(HTTPStatus.FORBIDDEN, "application/json", json.dumps(answer))
            return
        try:
            question = json.loads(body)
        except ValueError:
            question = None
        if not isinstance(question, dict):
            self.respond(HTTPStatus.BAD_REQUEST, "application/json", json.dumps({"error": "that is no JSON object"}))
            return
        self.respond(HTTPStatus.OK, "application/json", json.dumps(self.server.explorer.answer(question)))

    @property
    def _token(self) -> bytes:
        return self.server.token.encode()
