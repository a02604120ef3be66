"""Mirrors of what a publisher has: addresses, checksums, interruptions and refusals."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe import config
from helmframe.errors import SourceBrokenError, SourceDeniedError, SourceError, SourceMissingError, SpecError
from helmframe.scenarios import downloads
from helmframe.scenarios.load import load
from helmframe.scenarios.mirror import Outcome, mirror, mirror_all
from helmframe.scenarios.spec_file import load_scenario
from tests.hub_server import COMMIT, TOKEN, hub_server
from tests.scenarios.publisher import Publisher, publisher

SPEC = """\
scenario: capitals
version: 1
license: CC0
source: {{rows: "{{data}}/capitals/{{region}}/{{split}}-*.parquet"}}
columns: {{country: VARCHAR, capital: VARCHAR}}
splits: {{validation: valid, test: test}}
subsets: [region]
{more}
download:
{download}
instances: |
  SELECT row_index, split, region, country AS input, [{{'text': capital, 'correct': true}}] AS "references" FROM rows
metrics: [exact_match]
main: {{metric: exact_match, split: test}}
"""
TWO = """\
  - url: https://data.example/{region}/{split}.csv
    values: {region: [europe, asia], split: {val: validation, test: test}}
"""
FILES = {
    "data.example/europe/val.csv": b"country,capital\nFrance,Paris\n",
    "data.example/europe/test.csv": b"country,capital\nItaly,Rome\nSpain,Madrid\n",
    "data.example/asia/val.csv": b"country,capital\nJapan,Tokyo\n",
    "data.example/asia/test.csv": b"country,capital\nIndia,Delhi\n",
}


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(config, "_settings", config._Settings())
    monkeypatch.setattr(downloads, "WAITS", (0.01, 0.01, 0.01, 0.01))
    for name in ("HELMFRAME_DATA", "HF_ENDPOINT", "HF_TOKEN", "HELMFRAME_DOWNLOAD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    with publisher(dict(FILES)) as server:
        monkeypatch.setenv("HELMFRAME_DOWNLOAD_BASE", server.address)
        yield server


def spec(folder: Path, download: str = TWO, more: str = "") -> Path:
    file = folder / "capitals.yaml"
    file.write_text(SPEC.format(download=download, more=more))
    return file


def rows(root: Path, name: str) -> list[tuple[Any, ...]]:
    return pl.read_parquet(root / "capitals" / f"{name}.parquet").rows()


def lock(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "manifests" / "capitals.lock.json").read_text())
    return content


def test_a_name_is_enough(tmp_path: Path, server: Publisher) -> None:
    assert mirror(spec(tmp_path), tmp_path / "to") == Outcome("capitals", written=4, unchanged=0, rows=5)
    assert rows(tmp_path / "to", "europe/test-00000-of-00001") == [("Italy", "Rome", 1), ("Spain", "Madrid", 2)]
    instances = pl.concat(load(load_scenario(spec(tmp_path)), splits=("valid", "test"), data=str(tmp_path / "to")))
    assert instances.sort("subset", "row_index")["input"].to_list() == ["Japan", "India", "France", "Italy", "Spain"]


def test_a_complete_mirror_requests_nothing(tmp_path: Path, server: Publisher) -> None:
    mirror(spec(tmp_path), tmp_path / "to")
    n_requests = len(server.requests)
    assert mirror(spec(tmp_path), tmp_path / "to") == Outcome("capitals", written=0, unchanged=4, rows=5)
    assert len(server.requests) == n_requests


def test_downloads_are_removed_once_their_rows_are_written(tmp_path: Path, server: Publisher, store: Path) -> None:
    mirror(spec(tmp_path), tmp_path / "to")
    assert list((store / "downloads").iterdir()) == []


def test_the_first_download_is_locked_and_a_change_is_refused(tmp_path: Path, server: Publisher) -> None:
    mirror(spec(tmp_path), tmp_path / "to")
    address, content = "https://data.example/asia/test.csv", FILES["data.example/asia/test.csv"]
    entry = lock(tmp_path / "to")["downloads"][address]
    before = hashlib.sha256(content).hexdigest()
    assert {key: entry[key] for key in ("sha256", "size", "revision")} == {
        "sha256": before,
        "size": len(content),
        "revision": None,
    }
    (tmp_path / "to" / "capitals" / "asia" / "test-00000-of-00001.parquet").unlink()
    flipped = content.replace(b"Delhi", b"Delhj")
    server.files["data.example/asia/test.csv"] = flipped
    after = hashlib.sha256(flipped).hexdigest()
    with pytest.raises(SourceBrokenError, match=rf"(?s){address} has changed.*{before}.*{after}.*--update-lock"):
        mirror(spec(tmp_path), tmp_path / "to")
    assert mirror(spec(tmp_path), tmp_path / "to", update_lock=True).rows == 5
    assert rows(tmp_path / "to", "asia/test-00000-of-00001") == [("India", "Delhj", 1)]
    assert lock(tmp_path / "to")["downloads"][address]["sha256"] == after


def test_a_flipped_byte_differs_from_the_checksum_of_the_spec(tmp_path: Path, server: Publisher) -> None:
    checksums = {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}
    lines = [f"      {path.partition('/')[2]}: {digest}" for path, digest in checksums.items()]
    file = spec(tmp_path, TWO + "    sha256:\n" + "\n".join(lines))
    server.files["data.example/asia/val.csv"] = b"country,capital\nJapan,Tokyp\n"
    expected = checksums["data.example/asia/val.csv"]
    with pytest.raises(SourceBrokenError, match=rf"asia/val.csv has another checksum .*expected\s{expected}"):
        mirror(file, tmp_path / "to")
    server.files["data.example/asia/val.csv"] = FILES["data.example/asia/val.csv"]
    assert mirror(file, tmp_path / "to").rows == 5


def test_a_server_that_fails_for_a_moment_is_retried(tmp_path: Path, server: Publisher) -> None:
    server.statuses = {"data.example/asia/val.csv": [500, 503], "data.example/asia/test.csv": [429]}
    assert mirror(spec(tmp_path), tmp_path / "to").rows == 5
    assert server.paths().count("data.example/asia/val.csv") == 3


def test_a_server_that_always_fails_raises(tmp_path: Path, server: Publisher) -> None:
    server.statuses = {"data.example/asia/val.csv": [500] * 10}
    with pytest.raises(SourceError, match=r"download of .*asia/val.csv failed \(status 500\)"):
        mirror(spec(tmp_path), tmp_path / "to")


def test_a_server_that_sends_more_than_it_states_raises(tmp_path: Path, server: Publisher, store: Path) -> None:
    server.longer = {"data.example/asia/val.csv"}
    with pytest.raises(SourceError, match="the server sent more than the 28 bytes that it stated"):
        mirror(spec(tmp_path), tmp_path / "to")
    assert not [path for path in (store / "downloads").rglob("*.part") if path.stat().st_size > 28]


def test_a_missing_file_is_named(tmp_path: Path, server: Publisher) -> None:
    del server.files["data.example/asia/val.csv"]
    with pytest.raises(SourceMissingError, match=r"https://data.example/asia/val.csv not found: .* 404"):
        mirror(spec(tmp_path), tmp_path / "to")


def test_restricted_files_name_the_page_to_apply_at(tmp_path: Path, server: Publisher) -> None:
    server.statuses = {"data.example/asia/val.csv": [403]}
    with pytest.raises(SourceDeniedError, match=r"(?s)status 403.*Apply for access at https://data.example/apply"):
        mirror(spec(tmp_path, more="terms: https://data.example/apply"), tmp_path / "to")


def test_a_web_page_in_place_of_a_file_is_refused(tmp_path: Path, server: Publisher) -> None:
    server.pages = {"data.example/asia/val.csv"}
    with pytest.raises(SourceDeniedError, match="sent a web page in place of the file"):
        mirror(spec(tmp_path), tmp_path / "to")


BIG = "country,capital\n" + "".join(f"country {row},capital {row}\n" for row in range(200_000))
ONE = """\
  - url: https://data.example/{split}.csv
    values: {region: europe, split: test}
