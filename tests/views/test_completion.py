"""Names at the Tab key."""

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

import helmframe as hf
from helmframe.views.completion import names_for


@pytest.mark.parametrize(
    ("typed", "start", "name"),
    [
        ('hf.scenario("mm', "mm", "mmlu"),
        ("hf.scenario(['mmlu', 'gs", "gs", "gsm8k"),
        ('hf.suite("', "", "capabilities"),
        ('plan.perturb("typo', "typo", "typos"),
        ('plan.metrics("exact_match", "f1_s', "f1_s", "f1_score"),
    ],
)
def test_names_go_on_from_what_is_typed(typed: str, start: str, name: str) -> None:
    fragment, names = names_for(typed)
    assert fragment == start
    assert name in names


@pytest.mark.parametrize("typed", ["mm", 'hf.scenario("mmlu").', 'print("mm', 'hf.scenario("mmlu", data="s'])
def test_elsewhere_nothing_is_offered(typed: str) -> None:
    assert names_for(typed)[1] == []


def test_a_shell_offers_them_once_the_extension_is_loaded() -> None:
    shell = InteractiveShell()  # type: ignore[no-untyped-call]
    line = 'hf.scenario("gsm8'
    assert offered(shell, line) == []
    hf.load_ipython_extension(shell)
    assert offered(shell, line) == ["gsm8k"]


def offered(shell: InteractiveShell, line: str) -> list[str]:
    with provisionalcompleter():
        return [each.text for each in shell.Completer.completions(line, len(line))]
