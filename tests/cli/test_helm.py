"""`helmframe mirror` and `helmframe export`."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.cli import helm
from helmframe.cli.app import main
from helmframe.cli.helm import suite_scenarios
from helmframe.errors import UnknownNameError
from tests.scenarios.publisher import Publisher, publisher

SPEC = """\
scenario: capitals
version: 1
source: {rows: "{data}/capitals/{split}-*.parquet"}
columns: {country: VARCHAR, capital: VARCHAR}
splits: {test: test}
instances: |
  SELECT row_index, split, country AS input, [{'text': capital, 'correct': true}] AS "references" FROM rows
metrics: [exact_match]
main: {metric: exact_match}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "capitals.yaml").write_text(SPEC)
    file = tmp_path / "source" / "capitals" / "test-0.parquet"
    file.parent.mkdir(parents=True)
    pl.DataFrame({"country": ["France"], "capital": ["Paris"]}).write_parquet(file)
    return tmp_path / "capitals.yaml"


def test_mirror_says_what_it_wrote(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["mirror", str(spec), "--from", str(tmp_path / "source"), "--to", str(tmp_path / "to")]
    assert main(command) == 0
    assert main(command) == 0
    assert capsys.readouterr().out == (
        "capitals: 1 rows, 1 files written, 0 unchanged\n"
        "capitals: 1 rows, 0 files written, 1 unchanged\n"
    )  # fmt: skip


def test_mirror_goes_on_with_the_others_and_fails_at_the_end(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["gsm8k", str(spec)]
    assert main(["mirror", *names, "--from", str(tmp_path / "source"), "--to", str(tmp_path / "to")]) == 1
    said = capsys.readouterr()
    assert said.out == "capitals: 1 rows, 1 files written, 0 unchanged\n"
    assert "no file in" in said.err
    assert "1 of 2 scenarios failed: gsm8k." in said.err


def test_export_writes_helms_directories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hf.scenario("sampler").where(subject="music").limit(1).generate("oracle()").score().to_parquet(tmp_path / "run")
    capsys.readouterr()
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "suite")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'suite'}\n"
    (spec,) = (tmp_path / "suite").glob("*/run_spec.json")
    assert json.loads(spec.read_text())["name"] == "sampler:subject=music,model=helmframe_oracle"


def test_helms_flags_choose_entries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = ["sampler:subject=music,model=text", "sampler:subject=biology,model=text,max_train_instances=0"]
    flags = ["--models-to-run", "oracle()", "--groups-to-run", "sampler_music", "-n", "1", "-m", "2", "-t", "2"]
    folder = ["-o", str(tmp_path), "--suite", "v1", "--skip-completed-runs"]
    assert main(["run", "-r", *entries, *flags, *folder]) == 0
    first = capsys.readouterr().out
    assert "sampler" in first
    results = hf.load(tmp_path / "runs" / "v1")
    assert results.completions.select("subset", "trial").unique().sort("trial").collect().rows() == [
        ("music", 0),
        ("music", 1),
    ]
    # what is there is printed, not asked again
    assert main(["run", "-r", *entries, *flags, *folder]) == 0
    assert "exact_match" in capsys.readouterr().out


def test_help_states_that_one_thread_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert "helm-run, where -n 1 is one thread; ignored" in " ".join(capsys.readouterr().out.split())


HELM_CONF = """
entries: [
  {description: "sampler:subject=music,model=text", priority: 1},
  {description: "sampler:subject=music,model=text", priority: 2},
  {description: "sampler:subject=alchemy,model=text", priority: 1},
  {description: "cleva:task=summarization,model=text", priority: 2},
]
"""


def test_list_helm_entries_prints_each_entry_with_its_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run_specs.conf").write_text(HELM_CONF)
    for given in (tmp_path / "run_specs.conf", tmp_path):
        assert main(["list", "helm-entries", "--conf-paths", str(given)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "plan               sampler:subject=music,model=text"
        assert lines[1].startswith("rows missing       sampler:subject=alchemy,model=text: where(subject='alchemy')")
        assert lines[2].startswith("unknown scenario   cleva:task=summarization,model=text: ")
        assert lines[-1] == "3 entries: 1 plan, 1 rows missing, 1 unknown scenario"


def test_list_helm_entries_needs_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "helm-entries"]) == 2
    assert "Write: helmframe list helm-entries --conf-paths run_specs.conf" in capsys.readouterr().err


