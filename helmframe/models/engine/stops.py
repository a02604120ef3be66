"""The end of a completion, and its text: stop strings across token borders, characters of several tokens."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from helmframe.models.stop_strings import before_stop

# Prompt tokens that output is decoded with: some tokenizers drop the space before a first word.
BEFORE = 4
# A character has at most four bytes, each a token in the worst case; a longer incomplete sequence is invalid.
PIECES = 4
BROKEN = "\N{REPLACEMENT CHARACTER}"


@dataclass(eq=False)
class StopDetector:
    """Finds stop strings in the text of one row's tokens, as they come.

    A few tokens are decoded at a time, together with earlier ones, so that spaces and characters are those of the whole
    text.
    """

    tokenizer: Any
    prompt: Sequence[int]
    stops: Sequence[str]
    _tokens: list[int] = field(init=False)
    _marks: deque[int] = field(init=False)  # token counts at which the last characters end
    _tail: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._tokens = _before(self.tokenizer, self.prompt)
        self._marks = deque([0, len(self._tokens)], maxlen=BEFORE + 1)

    def ends(self, token: int) -> bool:
        """Add a token, and return whether the text now contains a stop string."""
        if not self.stops:
            return False
        self._tokens.append(token)
        start, read = self._marks[0], self._marks[-1]
        before = decoded(self.tokenizer, self._tokens[start:read])
        text = decoded(self.tokenizer, self._tokens[start:])
        new = text[len(before) :]
        if any(stop in self._tail + new for stop in self.stops):
            return True
        if not text.endswith(BROKEN) or len(self._tokens) - read > PIECES:
            self._tail = (self._tail + new)[-max(map(len, self.stops)) :]
            self._marks.append(len(self._tokens))
        return False


def ending_tokens(model: Any, tokenizer: Any, stops: Sequence[str]) -> list[int]:
    """Return the tokens that end a completion: the model's, else the tokenizer's, and stops that are a special token.

    A special token is not part of a text, so a stop string could never be found in it.
    """
    ends: list[int] = []
    for config in (getattr(model, "generation_config", None), model.config, tokenizer):
        token_ids = getattr(config, "eos_token_id", None)
        if token_ids is not None:
            ends = [token_ids] if isinstance(token_ids, int) else list(token_ids)
            break
    special = [
        token for token, added in tokenizer.added_tokens_decoder.items() if added.special and added.content in stops
    ]
    return [*map(int, ends), *special]


def text_of(tokenizer: Any, prompt: Sequence[int], outputs: Sequence[int]) -> str:
    """Return the outputs' text as it continues the prompt."""
    before = _before(tokenizer, prompt)
    start, whole = decoded(tokenizer, before), decoded(tokenizer, [*before, *outputs])
    return whole[len(start) :] if whole.startswith(start) else decoded(tokenizer, outputs)


def count_before_stop(tokenizer: Any, prompt: Sequence[int], outputs: Sequence[int], stops: Sequence[str]) -> int:
    """Return how many outputs contribute to the text before a stop string.

    A token that contains both the end of that text and the start of the stop string counts.
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
    """Return the prompt's last tokens, from the start of a character: some tokenizers break text after half of one."""
    tails = (list(prompt[-count:]) for count in range(BEFORE, BEFORE + PIECES))
    return next((tail for tail in tails if not decoded(tokenizer, tail).startswith(BROKEN)), list(prompt[-BEFORE:]))


def decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Return the text of tokens, without special ones; an incomplete character is U+FFFD."""
    return str(tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))
