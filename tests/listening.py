"""Servers of this process, for tests that ask over HTTP."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def listening(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address, `http://127.0.0.1:PORT`, at which the handler answers."""
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Files(SimpleHTTPRequestHandler):
    """Serves files without a word, and like a public bucket lists nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def list_directory(self, path: object) -> None:
        self.send_error(403)


@contextmanager
def serving_files(root: Path) -> Iterator[str]:
    """The address below which the files of a folder are."""
    with listening(partial(_Files, directory=str(root))) as address:
        yield address
