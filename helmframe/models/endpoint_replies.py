"""Convert the reply of an OpenAI-compatible server to a `Completion`."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from helmframe._core.checks import is_integer
from helmframe.config import without_echo
from helmframe.errors import AnswerError
from helmframe.models.model import Completion, Pair, short
from helmframe.models.tokenizing import before_stop

# Finish reasons of servers whose words differ from OpenAI's.
_ENDS = {"eos_token": "stop", "stop_sequence": "stop", "end_turn": "stop", "eos": "stop", "max_tokens": "length"}


def completion_of(reply: object, name: str, stops: Sequence[str] = ()) -> Completion:
    """Return the completion of a reply, from the first choice if there are several.

    Log-probabilities are those of the tokens that contain a part of the text. Servers also report those of end-of-text
    tokens, stop strings and separate reasoning, which are excluded. Log-probabilities are None if the server's tokens
    don't spell the text. Known keys of at least 16 characters are replaced by `***`.

    Args:
        reply: The reply of the server, parsed as JSON.
        name: The model's name.
        stops: All stop strings that are applied to the text; a server may apply only some of them.

    Raises:
        AnswerError: The reply has no text.
    """
    choice = _choice(reply)
    text, reasoning = _texts(choice)
    if text is None:
        raise AnswerError(f"Model {name!r}: the server replied {short(reply)}; expected choices with a text.")
    end = choice.get("finish_reason")
    end = _ENDS.get(end, end) if isinstance(end, str) else None
    visible = before_stop(text, stops)
    whole = end == "length" and visible == text and not reasoning
    # a server may echo the key that it received
    return Completion(
        without_echo(text),
        reasoning=reasoning and without_echo(reasoning),
        finish_reason=end and without_echo(end),
        prompt_tokens=_count(reply, "prompt_tokens"),
        output_tokens=_count(reply, "completion_tokens"),
        reasoning_tokens=_reasoning_tokens(reply),
        cached_prompt_tokens=_cached_prompt_tokens(reply),
    ).with_logprobs(_logprobs(choice, None if whole else visible, first=not reasoning) or ())


def score_of(reply: object, pair: Pair, name: str) -> Completion | None:
    """Return the continuation with its log-probability, from a reply that contains the prompt.

    The continuation's tokens are those that contain a part of it, as in `tokenizing.splits`. A token that contains
    only the first bytes of a character is shown as empty text. After an empty context the first token of the text may
    have no log-probability, and is skipped.

    Args:
        reply: The reply of the server, parsed as JSON.
        pair: The context and the continuation.
        name: The model's name.

    Returns:
        The continuation; None if the reply has no log-probabilities of the prompt.

    Raises:
        AnswerError: The tokens don't spell the prompt, or lack a log-probability.
    """
    choice = _choice(reply)
    prompt = pair.context + pair.continuation
    logprobs, text = choice.get("logprobs"), choice.get("text")
    if isinstance(logprobs, Mapping) and isinstance(text, str) and text.startswith(prompt):
        tokens, values = logprobs.get("tokens"), logprobs.get("token_logprobs")
        if not isinstance(tokens, list) or not isinstance(values, list) or len(tokens) != len(values):
            return None
        ends = _ends(tokens, prompt, logprobs.get("text_offset"))
    elif isinstance(choice.get("prompt_logprobs"), list):
        tokens, values = _prompt_tokens(choice["prompt_logprobs"])
        ends = _ends_backwards(tokens, prompt)
    else:
        return None
    if ends is None:
        raise AnswerError(f"Model {name!r}: the server's tokens don't spell the prompt: {short(tokens[:8])}.")
    starts = [0, *ends[:-1]]
    first, end = bisect_right(ends, len(pair.context)), bisect_left(starts, len(prompt))
    while 0 < first < end and starts[first - 1] == starts[first] and values[first - 1] is not None:
        first -= 1
    if not pair.context and first < end and values[first] is None:
        first += 1
    numbers = _numbers(values[first:end])
    if numbers is None:
        raise AnswerError(f"Model {name!r}: the server returned no log-probability of {pair.continuation[:40]!r}.")
    return Completion(pair.continuation, prompt_tokens=first, output_tokens=len(numbers)).with_logprobs(numbers)


def _prompt_tokens(entries: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return the prompt's tokens and their log-probabilities, from vLLM's list of {id: {decoded_token, logprob}}.

    The first token of each entry is the prompt's own. The first entry is empty.
    """
    tokens: list[Any] = []
    values: list[Any] = []
    for entry in entries:
        token = next(iter(entry.values()), None) if isinstance(entry, Mapping) else None
        token = token if isinstance(token, Mapping) else {}
        tokens.append(token.get("decoded_token"))
        values.append(token.get("logprob"))
    return tokens, values


def _choice(reply: object) -> Mapping[str, Any]:
    choices = reply.get("choices") if isinstance(reply, Mapping) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, Mapping) else {}


