"""`helmframe gate`: its exit codes for scripts, and the verdict as text, Markdown and JSON."""

import json
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.cli.app import main

HOSTILE = "<script>|`x`"


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    rows = pl.DataFrame({"q": [f"question {place}?" for place in range(60)], "a": ["yes"] * 60})
    plan = hf.scenario(rows, input="q", references="a", name="asked").metrics("exact_match")
    models = {"good": hf.models.oracle(), "bad": hf.models.noisy(0.4)}
    runs = [plan.generate({HOSTILE: model, "m": model}).score() for model in models.values()]
    return [str(run.to_parquet(tmp_path / name)) for run, name in zip(runs, models, strict=True)]


def test_the_exit_code_is_the_verdict(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = folders
    assert main(["gate", good, "--at-least", "0.5"]) == 0
    assert main(["gate", good, "--against", bad]) == 0
    assert main(["gate", bad, "--against", good]) == 1
    assert main(["gate", bad, "--against", bad, "--margin", "0.001"]) == 3
    assert main(["gate", bad, "--against", bad, "--margin", "0.001", "--strict"]) == 1
    assert main(["gate", bad, "--at-most", "0.5"]) == 2  # an accuracy is better when it is higher
    assert "undecided: not worse by more than 0.001" in capsys.readouterr().out


def test_json_has_every_number(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", folders[1], "--at-least", "0.4", "--columns", "exact_match", "--format", "json"]) == 3
    said = json.loads(capsys.readouterr().out)
    gate = hf.load(folders[1]).gate(at_least=0.4)
    assert (said["verdict"], said["criterion"], said["rows"]) == ("undecided", "at least 0.4", gate.table.to_dicts())


def test_markdown_shows_names_to_the_letter(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", folders[0], "--at-least", "0.5", "-o", str(tmp_path / "gate.md")]) == 0
    first, _, head, rule, row = (tmp_path / "gate.md").read_text(encoding="utf-8").splitlines()[:5]
    assert first == "**pass: at least 0.5 (2 of 2 rows)**"
    assert row.startswith("| \\<script\\>\\|\\`x\\` |")
    assert head.count("|") == rule.count("|") == row.count("|") - row.count("\\|")
    assert "wrote " in capsys.readouterr().err


def test_a_notebook_shows_it_escaped(folders: list[str]) -> None:
    html = hf.load(folders[0]).gate(at_least=0.5)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--at-least", "0.5"], "nowhere"),
        (["A", "--against", "nowhere"], "nowhere"),
        (["A", "--at-least", "0.5", "--columns", "exact_mach"], "Did you mean 'exact_match'"),
        (["A", "--at-least", "0.5", "--errors", "ignore"], "--errors ignore: "),
        (["A", "--at-least", "0.5", "--ci", "95"], "--ci 95: --ci must be between 0 and 1"),
        (["A", "--against", "A", "--margin", "-1"], "--margin -1: --margin must be a number ≥ 0"),
        (["A", "--at-least", "nan"], "--at-least nan: --at-least must be"),
        (["A", "--at-least", "80"], "Write 0.8 for 80 %."),
        (["A", "--at-least", "80"], "--at-least 80: --at-least must be between 0 and 1 for"),
        (["A", "--at-most", "0.5"], "--at-most …: higher is better for"),
        (["A", "--at-most", "0.5"], "Write --at-least …."),
        (["A", "--at-least", "0.5", "-o", "no/such/file.md"], "the folder no/such doesn't exist"),
    ],
)
def test_what_can_not_be_judged_is_an_error(
    arguments: list[str], message: str, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", *(folders[0] if each == "A" else each for each in arguments)]) == 2
    assert message in capsys.readouterr().err


def test_an_error_nobody_foresaw_is_not_a_failed_gate(
    folders: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(hf.Results, "gate", broken)
    assert main(["gate", folders[0], "--at-least", "0.5"]) == 2
    assert main(["gate", folders[0], "--at-least", "0.5", "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err
