"""Check 1: `helmframe mirror` fills a bucket with every public scenario by its name alone.

A local server has small copies of the publishers' files in their layouts, and a local Hub has those of the Hub. The
mirror is killed three times and resumes. Its instances equal golden hashes, which `mirror_golden` derives without it.
Gated data sets need a token. Scenarios whose rows are generated, part of helmframe or licensed have no files to fetch.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote

import pytest

from helmframe._core.specs import ScenarioSpec
from helmframe._core.yaml import specs_root
from helmframe.scenarios.catalogue import find_scenario, scenario_names
from tests.acceptance.figures import shown
from tests.acceptance.mirror_golden import FILE, golden
from tests.acceptance.published import Published, mirrored_scenarios, published, scenarios_of
from tests.acceptance.publisher_files import GPT2, gpt2_tokenizer
from tests.demo import ROOT
from tests.hub_server import CONVERTED, TOKEN, Hub, hub_server
from tests.listening import listening
from tests.s3_server import BUCKET, S3Server

pytestmark = [pytest.mark.shared, pytest.mark.slow]

KILLS = (100, 300, 500)  # requests of a run before it is killed


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
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def add(self, spec: ScenarioSpec, made: Published) -> None:
        """Add the files of a scenario."""
        for url, content in made.files.items():
            hub = re.fullmatch(r"hf://datasets/([^/]+/[^/]+)/(.+)", url)
            if hub is None:
                self.files[unquote(url.partition("://")[2])] = content
            else:
                branch = branches(spec)[hub[1]]
                self.repositories.setdefault(f"{hub[1]}@{branch}", {})[hub[2]] = content

    def count(self) -> None:
        """Count a request."""
        with self.mutex:
            self.requests += 1


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

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publishers.count()
            content = publishers.files.get(unquote(self.path.removeprefix("/")))
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            """Write no log."""

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

    def start(
        self, s3: S3Server, *arguments: str, store: Path | None = None, token: str = TOKEN
    ) -> "subprocess.Popen[str]":
        """Start `helmframe mirror` with these arguments; `store` has the unfinished downloads."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HELMFRAME_"))},
            **s3.environment,
            "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": self.hub.endpoint,
            "HELMFRAME_DOWNLOAD_BASE": self.publishers.address,
            "HELMFRAME_STORE": str(store or self.store),
            **({"HF_TOKEN": token} if token else {}),
        }
        command = [sys.executable, "-m", "tests.acceptance.mirror_child", str(self.specs), "mirror", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)

    def wait(self, requests: int, process: "subprocess.Popen[str]") -> None:
        """Wait until the servers have received further requests, while the process runs."""
        last = self.requests + requests
        while self.requests < last and process.poll() is None:
            time.sleep(0.02)

    @property
    def requests(self) -> int:
        """The number of requests of both servers."""
        return self.publishers.requests + len(self.hub.requests)

    def mirror(
        self, s3: S3Server, *arguments: str, store: Path | None = None, token: str = TOKEN
    ) -> tuple[int, str, str]:
        """Run `helmframe mirror` and return its status, output and errors."""
        with self.start(s3, *arguments, store=store, token=token) as process:
            output, errors = process.communicate(timeout=3600)
            return process.returncode, output, errors


