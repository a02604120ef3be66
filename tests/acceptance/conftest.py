"""What pytest leaves out: modules that only the Python of another venv can import; and the totals beside HELM."""

import pytest

from tests.acceptance.figures import totals

collect_ignore = ["helm_definition_plugin.py", "helm_plugin.py", "helm_sources_plugin.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each number that was compared with HELM."""
    lines = list(totals())
    if lines:
        terminalreporter.section("equal to HELM's")
    for line in lines:
        terminalreporter.write_line(line)