def test_a_run_of_a_conf_file_skips_what_is_not_here_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run_specs.conf").write_text(HELM_CONF)
    assert main(["explain", str(tmp_path / "run_specs.conf"), "--models-to-run", "oracle()", "-m", "2"]) == 0
    printed = capsys.readouterr()
    assert "sampler" in printed.out
    assert "Skipped 2 run entries:" in printed.err
    assert main(["explain", str(tmp_path / "run_specs.conf"), "--groups-to-run", "cleva"]) == 2
    assert "Nothing to run. Skipped 1 run entry:" in capsys.readouterr().err


SUITE = """\
plans:
  - {scenario: sampler}
  - {scenario: [capitals.yaml]}
  - {scenario: gated.yaml}
"""
DOWNLOAD = "download:\n  - {url: 'https://data.example/test.csv', values: {split: test}}\n"


@pytest.fixture
def publishing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suite.yaml").write_text(SUITE)
    (tmp_path / "capitals.yaml").write_text(SPEC + DOWNLOAD)
    gated = SPEC.replace("capitals", "gated") + DOWNLOAD.replace("test.csv", "gated.csv")
    (tmp_path / "gated.yaml").write_text(f"{gated}terms: https://data.example/apply\n")
    with publisher({"data.example/test.csv": b"country,capital\nFrance,Paris\n"}) as server:
        server.statuses = {"data.example/gated.csv": [403, 403]}
        monkeypatch.setenv("HELMFRAME_DOWNLOAD_BASE", server.address)
        yield server


def test_mirror_of_a_suite_skips_what_is_not_open(
    publishing: Publisher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mirror", "--suite", "suite.yaml", "--to", str(tmp_path / "to")]) == 0
    printed = capsys.readouterr()
    assert printed.out == "capitals: 1 rows, 1 files written, 0 unchanged\n"
    assert "skipped, not open to everyone: scenario 'gated': " in printed.err
    assert "Apply for access at https://data.example/apply" in printed.err
    assert main(["mirror", "capitals.yaml", "gated.yaml", "--to", str(tmp_path / "to")]) == 1
    assert "1 of 2 scenarios failed: gated.yaml." in capsys.readouterr().err


def test_suites_have_scenarios_and_those_in_the_package_need_no_mirror() -> None:
    assert suite_scenarios("lite")[:2] == ["narrative_qa", "natural_qa_openbook_longans"]
    assert "bbq" in suite_scenarios("safety")
    with pytest.raises(UnknownNameError, match="Did you mean 'safety'"):
        suite_scenarios("safty")


def test_mirror_of_a_conf_file(tmp_path: Path) -> None:
    (tmp_path / "entries.conf").write_text(
        'entries: [{description: "gsm:model=m", priority: 1}, {description: "nothing:model=m", priority: 1}]'
    )
    assert suite_scenarios(str(tmp_path / "entries.conf")) == ["gsm8k"]


def test_mirror_prints_lines_if_the_output_is_no_terminal(
    publishing: Publisher, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helm, "_LINE_SECONDS", 0.0)
    assert main(["mirror", "capitals.yaml", "--to", str(tmp_path / "to")]) == 0
    assert "helmframe: capitals: 1/1 files, 29 B of 29 B" in capsys.readouterr().err


def test_mirror_shows_bytes_files_and_time_left_on_a_terminal(publishing: Publisher, tmp_path: Path) -> None:
    leader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-m", "helmframe", "mirror", "capitals.yaml", "--to", str(tmp_path / "to")]
    subprocess.run(command, stderr=terminal, stdout=subprocess.DEVNULL, check=True)
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # the other end is closed
        while chunk := os.read(leader, 65_536):
            shown += chunk
    os.close(leader)
    assert re.search(r"capitals: 100%.* 29.0/29.0 \[\d\d:\d\d<\d\d:\d\d,.*1/1 files\]", shown.decode())


def test_mirror_needs_a_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mirror", "--to", str(tmp_path)]) == 2
    assert "Write helmframe mirror NAME … --to ROOT, or --suite SUITE." in capsys.readouterr().err
