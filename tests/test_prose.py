"""What people read is plain technical English: README, docs, notebooks, help, errors and docstrings."""

import pytest

from helmframe.cli.app import _parser
from tests.demo import ROOT
from tests.prose import Text, help_pages, hits, texts

KINDS = ["README", "docs", "notebooks", "help", "errors", "docstrings"]
TEXTS = [*texts(ROOT), *help_pages(_parser())]


@pytest.mark.parametrize("kind", KINDS)
def test_no_word_of_the_list_is_used(kind: str) -> None:
    found = {f"{text.where}: {word}": text.text for text in TEXTS if text.kind == kind for word in hits(text.text)}
    assert sorted(found) == []


def test_every_kind_has_texts() -> None:
    assert {text.kind for text in TEXTS} == set(KINDS)


def test_the_list_finds_what_it_should() -> None:
    text = "What was asked is kept. It is no model, and can't be. A page says so."
    assert set(hits(text)) == {"ask", "kept", "is no", "can't be", "say", "what it is"}
    assert not hits("Completions are cached. Requests are sent again.")
    assert Text("docs", "page", "text").where == "page"
