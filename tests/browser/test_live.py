"""A run in a real notebook: changes in place, survives that its cell is run again, ends quietly."""

import re
from pathlib import Path

import pytest

from tests.browser.conftest import Watched
from tests.browser.lab import started_lab

pytestmark = pytest.mark.slow

SUBMIT = """import helmframe as hf, time
def slow(prompt: str):
    time.sleep(.06)
    return hf.models.Completion("A", prompt_tokens=len(prompt) // 4, output_tokens=1)
run = hf.scenario("sampler").generate({"slow": slow, "<b>oracle</b>": hf.models.oracle()}).submit()"""


def test_a_run_is_shown_live_and_stays_as_it_ended(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    with started_lab(tmp_path) as lab:
        lab.open(page, [SUBMIT, "run", "run.wait()"])
        lab.run(page, 0)
        lab.run(page, 1)
        shown = page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea")
        shown.locator("th", has_text="score so far").wait_for(timeout=30_000)
        first = shown.inner_text()
        assert "running" in first
        assert "time left" in first
        lab.run(page, 1)
        moved = int_of(r"(\d+) of 512 completions", first)
        page.wait_for_function(
            """moved => [...document.querySelectorAll(".jp-OutputArea")].some((each) =>
            Number(/([\\d,]+) of 512 completions/.exec(each.innerText)?.[1].replace(",", "")) > moved + 20)""",
            arg=moved,
        )
        second = shown.inner_text()
        assert int_of(r"([\d,]+) prompt tokens", second) > int_of(r"([\d,]+) prompt tokens", first)
        shown.locator("text=done, 512 of 512 completions").wait_for(timeout=60_000)
        shown.locator("th", has_text=re.compile("^score$")).wait_for()
        last = shown.inner_text()
        assert shown.locator("tr", has_text="exact_match").count() == 2
        assert "running" not in last
        assert "<b>oracle</b>" in last
        assert page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea-output").count() == 1
        assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
        page.wait_for_timeout(1500)
        assert shown.inner_text() == last
    assert watched.left == []
    assert watched.executed == []


def int_of(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found, text
    return int(found[1].replace(",", ""))
