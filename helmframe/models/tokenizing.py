"""A tokenizer as the stages use it: counts prompts, applies the chat template, cuts texts."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from helmframe.models.model import Tokens


@dataclass(eq=False)
class Tokenizing:
    """A transformers tokenizer, loaded when it is first needed; several threads may use it.

    Args:
        load: gives the tokenizer.
        end: the model's token, or tokens, that end a text; None: it has none.
    """

    load: Callable[[], Any]
    end: int | Sequence[int] | None
    _loaded: Any = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer itself."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self.load()
            return self._loaded

    def anew(self) -> "Tokenizing":
        """The same, to be loaded again."""
        return Tokenizing(self.load, self.end)

    @property
    def as_tokens(self) -> Tokens:
        """What `language_modeling` needs of it."""
        return Tokens(self.encode, self.decode, self.prefix)

    def encode(self, text: str) -> list[int]:
        """The text's tokens, and none that the tokenizer adds."""
        with self._lock:
            return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens; of a character of which there is a part only, U+FFFD."""
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def prefix(self) -> str:
        """The token that texts begin with: the tokenizer's first, else that which ends them."""
        return str(self.tokenizer.bos_token or self.tokenizer.eos_token or "")

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, with what the tokenizer adds; a text that starts with its BOS gets no second one."""
        if not texts:
            return []
        bos = getattr(self.tokenizer, "bos_token", None)
        found: list[list[int]] = [[] for _ in texts]
        for has_bos in (False, True):
            places = [i for i, text in enumerate(texts) if bool(bos and text.startswith(bos)) is has_bos]
            if places:
                with self._lock:  # a fast tokenizer can't be used by two threads while it is being set up
                    ids = self.tokenizer([texts[i] for i in places], add_special_tokens=not has_bos, verbose=False)
                for place, each in zip(places, ids["input_ids"], strict=True):
                    found[place] = list(each)
        return [each or [self._first()] for each in found]  # a model can't go on from nothing

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text as a prompt."""
        return [len(each) for each in self.tokens(texts)]

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation as the prompt the tokenizer's chat template makes of it, ready for the assistant's turn."""
        turns = [dict(message) for message in messages]
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def _first(self) -> int:
        """The token that a text begins with which has none: BOS, else the one that ends texts."""
        known = (self.tokenizer.bos_token_id, self.end, self.tokenizer.eos_token_id)
        first = next((each for each in known if each is not None), 0)
        return int(first if isinstance(first, int) else first[0])
