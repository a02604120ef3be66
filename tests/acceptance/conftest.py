"""The browser of the acceptance checks, and the totals beside HELM."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.figures import totals

# helpers: many are scripts of other tools' environments, which can't be imported here
collect_ignore = [file.name for file in Path(__file__).parent.glob("*.py") if not file.name.startswith("test_")]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Return a running Chromium."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    assert path, "no chromium on the PATH: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each number that was compared with HELM."""
    lines = list(totals())
    if lines:
        terminalreporter.section("equal to HELM's")
    for line in lines:
        terminalreporter.write_line(line)
