"""`helmframe mirror` and `helmframe export`."""

import json
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.cli import main

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
        "capitals: 1 rows, 1 files written, 0 there already\n"
        "capitals: 1 rows, 0 files written, 1 there already\n"
    )  # fmt: skip


def test_mirror_goes_on_with_the_others_and_fails_at_the_end(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["gsm8k", str(spec)]
    assert main(["mirror", *names, "--from", str(tmp_path / "source"), "--to", str(tmp_path / "to")]) == 1
    said = capsys.readouterr()
    assert said.out == "capitals: 1 rows, 1 files written, 0 there already\n"
    assert "no file in" in said.err
    assert "not mirrored: gsm8k; of 2 scenarios." in said.err


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
    assert results.completions.select("part", "trial").unique().sort("trial").collect().rows() == [
        ("music", 0),
        ("music", 1),
    ]
    # what is there is printed, not asked again
    assert main(["run", "-r", *entries, *flags, *folder]) == 0
    assert "exact_match" in capsys.readouterr().out


def test_help_says_that_one_thread_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert "HELM's threads, of which -n 1 is one" in " ".join(capsys.readouterr().out.split())
