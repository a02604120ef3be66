"""What reprs show, as text and as HTML."""

import io
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._core.safe_text import text_table
from helmframe.errors import ArgumentError
from helmframe.results._robustness import Changes
from helmframe.views.display import (
    MOST_ROWS,
    html_table,
    number,
    robustness_text,
    shown_path,
    spread,
    table_as,
)


def test_text_is_aligned_left_and_numbers_right() -> None:
    assert text_table(["name", "n"], [["a", "5"], ["bc", "10"]]) == "name   n\na      5\nbc    10"


def test_a_table_without_rows_is_its_head() -> None:
    assert text_table(["name", "n"], []) == "name  n"


def test_html_cells_are_escaped() -> None:
    assert "<b>" not in html_table(["<b>"], [["<b>x</b>"]])


def test_nothing_is_shown_as_nothing() -> None:
    assert (number(None), spread(None, 0.5)) == ("", "")


def test_a_path_is_shown_from_here_or_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "runs" / "x") == str(Path("runs") / "x")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert shown_path(tmp_path.parent) == str(tmp_path.parent)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert shown_path(tmp_path / "home" / "store") == "~/store"


def test_a_path_is_shown_to_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_user(uid: int) -> object:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_user)
    assert shown_path(tmp_path) == str(tmp_path)


@pytest.fixture(scope="module")
def changes() -> pl.DataFrame:
    plan = hf.scenario("sampler").where(subject="music").perturb(["typos", "lowercase", "rerun"])
    models = {"small-model": hf.models.noisy(0.8, seed=1), "large-model": hf.models.noisy(0.9, seed=1)}
    return plan.generate(models).score().robustness()


@pytest.mark.parametrize("printed", [str, repr])
def test_changes_are_printed_first_and_fit_a_terminal(changes: pl.DataFrame, printed: Any) -> None:
    head, *rows = printed(changes).splitlines()
    assert head.split()[:5] == ["model", "metric", "perturbation", "change", "interval"]
    assert max(map(len, [head, *rows])) <= 120
    assert "…" not in printed(changes)
    assert rows[-2] == "scenario: sampler"
    assert rows[-1] == "change: perturbed − original, on changed inputs; all 18 columns: .frame"


def test_a_placebo_adds_the_change_beyond_it() -> None:
    plan = hf.scenario("sampler").where(subject="music").perturb(["typos", "rerun"])
    text = str(plan.generate(hf.models.noisy(0.8)).score().robustness(metrics="exact_match", placebo="rerun"))
    head = text.splitlines()[0]
    assert head.split() == [
        *("perturbation", "change", "interval", "beyond", "placebo", "its", "interval"),
        *("n", "changed", "original", "perturbed", "worst", "n"),
    ]
    assert len(head) <= 120


def test_changes_are_still_a_frame_of_all_columns(changes: pl.DataFrame) -> None:
    assert changes.width == 18
    selected = changes.select("perturbation", "change")
    assert str(selected).startswith("shape: ")
    assert str(changes.head(0)).startswith("shape: (0, 18)")
    assert str(changes.transpose()).startswith("shape: ")


def test_changes_in_html_are_escaped_and_short() -> None:
    plan = hf.scenario("sampler").where(subject="music").perturb("typos").generate({"<b>": hf.models.noisy(0.8)})
    html = plan.score().robustness()._repr_html_()
    assert "<b>" not in html
    assert html.count("<th ") == 9  # with the metric


def test_a_long_table_of_changes_is_cut(changes: pl.DataFrame) -> None:
    rows = str(Changes(pl.concat([changes] * 4))).splitlines()
    assert len(rows) == 1 + MOST_ROWS + 3
    assert rows[MOST_ROWS + 1] == f"{4 * changes.height - MOST_ROWS} more rows"


