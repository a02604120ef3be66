"""What reprs show, as text and as HTML."""

from pathlib import Path

import pytest

import helmframe as hf
from helmframe.views.display import html_table, number, robustness_text, shown_path, spread, text_table


def test_words_stand_left_and_numbers_right() -> None:
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
