"""The documentation site in a browser, light and dark: nothing overflows, and axe-core reports nothing serious."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.browser.hostile import serious
from tests.demo import ROOT

pytestmark = pytest.mark.slow

PAGES = [
    "index",
    "install",
    "cheat_sheet",
    "models",
    "your_data",
    "compare",
    "reference/plan",
    "notebooks/00_quickstart",
]
# The first words of each table that is wider than the region that scrolls it.
CLIPPED = """
[...document.querySelectorAll('.md-typeset__scrollwrap, .md-typeset .output')]
  .filter(region => region.querySelector('table') && region.scrollWidth > region.clientWidth + 1)
  .map(region => region.innerText.replace(/\\s+/g, ' ').slice(0, 60))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "NO_MKDOCS_2_WARNING": "1"}, check=True,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_and_have_no_serious_violation(site: Path, chromium: Any, width: int, scheme: str) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    problems = []
    for name in PAGES:
        page.goto((site / f"{name}.html").as_uri())
        page.wait_for_load_state("networkidle")
        wait_for_scripts(page)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            problems.append(f"{name}: overflows")
        problems += [f"{name}: {problem}" for problem in serious(page)]
    context.close()
    assert problems == []


def test_no_table_is_clipped_on_a_laptop(site: Path, chromium: Any) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    clipped = {}
    for file in sorted(site.rglob("*.html")):
        page.goto(file.as_uri())
        wait_for_scripts(page)
        if found := page.evaluate(CLIPPED):
            clipped[str(file.relative_to(site))] = found
    # the check itself: a table of one long word
    page.goto((site / "install.html").as_uri())
    wait_for_scripts(page)
    page.evaluate("document.querySelector('.md-typeset__table td').textContent = 'x'.repeat(2000)")
    seen = page.evaluate(CLIPPED)
    page.close()
    assert clipped == {}
    assert len(seen) == 1


def wait_for_scripts(page: Any) -> None:
    """Wait until each table has its scroll region, and the region the keyboard focus."""
    page.wait_for_function(
        "[...document.querySelectorAll('.md-typeset table:not([class])')].every("
        "table => table.closest('.md-typeset__scrollwrap')?.tabIndex === 0)"
    )
