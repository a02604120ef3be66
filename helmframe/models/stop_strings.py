"""The strings at which a completion ends."""

from collections.abc import Mapping, Sequence
from typing import Any


def stops_of(decoding: Mapping[str, Any]) -> list[str]:
    """The stop strings that the decoding parameters name; an empty one is none."""
    said = decoding.get("stop") or []
    return [each for each in ([said] if isinstance(said, str) else map(str, said)) if each]


def before_stop(text: str, stops: Sequence[str]) -> str:
    """The text as completions are kept: without the first of the stop strings in it and what follows."""
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text
