"""Which tokens of a text are its continuation's own."""

from collections.abc import Sequence
from typing import NamedTuple

from helmframe.models.model import Pair
from helmframe.models.tokenizing import Tokenizing


class Split(NamedTuple):
    """A pair's tokens: those from `start` on are the continuation's, and there are some before them."""

    tokens: list[int]
    start: int

    @property
    def own(self) -> list[int]:
        """The continuation's tokens; none where nothing is asked about, or nothing that the tokenizer writes."""
        return self.tokens[self.start :]


def splits(words: Tokenizing, pairs: Sequence[Pair]) -> list[Split]:
    """The tokens of each pair's text, read as a whole, from where they hold something of the continuation.

    A token that holds the end of the context too is the continuation's: " Paris", of "Answer: " and "Paris". That is
    the first one which the context alone has otherwise; later ones that end within the context are none of its own:
    a line's end before a word, where two of them are one token at the end of a text. After an empty context, and where
    no token is the context's alone, the text begins with the token that texts begin with.

    lm-eval moves the white space at a context's end to the continuation in any case. So values are equal where that
    space and the continuation share a token, and where there is none; of "Two is " and "2", two tokens, lm-eval counts
    the space as well.
    """
    (begin,) = words.tokens([""])
    starts = words.tokens([pair.context for pair in pairs])
    wholes = words.tokens([pair.context + pair.continuation for pair in pairs])
    return [_split(words, begin, start, whole) for start, whole in zip(starts, wholes, strict=True)]


def _split(words: Tokenizing, begin: list[int], start: list[int], whole: list[int]) -> Split:
    if whole[: len(start)] == start:
        return Split(whole, len(start))
    common = next((place for place, (one, two) in enumerate(zip(start, whole, strict=False)) if one != two), len(whole))
    if not common:  # nobody can say how likely a text's first token is
        return Split([*begin, *whole], len(begin))
    return Split(whole, common + _within(words, whole[:common], start[common:], whole[common:]))


def _within(words: Tokenizing, before: list[int], context: list[int], tokens: list[int]) -> int:
    """How many of the tokens end within the context, of which they hold the rest and more."""
    from helmframe.models.tokenizing import text_of

    rest = text_of(words.tokenizer, before, context)
    within = 0
    for count in range(1, len(tokens)):
        text = text_of(words.tokenizer, before, tokens[:count])
        if len(text) > len(rest):
            break
        if rest.startswith(text):
            within = count
    return within
