"""`helmframe list` and `helmframe show`: names of plug-ins, and specs."""

import pytest

from helmframe.cli.app import main


def test_list_names_what_there_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert {"mmlu", "sampler", "typos", "exact_match"} <= {line.partition(" ")[0] for line in out.splitlines()}
    assert max(map(len, out.splitlines())) <= 105  # the longest name of a scenario has 46 characters


def test_list_takes_one_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "perturbations"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.split() == ["perturbation", "arguments", "description"]


def test_show_prints_a_scenarios_spec(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "mmlu"]) == 0
    assert capsys.readouterr().out.startswith("scenario: mmlu\n")


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
