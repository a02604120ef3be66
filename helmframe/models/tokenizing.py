"""Tokenizers, stop strings, the text of a completion's tokens, and the tokens of a context and a continuation."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from helmframe.models.model import Pair, Tokens


@dataclass(eq=False)
class Tokenizing:
    """A transformers tokenizer, which is loaded on first use; thread-safe.

    Args:
        load: A function that loads and returns the tokenizer.
        end: The token, or tokens, with which the model ends a text; None: there is none.
    """

    load: Callable[[], Any]
    end: int | Sequence[int] | None
    _loaded: Any = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def tokenizer(self) -> Any:
        """Return the loaded tokenizer."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self.load()
            return self._loaded

    def unloaded(self) -> "Tokenizing":
        """Return a copy that is not loaded yet."""
        return Tokenizing(self.load, self.end)

    @property
    def as_tokens(self) -> Tokens:
        """Return the functions that `language_modeling` needs."""
        return Tokens(self.encode, self.decode, self.prefix)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without special tokens that the tokenizer adds."""
        with self._lock:
            return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens; an incomplete character is U+FFFD."""
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def prefix(self) -> str:
        """Return the first token of every text, as text: BOS, else EOS, else ""."""
        return str(self.tokenizer.bos_token or self.tokenizer.eos_token or "")

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, with added special tokens; BOS is not added twice."""
        if not texts:
            return []
        bos = getattr(self.tokenizer, "bos_token", None)
        ids_by_text: list[list[int]] = [[] for _ in texts]
        for has_bos in (False, True):
            indices = [index for index, text in enumerate(texts) if bool(bos and text.startswith(bos)) is has_bos]
            if indices:
                with self._lock:  # fast tokenizers are not thread-safe
                    encoded = self.tokenizer(
                        [texts[index] for index in indices], add_special_tokens=not has_bos, verbose=False
                    )
                for index, ids in zip(indices, encoded["input_ids"], strict=True):
                    ids_by_text[index] = list(ids)
        return [ids or [self._first()] for ids in ids_by_text]  # models can't continue an empty prompt

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text as a prompt."""
        return [len(ids) for ids in self.tokens(texts)]

    def chat(self, messages: Sequence[Mapping[str, str]], **variables: Any) -> str:
        """Return the prompt of a conversation by the chat template, with the start of the assistant's turn."""
        turns = [dict(message) for message in messages]
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **variables))

    def _first(self) -> int:
        """Return the token of an empty text: BOS, else the token that ends texts."""
        candidates = (self.tokenizer.bos_token_id, self.end, self.tokenizer.eos_token_id)
        first = next((token for token in candidates if token is not None), 0)
        return int(first if isinstance(first, int) else first[0])


def stops_of(decoding: Mapping[str, Any]) -> list[str]:
    """Return the non-empty stop strings of decoding parameters."""
    stop = decoding.get("stop") or []
    return [text for text in ([stop] if isinstance(stop, str) else map(str, stop)) if text]


def before_stop(text: str, stops: Sequence[str]) -> str:
    """Return the text before the first stop string."""
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text


# The number of prompt tokens that are decoded with the output: some tokenizers drop the space before a first word.
BEFORE = 4
# The maximum number of tokens of a character: it has at most four bytes.
PIECES = 4
BROKEN = "\N{REPLACEMENT CHARACTER}"


@dataclass(eq=False)
class StopDetector:
    """A detector of stop strings in the tokens of one row, as they are generated.

    New tokens are decoded together with a few earlier tokens, so that spaces and characters equal those of the whole
    text.
    """

    tokenizer: Any
    prompt: Sequence[int]
    stops: Sequence[str]
    _tokens: list[int] = field(init=False)
    _marks: deque[int] = field(init=False)  # token counts at which the last characters end
    _tail: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._tokens = _last_prompt_tokens(self.tokenizer, self.prompt)
        self._marks = deque([0, len(self._tokens)], maxlen=BEFORE + 1)

    def ends(self, token: int) -> bool:
        """Add a token, and return whether the text contains a stop string now."""
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
    """Return the tokens that end a completion: the model's, else the tokenizer's, and stops that are special tokens.

    Special tokens are not part of the text, so a stop string that is a special token can't be found in the text.
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
    """Return the text of output tokens as a continuation of the prompt."""
    before = _last_prompt_tokens(tokenizer, prompt)
    start, text = decoded(tokenizer, before), decoded(tokenizer, [*before, *outputs])
    return text[len(start) :] if text.startswith(start) else decoded(tokenizer, outputs)


def count_before_stop(tokenizer: Any, prompt: Sequence[int], outputs: Sequence[int], stops: Sequence[str]) -> int:
    """Return the number of output tokens that contain a part of the text before a stop string."""
    count = len(outputs)
    if not stops:
        return count
    full_text = text_of(tokenizer, prompt, outputs)
    text = before_stop(full_text, stops)
    if text == full_text:
        return count
    while count and text_of(tokenizer, prompt, outputs[: count - 1]).startswith(text):
        count -= 1
    return count


def _last_prompt_tokens(tokenizer: Any, prompt: Sequence[int]) -> list[int]:
    """Return the last tokens of the prompt, from the start of a character."""
    tails = (list(prompt[-count:]) for count in range(BEFORE, BEFORE + PIECES))
    return next((tail for tail in tails if not decoded(tokenizer, tail).startswith(BROKEN)), list(prompt[-BEFORE:]))


def decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Return the text of tokens, without special tokens; an incomplete character is U+FFFD."""
    return str(tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))


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
    rest = text_of(words.tokenizer, before, context)
    n_within = 0
    for count in range(1, len(tokens)):
        text = text_of(words.tokenizer, before, tokens[:count])
        if len(text) > len(rest):
            break
        if rest.startswith(text):
            n_within = count
    return n_within
