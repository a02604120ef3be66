"""The explorer in a real browser: page, notebook, keyboard, hostile texts."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.views.explore import Explorer
from helmframe.views.servers import ExplorerServer
from tests.browser.conftest import Watched
from tests.browser.hostile import HOSTILE, visible
from tests.browser.lab import started_lab
from tests.browser.serving import serving

pytestmark = pytest.mark.slow


@contextmanager
def served(results: hf.Results) -> Iterator[str]:
    with serving(ExplorerServer(Explorer(results))) as address:
        yield address


def scored() -> hf.Results:
    plan = hf.scenario("sampler").perturb("typos").adapt(shots=2)
    return plan.generate({"good": hf.models.oracle(), "bad": hf.models.noisy(0.3)}).score()


def rows(page: Any) -> Any:
    return page.locator(".list tbody tr")


def caption(page: Any, text: str) -> None:
    page.locator(".list caption", has_text=text).wait_for()


def well(watched: Watched) -> None:
    assert (watched.left, watched.errors, watched.executed) == ([], [], [])


def test_a_click_shows_the_instance_and_others_lead_on(watched: Watched) -> None:
    page = watched.page
    with served(scored()) as address:
        page.goto(address)
        caption(page, "1–50 of 1,024 rows")
        assert page.locator(".one h3").count() == 0
        page.get_by_label("perturbation", exact=True).select_option(label="typos")
        page.get_by_label("model", exact=True).select_option(label="bad")
        page.get_by_label("score to", exact=True).fill("0")
        page.get_by_label("score to", exact=True).press("Enter")
        page.locator(".list caption", has_not_text="1,024").wait_for()
        first = rows(page).first
        name = first.locator("button").inner_text()
        first.locator("td").nth(1).click()
        page.locator(".one h3", has_text=f"{name}, typos, bad").wait_for()
        one = page.get_by_role("region", name="instance", exact=True)
        for title in ("scores", "prompt as sent", "completion", "parsed output", "references"):
            assert one.locator("h4", has_text=title).count(), title
        assert "2 few-shot examples" in one.locator("summary").first.inner_text()
        assert not one.get_by_role("region", name="start of the prompt").is_visible()
        one.locator("summary").first.click()
        assert one.get_by_role("region", name="start of the prompt").is_visible()
        others = one.locator("table", has_text="variant").locator("tbody tr")
        assert others.count() == 4
        others.filter(has_text="good").filter(has_text="original").click()
        page.locator(".one h3", has_text=f"{name}, original, good").wait_for()
        page.get_by_label("metric", exact=True).select_option(label="quasi_exact_match")
        page.locator(".one h3").wait_for(state="detached")
    well(watched)


def test_a_bar_leads_to_its_rows_and_pages_turn(watched: Watched) -> None:
    page = watched.page
    with served(scored()) as address:
        page.goto(address)
        page.get_by_role("group", name="mean score by model").get_by_role("button", name="bad").click()
        caption(page, "1–50 of 512 rows")
        assert page.get_by_label("model", exact=True).input_value() == "0"
        page.get_by_role("button", name="next").click()
        caption(page, "51–100 of 512 rows")
        page.get_by_label("page", exact=True).fill("11")
        page.get_by_label("page", exact=True).press("Enter")
        caption(page, "501–512 of 512 rows")
        assert page.get_by_role("button", name="next").is_disabled()
        page.get_by_label("instance id contains").fill("no such id")
        page.get_by_label("instance id contains").press("Enter")
        caption(page, "no rows")
    well(watched)


def test_the_keyboard_is_enough(watched: Watched) -> None:
    page = watched.page
    with served(scored()) as address:
        page.goto(address)
        caption(page, "1–50")
        page.locator(".list tbody button").first.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        name = rows(page).nth(2).locator("button").inner_text()
        page.keyboard.press("Enter")
        page.locator(".one h3", has_text=name).wait_for()
        assert rows(page).nth(2).get_attribute("aria-current") == "true"
        assert name in page.get_by_role("status").inner_text()
        page.keyboard.press("PageDown")
        caption(page, "51–100")
        page.keyboard.press("PageUp")
        caption(page, "1–50")
        # every control has a name, and one row alone is a stop of the Tab key
        unnamed = page.evaluate(
            """() => [...document.querySelector("main").shadowRoot.querySelectorAll("input, select, button")]
            .filter((each) => !each.getAttribute("aria-label") && !each.textContent.trim()).length"""
        )
        stops = page.evaluate(
            """() => [...document.querySelector("main").shadowRoot.querySelectorAll(".list tbody button")]
            .filter((each) => each.tabIndex === 0).length"""
        )
        assert (unnamed, stops) == (0, 1)
    well(watched)


def test_hostile_texts_are_shown_as_text(watched: Watched) -> None:
    page = watched.page
    by_prompt = {text[:60]: text for text in HOSTILE}
    frame = pl.DataFrame({"q": list(by_prompt), "a": HOSTILE, "<b>own</b>": HOSTILE})
    name = "<img src=x onerror=alert('model')>"

    def model(prompt: str) -> hf.models.Completion:
        text = next(text for start, text in by_prompt.items() if start in prompt)
        return hf.models.Completion(text, reasoning=text)

    plan = hf.scenario(frame, input="q", references="a", name="hostile")
    with served(plan.perturb("typos").generate({name: model, "<i>other</i>": hf.models.echo()}).score()) as address:
        page.goto(address)
        caption(page, "1–40 of 40 rows")
        page.get_by_label("model", exact=True).select_option(label=name)
        page.get_by_label("perturbation", exact=True).select_option(label="original")
        caption(page, "1–10 of 10 rows")
        shown = 0
        for place, text in enumerate(HOSTILE):
            rows(page).nth(place).locator("button").click()
            title = rows(page).nth(place).locator("button").inner_text()
            page.locator(".one h3", has_text=f"{title}, original, {name}").wait_for()
            for label in ("completion", "reasoning"):
                found = page.get_by_role("region", name=label, exact=True).evaluate("each => each.textContent")
                assert found == visible(text[:100_000]), place
                shown += 1
        assert "4,900,000 more characters" in page.locator(".one").inner_text()
        assert shown == 2 * len(HOSTILE)
        assert (
            page.evaluate(
                "() => document.querySelector('main').shadowRoot.querySelectorAll('script, img, svg, iframe').length"
            )
            == 0
        )
    print(
        f"\nhostile completions: {shown} shown as text, {len(watched.executed)} executed, {len(watched.errors)} errors"
    )
    well(watched)


def test_a_notebook_shows_the_same_and_keeps_its_own_keys_away(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    make = """import helmframe as hf
models = {"good": hf.models.oracle(), "bad": hf.models.noisy(0.3)}
results = hf.scenario("sampler").perturb("typos").generate(models).score()"""
    with started_lab(tmp_path) as lab:
        lab.open(page, [make, "results.explore(model='bad')", "1 + 1"])
        lab.run(page, 0)
        lab.run(page, 1)
        caption(page, "1–50 of 512 rows")
        page.locator(".list tbody button").first.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.locator(".one h3", has_text="bad").wait_for()
        assert rows(page).nth(1).get_attribute("aria-current") == "true"
        page.get_by_role("button", name="next").click()
        caption(page, "51–100 of 512 rows")
        assert page.locator(".jp-CodeCell").count() == 3  # no key was taken for one of the notebook's
        assert watched.left == []
        assert watched.executed == []


def test_helmframe_view_serves_a_run_until_ctrl_c(watched: Watched, tmp_path: Path) -> None:
    folder = scored().to_parquet(tmp_path / "run")
    command = [sys.executable, "-m", "helmframe", "view", str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as view:
        assert view.stdout is not None
        address = view.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        watched.page.goto(address)
        caption(watched.page, "1–50 of 1,024 rows")
        view.send_signal(signal.SIGINT)
        _, errors = view.communicate(timeout=30)
        assert view.returncode == 0
        assert errors == "helmframe: stopped\n"
    well(watched)
