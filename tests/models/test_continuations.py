"""Which tokens are the continuation's: of the demo model's real tokenizer, and of small ones."""

import pytest

from helmframe.models.local_load import Options, load_tokenizer
from helmframe.models.model import Pair
from helmframe.models.tokenizing import Tokenizing, splits
from tests.demo import demo_model
from tests.models import tiny
from tests.models.test_tokenizing import of_words


def split(words: Tokenizing, context: str, continuation: str) -> tuple[list[str], list[str]]:
    """The tokens of the context and of the continuation, as text."""
    (found,) = splits(words, [Pair(context, continuation)])
    tokens = [words.decode([each]) for each in found.tokens]
    assert found.continuation == found.tokens[found.start :]
    assert found.start > 0
    return tokens[: found.start], tokens[found.start :]


@pytest.fixture(scope="module")
def demo() -> Tokenizing:
    folder = demo_model()
    return Tokenizing(lambda: load_tokenizer(folder, Options()), 2)


BEGIN = "<|im_start|>"


@pytest.mark.model
@pytest.mark.parametrize(
    ("context", "continuation", "before", "own"),
    [
        ("Answer:", " Paris", ["Answer", ":"], [" Paris"]),
        # the space is the word's, in one token
        ("Answer: ", "Paris", ["Answer", ":"], [" Paris"]),
        ("Answer: ", "Antananarivo", ["Answer", ":"], [" Ant", "anan", "ar", "ivo"]),
        ("Answer:  ", "Paris", ["Answer", ":", " "], [" Paris"]),
        ("Two is ", "2", ["Two", " is", " "], ["2"]),
        # alone, two lines' ends are one token; before a word they are two, and none is the word's
        ("Answer:\n\n", "Paris", ["Answer", ":", "\n", "\n"], ["Paris"]),
        ("The uni", "versal", ["The"], [" universal"]),
        # no token is the context's alone
        ("A", "pple", [BEGIN], ["Apple"]),
        (" ", "Paris", [BEGIN], [" Paris"]),
        ("", "Paris", [BEGIN], ["Paris"]),
        (BEGIN, "Paris", [BEGIN], ["Paris"]),
        ("é", "\u0301a", ["é"], ["\ufffd", "\ufffd", "a"]),
        # nothing is asked about
        ("Answer: ", "", ["Answer", ":", " "], []),
        ("", "", [BEGIN], []),
    ],
)
def test_they_begin_where_they_hold_something_of_it(
    demo: Tokenizing, context: str, continuation: str, before: list[str], own: list[str]
) -> None:
    assert split(demo, context, continuation) == (before, own)


def test_a_tokenizer_of_words_keeps_the_space_of_the_next_one() -> None:
    words = Tokenizing(of_words, 0)
    assert [len(each) for each in split(words, "a ", "ab")] == [1, 1]
    assert [len(each) for each in split(words, "a", " ab")] == [1, 1]


def test_a_continuation_that_the_tokenizer_does_not_write_has_no_token() -> None:
    from tokenizers import normalizers

    stripping = tiny.tokenizer()
    stripping.backend_tokenizer.normalizer = normalizers.Strip()
    words = Tokenizing(lambda: stripping, 0)
    assert split(words, "a", "  ") == (["a"], [])
    assert split(words, "", " ") == (["<end>"], [])
    assert split(words, "a ", "b") == (["a"], [" ", "b"])
