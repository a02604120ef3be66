"""The browser of the acceptance checks, the modules that only another venv can import, and the totals beside HELM."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.figures import totals

collect_ignore = ["helm_definition_plugin.py", "helm_plugin.py", "helm_sources_plugin.py"]


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
