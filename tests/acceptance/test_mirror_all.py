"""Check 1: `helmframe mirror` fills a bucket with every public scenario by its name alone.

A local server has small copies of the publishers' files in their layouts, and a local Hub has those of the Hub. The
mirror is killed three times and resumes. Its instances equal golden hashes, which `mirror_golden` derives without it.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote

import pytest

from helmframe._core.specs import ScenarioSpec
from helmframe._core.yaml import specs_root
from helmframe.scenarios.catalogue import find_scenario
from tests.acceptance.figures import shown
from tests.acceptance.mirror_golden import FILE, golden
from tests.acceptance.published import Published, public_scenarios, published
from tests.demo import ROOT
from tests.hub_server import CONVERTED, Hub, _Response, hub_server
from tests.listening import listening
from tests.s3_server import BUCKET, S3Server

pytestmark = [pytest.mark.shared, pytest.mark.slow]

KILLS = (60, 150, 300)  # requests after which the mirror is killed


@dataclass
class Publishers:
    """The publishers' servers.

    Attributes:
        files: Address without its scheme → content.
        repositories: `owner/name@branch` on the Hub → path → content.
        requests: The number of requests for files.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    address: str = ""
    requests: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, spec: ScenarioSpec, made: Published) -> None:
        """Add the files of a scenario."""
        for url, content in made.files.items():
            hub = re.fullmatch(r"hf://datasets/([^/]+/[^/]+)/(.+)", url)
            if hub is None:
                self.files[url.partition("://")[2]] = content
            else:
                branch = branches(spec)[hub[1]]
                self.repositories.setdefault(f"{hub[1]}@{branch}", {})[hub[2]] = content

    def flip(self, spec: ScenarioSpec, made: Published) -> list[Mapping[str, bytes]]:
        """Change a byte of each file of a scenario; the server sends the changed files from now on."""
        before = [dict(self.files), *map(dict, self.repositories.values())]
        changed = {url: flipped(content) for url, content in made.files.items()}
        self.add(spec, Published(changed))
        return before

    def count(self) -> None:
        """Count a request."""
        with self.changed:
            self.requests += 1
            self.changed.notify_all()

    def wait(self, requests: int, process: "subprocess.Popen[str]") -> None:
        """Wait for further requests, while the process runs."""
        with self.changed:
            last = self.requests + requests
            while self.requests < last and process.poll() is None:
                self.changed.wait(0.5)


def branches(spec: ScenarioSpec) -> dict[str, str]:
    """Return repository on the Hub → the branch or commit that a spec reads."""
    found = {}
    for address, revision in (
        *((str(value), "") for value in dict(spec.hub).values()),
        *((entry.url, entry.revision) for entry in spec.download),
    ):
        for repository, branch in re.findall(r"hf://datasets/([^/]+/[^/@]+)(?:@([^/]+))?/", address):
            named = branch.replace("{revision}", revision) or "main"
            found[repository] = CONVERTED if named == "~parquet" else named
    return found


def flipped(content: bytes) -> bytes:
    """Return content with another bit in its middle."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@contextmanager
def serving(publishers: Publishers) -> Iterator[Hub]:
    """Serve the files: those of the web at `publishers.address`, and those of the Hub."""

    class Handler(_Response):
        def do_GET(self) -> None:
            publishers.count()
            content = publishers.files.get(unquote(self.path.removeprefix("/")))
            if content is None:
                self.send_bytes(b"", {}, 404)
            else:
                self.send_bytes(content, {"ETag": f'"{sha256(content).hexdigest()}"'})

        do_HEAD = do_GET  # noqa: N815 - the name that the server calls

    with listening(Handler) as publishers.address, hub_server(publishers.repositories) as hub:
        yield hub


@dataclass(frozen=True)
class Site:
    """The servers, the scenarios and their files, and a folder with the specs of their small copies."""

    publishers: Publishers
    hub: Hub
    made: Mapping[str, Published]
    specs: Path
    store: Path

    def start(self, s3: S3Server, *arguments: str) -> "subprocess.Popen[str]":
        """Start `helmframe mirror` with these arguments."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HELMFRAME_"))},
            **s3.environment,
            "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": self.hub.endpoint,
            "HELMFRAME_DOWNLOAD_BASE": self.publishers.address,
            "HELMFRAME_STORE": str(self.store),
        }
        command = [sys.executable, "-m", "tests.acceptance.mirror_child", str(self.specs), "mirror", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)

    def mirror(self, s3: S3Server, *arguments: str) -> tuple[int, str, str]:
        """Run `helmframe mirror` and return its status, output and errors."""
        with self.start(s3, *arguments) as process:
            output, errors = process.communicate(timeout=900)
            return process.returncode, output, errors


@pytest.fixture(scope="module")
def site(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The servers with the files of all public scenarios."""
    folder = tmp_path_factory.mktemp("specs")
    publishers = Publishers()
    made = {}
    checksums = {}
    for name in public_scenarios():
        made[name] = published(name, shared)
        publishers.add(find_scenario(name), made[name])
        checksums |= {url: sha256(content).hexdigest() for url, content in made[name].files.items()}
    for file in (specs_root() / "scenarios").glob("*.yaml"):
        (folder / file.name).write_text(_with_checksums(file.read_text(encoding="utf-8"), checksums), encoding="utf-8")
    with serving(publishers) as hub:
        yield Site(publishers, hub, made, folder, tmp_path_factory.mktemp("store"))


def _with_checksums(text: str, checksums: Mapping[str, str]) -> str:
    """Return a spec with the checksums of the copies."""

    def replaced(line: re.Match[str]) -> str:
        digests = {digest for url, digest in checksums.items() if url.endswith(f"/{line[2]}")}
        return f"{line[1]}{line[2]}: {digests.pop()}" if len(digests) == 1 else line[0]

    return re.sub(r"(?m)^( +)(\S+): [0-9a-f]{64}$", replaced, text)


def test_1_every_public_scenario_is_mirrored_by_name(
    site: Site, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = f"s3://{BUCKET}/all"
    names = sorted(site.made)
    for requests in KILLS:
        with site.start(s3, *names, "--to", root) as process:
            site.publishers.wait(requests, process)
            assert process.poll() is None, process.communicate()
            process.kill()
    status, output, errors = site.mirror(s3, *names, "--to", root)
    assert status == 0, errors[-6000:]
    resumed = sum(int(number.replace(",", "")) for number in re.findall(r"([\d,]+) unchanged", output))
    expected = json.loads(FILE.read_text(encoding="utf-8"))
    monkeypatch.setenv("HELMFRAME_DATA", root)
    equal = {name: golden(name, site.made[name], root) == expected[name] for name in names}
    for name, is_equal in equal.items():
        print(f"{name:40} {'ok' if is_equal else 'DIFFERS'}  {expected[name]['instances']:>6,} {expected[name]['by']}")
    instances = sum(expected[name]["instances"] for name in names)
    shown("1", "public scenarios mirrored by name, instances equal to golden ones", f"{sum(equal.values())}/{len(names)}", "all")
    shown("1", "instances; files kept from mirrors that were killed", f"{instances:,}; {resumed}", "> 0 kept")
    assert resumed > 0
    assert [name for name, is_equal in equal.items() if not is_equal] == []
    assert set(expected) == set(names)
