"""A tokenizer that needs no file: UTF-8 bytes, and one token that begins a text. HELM's Python reads it too."""

from collections.abc import Sequence

PREFIX = "<s>"
_PREFIX_ID = 256


def encode(text: str) -> list[int]:
    ids: list[int] = []
    for place, piece in enumerate(text.split(PREFIX)):
        ids += [_PREFIX_ID] * (place > 0) + list(piece.encode("utf-8", "surrogatepass"))
    return ids


def decode(ids: Sequence[int]) -> str:
    texts, start = [], 0
    for place, each in enumerate([*ids, _PREFIX_ID]):
        if each == _PREFIX_ID:
            texts.append(bytes(ids[start:place]).decode("utf-8", "replace"))
            start = place + 1
    return PREFIX.join(texts)
