"""The viewer in a real browser: pages, keyboard, permalinks, labels, hostile texts, narrow screens, notebooks."""

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
from helmframe.views.transports import ViewerServer
from helmframe.views.viewer import Viewer
from tests.browser.conftest import Watched
from tests.browser.hostile import HOSTILE, NAMES, serious, visible
from tests.browser.lab import started_lab
from tests.browser.reports import hostile_results
from tests.browser.serving import serving

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@contextmanager
def served(source: hf.Results | Path) -> Iterator[str]:
    with serving(ViewerServer(Viewer.of(source))) as address:
        yield address


def scored(n: int | None = None) -> hf.Results:
    """Return results of all 256 instances, or of n."""
    plan = hf.scenario("sampler") if n is None else hf.scenario("sampler").where(subject="music").limit(n)
    plan = plan.perturb("typos").adapt(shots=2)
    return plan.generate({"good": hf.models.oracle(), "bad": hf.models.noisy(0.3)}).score()


def rows(page: Any) -> Any:
    return page.locator(".instances tbody tr")


def caption(page: Any, text: str) -> None:
    page.locator(".instances caption", has_text=text).wait_for()


def title(page: Any, text: str) -> None:
    page.locator(".one > h2", has_text=text).wait_for()


def well(watched: Watched) -> None:
    assert (watched.left, watched.errors, watched.executed) == ([], [], [])


