"""Mock models for tests, notebooks and benchmarks, with predictable completions."""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from helmframe._core.cache_files import digest
from helmframe._core.specs import Call, frozen
from helmframe.errors import ArgumentError, UnknownNameError, listed
from helmframe.models.model import Completion, Model, Pair, Prompt, Response, Row

WRONG = "[wrong answer]"
_KEYS = (
    "scenario", "instance_id", "perturbation", "perturbation_seed", "output_index", "reference_index", "request_mode",
)  # fmt: skip
# The log-probability of a word (nats) in a right option, in a wrong option, and in any other text.
RIGHT, OTHER, ANY = -0.1, -5.0, -2.0


def echo() -> Model:
    r"""Return a mock model that repeats the last non-empty line of the prompt.

    All words are equally likely to it. Images and audio of a message are ignored.

    >>> list(echo().generate(["Question: 1 + 1?\n2"], {}))
    ['2']
    """

    def generate(prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
        return [_last_line(prompt["prompt"] if isinstance(prompt, dict) else str(prompt)) for prompt in prompts]

    def scores(prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
        return [_scored_text(prompt.continuation, ANY) for prompt in prompts if isinstance(prompt, Pair)]

    return _mock(Call("echo"), generate, scores, sees_rows=False)


def oracle() -> Model:
    """Return a mock model that generates the first correct reference; correct options are likelier than wrong ones.

    An instance without a correct reference is an error row.

    >>> import helmframe as hf
    >>> hf.scenario("sampler").limit(1).generate(oracle()).score().value("exact_match")
    1.0
    """

    def complete(row: Row) -> Response:
        return _correct_output(row)

    def score(row: Row) -> Response:
        return _scored(row, [index for index, correct in enumerate(row["correct"]) if correct])

    return _mock(Call("oracle"), _by_row(complete), _by_row(score))


def noisy(accuracy: float, seed: int = 0, by: str = "prompt") -> Model:
    """Return a mock model whose completions are correct with probability `accuracy`.

    Wrong completions are wrong references, or the text "[wrong answer]" if there are none. An instance without a
    correct reference is an error row.

    >>> noisy(0.6).name
    'noisy(accuracy=0.6)'

    Args:
        accuracy: The probability of a correct completion, between 0 and 1.
        seed: The seed of sampling. The same seed repeats the completions.
        by: The unit of sampling. "prompt" samples per scenario, instance and prompt, so the variants of an instance are
            correct independently of each other: the worst case for robustness statistics. "instance" samples per
            scenario and instance, so all variants agree: a perfectly robust model.

    Raises:
        ArgumentError: The accuracy isn't a probability, or `by` is unknown.
    """
    if isinstance(accuracy, bool) or not isinstance(accuracy, float | int) or not 0 <= accuracy <= 1:
        raise ArgumentError(f"noisy(accuracy={accuracy!r}): accuracy must be between 0 and 1.")
    if by not in ("prompt", "instance"):
        raise ArgumentError.unknown_value(f"noisy(by={by!r})", by, ("prompt", "instance"))

    def sampled(row: Row) -> tuple[bool, int]:
        # instances with equal prompts, and outputs of one request, are sampled independently
        key = [seed, row["scenario"], row["instance_id"], *([row["prompt"]] if by == "prompt" else [])]
        draw = hashlib.blake2b(json.dumps([*key, row["output_index"]]).encode(), digest_size=16).digest()
        return int.from_bytes(draw[:8], "big") < accuracy * 2**64, int.from_bytes(draw[8:], "big")

    def complete(row: Row) -> Response:
        is_right, number = sampled(row)
        wrong = row["wrong"] or [WRONG]
        return wrong[number % len(wrong)] if row["right"] and not is_right else _correct_output(row)

    def score(row: Row) -> Response:
        is_right, number = sampled(row)  # the same for all options of a question
        indices = [index for index, correct in enumerate(row["correct"]) if correct == is_right]
        return _scored(row, [indices[number % len(indices)]] if indices else [])

    arguments = {"accuracy": accuracy, **({"seed": seed} if seed else {}), **({"by": by} if by != "prompt" else {})}
    return _mock(Call("noisy", frozen(arguments)), _by_row(complete), _by_row(score))


def replay(recorded: pl.DataFrame | Mapping[str, str], name: str = "replay") -> Model:
    """Return a mock model that repeats recorded completions; a missing completion is an error row.

    >>> list(replay({"1 + 1 =": "2"}).generate(["1 + 1 ="], {}))
    ['2']

    Args:
        recorded: A mapping prompt → text, or a frame with the columns `instance_id` and `completion`. Rows of a frame
            are identified by instance_id, and by those of these columns that it has: scenario, perturbation,
            perturbation_seed, output_index, reference_index, request_mode. Its columns reasoning, logprob,
            token_logprobs, finish_reason, prompt_tokens, output_tokens and reasoning_tokens are repeated too.
        name: The model's name in tables.

    Raises:
        ArgumentError: `recorded` is neither, lacks a column, or has two rows for the same completion.
    """
    if isinstance(recorded, Mapping):
        texts = dict(recorded)
        content = digest(*(part for pair in sorted(texts.items()) for part in pair))

        def generate(prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
            return [_recorded_completion(texts, prompt, _describe_prompt) for prompt in prompts]

        call = Call("replay", (("content", content),))
        return _mock(call, generate, name=name, sees_rows=False, durable=True)
    if not isinstance(recorded, pl.DataFrame):
        raise ArgumentError(
            f"replay({type(recorded).__name__}): recorded must be a mapping {{prompt: text}}, or a frame with the "
            "columns instance_id and completion."
        )
    keys = _replay_keys(recorded)
    completions = {tuple(row[key] for key in keys): _recorded(row) for row in recorded.iter_rows(named=True)}
    content = digest(*keys, *(f"{key}: {completion}" for key, completion in sorted(completions.items(), key=str)))

    def complete(row: Row) -> Response:
        key = tuple(row[name] for name in keys)  # type: ignore[literal-required]
        return _recorded_completion(completions, key, functools.partial(_describe_row, keys))

    return _mock(Call("replay", (("content", content),)), _by_row(complete), _by_row(complete), name=name)


def from_text(text: str) -> Model:
    """Return a mock model from its text in plans and run entries: `oracle()`, `noisy(0.6)`, `noisy(accuracy=0.6)`.

    >>> from_text("noisy(accuracy=0.6)") == from_text("noisy(0.6)") == noisy(0.6)
    True

    Raises:
        UnknownNameError: No mock model has that name.
        ArgumentError: An argument is unknown or missing.
    """
    factories: dict[str, Callable[..., Model]] = {"echo": echo, "noisy": noisy, "oracle": oracle}

    def parameters(name: str) -> list[str]:
        return list(inspect.signature(factories[name]).parameters) if name in factories else []

    call = Call.parse(text, parameters)
    if call.name not in factories:
        raise UnknownNameError.among("mock model", call.name, factories)
    factory, arguments = factories[call.name], dict(call.arguments)
    for name in arguments:
        if name not in parameters(call.name):
            raise ArgumentError.unknown_argument(f"{call.name}()", name, parameters(call.name))
    try:
        inspect.signature(factory).bind(**arguments)
    except TypeError as error:
        raise ArgumentError(f"Model {text!r}: {error}.") from None
    return factory(**arguments)


def _mock(
    call: Call,
    generate: Callable[[Sequence[Prompt], Mapping[str, Any]], list[Response]],
    scores: Callable[[Sequence[Prompt], Mapping[str, Any]], list[Response]] | None = None,
    *,
    name: str = "",
    sees_rows: bool = True,
    durable: bool = False,
    media: bool = True,
) -> Model:
    """Return a mock model; with `sees_rows` it isn't durable, because completions depend on more than the prompt."""
    return Model(
        name=name or str(call),
        source=call,
        generate=generate,
        fingerprint=functools.partial(digest, "toy", str(call)),
        durable=durable,
        takes=None,
        batch=256,
        sees_rows=sees_rows,
        media=media,
        note="a mock model",
        loglikelihood=scores,
    )


def _by_row(complete: Callable[[Row], Response]) -> Callable[[Sequence[Prompt], Mapping[str, Any]], list[Response]]:
    def generate(prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Response]:
        return [complete(prompt) for prompt in prompts if isinstance(prompt, dict)]

    return generate


def _last_line(prompt: str) -> str:
    lines = prompt.rstrip().rsplit("\n", 1)
    return lines[-1].strip()


def _correct_output(row: Row) -> Response:
    """Return the first correct output, or the error of this row."""
    if not row["right"]:
        return LookupError(f"instance {row['instance_id']!r} has no correct reference.")
    return row["right"][0]


def _scored(row: Row, likely: Sequence[int]) -> Response:
    """Return the row's continuation with its log-probability; `likely` are the indices of the likely references."""
    text, reference = row["continuation"] or "", row["reference_index"]
    if reference is None or row["request_mode"] == "calibration":
        return _scored_text(text, ANY)
    if True not in row["correct"]:
        return _correct_output(row)
    is_likely = reference in likely
    return _scored_text(text, RIGHT if is_likely else OTHER)._replace(is_greedy=is_likely)


def _scored_text(text: str, logprob: float) -> Completion:
    """Return a text whose words have this log-probability each."""
    words = max(1, len(text.split()))
    return Completion(text, logprob=words * logprob, token_logprobs=(logprob,) * words, output_tokens=words)


def _recorded_completion(
    completions: Mapping[Any, Response | None], key: object, describe: Callable[[Any], str]
) -> Response:
    """Return the recorded completion, or the error of this row."""
    if key not in completions:
        return LookupError(f"no completion was recorded for {describe(key)}.")
    completion = completions[key]
    return LookupError(f"the completion recorded for {describe(key)} is null.") if completion is None else completion


def _describe_prompt(prompt: str) -> str:
    return f"the prompt that ends in {prompt[-60:]!r}"


def _describe_row(keys: Sequence[str], key: Sequence[object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in zip(keys, key, strict=True))


def _replay_keys(recorded: pl.DataFrame) -> tuple[str, ...]:
    for column in ("instance_id", "completion"):
        if column not in recorded.columns:
            raise ArgumentError(f"replay(): the frame has no column {column!r}, only {listed(recorded.columns)}.")
    keys = tuple(key for key in _KEYS if key in recorded.columns)
    repeated = recorded.filter(pl.struct(keys).is_duplicated()).head(1).to_dicts()
    if repeated:
        raise ArgumentError(f"replay(): two rows have {_describe_row(keys, [repeated[0][key] for key in keys])}.")
    return keys


def _recorded(row: Mapping[str, Any]) -> Completion | None:
    if row["completion"] is None:
        return None
    fields = {field: row[field] for field in Completion._fields[1:] if row.get(field) is not None}
    if "token_logprobs" in fields:
        fields["token_logprobs"] = tuple(fields["token_logprobs"])
    return Completion(row["completion"], **fields)