"""


def test_a_truncated_file_is_resumed_with_a_range(tmp_path: Path, server: Publisher) -> None:
    server.files["data.example/test.csv"] = BIG.encode()
    server.cuts = {"data.example/test.csv": [1_000_000, 500_000]}
    assert mirror(spec(tmp_path, ONE), tmp_path / "to").rows == 200_000
    assert [span for _, span, _ in server.requests] == ["", "bytes=1000000-", "bytes=1500000-"]
    assert rows(tmp_path / "to", "europe/test-00000-of-00001")[-1] == ("country 199999", "capital 199999", 199_999)


@pytest.mark.parametrize("support", ["ranges", "validators"])
def test_a_server_without_ranges_or_validators_sends_the_file_again(
    tmp_path: Path, server: Publisher, support: str
) -> None:
    server.files["data.example/test.csv"] = BIG.encode()
    server.cuts = {"data.example/test.csv": [1_000_000]}
    setattr(server, support, False)
    assert mirror(spec(tmp_path, ONE), tmp_path / "to").rows == 200_000
    assert lock(tmp_path / "to")["downloads"]["https://data.example/test.csv"]["size"] == len(BIG)


def test_a_file_that_changed_while_it_was_interrupted_is_downloaded_again(tmp_path: Path, server: Publisher) -> None:
    server.files["data.example/test.csv"] = BIG.encode()
    server.cuts = {"data.example/test.csv": [1_000_000]}
    server.statuses = {"data.example/test.csv": [200, 500, 500, 500, 500, 500]}
    with pytest.raises(SourceError, match="status 500"):
        mirror(spec(tmp_path, ONE), tmp_path / "to")
    server.files["data.example/test.csv"] = BIG.replace("country", "COUNTRY").replace("COUNTRY,", "country,").encode()
    assert mirror(spec(tmp_path, ONE), tmp_path / "to").rows == 200_000
    assert rows(tmp_path / "to", "europe/test-00000-of-00001")[-1][0] == "COUNTRY 199999"


def test_finished_files_are_not_requested_again_after_a_failure(tmp_path: Path, server: Publisher, store: Path) -> None:
    server.statuses = {"data.example/asia/test.csv": [404]}
    with pytest.raises(SourceMissingError):
        mirror(spec(tmp_path), tmp_path / "to")
    states = [json.loads(file.read_text()) for file in (store / "downloads").rglob("*.json")]
    finished = {state["url"].removeprefix("https://") for state in states if "sha256" in state}
    server.requests.clear()
    assert mirror(spec(tmp_path), tmp_path / "to").rows == 5
    assert "data.example/asia/test.csv" in server.paths()
    assert not finished & set(server.paths())


KILLED = """
import sys, time
from helmframe.scenarios import mirror_files
from helmframe.scenarios.mirror import mirror