def test_runs_are_searched_sorted_and_compared(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    plan = hf.scenario("sampler").where(subject="music")
    for name, accuracy in (("first", 0.3), ("second", 0.9), ("third", 0.6)):
        plan.generate({f"model-{name}": hf.models.noisy(accuracy)}).score().to_parquet(tmp_path / "runs" / name)
    with served(tmp_path / "runs") as address:
        page.goto(address)
        table = page.get_by_role("region", name="runs", exact=True)
        table.locator("tbody tr").nth(2).wait_for()
        assert table.locator("tbody tr").count() == 3
        page.get_by_role("button", name="main score").click()
        table.locator("tbody tr", has_text="%").nth(2).wait_for()
        values = [float(text.split(" ")[0]) for text in table.locator("tbody td:nth-child(6)").all_inner_texts()]
        assert values == sorted(values, reverse=True)
        assert table.locator("th[aria-sort=descending]").count() == 1
        page.get_by_label("search runs").fill("model-second")
        table.locator("caption", has_text="1 of 3 runs").wait_for()
        page.get_by_label("search runs").fill("")
        page.get_by_label("model", exact=True).select_option("model-third")
        table.locator("caption", has_text="1 of 3 runs").wait_for()
        page.get_by_label("model", exact=True).select_option("")
        for name in ("first", "second"):
            page.get_by_label(f"select {name}").check()
        page.get_by_role("button", name="Compare 2 runs").click()
        page.get_by_role("heading", name="Comparison of 2 runs").wait_for()
        differences = page.get_by_role("region", name="paired differences")
        first, second = (hf.load(tmp_path / "runs" / name) for name in ("first", "second"))
        expected = hf.compare(second, first, axis="model", labels=("second", "first"))["difference"].item()
        differences.locator("td", has_text=f"{100 * expected:+.1f}").first.wait_for()
        page.get_by_role("region", name="instances with different scores").locator("tbody tr").first.wait_for()
        assert serious(page) == []
        page.go_back()
        page.get_by_role("link", name="second", exact=True).click()
        page.get_by_role("heading", name="Findings").wait_for()
        page.locator(".findings", has_text="model-second scores").wait_for()
    well(watched)


def test_the_summary_states_findings_and_its_charts_are_linked(watched: Watched) -> None:
    page = watched.page
    results = scored()
    with served(results) as address:
        page.goto(address)
        page.locator(".findings li").first.wait_for()
        assert page.locator(".findings .sentence").first.inner_text().startswith(results.findings()[0].text)
        page.get_by_role("region", name="changes under perturbations").locator("td.cell").first.wait_for()
        page.get_by_role("region", name="leaderboard", exact=True).get_by_role("button", name="bad").click()
        assert page.locator("svg .row.selected").count() == 1
        assert page.locator("svg .row.faded").count() == 1
        page.locator(".selection", has_text="bad").wait_for()
        assert serious(page) == []
        change = results.robustness(metrics="exact_match", perturbations="typos").filter(
            model="bad", perturbation="typos"
        )
        cell = page.locator("td.cell", has_text=f"{100 * change['change'].item():+.1f}".replace("-", "−")).last
        cell.get_by_role("link").click()
        caption(page, f"of {pl.DataFrame(results.flips('typos')).filter(model='bad').height} rows")
        assert page.get_by_label("rows", exact=True).input_value() == "flipped"
        page.go_back()
        page.get_by_role("heading", name="Findings").wait_for()
    well(watched)


def test_a_click_shows_the_instance_with_all_its_parts(watched: Watched) -> None:
    page = watched.page
    results = scored()
    changed = results.rows(model="bad", perturbation="typos", exact_match=0.0).filter(
        pl.col("input") != pl.col("perturbed_input")
    )
    name = changed["instance_id"][0]
    with served(results) as address:
        page.goto(address)
        page.get_by_role("link", name="Instances", exact=True).click()
        caption(page, "1–50 of 1,024 rows")
        page.get_by_label("search inputs and completions").fill(name)
        caption(page, "of 4 rows")
        page.get_by_label("perturbation", exact=True).select_option(label="typos")
        page.get_by_label("model", exact=True).select_option(label="bad")
        page.get_by_label("rows", exact=True).select_option("wrong")
        caption(page, "1–1 of 1 rows")
        rows(page).first.locator("td").nth(1).click()
        title(page, f"{name}, typos, bad")
        one = page.get_by_role("region", name="instance", exact=True)
        for heading in ("Completion", "Right answer", "Scores", "Original and perturbed input", "References",
                        "All perturbations and models", "Prompt as sent"):  # fmt: skip
            assert one.get_by_role("heading", name=heading).count(), heading
        assert one.locator("ins, del").count() > 0
        assert "2 few-shot examples" in one.locator("summary", has_text="start of the prompt").inner_text()
        variants = one.locator("table.variants")
        assert variants.locator("td button").count() == 4
        variants.get_by_role("button", name="original, good").click()
        title(page, f"{name}, original, good")
        assert serious(page) == []
        # a permalink opens the same instance with the same filters
        link = page.url
        other = page.context.new_page()
        other.goto(link)
        title(other, f"{name}, original, good")
        assert other.get_by_label("rows", exact=True).input_value() == "wrong"
        other.close()
    well(watched)


def test_full_text_search_and_charts_select_rows(watched: Watched) -> None:
    page = watched.page
    results = scored()
    with served(results) as address:
        page.goto(f"{address}#/run/{results.path.name}/instances")  # type: ignore[union-attr]
        caption(page, "1–50 of 1,024 rows")
        wide = results.rows()
        columns = ("instance_id", "perturbed_input", "completion")
        hits = pl.any_horizontal(
            pl.col(name).str.to_lowercase().str.contains("river", literal=True) for name in columns
        )
        page.get_by_label("search inputs and completions").fill("River")
        caption(page, f"of {wide.filter(hits).height:,} rows")
        page.get_by_role("button", name="Clear").click()
        caption(page, "1–50 of 1,024 rows")
        page.locator("summary", has_text="Charts of these rows").click()
        page.locator(".bars button", has_text="bad").click()
        caption(page, "1–50 of 512 rows")
        page.locator(".histogram button").first.click()
        caption(page, f"of {wide.filter(model='bad', exact_match=0).height:,} rows")
        page.get_by_role("button", name="Clear").click()
        page.get_by_role("button", name="Next", exact=True).click()
        caption(page, "51–100 of 1,024 rows")
        page.get_by_label("page", exact=True).fill("21")
        page.get_by_label("page", exact=True).press("Enter")
        caption(page, "1,001–1,024 of 1,024 rows")
        assert page.get_by_role("button", name="Next", exact=True).is_disabled()
        page.get_by_label("search inputs and completions").fill("no such text")
        caption(page, "no rows")
    well(watched)


def test_the_keyboard_is_enough(watched: Watched) -> None:
    page = watched.page
    results = scored()
    with served(results) as address:
        page.goto(address)
        page.get_by_role("heading", name="Findings").wait_for()
        page.keyboard.press("i")
        caption(page, "1–50 of 1,024 rows")
        page.keyboard.press("/")
        page.keyboard.type("sampler")  # a shortcut's letter is typed, not run
        assert page.get_by_label("search inputs and completions").input_value() == "sampler"
        page.get_by_label("search inputs and completions").fill("")
        page.keyboard.press("Escape")
        caption(page, "1–50 of 1,024 rows")
        page.keyboard.press("j")
        names = [rows(page).nth(index).locator("button").inner_text() for index in range(3)]
        title(page, names[0])
        page.keyboard.press("j")
        page.keyboard.press("j")
        title(page, names[2])
        assert rows(page).nth(2).get_attribute("aria-current") == "true"
        page.keyboard.press("k")
        title(page, names[1])
        before = page.locator(".one > h2").inner_text()
        page.keyboard.press("]")
        page.locator(".one > h2").filter(has_not_text=before).wait_for()
        title(page, names[1].split(",")[0])
        page.keyboard.press("?")
        page.get_by_role("region", name="keyboard shortcuts").wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("region", name="keyboard shortcuts").wait_for(state="detached")
        page.keyboard.press("Escape")
        page.locator(".one").wait_for(state="detached")
        page.keyboard.press("n")
        caption(page, "51–100")
        page.keyboard.press("p")
        caption(page, "1–50")
        page.locator(".instances tbody button").first.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        title(page, names[1])
        page.keyboard.press("s")
        page.get_by_role("heading", name="Findings").wait_for()
        # every control has a name
        unnamed = page.evaluate(
            """() => [...document.querySelector("main").shadowRoot.querySelectorAll("input, select, button, a")]
            .filter((each) => !each.getAttribute("aria-label") && !each.textContent.trim()).length"""
        )
        assert unnamed == 0
    well(watched)


def test_j_goes_on_to_the_next_page(watched: Watched) -> None:
    page = watched.page
    with served(scored(20)) as address:
        page.goto(address)
        page.locator(".facts").wait_for()
        page.keyboard.press("i")
        caption(page, "1–50 of 80 rows")
        rows(page).nth(49).locator("button").click()
        title(page, rows(page).nth(49).locator("button").inner_text())
        page.keyboard.press("j")
        caption(page, "51–80 of 80 rows")
        title(page, rows(page).first.locator("button").inner_text())
        page.keyboard.press("k")
        caption(page, "1–50 of 80 rows")
        page.locator(".instances tr[aria-current=true]").wait_for()
        assert rows(page).nth(49).get_attribute("aria-current") == "true"
    well(watched)


def test_one_key_labels_a_completion_and_opens_the_next_one(watched: Watched, store: Path) -> None:
    page = watched.page
    results = scored(8)
    with served(results) as address:
        page.goto(address)
        page.get_by_role("link", name="Label a random sample").click()
        caption(page, "1–32 of 32 rows")
        expected = results.to_label(4)["instance_id"].to_list()
        page.keyboard.press("j")
        title(page, expected[0])
        for value, name in zip(("1", "0", "1"), expected[1:], strict=True):
            page.keyboard.press(value)
            page.keyboard.press(value)  # a second press labels nothing: neither this completion nor the next one
            title(page, name)
        page.keyboard.press("k")
        title(page, expected[2])
        page.locator(".labels button[aria-pressed=true]", has_text="1").wait_for()
        page.keyboard.press("x")
        page.locator(".labels button[aria-pressed=true]").wait_for(state="detached")
        page.keyboard.press("s")
        page.locator("section", has_text="2 completions have a label").first.wait_for()
    assert results.labels()["label"].to_list().count(1.0) == 1
    assert len(list((store / "labels").glob("*.parquet"))) == 1
    well(watched)


def test_python_is_copied(watched: Watched) -> None:
    page = watched.page
    results = scored(4)
    with served(results) as address:
        page.goto(address)
        page.locator(".facts").wait_for()
        page.keyboard.press("i")
        rows(page).first.locator("button").click()
        page.get_by_role("button", name="Copy as Python").click()
        code = page.locator(".copied textarea").input_value()
        names: dict[str, Any] = {}
        exec(code, names)
        assert names["rows"].height == 1
    assert watched.left == []


def test_hostile_texts_are_shown_as_text(watched: Watched) -> None:
    page = watched.page
    results = hostile_results()
    with served(results) as address:
        for mode in ("light", "dark"):
            page.emulate_media(color_scheme=mode)
            page.goto(address)
            page.locator(".findings li").first.wait_for()
            page.get_by_role("region", name="changes under perturbations").locator("td.cell").first.wait_for()
            assert serious(page) == []
        page.get_by_role("link", name="Instances", exact=True).click()
        page.get_by_label("model", exact=True).select_option(label=NAMES[1])
        page.get_by_label("perturbation", exact=True).select_option(label="original")
        caption(page, f"of {len(HOSTILE)} rows")
        shown = 0
        for index in range(len(HOSTILE)):
            rows(page).nth(index).locator("button").click()
            title(page, rows(page).nth(index).locator("button").inner_text())
            region = page.get_by_role("region", name="completion", exact=True)
            text = region.evaluate("element => element.textContent")
            assert text in [visible(hostile[:100_000]) for hostile in HOSTILE]
            shown += 1
        assert serious(page) == []
        root = "document.querySelector('main').shadowRoot"
        assert page.evaluate(f"() => {root}.querySelectorAll('script, img, iframe, object, [onerror]').length") == 0
    print(f"\nhostile completions: {shown} shown as text, {len(watched.executed)} executed")
    well(watched)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_phone_shows_every_page_without_scrolling_sideways(watched: Watched, mode: str, tmp_path: Path) -> None:
    page = watched.page
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark" if mode == "dark" else "light")
    results = scored(16)
    for name in ("a", "b"):
        results.to_parquet(tmp_path / "runs" / name)
    with served(tmp_path / "runs") as address:
        for route in ("#/runs", "#/run/a/summary", "#/run/a/instances", "#/compare?run=a&run=b"):
            page.goto(address + route)
            page.locator("table").first.wait_for()
            assert page.evaluate("() => document.documentElement.scrollWidth") <= 390, route
            assert serious(page) == [], route
        page.goto(f"{address}#/run/a/instances")
        rows(page).first.locator("button").click()
        page.get_by_role("region", name="instance", exact=True).wait_for()
        assert not page.locator(".list").is_visible()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
        assert serious(page) == []
        page.get_by_role("button", name="Close").click()
        rows(page).first.wait_for()
    well(watched)


def test_a_notebook_shows_the_same_and_does_not_receive_its_keys(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    make = """import helmframe as hf
models = {"good": hf.models.oracle(), "bad": hf.models.noisy(0.3)}
results = hf.scenario("sampler").perturb("typos").generate(models).score()"""
    with started_lab(tmp_path) as lab:
        lab.open(page, [make, "results.explore(model='bad')", "hf.view()"])
        lab.run(page, 0)
        lab.run(page, 1)
        caption(page, "1–50 of 512 rows")
        names = [rows(page).nth(index).locator("button").inner_text() for index in range(3)]
        page.locator(".instances tbody button").first.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        title(page, names[1])
        page.keyboard.press("j")
        title(page, names[2])
        lab.run(page, 2)
        page.get_by_role("heading", name="Findings").wait_for()
        assert page.locator(".jp-CodeCell").count() == 3  # the notebook got no key
        assert watched.left == []
        assert watched.executed == []


def test_helmframe_view_serves_a_run_until_ctrl_c(watched: Watched, tmp_path: Path) -> None:
    folder = scored(16).to_parquet(tmp_path / "run")
    command = [sys.executable, "-m", "helmframe", "view", str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as view:
        assert view.stdout is not None
        address = view.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        watched.page.goto(address)
        watched.page.get_by_role("heading", name="Findings").wait_for()
        view.send_signal(signal.SIGINT)
        _, errors = view.communicate(timeout=30)
        assert view.returncode == 0
        assert errors == "helmframe: stopped\n"
    assert watched.left == []
