"""The tokens of a text, divided into those of its context and those of its continuation."""

from collections.abc import Sequence
from typing import NamedTuple

from helmframe.models.model import Pair
from helmframe.models.tokenizing import Tokenizing


class Split(NamedTuple):
    """The tokens of a pair; those from `start` on belong to the continuation, and `start` is at least 1."""

    tokens: list[int]
    start: int

    @property
    def continuation(self) -> list[int]:
        """Return the tokens of the continuation; empty if it has none of its own."""
        return self.tokens[self.start :]


def splits(words: Tokenizing, pairs: Sequence[Pair]) -> list[Split]:
    """Return the tokens of each pair, tokenized as one text, and the index where the continuation starts.

    The continuation starts at the first token that differs from the tokens of the context alone. So a token that also
    contains the end of the context belongs to the continuation, such as " Paris" in "Answer: " + "Paris". Tokens after
    it that end within the context don't belong to the continuation: two line breaks may be one token at the end of a
    text, but two tokens before a word. If no token belongs to the context alone, the first token of every text is
    prepended.

    lm-eval always moves white space at the end of the context to the continuation. The log-probabilities are equal if
    there is no white space, or if it shares a token with the continuation. If it is a token of its own, as in "Two is "
    + "2", lm-eval counts it too.
    """
    (first,) = words.tokens([""])
    starts = words.tokens([pair.context for pair in pairs])
    wholes = words.tokens([pair.context + pair.continuation for pair in pairs])
    return [_split(words, first, start, whole) for start, whole in zip(starts, wholes, strict=True)]


def _split(words: Tokenizing, first: list[int], start: list[int], whole: list[int]) -> Split:
    if whole[: len(start)] == start:
        return Split(whole, len(start))
    common = next((index for index, (a, b) in enumerate(zip(start, whole, strict=False)) if a != b), len(whole))
    if not common:  # the first token of a text has no log-probability
        return Split([*first, *whole], len(first))
    return Split(whole, common + _count_within(words, whole[:common], start[common:], whole[common:]))


def _count_within(words: Tokenizing, before: list[int], context: list[int], tokens: list[int]) -> int:
    """Return the number of tokens that end within the context; the tokens begin with the rest of the context."""
    from helmframe.models.tokenizing import text_of

    rest = text_of(words.tokenizer, before, context)
    n_within = 0
    for count in range(1, len(tokens)):
        text = text_of(words.tokenizer, before, tokens[:count])
        if len(text) > len(rest):
            break
        if rest.startswith(text):
            n_within = count
    return n_within
