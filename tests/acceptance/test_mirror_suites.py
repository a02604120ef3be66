"""Check 6: the suites `lite` and `safety` run from an empty bucket in two commands, `mirror --suite` and `run`."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe._core.yaml import read_yaml, specs_root
from helmframe.cli.helm import suite_scenarios
from helmframe.scenarios.catalogue import find_scenario, status
from helmframe.scenarios.validation import write_examples
from tests.acceptance.figures import shown
from tests.acceptance.published import Published, hub_files, published
from tests.acceptance.test_mirror_all import Publishers, _with_checksums, serving
from tests.demo import ROOT
from tests.hub_server import TOKEN, Hub
from tests.s3_server import BUCKET, S3Server

pytestmark = [pytest.mark.shared, pytest.mark.slow]

# The suites with their mock models: `oracle` returns a reference, which the prompts of `safety` don't have.
SUITES = {"lite": "oracle()", "safety": "echo()"}
LIMIT = 10  # instances of each subset


@dataclass(frozen=True)
class Sources:
    """The servers with the files of both suites, and the specs with the checksums of these small copies."""

    publishers: Publishers
    hub: Hub
    specs: Path
    store: Path

    def run(self, s3: S3Server, *arguments: str, **variables: str) -> tuple[str, str, float]:
        """Run a command and return its output, its errors and its time."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HELMFRAME_"))},
            **s3.environment,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "HF_ENDPOINT": self.hub.endpoint,
            "HELMFRAME_DOWNLOAD_BASE": self.publishers.address,
            "HELMFRAME_STORE": str(self.store),
            **variables,
        }
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "tests.acceptance.mirror_child", str(self.specs), *arguments],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout, done.stderr, time.monotonic() - start

    @property
    def requests(self) -> int:
        """The number of requests to the publishers and the Hub."""
        return self.publishers.requests + len(self.hub.requests)


def small_copy(name: str, shared: Path, folder: Path) -> Published:
    """Return the files of a scenario, with all subsets and splits that the suites need."""
    spec = find_scenario(name)
    layout = str(dict(spec.source)["rows"]).removeprefix("{data}/")
    if name == "mmlu":
        (plan,) = (
            plan for plan in read_yaml(specs_root() / "suites" / "lite.yaml")["plans"] if plan["scenario"] == name
        )
        subjects = plan["where"][0]["subject"]
        files, _ = hub_files(spec, shared / "scenarios", layout)
        return Published({url: content for url, content in files.items() if url.split("/")[5] in subjects})
    if name == "legalbench":
        write_examples(spec, folder)
        return Published(hub_files(spec, folder, layout)[0])
    return published(name, shared)


@pytest.fixture(scope="module")
def sources(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    """The servers of both suites; the Hub's gated data sets need a token."""
    publishers = Publishers()
    checksums: dict[str, str] = {}
    names = [name for suite in SUITES for name in suite_scenarios(suite)]
    for name in names:
        made = small_copy(name, shared, tmp_path_factory.mktemp(name))
        publishers.add(find_scenario(name), made)
        checksums |= {url: sha256(content).hexdigest() for url, content in made.files.items()}
    folder = tmp_path_factory.mktemp("specs")
    for file in (specs_root() / "scenarios").glob("*.yaml"):
        (folder / file.name).write_text(_with_checksums(file.read_text(encoding="utf-8"), checksums), encoding="utf-8")
    with serving(publishers) as hub:
        gated = [dict(find_scenario(name).hub)["rows"] for name in names if status(find_scenario(name)) == "gated"]
        hub.gated = frozenset(re.findall(r"hf://datasets/([^/]+/[^/@]+)", " ".join(map(str, gated))))
        yield Sources(publishers, hub, folder, tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize(("suite", "model"), SUITES.items())
def test_6_a_suite_runs_from_an_empty_bucket_in_two_commands(
    sources: Sources, s3_server: S3Server, suite: str, model: str
) -> None:
    root, names = f"s3://{BUCKET}/{suite}", suite_scenarios(suite)
    printed, _, mirror_seconds = sources.run(s3_server, "mirror", "--suite", suite, "--to", root, HF_TOKEN=TOKEN)
    rows = dict(re.findall(r"(?m)^(\w+): ([\d,]+) rows, ", printed))
    before = sources.requests
    command = ("run", suite, "--model", model, "--max-eval-instances", str(LIMIT))
    scores, _, run_seconds = sources.run(s3_server, *command, HELMFRAME_DATA=root)
    results = hf.load(scores.rpartition("results: ")[2].strip())
    table = results.table(metrics=results.metric_names).filter(pl.col("n") > 0)
    scored = [name for name in names if name in table["scenario"].to_list()]
    shown("6", f"{suite}: scenarios mirrored", f"{len(rows)}/{len(names)} in {mirror_seconds:.1f} s", "all")
    shown("6", f"{suite}: scenarios scored", f"{len(scored)}/{len(names)} in {run_seconds:.1f} s", "all")
    shown("6", f"{suite}: requests to publishers while the suite runs", sources.requests - before, 0)
    print(scores)
    assert list(rows) == names
    assert scored == names
    assert "skipped:" not in scores
    assert table["n_error"].sum() == 0
    assert sources.requests == before


def test_6_a_suite_skips_gated_scenarios_without_a_token(sources: Sources, s3_server: S3Server) -> None:
    printed, errors, _ = sources.run(s3_server, "mirror", "--suite", "safety", "--to", f"s3://{BUCKET}/no_token")
    skipped = re.findall(r"skipped, not open to everyone: scenario '(\w+)': .* is gated\. Accept the terms at", errors)
    shown("6", "gated scenarios that are skipped and name their terms", ", ".join(skipped), "the 2 of safety")
    assert skipped == ["simple_safety_tests", "xstest"]
    assert len(re.findall(r"(?m)^\w+: [\d,]+ rows, ", printed)) == 3


def test_6_a_second_mirror_downloads_nothing(sources: Sources, s3_server: S3Server) -> None:
    root = f"s3://{BUCKET}/lite"
    before = sources.publishers.requests
    printed, _, _ = sources.run(s3_server, "mirror", "--suite", "lite", "--to", root, HF_TOKEN=TOKEN)
    written = sum(int(number.replace(",", "")) for number in re.findall(r"([\d,]+) files written", printed))
    shown("6", "files written and downloads requested by a second mirror", written, 0)
    assert (written, sources.publishers.requests) == (0, before)
    lock = json.loads(s3_server.filesystem().cat_file(f"{BUCKET}/lite/manifests/natural_qa_openbook_longans.lock.json"))
    assert all(len(entry["sha256"]) == 64 for entry in lock["downloads"].values())