def _texts(choice: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the generated text and the reasoning."""
    message = choice.get("message")
    if not isinstance(message, Mapping):
        text = choice.get("text")
        return (text, None) if isinstance(text, str) else (None, None)
    thought = message.get("reasoning_content") or message.get("reasoning")
    reasoning = thought if isinstance(thought, str) and thought else None
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        content = "".join(part for part in parts if isinstance(part, str))
    if content is None:
        # a model that refuses, or runs out of tokens while reasoning, has no content
        content = message.get("refusal") or ""
    return (content, reasoning) if isinstance(content, str) else (None, None)


def _logprobs(choice: Mapping[str, Any], text: str | None, *, first: bool) -> tuple[float, ...] | None:
    """Return the log-probabilities of the text's tokens, in the format of either route: servers mix the two formats.

    Args:
        choice: The choice of the reply.
        text: The retained part of the generated text; None: all tokens, whatever they spell.
        first: Whether the text is the first part of the generated text.
    """
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, Mapping):
        return None
    content = logprobs.get("content")
    if isinstance(content, list):
        entries = [entry if isinstance(entry, Mapping) else {} for entry in content]
        values, tokens = [entry.get("logprob") for entry in entries], list(map(_bytes, entries))
    elif isinstance(logprobs.get("token_logprobs"), list):
        values, spellings = logprobs["token_logprobs"], logprobs.get("tokens")
        tokens = [_bytes({"token": spelling}) for spelling in spellings] if isinstance(spellings, list) else []
    else:
        return None
    if text is None:
        return _numbers(values)
    if len(tokens) != len(values):
        return None
    overlapping = _overlapping(tokens, text.encode("utf-8", "replace"), first=first)
    return _numbers([value for value, overlaps in zip(values, overlapping, strict=True) if overlaps])


def _bytes(token: Mapping[str, Any]) -> bytes:
    """Return the bytes of a token; some servers report `bytes` for tokens that are parts of characters."""
    values = token.get("bytes")
    if isinstance(values, list) and all(isinstance(value, int) and 0 <= value < 256 for value in values):
        return bytes(values)
    return str(token.get("token", "")).encode("utf-8", "replace")


def _overlapping(tokens: Sequence[bytes], text: bytes, *, first: bool) -> list[bool]:
    """Return for each token whether it contains a part of the text; all False if the tokens don't spell it.

    Args:
        tokens: All generated tokens.
        text: The text of some of them.
        first: Whether the tokens start with the text, unless the server has stripped it. Else they end with the text,
            apart from the tokens that ended it.
    """
    spelled, ends = b"".join(tokens), list(accumulate(map(len, tokens)))
    start = 0 if first and spelled.startswith(text) else _last_start(spelled, ends, text)
    if start is None:
        return [False] * len(tokens)
    spans = zip([0, *ends[:-1]], ends, strict=True)
    # a token with the first bytes of a character may be shown as empty text
    return [begins < start + len(text) and (begins >= start or ends > start) for begins, ends in spans]


def _last_start(spelled: bytes, ends: Sequence[int], text: bytes) -> int | None:
    """Return the start of the text's last occurrence that ends with a token."""
    return next((end - len(text) for end in reversed(ends) if spelled.endswith(text, 0, end)), None)


def _numbers(values: Sequence[object]) -> tuple[float, ...] | None:
    """Return the values if all are log-probabilities; None if there is no value, or one is missing."""
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if not numbers or len(numbers) < len(values) or not all(map(math.isfinite, numbers)):
        return None
    return tuple(numbers)


def _ends(tokens: list[Any], prompt: str, offsets: object) -> list[int] | None:
    """Return the index at which each token ends in the prompt; a token before the prompt (BOS) ends at 0."""
    texts = list(map(str, tokens))
    for start in (0, len(texts[0]) if texts else 0):
        if "".join(texts).startswith(prompt, start):
            return [end - start for end in accumulate(map(len, texts))]
    if isinstance(offsets, list) and len(offsets) == len(tokens) and all(isinstance(offset, int) for offset in offsets):
        # tokens of one character are shown as replacement characters, and only the server knows their positions
        ends = [*offsets[1:], max(len(prompt), offsets[-1] + 1)]
        return ends if ends == sorted(ends) else None
    return None


def _ends_backwards(tokens: list[Any], prompt: str) -> list[int] | None:
    """Return the index at which each token ends in the prompt, from its end: the first token's text is unknown."""
    texts = ["", *tokens[1:]]
    if not all(isinstance(text, str) for text in texts) or not prompt.endswith("".join(texts)):
        return None
    before = len(prompt) - sum(map(len, texts))
    return [before + end for end in accumulate(map(len, texts))]


def _reasoning_tokens(reply: object) -> int | None:
    details = _usage(reply, "completion_tokens_details")
    count = details.get("reasoning_tokens") if isinstance(details, Mapping) else None
    return count if is_integer(count) else None


def _cached_prompt_tokens(reply: object) -> int | None:
    """Return the number of prompt tokens that the server read from its own cache; DeepSeek has its own field."""
    details = _usage(reply, "prompt_tokens_details")
    count = details.get("cached_tokens") if isinstance(details, Mapping) else None
    return count if is_integer(count) else _count(reply, "prompt_cache_hit_tokens")


def _count(reply: object, name: str) -> int | None:
    count = _usage(reply, name)
    return count if is_integer(count) else None


def _usage(reply: object, name: str) -> object:
    usage = reply.get("usage") if isinstance(reply, Mapping) else None
    return usage.get(name) if isinstance(usage, Mapping) else None
