"""Reports: hostile texts are text, everybody can read them, nothing is fetched, nothing is large."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import helmframe as hf
from tests.acceptance.figures import shown
from tests.browser.conftest import Watched, watched  # noqa: F401 - a fixture
from tests.browser.hostile import HOSTILE, cut, serious, visible
from tests.browser.reports import hostile_results

MOST_MB = 3
IN_TABLE, IN_REPR = 500, 2_000  # characters of a text that are shown


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hf.Results]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELMFRAME_STORE", str(tmp_path_factory.mktemp("store")))
        yield hostile_results()


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_2_and_3_a_report(run: hf.Results, mode: str, tmp_path: Path, watched: Watched) -> None:  # noqa: F811
    path = run.report(tmp_path / "report.html")
    assert isinstance(path, Path)
    watched.page.emulate_media(color_scheme="dark" if mode == "dark" else "light")
    watched.page.goto(path.as_uri())
    cells = watched.page.locator("td.text").evaluate_all("each => each.map((cell) => cell.textContent)")
    told(f"report, {mode}", sum(cut(text, IN_TABLE) in cells for text in HOSTILE), watched)


def test_3_reprs(run: hf.Results, tmp_path: Path, watched: Watched) -> None:  # noqa: F811
    html = "".join(each._repr_html_() for each in (run, run.compare("model"), run.leaderboard(), run.flips()))
    path = tmp_path / "reprs.html"
    path.write_text(f"<!doctype html><html lang=en><meta charset=utf-8><link rel=icon href='data:,'>{html}")
    watched.page.goto(path.as_uri())
    text = watched.page.locator("body").evaluate("body => body.textContent")
    count = sum(visible(each[:IN_REPR]) in text for each in HOSTILE)
    shown("3", f"reprs: hostile texts shown of {len(HOSTILE)}", count, "all")
    shown("3", "reprs: executed, console errors", (len(watched.executed), len(watched.errors)), "none")
    assert count == len(HOSTILE)
    assert (watched.left, watched.errors, watched.executed) == ([], [], [])


def test_the_report_of_a_run_of_300_instances(tmp_path: Path) -> None:
    plan = hf.scenario("sampler").perturb(["typos", "lowercase", "gender"]).adapt(shots=2)
    models = {name: hf.models.noisy(accuracy) for name, accuracy in (("a", 0.9), ("b", 0.6), ("c", 0.4))}
    results = plan.generate(models).score()
    start = time.process_time()
    path = results.report(tmp_path / "report.html")
    assert isinstance(path, Path)
    size = path.stat().st_size / 1e6
    count = results.completions.collect().height
    shown("report", f"of {count:,} completions (256 instances): MB", f"{size:.2f}", MOST_MB)
    shown("report", "CPU seconds", f"{time.process_time() - start:.1f}", "none")
    assert size < MOST_MB


def told(what: str, count: int, seen: Watched) -> None:
    """Print and check what both pages have to hold to."""
    problems = serious(seen.page)
    shown("3", f"{what}: hostile texts shown of {len(HOSTILE)}", count, "all")
    shown("3", f"{what}: executed, console errors", (len(seen.executed), len(seen.errors)), "none")
    shown("2", f"{what}: requests that left this machine, of all", (len(seen.left), len(seen.requests)), "none")
    shown("2", f"{what}: serious findings of axe-core", len(problems), "none")
    assert count == len(HOSTILE)
    assert (seen.left, seen.errors, seen.executed, problems) == ([], [], [], [])