def stop(path, done, total):
    print(done, flush=True)
    if done == int(sys.argv[3]):
        time.sleep(60)

mirror(sys.argv[1], sys.argv[2], report=stop)
"""


def test_a_killed_mirror_resumes(tmp_path: Path, server: Publisher) -> None:
    file = spec(tmp_path)
    for done in (0, 1, 3):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, file, tmp_path / "to", str(done)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert any(line.strip() == str(done) for line in process.stdout)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert mirror(file, tmp_path / "to").rows == 5
    assert len(server.requests) == 4
    assert mirror(file, tmp_path / "whole").rows == 5
    for path in (tmp_path / "whole" / "capitals").rglob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "to" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_a_redirect_is_followed_without_the_token(
    tmp_path: Path, server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with publisher(dict(FILES)) as other:
        address = f"{other.address}/data.example/europe/test.csv"
        server.redirects = {"huggingface.co/datasets/o/n/resolve/main/test.csv": address}
        download = (
            "  - {url: 'https://huggingface.co/datasets/o/n/resolve/main/test.csv', values: {region: eu, split: test}}"
        )
        assert mirror(spec(tmp_path, download), tmp_path / "to").rows == 2
        assert [authorization for _, _, authorization in server.requests] == [f"Bearer {TOKEN}"]
        assert [authorization for _, _, authorization in other.requests] == [""]


ON_HUB = """\
  - url: "hf://datasets/owner/capitals/{region}/{split}-*.csv"
    values: {region: [europe, asia], split: {val: validation, test: test}}
