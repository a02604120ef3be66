"""Reports and reprs in a real browser: hostile texts are text, nothing runs, nothing is fetched."""

from pathlib import Path
from typing import Any, Literal

import pytest

import helmframe as hf
from tests.browser.conftest import Watched
from tests.browser.hostile import HOSTILE, NAMES, cut, serious, visible
from tests.browser.reports import hostile_results

pytestmark = pytest.mark.slow

INJECT = """() => {
  const script = document.createElement("script");
  script.textContent = "window.ran = true";
  document.body.append(script);
  const inline = document.createElement("img");
  inline.setAttribute("onerror", "window.ran = true");
  inline.src = "data:,";
  document.body.append(inline);
  return new Promise((done) => setTimeout(() => done(window.ran === true), 200));
}"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> hf.Results:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELMFRAME_STORE", str(tmp_path_factory.mktemp("store")))
        return hostile_results()


@pytest.fixture(scope="module")
def report(results: hf.Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = results.report(tmp_path_factory.mktemp("report") / "report.html", title=NAMES[3])
    assert isinstance(path, Path)
    return path


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_report_shows_hostile_texts_and_runs_none(
    report: Path, mode: Literal["light", "dark"], watched: Watched
) -> None:
    page = watched.page
    page.emulate_media(color_scheme=mode)
    page.goto(report.as_uri())
    cells = page.locator("td.text").evaluate_all("each => each.map((cell) => cell.textContent)")
    assert [place for place, text in enumerate(HOSTILE) if cut(text, 500) not in cells] == []
    text = page.locator("body").evaluate("body => body.textContent")
    assert [name for name in NAMES if visible(name) not in text] == []
    assert page.locator("h1").inner_text() == NAMES[3]
    assert page.locator("script, iframe, object, svg, main b, [onerror], [onload], [ontoggle]").count() == 0
    pictures = page.locator("img")
    assert pictures.count() >= 4
    assert pictures.evaluate_all("each => each.filter((img) => !img.complete || img.naturalWidth < 100).length") == 0
    assert page.locator("ins").count() > len(HOSTILE)
    assert serious(page) == []
    assert [each for each in watched.requests if not each.startswith(("file:", "data:"))] == []
    assert (watched.errors, watched.executed) == ([], [])
    assert page.evaluate(INJECT) is False  # the policy refuses what gets past the escaping too


@pytest.mark.smoke
def test_reprs_show_hostile_texts_and_run_none(results: hf.Results, tmp_path: Path, watched: Watched) -> None:
    shown: list[Any] = [results, results.compare("model"), results.leaderboard(), results.flips()]
    html = "".join(each._repr_html_() for each in shown)
    path = tmp_path / "reprs.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><link rel=icon href='data:,'>{html}", encoding="utf-8")
    watched.page.goto(path.as_uri())
    text = watched.page.locator("body").evaluate("body => body.textContent")
    assert [name for name in (NAMES[0], NAMES[1], NAMES[7]) if visible(name) not in text] == []
    assert [place for place, each in enumerate(HOSTILE) if visible(each[:2_000]) not in text] == []
    assert watched.page.locator("script, iframe, img, svg").count() == 0
    assert (watched.errors, watched.executed) == ([], [])
    for line in repr(results).splitlines():
        assert "\x1b" not in line
        assert "\u202e" not in line
