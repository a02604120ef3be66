"""Where an answer ends, and its text: stop strings that cross token borders, characters that take several tokens."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from helmframe.models.stop_strings import before_stop

# Tokens before an answer that its text is read with: some tokenizers drop the space before a first word.
BEFORE = 4
# A character has at most four bytes, each a token in the worst case; what is incomplete for longer is broken.
PIECES = 4
BROKEN = "\N{REPLACEMENT CHARACTER}"


@dataclass(eq=False)
class Watch:
    """Looks for stop strings in the text of one row's tokens, as they come.

    Text is read a few tokens at a time, each time with some that came before, so that spaces and characters are those
    of the whole text.
    """

    tokenizer: Any
    prompt: Sequence[int]
    stops: Sequence[str]
    _tokens: list[int] = field(init=False)
    _marks: deque[int] = field(init=False)  # where characters end: so many tokens of the last ones
    _tail: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._tokens = _before(self.tokenizer, self.prompt)
        self._marks = deque([0, len(self._tokens)], maxlen=BEFORE + 1)

    def ends(self, token: int) -> bool:
        """Whether the text holds a stop string, now that it has one token more."""
        if not self.stops:
            return False
        self._tokens.append(token)
        start, read = self._marks[0], self._marks[-1]
        known = decoded(self.tokenizer, self._tokens[start:read])
        text = decoded(self.tokenizer, self._tokens[start:])
        new = text[len(known) :]
        if any(stop in self._tail + new for stop in self.stops):
            return True
        if not text.endswith(BROKEN) or len(self._tokens) - read > PIECES:
            self._tail = (self._tail + new)[-max(map(len, self.stops)) :]
            self._marks.append(len(self._tokens))
        return False


def ending_tokens(model: Any, tokenizer: Any, stops: Sequence[str]) -> list[int]:
    """The tokens that end an answer: the model's own, else the tokenizer's, and stops that are a special token.

    A special token is no part of a text, so that a stop string could never be found there.
    """
    own: list[int] = []
    for config in (getattr(model, "generation_config", None), model.config, tokenizer):
        found = getattr(config, "eos_token_id", None)
        if found is not None:
            own = [found] if isinstance(found, int) else list(found)
            break
    special = [
        token for token, each in tokenizer.added_tokens_decoder.items() if each.special and each.content in stops
    ]
    return [*map(int, own), *special]


def text_of(tokenizer: Any, prompt: Sequence[int], outputs: Sequence[int]) -> str:
    """The outputs' text as it continues the prompt."""
    before = _before(tokenizer, prompt)
    start, whole = decoded(tokenizer, before), decoded(tokenizer, [*before, *outputs])
    return whole[len(start) :] if whole.startswith(start) else decoded(tokenizer, outputs)


def kept(tokenizer: Any, prompt: Sequence[int], outputs: Sequence[int], stops: Sequence[str]) -> int:
    """How many of the outputs hold something of their text before a stop string.

    One that holds the end of that text and the start of the stop string does; a model could not say the one without the
    other.
    """
    count = len(outputs)
    if not stops:
        return count
    whole = text_of(tokenizer, prompt, outputs)
    text = before_stop(whole, stops)
    if text == whole:
        return count
    while count and text_of(tokenizer, prompt, outputs[: count - 1]).startswith(text):
        count -= 1
    return count


def _before(tokenizer: Any, prompt: Sequence[int]) -> list[int]:
    """The prompt's last tokens, from where a character begins: some tokenizers break all that follows half of one."""
    tails = (list(prompt[-count:]) for count in range(BEFORE, BEFORE + PIECES))
    return next((tail for tail in tails if not decoded(tokenizer, tail).startswith(BROKEN)), list(prompt[-BEFORE:]))


def decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of tokens, without special ones; of a character of which there is a part only, U+FFFD."""
    return str(tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))
