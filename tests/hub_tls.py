"""huggingface.co on this machine: the tests' Hub behind TLS and a proxy, for readers that know no other address."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.hub_server import Hub, handler
from tests.listening import listening

HOST = "huggingface.co"


@contextmanager
def hub_behind_tls(hub: Hub) -> Iterator[Mapping[str, str]]:
    """Yield the environment variables with which requests to huggingface.co reach this Hub."""
    certificate, key = _certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub, f"https://{HOST}"))
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        with listening(_proxy(server.server_port)) as proxy:
            yield {"HTTPS_PROXY": proxy, "NO_PROXY": "127.0.0.1", "SSL_CERT_FILE": str(certificate)}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _proxy(port: int) -> type[BaseHTTPRequestHandler]:
    """Return the handler of a proxy that connects huggingface.co to a port of this machine, and nothing else."""

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            if self.path != f"{HOST}:443":
                self.send_error(403)
                return
            with socket.create_connection(("127.0.0.1", port)) as server:
                self.send_response(200)
                self.end_headers()
                thread = threading.Thread(target=_pump, args=(self.connection, server), daemon=True)
                thread.start()
                _pump(server, self.connection)
                thread.join(1)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Write no log."""

    return Proxy


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy the bytes of a connection until it ends."""
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the other side has closed the connection


_FOLDER = TemporaryDirectory(prefix="helmframe-tls-")


@cache
def _certificate() -> tuple[Path, Path]:
    """Return a new certificate for huggingface.co that signs itself, and its key."""
    certificate, key = Path(_FOLDER.name, "certificate.pem"), Path(_FOLDER.name, "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key
