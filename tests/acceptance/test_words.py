"""Prose in figures: words before and now, the README, and forty mistakes with what their messages say."""

import re
from collections import Counter
from pathlib import Path

import pytest

from helmframe.cli.app import _parser
from helmframe.errors import HelmframeError
from tests.acceptance.figures import shown
from tests.acceptance.forty_errors import MISTAKES
from tests.demo import ROOT
from tests.prose import LONGEST, found, help_pages, hits, sentences, without_code

# `python -m tests.prose` on the tree of 28 November 2026 (d77d6af).
BEFORE = {"README": 24, "docs": 176, "notebooks": 37, "docstrings": 1754, "errors": 260}
MOST_WORDS = 600
# What a message offers: a call, a word of advice, or the names to choose from.
ADVICE = re.compile(
    r"Did you mean|Known|hf\.\w+\(\) lists|[Ww]rite|must be|must have|must contain|must start|must match|Add |Remove"
    r"|Set |Choose|Check|Drop|A model is|Columns"
)
# What only the author of another library understands.
FOREIGN = re.compile(r"Traceback|polars\.exceptions|ComputeError|duckdb\.\w+Error|httpx\.\w+|pyarrow\.|0x[0-9a-f]{8}")


def test_1_words_of_the_list() -> None:
    counts = found(ROOT)
    counts["help"] = sum((hits(page.text) for page in help_pages(_parser())), Counter())
    for kind, words in counts.items():
        shown("1", f"{kind}: words of the list, before and now", f"{BEFORE.get(kind, '-')}, {words.total()}", 0)
    assert {kind: dict(words) for kind, words in counts.items() if words} == {}


def test_1_the_readme_is_short() -> None:
    text = re.split(r"^\[[^\]]+\]: ", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[0]
    prose = without_code(text)
    longest = max(sentences(prose), key=lambda sentence: len(sentence.split()))
    shown("1", "README: words before the reference links, code and tables included", len(text.split()), MOST_WORDS)
    shown("1", "README: longest sentence, words", len(longest.split()), LONGEST)
    assert len(text.split()) <= MOST_WORDS
    assert len(longest.split()) <= LONGEST, longest


@pytest.mark.parametrize("name", MISTAKES)
def test_3_a_mistake_gets_a_message_that_helps(name: str, tmp_path: Path) -> None:
    with pytest.raises((HelmframeError, TypeError, ValueError, LookupError, OSError)) as raised:
        MISTAKES[name](tmp_path)
    message = str(raised.value)
    print(f"\n{name}: {type(raised.value).__name__}: {message}")
    assert isinstance(raised.value, HelmframeError), "a typed error"
    assert ADVICE.search(message), "what to write"
    assert not FOREIGN.search(message), "no text of another library"
    known = re.search(r"Known: ([^\n]*)", message)
    assert known is None or known[1].count(",") <= 5, "at most five known names"
    assert len(message) < 900


def test_3_there_are_forty_of_them() -> None:
    shown("3", "mistakes whose messages are checked", len(MISTAKES), 40)
    assert len(MISTAKES) >= 40