"""


def hub_files() -> dict[str, bytes]:
    return {path.removeprefix("data.example/").replace(".csv", "-0.csv"): text for path, text in FILES.items()}


def test_files_of_any_format_come_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server({"owner/capitals": hub_files()}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        assert mirror(spec(tmp_path, ON_HUB), tmp_path / "to").rows == 5
    entry = lock(tmp_path / "to")
    assert entry["revisions"] == {"hf://datasets/owner/capitals@main": COMMIT}
    assert entry["downloads"]["hf://datasets/owner/capitals/asia/test-0.csv"]["revision"] == COMMIT
    manifest = json.loads((tmp_path / "to" / "manifests" / "capitals.json").read_text())
    assert manifest["revision"] == COMMIT
    assert manifest["files"][0]["source"] == f"hf://datasets/owner/capitals@{COMMIT}/europe/val-0.csv"


def test_the_converted_branch_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pl.DataFrame({"country": ["Italy"], "capital": ["Rome"]}).write_parquet(tmp_path / "0000.parquet")
    files = {"default/test/0000.parquet": (tmp_path / "0000.parquet").read_bytes()}
    download = """\
  - url: "hf://datasets/owner/capitals@~parquet/default/{split}/*.parquet"
    values: {region: europe, split: test}
"""
    with hub_server({"owner/capitals@refs/convert/parquet": files}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        assert mirror(spec(tmp_path, download), tmp_path / "to").rows == 1


def test_gated_files_name_the_terms_and_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server({"owner/capitals": hub_files()}, gated=["owner/capitals"]) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        with pytest.raises(SourceDeniedError, match=r"Accept the terms at .*/datasets/owner/capitals.*HF_TOKEN"):
            mirror(spec(tmp_path, ON_HUB), tmp_path / "to")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert mirror(spec(tmp_path, ON_HUB), tmp_path / "to").rows == 5


def test_a_repository_on_github_is_pinned_to_its_newest_commit(tmp_path: Path, server: Publisher) -> None:
    old, new = "a" * 40, "b" * 40
    download = """\
  - url: https://raw.githubusercontent.com/owner/capitals/{revision}/test.csv
    values: {region: europe, split: test}
