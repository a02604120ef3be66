"""A publisher's web server with faults: damaged, truncated and moved files, and servers that are busy or refuse."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from tests.listening import listening


@dataclass
class Publisher:
    """A running server.

    Attributes:
        files: Path, such as `host/data/test.csv`, → content.
        address: The address, for HELMFRAME_DOWNLOAD_BASE.
        statuses: Path → statuses of its next responses; 200 sends the file.
        redirects: Path → path to which a request is redirected.
        cuts: Path → the number of bytes after which its next responses end.
        pages: Paths for which a web page is sent.
        longer: Paths for which the server sends more bytes than it states, until the client leaves.
        ranges: Whether the server supports range requests.
        validators: Whether the server sends ETags.
        requests: Path, range and authorization of the requests so far.
    """

    files: dict[str, bytes]
    address: str = ""
    statuses: dict[str, list[int]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    pages: set[str] = field(default_factory=set)
    longer: set[str] = field(default_factory=set)
    ranges: bool = True
    validators: bool = True
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def paths(self) -> list[str]:
        """Return the paths of the requests so far, sorted."""
        return sorted(path for path, _, _ in self.requests)


@contextmanager
def publisher(files: dict[str, bytes]) -> Iterator[Publisher]:
    """Yield a running server of these files."""
    server = Publisher(files)
    with listening(_handler(server)) as server.address:
        yield server


def _handler(server: Publisher) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path).removeprefix("/")
            span = self.headers.get("Range", "")
            with server.mutex:
                server.requests.append((path, span, self.headers.get("Authorization", "")))
                status = server.statuses[path].pop(0) if server.statuses.get(path) else 200
                cut = server.cuts[path].pop(0) if server.cuts.get(path) else None
            if path in server.redirects:
                self.send_response(302)
                self.send_header("Location", server.redirects[path])
                self.end_headers()
            elif status != 200 or (path not in server.files and path not in server.pages):
                self.send_response(status if status != 200 else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif path in server.longer:
                self._send_endlessly(server.files[path])
            elif path in server.pages:
                self._send(b"<html>Log in</html>", None, "text/html; charset=utf-8", None)
            else:
                self._send(server.files[path], self._start(server.files[path], span), "text/plain", cut)

        def _start(self, content: bytes, span: str) -> int | None:
            match = re.fullmatch(r"bytes=(\d+)-", span)
            current = self.headers.get("If-Range") in (None, _tag(content))
            return int(match[1]) if match and server.ranges and current else None

        def _send(self, content: bytes, start: int | None, kind: str, cut: int | None) -> None:
            body = content[start or 0 :]
            self.send_response(200 if start is None else 206)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if start is not None:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if server.validators:
                self.send_header("ETag", _tag(content))
            self.end_headers()
            self.wfile.write(body[:cut])

        def _send_endlessly(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with suppress(ConnectionError):
                while True:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))

        def log_message(self, *_: object) -> None:
            """Write no log."""

    return Handler


def _tag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:16]}"'
