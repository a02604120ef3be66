"""The strings at which a completion ends."""

from collections.abc import Mapping, Sequence
from typing import Any


def stops_of(decoding: Mapping[str, Any]) -> list[str]:
    """Return the non-empty stop strings of decoding parameters."""
    stop = decoding.get("stop") or []
    return [text for text in ([stop] if isinstance(stop, str) else map(str, stop)) if text]


def before_stop(text: str, stops: Sequence[str]) -> str:
    """Return the text before the first stop string."""
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text
