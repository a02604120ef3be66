"""A plugin of pytest: the fixture `evaluate` runs a plan and fails the test with the text of a gate."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from helmframe.stats.gate import Gate

_PROPERTY = "helmframe_gate"
_UNDECIDED = ("fail", "skip", "warn")


@pytest.fixture
def evaluate(request: pytest.FixtureRequest) -> "Callable[..., Gate]":
    """Return a function that runs a plan, and fails the test unless its results pass a gate.

        def test_no_regression(evaluate):
            evaluate(plan, against="runs/main", margin=0.02)

    `evaluate(plan, undecided="fail", **line)` takes a plan, a suite, results or a folder of results. `line` has the
    arguments of `Results.gate`. `undecided` is the action if the interval includes the line: "fail", "skip", or "warn".
    It returns the gate.
    """

    def run(source: Any, *, undecided: str = "fail", **line: Any) -> "Gate":
        from helmframe.errors import ArgumentError, HelmframeWarning
        from helmframe.results import load_results
        from helmframe.views.comparison import gate_markdown, gate_text

        if undecided not in _UNDECIDED:
            raise ArgumentError.unknown_value(f"evaluate(undecided={undecided!r})", undecided, _UNDECIDED)
        results: Any = load_results(source.score() if hasattr(source, "score") else source)
        gate: Gate = results.gate(**line)
        request.node.user_properties.append((_PROPERTY, f"### {request.node.name}\n\n{gate_markdown(gate)}\n"))
        text = gate_text(gate)
        if gate.verdict == "fail" or (gate.verdict == "undecided" and undecided == "fail"):
            pytest.fail(text, pytrace=False)
        if gate.verdict == "undecided" and undecided == "skip":
            pytest.skip(text)
        if gate.verdict == "undecided":
            warnings.warn(text, HelmframeWarning, stacklevel=2)
        return gate

    return run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the gates of a session as Markdown."""
    group = parser.getgroup("helmframe")
    group.addoption("--gates-markdown", metavar="FILE", help="write the gates of the fixture evaluate as Markdown")


def pytest_configure(config: pytest.Config) -> None:
    """Collect the gates if they are to be written."""
    file = config.getoption("--gates-markdown", default=None)
    if file and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Gates(Path(file)))


class _Gates:
    """The gates of a session, which are written at its end; also those of the workers of pytest-xdist."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._texts: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the gates of a test."""
        if report.when == "call":
            self._texts += [str(text) for name, text in report.user_properties if name == _PROPERTY]

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        self._file.write_text("\n".join(self._texts), encoding="utf-8")