@pytest.fixture(scope="module")
def site(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The servers with the files of all scenarios that a mirror fills by name."""
    folder = tmp_path_factory.mktemp("specs")
    publishers = Publishers(repositories={GPT2: gpt2_tokenizer()})
    made = {}
    checksums: dict[str, str] = {}
    for name in mirrored_scenarios():
        made[name] = published(name, shared)
        publishers.add(find_scenario(name), made[name])
        checksums |= {url: sha256(content).hexdigest() for url, content in made[name].files.items()}
    for file in (specs_root() / "scenarios").glob("*.yaml"):
        (folder / file.name).write_text(_with_checksums(file.read_text(encoding="utf-8"), checksums), encoding="utf-8")
    with serving(publishers) as hub:
        hub.gated = frozenset(name for scenario in scenarios_of("gated") for name in branches(find_scenario(scenario)))
        yield Site(publishers, hub, made, folder, tmp_path_factory.mktemp("store"))


def _with_checksums(text: str, checksums: Mapping[str, str]) -> str:
    """Return a spec with the checksums of the copies."""

    def replaced(line: re.Match[str]) -> str:
        digests = {digest for url, digest in checksums.items() if url.endswith(f"/{line[2]}")}
        return f"{line[1]}{line[2]}: {digests.pop()}" if len(digests) == 1 else line[0]

    # the checksum of a single file: the lock file has that of the copy
    text = re.sub(r"(?m)^ +sha256: [0-9a-f]{64}\n", "", text)
    return re.sub(r"(?m)^( +)(\S+): [0-9a-f]{64}$", replaced, text)


@dataclass(frozen=True)
class Filled:
    """A bucket with all public scenarios, from a mirror that was killed and resumed.

    Attributes:
        root: The root.
        unchanged: The number of files that the last run kept from those that were killed.
    """

    root: str
    unchanged: int


@pytest.fixture(scope="module")
def filled(site: Site, s3_server: S3Server) -> Filled:
    """A bucket that `helmframe mirror` filled by names alone, killed three times."""
    root = f"s3://{BUCKET}/all"
    names = sorted(site.made)
    for requests in KILLS:
        with site.start(s3_server, *names, "--to", root) as process:
            site.wait(requests, process)
            assert process.poll() is None, process.communicate()
            process.kill()
    status, output, errors = site.mirror(s3_server, *names, "--to", root)
    assert status == 0, errors[-6000:]
    return Filled(root, sum(int(number.replace(",", "")) for number in re.findall(r"([\d,]+) unchanged", output)))


def test_1_every_public_scenario_is_mirrored_by_name(
    site: Site, filled: Filled, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", filled.root)
    names = sorted(site.made)
    expected = json.loads(FILE.read_text(encoding="utf-8"))
    assert sorted(expected) == names
    equal = {name: golden(name, site.made[name], filled.root) == expected[name] for name in names}
    for name, is_equal in equal.items():
        print(f"{name:40} {'ok' if is_equal else 'DIFFERS'} {expected[name]['instances']:>7,} {expected[name]['by']}")
    instances = sum(expected[name]["instances"] for name in names)
    for what, group in (
        ("public", scenarios_of("hub", "download")),
        ("gated, with a token", scenarios_of("gated")),
    ):
        count = sum(equal[name] for name in group)
        shown("1", f"{what}: scenarios with golden ids and hashes", f"{count}/{len(group)}", "all")
    shown("1", "instances", f"{instances:,}", "no limit")
    shown("1", f"files kept after {len(KILLS)} kills", filled.unchanged, "> 0")
    assert filled.unchanged > 0
    assert [name for name, is_equal in equal.items() if not is_equal] == []


def test_1_every_other_scenario_states_why_it_has_no_files(site: Site, s3: S3Server) -> None:
    reasons = {
        "generated": "scenario '{name}' needs no mirror: helmframe generates its rows.",
        "packaged": "scenario '{name}' needs no mirror: its rows are part of helmframe.",
        "licensed": "scenario '{name}' isn't open to everyone (licensed).\nApply for access at {terms}, then write",
        "gated": "is gated. Accept the terms at {terms}",
    }
    groups = {origin: scenarios_of(origin) for origin in reasons}
    names = [name for group in groups.values() for name in group]
    status, _, errors = site.mirror(s3, *names, "--to", f"s3://{BUCKET}/others", token="")
    assert status != 0
    by_name = {}
    for message in re.split(r"(?m)^helmframe: failed: ", errors)[1:]:
        (name,) = re.findall(r"^scenario '(\w+)'", message)
        by_name[name] = message
    for origin, group in groups.items():
        right = [name for name in group if _reason(reasons[origin], name, site.hub) in by_name.get(name, "")]
        for name in group:
            print(f"{name:40} {'ok' if name in right else 'DIFFERS'} {origin}")
        shown("1", f"{origin}: scenarios for which `mirror` states the reason", f"{len(right)}/{len(group)}", "all")
        assert right == group
    assert len(names) + len(mirrored_scenarios()) - len(groups["gated"]) == len(scenario_names())


def _reason(reason: str, name: str, hub: Hub) -> str:
    spec = find_scenario(name)
    repository = next(iter(branches(spec)), "")
    return reason.format(name=name, terms=spec.terms or f"{hub.endpoint}/datasets/{repository}")


def test_1_a_flipped_byte_is_refused(site: Site, filled: Filled, s3: S3Server, tmp_path: Path) -> None:
    files = s3.filesystem()
    bucket = filled.root.removeprefix("s3://")
    stored = {}
    for name in site.made:
        manifest = json.loads(files.cat_file(f"{bucket}/manifests/{name}.json"))
        stored[name] = f"{bucket}/{manifest['files'][0]['path']}"
    content = {path: files.cat_file(path) for path in set(stored.values())}
    for path, data in content.items():
        files.pipe_file(path, flipped(data))
    _, _, errors = site.mirror(s3, *site.made, "--to", filled.root)
    refused = {name for name, path in stored.items() if f"{path} has changed since it was mirrored" in errors}
    shown("1", "scenarios whose stored file with a flipped byte is refused", f"{len(refused)}/{len(stored)}", "all")
    assert set(stored) - refused == set()

    downloaded = [name for name in site.made if find_scenario(name).download]
    for path, data in content.items():
        files.pipe_file(path, data)
    for path in {stored[name] for name in downloaded}:
        files.rm_file(path)
    for name in downloaded:
        site.publishers.add(find_scenario(name), Published({u: flipped(c) for u, c in site.made[name].files.items()}))
    # another store, which has no downloads
    _, _, errors = site.mirror(s3, *downloaded, "--to", filled.root, store=tmp_path)
    refused = {name for name in downloaded if re.search(_REFUSED.format(name=name), errors)}
    shown("1", "scenarios whose download with a flipped byte is refused", f"{len(refused)}/{len(downloaded)}", "all")
    assert set(downloaded) - refused == set()


_REFUSED = r"scenario '{name}': .+ has (?:changed since its first download|another checksum than the spec)"
