"""The dashboard in a real browser: forms, pages, instances, hostile texts."""

from pathlib import Path

import pytest

import helmframe as hf
from tests.browser.conftest import Watched
from tests.browser.hostile import HOSTILE, NAMES, cut, serious, visible
from tests.browser.reports import hostile_results, served

pytestmark = pytest.mark.slow


def well(watched: Watched) -> None:
    assert (watched.left, watched.errors, watched.executed) == ([], [], [])


def test_a_form_chooses_and_links_lead_on(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    plan = hf.scenario("sampler").where(subject="music").perturb("typos")
    plan.generate({"good": hf.models.oracle(), "bad": hf.models.noisy(0.3)}).score().to_parquet(tmp_path / "runs" / "a")
    plan.limit(4).generate({"good": hf.models.oracle()}).score().to_parquet(tmp_path / "runs" / "b")
    with served(tmp_path / "runs") as address:
        page.goto(address)
        assert page.locator("h1").inner_text() == "helmframe: b"
        page.get_by_label("run", exact=True).select_option("a")
        page.get_by_role("button", name="Show").click()
        page.locator("p", has_text="page 1 of").wait_for()
        assert page.locator("img").count() == 2
        page.get_by_role("link", name="next page").click()
        page.locator("p", has_text="page 2 of").wait_for()
        assert page.get_by_label("run", exact=True).input_value() == "a"
        page.get_by_label("model", exact=True).select_option("bad")
        page.get_by_label("perturbation", exact=True).select_option("typos")
        page.get_by_label("order", exact=True).select_option("highest")
        page.get_by_role("button", name="Show").click()
        rows = page.get_by_role("region", name="completions").locator("tbody tr")
        assert page.get_by_role("region", name="scores").locator("tbody tr").count() == 1
        assert rows.first.locator("td.number").inner_text() == "1.000"
        name = rows.first.locator("a").inner_text()
        rows.first.locator("a").click()
        page.locator("h1", has_text=name).wait_for()
        assert page.get_by_role("region", name="all models").locator("tbody tr").count() == 4
        assert serious(page) == []
        page.get_by_role("link", name="all completions").click()
        page.get_by_role("button", name="Show").wait_for()
    well(watched)


def test_hostile_texts_are_shown_and_never_run(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    with served(hostile_results().to_parquet(tmp_path / "run")) as address:
        for mode in ("light", "dark"):
            page.emulate_media(color_scheme=mode)
            page.goto(address)
            assert serious(page) == []
        page.get_by_label("model", exact=True).select_option(NAMES[1])
        page.get_by_label("perturbation", exact=True).select_option("original")
        page.get_by_role("button", name="Show").click()
        page.locator("p", has_text="10 scores").wait_for()
        cells = page.locator("td.text").evaluate_all("each => each.map((cell) => cell.textContent)")
        assert [place for place, text in enumerate(HOSTILE) if visible(text[:160]) not in cells] == []
        links = page.get_by_role("region", name="completions").locator("a")
        found = []
        for place in range(links.count()):
            links.nth(place).click()
            found.append(page.locator("div.block").nth(1).evaluate("each => each.textContent"))
            page.go_back()
        assert sorted(found) == sorted(cut(text, 100_000) for text in HOSTILE)
        assert page.locator("script, iframe, object, svg, [onerror], [onload], [ontoggle]").count() == 0
    well(watched)