"""
    text = FILES["data.example/europe/test.csv"]
    refs = "github.com/owner/capitals.git/info/refs"
    server.files |= {
        refs: f"001e# service=git-upload-pack\n0000015f{old} HEAD\0multi_ack\n".encode(),
        f"raw.githubusercontent.com/owner/capitals/{old}/test.csv": text,
        f"raw.githubusercontent.com/owner/capitals/{new}/test.csv": text + b"Norway,Oslo\n",
    }
    file = spec(tmp_path, download)
    assert mirror(file, tmp_path / "to").rows == 2
    server.files[refs] = server.files[refs].replace(old.encode(), new.encode())
    (tmp_path / "to" / "capitals" / "europe" / "test-00000-of-00001.parquet").unlink()
    assert mirror(file, tmp_path / "to").rows == 2
    assert lock(tmp_path / "to")["revisions"] == {"https://github.com/owner/capitals": old}
    assert mirror(file, tmp_path / "to", update_lock=True).rows == 3


def test_a_spec_that_changes_its_select_is_mirrored_again(tmp_path: Path, server: Publisher) -> None:
    mirror(spec(tmp_path), tmp_path / "to")
    upper = TWO + "    select: SELECT upper(country) AS country, capital FROM rows\n"
    assert mirror(spec(tmp_path, upper), tmp_path / "to").written == 4
    assert rows(tmp_path / "to", "europe/validation-00000-of-00001") == [("FRANCE", "Paris", 0)]


def test_a_placeholder_without_a_value_raises(tmp_path: Path, server: Publisher) -> None:
    with pytest.raises(SpecError, match=r"download.0.url: \{split\} has no value"):
        mirror(spec(tmp_path, "  - {url: 'https://data.example/{split}.csv'}"), tmp_path / "to")
    with pytest.raises(SpecError, match=r"download.0.values.split: must be in `url` or `files`"):
        mirror(spec(tmp_path, "  - {url: 'https://data.example/a.csv', values: {split: [a, b]}}"), tmp_path / "to")


def test_a_failing_scenario_stops_no_other(tmp_path: Path, server: Publisher) -> None:
    server.statuses = {"data.example/test.csv": [403]}
    (tmp_path / "other").mkdir()
    other = spec(tmp_path / "other", ONE)
    seen: list[object] = []
    outcomes, failures = mirror_all([other, spec(tmp_path), "nothing"], tmp_path / "to", finished=seen.append)
    assert [outcome.rows for outcome in outcomes] == [5]
    assert [(failure.scenario, failure.is_denied) for failure in failures] == [(str(other), True), ("nothing", False)]
    assert seen == [failures[0], outcomes[0], failures[1]]


def test_progress_has_files_and_bytes(tmp_path: Path, server: Publisher) -> None:
    states: list[downloads.Progress] = []
    mirror(spec(tmp_path), tmp_path / "to", progress=states.append)
    size = sum(map(len, FILES.values()))
    assert states[-1] == downloads.Progress("capitals", files=4, n_files=4, received=size, size=size)


def test_a_plan_without_rows_offers_the_line(tmp_path: Path) -> None:
    file = spec(tmp_path)
    line = f"helmframe mirror {re.escape(str(file))} --to "
    with pytest.raises(SourceMissingError, match=rf"{line}ROOT(.|\n)*download=True"):
        hf.scenario(file).instances().collect()
    with pytest.raises(SourceMissingError, match=f"{line}{tmp_path}/empty"):
        hf.scenario(file, data=str(tmp_path / "empty")).instances().collect()


@pytest.mark.parametrize("root", [None, "empty"])
def test_a_plan_fetches_its_rows_if_downloads_are_enabled(
    tmp_path: Path, server: Publisher, store: Path, root: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    hf.configure(download=True)
    plan = hf.scenario(spec(tmp_path), data=str(tmp_path / root) if root else None)
    results = plan.generate(hf.models.oracle()).score()
    assert results.value("exact_match") == 1.0
    assert len(server.requests) == 4
    assert (store / "data" / "capitals" / "asia" / "test-00000-of-00001.parquet").is_file()
    assert [record.message for record in caplog.records if "fetched" in record.message] == [
        f"The rows of scenario 'capitals' are fetched into {store / 'data'}."
    ]


def test_rows_in_the_root_are_not_fetched(tmp_path: Path, server: Publisher) -> None:
    file = spec(tmp_path)
    mirror(file, tmp_path / "to")
    server.requests.clear()
    hf.configure(download=True, data=tmp_path / "to")
    assert hf.scenario(file).where(region="asia").instances().collect().height == 1
    assert server.requests == []


def test_two_processes_download_one_file(tmp_path: Path, server: Publisher) -> None:
    server.files["data.example/test.csv"] = BIG.encode()
    file = spec(tmp_path, ONE)
    code = "import sys; from helmframe.scenarios.mirror import mirror; print(mirror(sys.argv[1], sys.argv[2]).rows)"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, file, tmp_path / name], stdout=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    assert [process.communicate()[0].strip() for process in processes] == ["200000", "200000"]


def test_memory_does_not_grow_with_a_download(tmp_path: Path, server: Publisher) -> None:
    server.files["data.example/test.bin"] = os.urandom(64 << 20)
    code = """
import resource, sys
from pathlib import Path
from helmframe.scenarios.downloads import fetch
fetch("https://data.example/small.bin", Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fetch("https://data.example/test.bin", Path(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    server.files["data.example/small.bin"] = b"small"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 16_000  # kilobytes


def test_the_lock_is_written_before_the_files(tmp_path: Path, server: Publisher) -> None:
    # a mirror that is killed later must not be whole without its lock
    locks: list[bool] = []
    lock = tmp_path / "to" / "manifests" / "capitals.lock.json"
    mirror(spec(tmp_path), tmp_path / "to", report=lambda _path, _done, _all: locks.append(lock.is_file()))
    assert locks == [True] * 5
