"""An HTTP proxy in front of the tests' S3 server that counts requests and bytes by kind."""

import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length"}


@dataclass
class Traffic:
    """The requests through the proxy: kind (LIST, HEAD, GET, PUT, …) → number, and kind → bytes of responses."""

    requests: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.requests.items()))
        return f"{sum(self.sent.values()) / 1e6:.2f} MB in {sum(self.requests.values())} requests ({kinds})"


@dataclass(frozen=True)
class CountingProxy:
    """A running proxy; its `endpoint` replaces that of the server."""

    endpoint: str
    _traffic: list[Traffic]

    @contextmanager
    def counted(self) -> Iterator[Traffic]:
        """Yield the traffic of the block, which is complete at its end."""
        before, self._traffic[0] = self._traffic[0], Traffic()
        try:
            yield self._traffic[0]
        finally:
            self._traffic[0] = before


@contextmanager
def counting_proxy(endpoint: str) -> Iterator[CountingProxy]:
    """Run a proxy to this endpoint, which receives the client's Host header: signatures stay valid."""
    traffic, lock = [Traffic()], threading.Lock()
    host = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            counted = traffic[0]
            response, content = self._response(body)
            with lock:
                counted.requests[self._kind()] += 1
                counted.sent[self._kind()] += len(content)
            self.send_response_only(response.status, response.reason)
            for name, value in response.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815 - names of http.server

        def setup(self) -> None:
            super().setup()
            self.upstream = http.client.HTTPConnection(host, timeout=60)

        def finish(self) -> None:
            self.upstream.close()
            super().finish()

        def _response(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
            for attempt in (1, 2):
                try:
                    self.upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        self.upstream.putheader(name, value)
                    self.upstream.endheaders(body or None)
                    response = self.upstream.getresponse()
                    return response, response.read()
                except (http.client.HTTPException, OSError):  # the server closed an idle connection
                    self.upstream.close()
                    if attempt == 2:
                        raise
            raise AssertionError

        def _kind(self) -> str:
            url = urlsplit(self.path)
            is_listing = self.command == "GET" and ("list-type" in parse_qs(url.query) or url.path.count("/") < 2)
            return "LIST" if is_listing else self.command

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield CountingProxy(f"http://127.0.0.1:{server.server_port}", traffic)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
