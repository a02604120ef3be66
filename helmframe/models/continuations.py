"""Split the tokens of a text into those of its context and those of its continuation."""

from collections.abc import Sequence
from typing import NamedTuple

from helmframe.models.model import Pair
from helmframe.models.tokenizing import Tokenizing


class Split(NamedTuple):
    """The tokens of a pair: those from `start` on belong to the continuation, and at least one comes before them."""

    tokens: list[int]
    start: int

    @property
    def continuation(self) -> list[int]:
        """Return the continuation's tokens; empty if the continuation is, or has no token of its own."""
        return self.tokens[self.start :]


def splits(words: Tokenizing, pairs: Sequence[Pair]) -> list[Split]:
    """Return the tokens of each pair's text, tokenized as a whole, and where the continuation's tokens start.

    A token that also contains the end of the context belongs to the continuation: " Paris", of "Answer: " and "Paris".
    It is the first token that differs from the tokens of the context alone. Later tokens that end within the context
    don't belong to the continuation: a line's end before a word, where two of them are one token at the end of a text.
    After an empty context, and where no token belongs to the context alone, the text begins with the token that texts
    begin with.

    lm-eval always moves the white space at a context's end to the continuation. So values are equal if that space and
    the continuation share a token, and if there is no space; for "Two is " and "2", two tokens, lm-eval counts the
    space as well.
    """
    (begin,) = words.tokens([""])
    starts = words.tokens([pair.context for pair in pairs])
    wholes = words.tokens([pair.context + pair.continuation for pair in pairs])
    return [_split(words, begin, start, whole) for start, whole in zip(starts, wholes, strict=True)]


def _split(words: Tokenizing, begin: list[int], start: list[int], whole: list[int]) -> Split:
    if whole[: len(start)] == start:
        return Split(whole, len(start))
    common = next((index for index, (one, two) in enumerate(zip(start, whole, strict=False)) if one != two), len(whole))
    if not common:  # a text's first token has no log-probability
        return Split([*begin, *whole], len(begin))
    return Split(whole, common + _within(words, whole[:common], start[common:], whole[common:]))


def _within(words: Tokenizing, before: list[int], context: list[int], tokens: list[int]) -> int:
    """How many of the tokens end within the context, of which they hold the rest and more."""
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