def test_robustness_is_one_line_per_perturbation() -> None:
    results = hf.scenario("sampler").where(subject="music").perturb("typos").generate(hf.models.oracle()).score()
    text = robustness_text(results.robustness().filter(metric="exact_match").drop("scenario", "metric"))
    assert [line.split()[1] for line in text.splitlines()[1:]] == ["all", "typos"]
    assert "1.000 (k=1)" in text


def test_text_and_html_carry_the_same_numbers() -> None:
    results = hf.scenario("sampler").where(subject="music").generate(hf.models.noisy(0.5)).score()
    html = results._repr_html_()
    for cell in repr(results).splitlines()[1].split():
        assert cell.strip("[],") in html


def table() -> pl.DataFrame:
    return pl.DataFrame({"model": ["a_b & <c>|\u202e", "plain"], "metric": "f1", "value": [0.5, 1 / 3], "stderr": None,
                         "ci_low": [0.25, None], "ci_high": [0.75, None], "interval": ["t", "one instance only"],
                         "n": [1200, 1], "n_error": [0, 1], "n_unparsed": [0, 0], "n_truncated": [0, 0]})  # fmt: skip


def test_csv_and_json_hold_every_number() -> None:
    assert pl.read_csv(io.StringIO(table_as(table(), "x.csv")))["value"].to_list() == [0.5, 1 / 3]
    assert pl.read_json(io.StringIO(table_as(table(), "s3://b/x.json")))["value"].to_list() == [0.5, 1 / 3]


def test_markdown_is_what_people_read() -> None:
    assert table_as(table(), "x.md") == (
        "| model | metric | value | interval | n | error |\n"
        "|---|---|---|---|---|---|\n"
        "| a\\_b & \\<c\\>\\|⟨U+202E⟩ | f1 | 0.500 | \\[0.250, 0.750\\] | 1,200 | 0 |\n"
        "| plain | f1 | 0.333 | one instance only | 1 | 1 |\n"
    )


def test_latex_is_escaped() -> None:
    text = table_as(table(), "x.tex")
    assert text.startswith("\\begin{tabular}{llllll}\n\\toprule")
    assert r"a\_b \& \ensuremath{<}c\ensuremath{>}|⟨U+202E⟩" in text
    assert text.endswith("\\bottomrule\n\\end{tabular}\n")


def test_another_kind_of_file_is_an_error() -> None:
    with pytest.raises(ArgumentError, match=r"'x.xlsx'\): the file name must end in .csv, .json, .md or .tex"):
        table_as(table(), "x.xlsx")


def test_results_write_a_pivoted_table(tmp_path: Path) -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(4).perturb("typos")
    results = plan.generate({"a": hf.models.oracle(), "b": hf.models.oracle()}).score()
    path = results.write_table(tmp_path / "t.md", ["model", "perturbation"], metrics="exact_match", pivot="model")
    assert isinstance(path, Path)
    assert path.read_text(encoding="utf-8").splitlines()[0] == "| perturbation | metric | a | b |"
    assert path.read_text(encoding="utf-8").splitlines()[2] == r"| original | exact\_match | 1.000 | 1.000 |"


def test_formulas_in_csv_start_with_an_apostrophe_and_numbers_do_not_change() -> None:
    texts = ["=1+1", "+cmd", "-x", "@a", "\tb", "\rc", "＝d", "'=e", "'f", "-0.5", "1e-3", "plain", None]
    frame = pl.DataFrame({"=head": texts, "value": [-1.5] * len(texts)})
    written = pl.read_csv(io.StringIO(table_as(frame, "x.csv")), schema_overrides={"'=head": pl.String})
    cells = written["'=head"].to_list()
    assert cells[:8] == ["'=1+1", "'+cmd", "'-x", "'@a", "'\tb", "'\rc", "'＝d", "''=e"]
    assert cells[8:12] == ["'f", "-0.5", "1e-3", "plain"]
    assert written["value"].to_list() == [-1.5] * len(texts)
    original = [re.sub(r"^'(?='*[=+\-@\t\r\n＝＋－＠])", "", cell) for cell in cells[:12]]
    assert original == texts[:12]
