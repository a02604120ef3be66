"""Reasoning before an answer: head-room for it in `max_tokens`, and the switches of servers and chat templates.

The user sets the decoding parameter `reasoning`: a level, a number of tokens, or False. This module sets `head_room`:
the number of tokens by default, and for a second attempt. Both are part of a request's id. Models receive a larger
`max_tokens` instead.
"""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from helmframe._core.checks import is_integer
from helmframe.errors import ArgumentError
from helmframe.models.model import Model

# Level → the tokens of head-room.
LEVELS = {"low": 2_048, "medium": 8_192, "high": 24_576}
# The tokens of head-room of a model that is known to reason, if the plan does not specify `reasoning`.
DEFAULT_ROOM = 2_048
HEAD_ROOM = "head_room"


def check_reasoning(value: object, where: str) -> None:
    """Check a value of the decoding parameter `reasoning`.

    Raises:
        ArgumentError: The value is neither a level, a number of tokens, False nor None.
    """
    is_level = isinstance(value, str) and value in LEVELS
    if value is None or value is False or is_level or (is_integer(value) and value >= 0):
        return
    if isinstance(value, str):
        raise ArgumentError.unknown_value(f"{where}(reasoning={value!r})", value, LEVELS)
    raise ArgumentError(
        f"{where}(reasoning={value!r}): reasoning must be 'low', 'medium', 'high', a number of tokens ≥ 0, or False."
    )


def head_room(decoding: Mapping[str, Any]) -> int:
    """Return the tokens that decoding parameters add to `max_tokens` for reasoning.

    >>> head_room({"max_tokens": 1, "reasoning": "low"}), head_room({"max_tokens": 1})
    (2048, 0)
    """
    if decoding.get(HEAD_ROOM):
        return int(decoding[HEAD_ROOM])
    reasoning = decoding.get("reasoning")
    return LEVELS[reasoning] if isinstance(reasoning, str) else int(reasoning or 0)


def as_sent(decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Return decoding parameters as a model receives them.

    With head-room, stop sequences are not sent, because most models apply them to the reasoning too. The stage
    `generate` applies them to the text afterwards.

    >>> as_sent({"max_tokens": 1, "reasoning": 4096, "stop": ["."]})
    {'max_tokens': 4097, 'reasoning': 4096}
    """
    room = head_room(decoding)
    sent = {name: value for name, value in decoding.items() if name != HEAD_ROOM}
    if room:
        sent.pop("stop", None)
        if sent.get("max_tokens"):
            sent["max_tokens"] += room
    return sent


def with_default_room(requests: pl.DataFrame, model: Model) -> pl.DataFrame:
    """Return the requests with head-room in `decoding`, if the model is known to reason and the plan sets nothing.

    Args:
        requests: `REQUESTS` with `chat_template` filled.
        model: The model.
    """
    if not model.reasons:
        return requests
    texts = {text: _with_room(text, DEFAULT_ROOM) for text in requests["decoding"].unique()}
    applies = pl.col("continuation").is_null() & (pl.lit(model.reasons == "all") | pl.col("chat_template"))
    return requests.with_columns(
        decoding=pl.when(applies).then(pl.col("decoding").replace(texts)).otherwise("decoding")
    )


def _with_room(text: str, room: int) -> str:
    decoding = json.loads(text)
    return text if "reasoning" in decoding or not decoding.get("max_tokens") else _dumped(decoding, room)


def with_doubled_room(requests: pl.DataFrame) -> pl.DataFrame:
    """Return the requests that have head-room, with twice its number of tokens."""
    decodings = {text: json.loads(text) for text in requests["decoding"].unique()}
    doubled = {
        text: _dumped(decoding, 2 * head_room(decoding))
        for text, decoding in decodings.items()
        if head_room(decoding) and decoding.get("max_tokens")
    }
    roomy = requests.filter(pl.col("decoding").is_in(list(doubled)))
    return roomy.with_columns(pl.col("decoding").replace(doubled))


def _dumped(decoding: Mapping[str, Any], room: int) -> str:
    return json.dumps({**decoding, HEAD_ROOM: room}, sort_keys=True, ensure_ascii=False)


def template_variables(decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of a chat template that switch reasoning; none for the template's own default.

    >>> template_variables({"reasoning": "low"})
    {'enable_thinking': True, 'reasoning_effort': 'low'}
    """
    reasoning = decoding.get("reasoning")
    if reasoning is False:
        return {"enable_thinking": False}
    if not reasoning:
        return {}
    return {"enable_thinking": True, **({"reasoning_effort": reasoning} if isinstance(reasoning, str) else {})}


def server_fields(decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a chat request that switch reasoning, as servers of OpenAI, vLLM and SGLang name them."""
    variables = template_variables(decoding)
    if not variables:
        return {}
    effort = "none" if not variables["enable_thinking"] else variables.get("reasoning_effort")
    thinking = {"chat_template_kwargs": {"enable_thinking": variables["enable_thinking"]}}
    return {**({"reasoning_effort": effort} if effort else {}), **thinking}


def template_reasons(template: object) -> bool:
    """Return whether a chat template switches reasoning, or opens it at the start of the assistant's turn.

    Args:
        template: The template's text, or the list of named templates of a tokenizer's configuration.
    """
    text = template if isinstance(template, str) else json.dumps(template)
    return "enable_thinking" in text or "<think>" in text.rpartition("add_generation_prompt")[2]


def opens_reasoning(prompt: pl.Expr) -> pl.Expr:
    """Return whether a prompt ends with the tag that opens reasoning, so that the completion starts within it."""
    return prompt.str.strip_chars_end().str.ends_with("<think>").fill_null(value=False)


def with_reasoning_tokens(completions: pl.DataFrame, model: Model) -> pl.DataFrame:
    """Return the completions with the tokens of their reasoning counted, if the model has a tokenizer."""
    uncounted = pl.col("reasoning").is_not_null() & pl.col("reasoning_tokens").is_null()
    if model.tokens is None or not completions.select(uncounted.any()).item():
        return completions
    encode = model.tokens.encode
    counts = [None if text is None else len(encode(text)) for text in completions["reasoning"]]
    counted = pl.Series("counted", counts, dtype=pl.Int64)
    return completions.with_columns(reasoning_tokens=pl.coalesce("reasoning_tokens", counted))
