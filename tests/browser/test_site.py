"""The documentation site in a browser, light and dark: nothing overflows, and axe-core reports nothing serious."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.browser.hostile import serious
from tests.demo import ROOT

pytestmark = pytest.mark.slow

PAGES = ["index", "install", "cheat_sheet", "models", "your_data", "compare", "reference/plan"]


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
        # tables get their scroll region, and it the keyboard focus, once scripts have run
        page.wait_for_function(
            "[...document.querySelectorAll('.md-typeset table:not([class])')].every("
            "table => table.closest('.md-typeset__scrollwrap')?.tabIndex === 0)"
        )
        if page.evaluate("document.documentElement.scrollWidth") > width:
            problems.append(f"{name}: overflows")
        problems += [f"{name}: {problem}" for problem in serious(page)]
    context.close()
    assert problems == []
