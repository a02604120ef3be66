"""The plugin of pytest: a test passes, fails or is undecided with the text of its gate."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import helmframe as hf

def plan(accuracy, n=32):
    return hf.scenario("sampler").where(subject="music").limit(n).generate(hf.models.noisy(accuracy))

def test_passes(evaluate):
    assert evaluate(plan(0.9), at_least=0.5).verdict == "pass"

def test_fails(evaluate):
    evaluate(plan(0.3), at_least=0.9)

def test_undecided(evaluate):
    evaluate(plan(0.7), at_least=0.7)

def test_undecided_is_skipped(evaluate):
    evaluate(plan(0.7), at_least=0.7, undecided="skip")

def test_no_regression(evaluate):
    evaluate(plan(0.9), against=plan(0.9).score(), margin=0.2)

def test_a_regression(evaluate):
    evaluate(plan(0.3), against=plan(0.9).score(), margin=0.02, axis="model")
"""


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("HELMFRAME_STORE", str(pytester.path / "store"))
    monkeypatch.setenv("HELMFRAME_PROGRESS", "0")
    pytester.makepyfile(TESTS)
    return pytester


def test_a_gate_decides_a_test(session: pytest.Pytester) -> None:
    # an installed helmframe registers the plugin too
    plugin = ("-p", "no:helmframe", "-p", "helmframe_pytest", "-p", "no:cacheprovider")
    result = session.runpytest_subprocess(*plugin, "--gates-markdown", "gates.md", "-q")
    result.assert_outcomes(passed=2, failed=3, skipped=1)
    result.stdout.fnmatch_lines(["fail: *", "undecided: *"])
    assert "Traceback" not in result.stdout.str()
    markdown = Path(session.path / "gates.md").read_text()
    assert markdown.count("### test_") == 6
    assert "**pass: " in markdown
    assert "| verdict |" in markdown


def test_pytest_starts_without_helmframe() -> None:
    code = (
        "import sys, helmframe_pytest; print([name for name in sys.modules if name.partition('.')[0] == 'helmframe'])"
    )
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert started.stdout.strip() == "[]"


def test_an_unknown_action_is_an_error(session: pytest.Pytester) -> None:
    session.makepyfile(
        test_wrong=TESTS.partition("def test_passes")[0]
        + ("def test_wrong(evaluate):\n    evaluate(plan(0.9), at_least=0.5, undecided='ignore')\n")
    )
    result = session.runpytest_subprocess("-p", "no:helmframe", "-p", "helmframe_pytest", "-q", "test_wrong.py")
    result.stdout.fnmatch_lines(["*undecided must be 'fail', 'skip' or 'warn'*"])
