"""Tokenizers as the stages use them: token counts, the chat template, token boundaries."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from helmframe.models.model import Tokens


@dataclass(eq=False)
class Tokenizing:
    """A transformers tokenizer, loaded on first use; several threads may use it.

    Args:
        load: Returns the tokenizer.
        end: The model's token, or tokens, that end a text; None: it has none.
    """

    load: Callable[[], Any]
    end: int | Sequence[int] | None
    _loaded: Any = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def tokenizer(self) -> Any:
        """Return the tokenizer itself."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self.load()
            return self._loaded

    def unloaded(self) -> "Tokenizing":
        """Return a copy that is loaded again."""
        return Tokenizing(self.load, self.end)

    @property
    def as_tokens(self) -> Tokens:
        """Return the functions that `language_modeling` needs."""
        return Tokens(self.encode, self.decode, self.prefix)

    def encode(self, text: str) -> list[int]:
        """Return the text's tokens, without those that the tokenizer adds."""
        with self._lock:
            return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens; an incomplete character is U+FFFD."""
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def prefix(self) -> str:
        """Return the token that texts begin with: the tokenizer's first, else its end token."""
        return str(self.tokenizer.bos_token or self.tokenizer.eos_token or "")

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids of each text, with those that the tokenizer adds; a text that starts with its BOS gets no
        second BOS.
        """
        if not texts:
            return []
        bos = getattr(self.tokenizer, "bos_token", None)
        ids_by_text: list[list[int]] = [[] for _ in texts]
        for has_bos in (False, True):
            indices = [index for index, text in enumerate(texts) if bool(bos and text.startswith(bos)) is has_bos]
            if indices:
                with self._lock:  # a fast tokenizer is not thread-safe while it is being set up
                    encoded = self.tokenizer(
                        [texts[index] for index in indices], add_special_tokens=not has_bos, verbose=False
                    )
                for index, ids in zip(indices, encoded["input_ids"], strict=True):
                    ids_by_text[index] = list(ids)
        return [ids or [self._first()] for ids in ids_by_text]  # a model can't continue an empty prompt

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text as a prompt."""
        return [len(ids) for ids in self.tokens(texts)]

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the prompt of a conversation by the tokenizer's chat template, ready for the assistant's turn."""
        turns = [dict(message) for message in messages]
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def _first(self) -> int:
        """Return the token for an empty text: BOS, else the token that ends texts."""
        candidates = (self.tokenizer.bos_token_id, self.end, self.tokenizer.eos_token_id)
        first = next((token for token in candidates if token is not None), 0)
        return int(first if isinstance(first, int) else first[0])
