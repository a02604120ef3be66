"""The help pages: a summary, a text for each argument, defaults, examples that parse, and exit codes."""

import argparse
import re
import shlex
from collections.abc import Iterator

import pytest

from helmframe.cli.app import _parser, main


def pages(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if action.nargs == argparse.PARSER and isinstance(action.choices, dict):
            for child in action.choices.values():
                yield from pages(child)


PAGES = {page.prog: page for page in pages(_parser())}


def examples(page: argparse.ArgumentParser) -> list[list[str]]:
    text = (page.epilog or "").replace("\\\n", " ")
    return [
        shlex.split(line, comments=True)[1:]
        for line in text.partition("example")[2].splitlines()
        if line.startswith("  helmframe ")
    ]


@pytest.mark.parametrize("name", PAGES)
def test_each_page_has_a_summary_and_examples_that_parse(name: str) -> None:
    page = PAGES[name]
    assert re.fullmatch(r"[A-Z][a-z]+,? .*\.", page.description or "")
    assert examples(page)
    for words in examples(page):
        assert callable(_parser().parse_args(words).run)
        assert name == "helmframe" or words[: len(name.split()) - 1] == name.split()[1:]


@pytest.mark.parametrize("name", PAGES)
def test_each_argument_has_a_text(name: str) -> None:
    for action in PAGES[name]._actions:
        assert action.nargs == argparse.PARSER or action.help


def test_defaults_are_shown() -> None:
    text = PAGES["helmframe gate"].format_help()
    assert re.search(r"--margin X .*\(default:\s+0\.02\)", text, re.DOTALL)
    assert re.search(r"--ci LEVEL .*\(default:\s+0\.95\)", text, re.DOTALL)
    assert "(default: False)" not in text
    assert "(default: None)" not in text


def test_options_are_grouped() -> None:
    titles = re.findall(r"^(\w.*):$", PAGES["helmframe run"].format_help(), re.MULTILINE)
    assert titles == [
        *("arguments", "options", "run entries", "models", "local models of --model", "cache", "limits", "output"),
        *("engine", "compatibility with helm-run", "examples"),
    ]


@pytest.mark.parametrize(("name", "codes"), [("helmframe", [0, 1, 2, 3, 130]), ("helmframe gate", [0, 1, 2, 3])])
def test_exit_codes_are_listed(name: str, codes: list[int]) -> None:
    text = PAGES[name].format_help().partition("exit codes:")[2]
    assert [int(code) for code in re.findall(r"^  (\d+) ", text, re.MULTILINE)] == codes


def test_the_page_of_an_action_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["store", "rm", "--help"])
    assert done.value.code == 0
    assert "usage: helmframe store rm" in capsys.readouterr().out
