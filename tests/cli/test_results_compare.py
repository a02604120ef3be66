"""`helmframe compare`: two folders, or what varies in one, as text, Markdown and JSON."""

import json
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.cli.app import main

HOSTILE = "<script>|`x`"


def plan() -> hf.Plan:
    rows = pl.DataFrame({"q": [f"question {place}?" for place in range(30)], "a": ["yes"] * 30})
    return hf.scenario(rows, input="q", references="a", name="asked").metrics("exact_match")


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    models = {"good": hf.models.oracle(), HOSTILE: hf.models.noisy(0.4)}
    runs = [plan().generate({name: model}).score() for name, model in models.items()]
    return [str(run.to_parquet(tmp_path / str(place))) for place, run in enumerate(runs)]


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["compare", *arguments]) == 0
    return capsys.readouterr().out


def test_two_folders_as_text(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, *folders).splitlines()
    assert lines[1].startswith("good  <script>|`x`")
    assert "differs in: model" in lines


def test_json_has_every_number(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = json.loads(said(capsys, *folders, "--format", "json"))["rows"]
    table = hf.compare(*folders)
    assert row == table.row(0, named=True)


def test_markdown_shows_names_to_the_letter(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    head, rule, row = said(capsys, *folders, "--format", "markdown").splitlines()[:3]
    assert row.startswith("| good | \\<script\\>\\|\\`x\\` |")
    assert head.count("|") == rule.count("|") == row.count("|") - row.count("\\|")


@pytest.mark.parametrize(("name", "start"), [("out.md", "| a |"), ("out.json", '{\n  "rows"'), ("out.txt", "a ")])
def test_a_file_is_written_in_its_format(
    name: str, start: str, folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, *folders, "-o", str(tmp_path / name))
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)


def test_one_folder_and_what_varies_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = plan().perturb("typos").generate(hf.models.noisy(0.5)).score().to_parquet(tmp_path / "run")
    assert "typos  original" in said(capsys, str(run), "--axis", "perturbation")
    assert "worst" not in said(capsys, str(run), str(run), "--worst", "all", "--ci", "0.9")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["A"], "compare takes two folders, or one folder and an axis"),
        (["A", "A", "A"], "compare takes two folders"),
        (["A", "nowhere"], "nowhere"),
        (["A", "A", "--axis", "modell"], "Did you mean 'model'"),
        (["A", "A", "--worst", "some"], "worst must be 'all' or an integer"),
        (["A", "A", "--errors", "ignore"], "errors='ignore'"),
        (["A", "A", "-o", "no/such/file.md"], "the folder no/such doesn't exist"),
        (["A", "A", "--ci", "95"], "ci=95.0: ci must be between 0 and 1"),
    ],
)
def test_incomparable_results_raise(
    arguments: list[str], message: str, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *(folders[0] if each == "A" else each for each in arguments)]) == (
        1 if "nowhere" in arguments else 2
    )
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
