"""A server that classifies texts, as a function: `hf.metrics.endpoint("http://localhost:8080/predict")`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from helmframe.errors import ArgumentError

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

RETRIES = 4
# The pause before retry k is drawn from 0 to FIRST_PAUSE · 2^(k-1) seconds, at most LONGEST_PAUSE.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


@dataclass(frozen=True)
class Endpoint:
    """A server that classifies texts, as a function; made by `endpoint`."""

    url: str
    key: str | None = None
    label: str = "toxic"
    timeout: float = 30.0

    def __call__(self, texts: list[str]) -> list[float]:
        """Return the label's score of each text."""
        reply = _request(self.url, {"inputs": texts}, _headers(self.key), self.timeout)
        return _scores(reply, self.label.lower(), len(texts))

    def __str__(self) -> str:
        """Return the address without a password or query, and the label."""
        address = urlsplit(self.url)
        port = "" if address.port is None else f":{address.port}"
        return f"{address.scheme}://{address.hostname}{port}{address.path} ({self.label})"


def endpoint(url: str, *, key: str | None = None, label: str = "toxic", timeout: float = 30.0) -> Endpoint:
    """Return a classifier of texts that sends them to a server: POST {"inputs": [text, …]}.

    `hf.metrics.toxicity(classifier=hf.metrics.endpoint("http://localhost:8080/predict", key="HF_TOKEN"))`.
    A server that generates text is a model: `plan.generate("http://…/v1#name")`.

    The server responds with a list that has one entry per text: a number, or the labels with their scores
    ([{"label": "toxic", "score": 0.9}, …]), as Hugging Face's servers of text classification return. The list may be
    under "scores", "predictions" or "results".

    Args:
        url: The address, http:// or https://.
        key: The name of the environment variable that holds the key. The key is sent as a bearer token; it is read at
            each call and never stored.
        label: The label whose score counts; case is ignored.
        timeout: Seconds per call. Lost connections, timeouts and busy servers are retried 4 times, with backoff.

    Raises:
        ArgumentError: The address is invalid, or httpx is not installed. From a call: the key is missing, the server
            refuses, or the response has another form.
    """
    if find_spec("httpx") is None:
        raise ArgumentError("endpoint() needs the package httpx: pip install 'helmframe[metrics]'.")
    if not url.startswith(("http://", "https://")):
        raise ArgumentError(f"endpoint({url!r}): should start with http:// or https://.")
    return Endpoint(url, key, label, timeout)


def _headers(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    secret = os.environ.get(key, "").strip()
    if not secret:
        raise ArgumentError(f"endpoint(key={key!r}): the environment has no {key}; export it where this runs.")
    return {"Authorization": f"Bearer {secret}"}


def _request(url: str, body: Mapping[str, Any], headers: Mapping[str, str], timeout: float) -> Any:
    import httpx
    from tenacity import Retrying, retry_if_exception, stop_after_attempt

    attempts = Retrying(
        retry=retry_if_exception(_is_transient), stop=stop_after_attempt(1 + RETRIES), wait=_seconds, reraise=True
    )
    try:
        response = attempts(_post, url, body, headers, timeout)
        return response.json()
    except httpx.HTTPStatusError as error:
        raise ArgumentError(f"{url} answered {error.response.status_code}: {error.response.text[:200]}") from None
    except ValueError:
        raise ArgumentError(f"{url} answered with something that is no JSON.") from None


def _post(url: str, body: Mapping[str, Any], headers: Mapping[str, str], timeout: float) -> "httpx.Response":
    import httpx

    return httpx.post(url, json=body, headers=dict(headers), timeout=timeout).raise_for_status()


def _is_transient(error: BaseException) -> bool:
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _TRANSIENT
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)


def _seconds(state: "RetryCallState") -> float:
    """Return a random pause, or the one in seconds that the server requests, up to the longest pause."""
    import httpx
    from tenacity import wait_random_exponential

    drawn = wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE)(state)
    error = state.outcome.exception() if state.outcome else None
    retry_after = error.response.headers.get("Retry-After", "") if isinstance(error, httpx.HTTPStatusError) else ""
    return max(drawn, min(float(retry_after), LONGEST_PAUSE)) if retry_after.isdecimal() else drawn


def _scores(reply: Any, label: str, count: int) -> list[float]:
    for name in ("scores", "predictions", "results"):
        reply = reply[name] if isinstance(reply, Mapping) and name in reply else reply
    if not isinstance(reply, Sequence) or isinstance(reply, str) or len(reply) != count:
        raise ArgumentError(f"the endpoint should answer with a list of {count}; it answered {str(reply)[:200]}.")
    return [_score(prediction, label) for prediction in reply]


def _score(prediction: Any, label: str) -> float:
    if isinstance(prediction, float | int) and not isinstance(prediction, bool):
        return float(prediction)
    labels = [prediction] if isinstance(prediction, Mapping) else prediction if isinstance(prediction, list) else []
    named = [entry for entry in labels if isinstance(entry, Mapping) and {"label", "score"} <= entry.keys()]
    scores = {str(entry["label"]).lower(): entry["score"] for entry in named}
    if label not in scores:
        available = f"labels {', '.join(sorted(scores))}" if scores else str(prediction)[:200]
        raise ArgumentError(
            f"the endpoint gave no score for the label {label!r}, but {available}. Say endpoint(label=…)."
        )
    return _score(scores[label], label)
