"""A mock model and tokenizer that need no file: outputs are hashes of the prompt. HELM's Python reads it too."""

import hashlib
import random
import re
from collections.abc import Sequence

PREFIX = "<s>"
LETTERS = "ABCDE"
SHORT = ("Yes", "No", "True", "the same", "café", "", "(A) 42.")
# a character with the space before it; ASCII letters in words
PIECES = re.compile(r"<s>| ?[A-Za-z]+| ?\S|\s")


def hashed(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def pieces(text: str) -> list[str]:
    """Return the tokens of a text; joined they are the text."""
    return PIECES.findall(text)


def encode(text: str) -> list[int]:
    """Return the tokens of a text as numbers: their bytes, after a 1."""
    return [int.from_bytes(b"\x01" + piece.encode("utf-8", "surrogatepass"), "big") for piece in pieces(text)]


def decode(ids: Sequence[int]) -> str:
    """Return the text of tokens."""
    parts = [value.to_bytes((value.bit_length() + 7) // 8, "big")[1:] for value in ids]
    return b"".join(parts).decode("utf-8", "replace")


def completion(prompt: str, number: int, max_tokens: int, stops: Sequence[str]) -> str:
    """Return an output: a letter after a list of options; else words of the prompt, or one of `SHORT`.

    Args:
        prompt: The prompt.
        number: The number of the output among those of the prompt.
        max_tokens: The most tokens.
        stops: The output ends before the first of them.
    """
    draws = random.Random(f"{number} {prompt}")
    last = prompt.rstrip().rpartition("\n\n")[2]
    if "\nA. " in last and draws.random() < 0.9:
        text = " " + draws.choice(LETTERS)
    elif draws.random() < 0.4:
        text = " " + draws.choice(SHORT)
    else:
        words = prompt.split(" ")
        start = draws.randrange(len(words))
        text = " " + " ".join(words[start : start + draws.randint(1, 12)])
    ends = [index for index in map(text.find, filter(None, stops)) if index >= 0]
    text = text[: min(ends, default=len(text))]
    return "".join(pieces(text)[:max_tokens])


def logprobs(text: str, number: int, prompt: str) -> list[float]:
    """Return the log-probability of each token of a text that the model generated or reads."""
    return [-hashed(f"{index} {number} {prompt}") for index, _ in enumerate(pieces(text))]
