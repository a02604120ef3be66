"""`helmframe check`: what is wrong with a spec is found without its data."""

import re
from pathlib import Path

import polars as pl
import pytest

from helmframe._core.yaml import specs_root
from helmframe.cli.app import main
from helmframe.cli.check import check_spec, check_specs
from helmframe.errors import SpecError
from helmframe.scenarios.catalogue import find_scenario, scenario_names

GOOD = """\
scenario: mine
version: 1
description: a test
license: none
source: {rows: "{data}/mine/{split}-*.parquet"}
columns: {q: VARCHAR, a: VARCHAR}
splits: {dev: train, test: test}
instances: |
  SELECT row_index, split, q AS input, [{'text': a, 'correct': true}] AS "references" FROM rows
adapter: {method: generation, shots: 2}
metrics: [exact_match]
main: {metric: exact_match}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "mine.yaml").write_text(GOOD)
    return tmp_path / "specs"


def problem(folder: Path, old: str, new: str) -> str:
    (folder / "mine.yaml").write_text(GOOD.replace(old, new))
    return str(check_specs(folder)["problem"][0])


@pytest.mark.parametrize("name", scenario_names())
def test_each_spec_of_ours_makes_prompts_of_rows_as_its_columns_say(name: str) -> None:
    check_spec(find_scenario(name))


def test_a_valid_spec_has_no_problem_and_says_where_its_data_should_be(folder: Path) -> None:
    table = check_specs(folder, data="/nowhere")
    assert table["problem"].to_list() == [None]
    assert table["unread"].to_list() == ["scenario 'mine': no file found at /nowhere/mine/{split}-*.parquet."]


def test_data_that_is_there_is_counted(folder: Path, own_rows: Path) -> None:
    assert check_specs(folder, data=str(own_rows))["data"].to_list() == ["3 instances"]


def test_data_that_is_not_what_the_spec_says_is_a_problem(folder: Path, own_rows: Path) -> None:
    said = GOOD.replace("a: VARCHAR", "a: BIGINT").replace("'text': a", "'text': a::VARCHAR")
    (folder / "mine.yaml").write_text(said)
    found = check_specs(folder, data=str(own_rows))["problem"][0]
    assert "column 'a' must be BIGINT, as the spec declares, not VARCHAR" in found


@pytest.mark.parametrize("references", ["a", "[a]", "[{'text': a}]"])
def test_references_are_lists_of_text_and_correct(folder: Path, references: str) -> None:
    said = problem(folder, "[{'text': a, 'correct': true}]", references)
    assert "Write [{'text': answer, 'correct': true}] AS" in said


def test_an_unknown_draw_is_a_problem(folder: Path) -> None:
    said = problem(folder, "metrics:", "draw: quacs\nmetrics:")
    assert said.startswith("Unknown draw 'quacs'. Did you mean 'quac'?")


@pytest.fixture
def own_rows(tmp_path: Path) -> Path:
    (tmp_path / "rows" / "mine").mkdir(parents=True)
    pl.DataFrame({"q": ["a", "b", "c"], "a": ["x", "y", "z"]}).write_parquet(tmp_path / "rows/mine/test-0.parquet")
    return tmp_path / "rows"


def test_an_unknown_metric_is_named(folder: Path) -> None:
    said = problem(folder, "exact_match]", "exact_mach]").splitlines()[0]
    assert said.startswith("Unknown metric 'exact_mach'. Did you mean 'exact_match'")


def test_a_main_metric_that_is_not_scored_is_named(folder: Path) -> None:
    assert problem(folder, "metric: exact_match", "metric: f1_score") == (
        "mine.yaml: main.metric: 'f1_score' must be one of metrics: exact_match."
    )


def test_an_unknown_method_is_named(folder: Path) -> None:
    said = problem(folder, "method: generation", "method: generate")
    assert said.startswith("Unknown adapter method 'generate'")


def test_a_select_that_does_not_fit_the_columns_is_found_without_data(folder: Path) -> None:
    assert 'Referenced column "question" not found' in problem(folder, "q AS input", "question AS input")


def test_a_type_that_is_none_is_named(folder: Path) -> None:
    assert "columns.a: " in problem(folder, "a: VARCHAR", "a: WORDS")


def test_a_file_is_called_as_its_scenario(folder: Path) -> None:
    assert "must be the name of the file without .yaml: 'mine'" in problem(folder, "scenario: mine", "scenario: other")


def test_suites_and_judges_are_read_too() -> None:
    table = check_specs(specs_root() / "suites" / "lite.yaml")
    assert table.row(0)[1:] == (None, "10 plans", None)
    assert check_specs(specs_root() / "judges")["problem"].null_count() == check_specs(specs_root() / "judges").height


def test_a_folder_without_specs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no spec found"):
        check_specs(tmp_path)


def test_the_command_says_what_is_wrong_and_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "other.yaml").write_text(GOOD)
    assert main(["check", str(folder), "--data", "/nowhere"]) == 1
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.startswith("UNREAD  mine.yaml")
    assert second.startswith("ERROR   other.yaml")
    assert "1 of 2 files are invalid" in err


def test_the_command_is_content_with_what_is_right(
    folder: Path, own_rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(folder / "mine.yaml"), "--data", str(own_rows)]) == 0
    assert capsys.readouterr().out.split()[:2] == ["ok", str(folder / "mine.yaml")]


def test_a_data_root_that_is_not_readable_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(folder), "--data", "/nowhere"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("UNREAD  mine.yaml  scenario 'mine': no file found at /nowhere")
    assert out.count("\n") == 1
    assert err == "helmframe: The rows of 1 of 1 files can't be read below /nowhere.\n"


def test_without_a_data_root_rows_may_be_unread(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HELMFRAME_DATA", raising=False)
    assert main(["check", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("UNREAD  mine.yaml  scenario 'mine': no data root is set for ")
    monkeypatch.setenv("HELMFRAME_DATA", "/nowhere")
    assert main(["check", str(folder)]) == 1


def test_a_server_that_is_down_is_no_fault_of_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert main(["check", str(folder), "--data", "s3://evals"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("UNREAD  mine.yaml  scenario 'mine': s3://evals/mine/{split}-*.parquet can't be reached")
    assert out.count("\n") == 1


def test_an_address_of_a_server_needs_no_scheme(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:19000")
    assert main(["check", str(folder), "--data", "s3://evals"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"UNREAD  mine\.yaml .* can't be reached .*localhost:19000", out)
