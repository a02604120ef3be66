"""The command's side of the specs: check, list, show."""

from pathlib import Path

import pytest

from helmframe.cli.app import main
from tests.cli.test_check import GOOD


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "mine.yaml").write_text(GOOD)
    return tmp_path / "specs"


def test_the_command_says_what_is_wrong_and_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "other.yaml").write_text(GOOD)
    assert main(["check", str(folder), "--data", "/nowhere"]) == 1
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.startswith("unread  mine.yaml")
    assert second.startswith("WRONG   other.yaml")
    assert "1 of 2 files are wrong" in err


def test_the_command_is_content_with_what_is_right(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(folder / "mine.yaml"), "--data", "/nowhere"]) == 0
    assert capsys.readouterr().out.split()[:2] == ["unread", str(folder / "mine.yaml")]


def test_list_says_where_the_rows_of_each_scenario_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "scenarios"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert " generated " in rows["dyck_language"]
    assert " licensed " in rows["ice"]
    assert " hub " in rows["mmlu"]


def test_list_names_the_suites(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "suites"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert {"classic", "lite", "mmlu", "safety", "capabilities"} <= set(names)


def test_show_prints_a_suite(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "lite"]) == 0
    assert capsys.readouterr().out.startswith("suite: lite")
