"""HELM's scenario_state.json as `COMPLETIONS`, read one request state at a time."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import polars as pl

from helmframe._core.yaml import reading
from helmframe._schema import COMPLETIONS, source_column
from helmframe.adapters.layout import cue_end
from helmframe.interop.helm.fields import SCORED
from helmframe.interop.helm.runs import Run
from helmframe.interop.helm.variants import Variant, parse_variant
from helmframe.interop.imports import check_row

ROWS = 2_000  # per frame
# A column besides those of `COMPLETIONS`: the texts of the tokens, for `to_helm`.
TOKENS = source_column("tokens")
_FINISH = {"endoftext": "stop", "unknown": None}
_EMPTY_ID = hashlib.sha256(b"").hexdigest()[:32]
_BYTES = "bytes:"  # HELM's clients write tokens of incomplete characters so: bytes:\xe2\x80
# Instance, perturbation, seed, trial and, in language modelling, window: the key of HELM's statistics of an instance.
StatsKey: TypeAlias = tuple[str, str, int, int, int | None]


@dataclass
class States:
    """A reader of the states of one run; `variants` are its perturbations, `prompt_tokens` HELM's counts."""

    run: Run
    variants: Sequence[Variant]
    prompt_tokens: Mapping[StatsKey, int]
    count: int = 0
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _original: dict[str, Any] | None = None
    _seen: set[tuple[str, int]] = field(default_factory=set)
    _instance_rows: list[dict[str, Any]] = field(default_factory=list)

    def frames(self, states: Iterable[Mapping[str, Any]]) -> Iterator[pl.DataFrame]:
        """Yield `COMPLETIONS` in frames of some thousand rows.

        HELM omits variants that a perturbation left unchanged. The frames have rows for them, with `changed` False.

        Raises:
            SourceBrokenError: A state isn't in HELM's format.
        """
        for number, state in enumerate(states):
            with reading(f"request_states[{number}]", "in HELM's format"):
                self._add(state)
            self.count = number + 1
            if len(self._rows) >= ROWS:
                yield self._frame()
        self._close()
        if self._rows:
            yield self._frame()

    def _add(self, state: Mapping[str, Any]) -> None:
        instance = state["instance"]
        if self._original is None or instance["id"] != self._original["id"]:
            self._close()
            self._original = {"id": instance["id"], "instance": instance}
        variant = parse_variant(instance.get("perturbation"), self.run.variants)
        self._seen.add((variant.perturbation, variant.seed))
        original = self._original["instance"] if variant.parameters is not None else instance
        rows = _rows(self.run, state, variant, original)
        window = None
        if self.run.models_language:
            # a text longer than the model's window has several states, in order
            name = (variant.perturbation, variant.seed)
            window = sum((row["perturbation"], row["perturbation_seed"]) == name for row in self._instance_rows)
        key = (rows[0]["instance_id"], variant.perturbation, variant.seed, rows[0]["trial"], window)
        for row in rows:
            row |= {"prompt_tokens": self.prompt_tokens.get(key), "window_index": window}
            check_row(row, _SCHEMA)
        self._instance_rows += rows

    def _close(self) -> None:
        """Finish an instance: the variants that HELM omitted get the rows of the original."""
        unchanged = [variant for variant in self.variants if (variant.perturbation, variant.seed) not in self._seen]
        originals = [row for row in self._instance_rows if row["perturbation_parameters"] is None]
        self._rows += self._instance_rows
        self._rows += [
            row
            | {
                "perturbation": variant.perturbation,
                "perturbation_seed": variant.seed,
                "perturbation_parameters": variant.parameters,
            }
            for variant in unchanged
            for row in originals
        ]
        self._seen, self._instance_rows = set(), []

    def _frame(self) -> pl.DataFrame:
        rows, self._rows = self._rows, []
        run = self.run
        frame = pl.DataFrame(rows, schema=_SCHEMA, orient="row").with_columns(
            **{source_column(name): pl.lit(value) for name, value in run.values.items()},
            scenario=pl.lit(run.scenario),
            scenario_version=pl.lit("helm"),
            row_index=pl.col("instance_id").str.extract(r"(\d+)$").cast(pl.Int64).fill_null(0),
            subset=pl.lit(run.subset),
            cluster=pl.col("instance_id"),
            setting=pl.lit(run.setting),
            repeat=pl.lit(0),
            head_id=pl.lit(_EMPTY_ID),
            prefix_id=pl.lit(_EMPTY_ID),
            blocks=pl.lit(None, dtype=COMPLETIONS.schema["blocks"]),
            answer_pattern=pl.lit(run.adapter.answer_pattern, dtype=pl.String),
            decoding=pl.lit(run.decoding),
            adapter_id=pl.lit(run.adapter_id),
            shot_ids=pl.lit([], dtype=pl.List(pl.String)),
            reasoning=pl.col("reasoning"),
            attempts=pl.lit(1),
        )
        extra = [*map(source_column, run.values), TOKENS]
        return frame.select(
            *(
                pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
                for name, dtype in COMPLETIONS.schema.items()
            ),
            *extra,
        )


_FROM_STATES = (
    *("instance_id", "split", "sub_split", "input", "references", "perturbation", "perturbation_seed"),
    *("perturbation_parameters", "perturbed_input", "perturbed_references", "changed", "trial", "reference_index"),
    *("request_mode", "choices", "continuation", "model", "suffix", "shots_used", "prompt_truncated"),
    *("window_index", "num_conditioning_tokens", "output_index", "request_id", "completion", "reasoning", "logprob"),
    *("token_logprobs", "finish_reason", "prompt_tokens", "output_tokens", "latency", "cached", "error"),
)
_SCHEMA = {name: COMPLETIONS.schema[name] for name in _FROM_STATES} | {TOKENS: pl.List(pl.String)}


def _rows(run: Run, state: Mapping[str, Any], variant: Variant, original: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per completion of a state; one row with an error if the request failed."""
    instance, request, result = state["instance"], state["request"], state.get("result") or {}
    references = _references(original)
    contrast = (instance.get("contrast_inputs") or [None])[0]
    mapping = state.get("output_mapping")
    request_bytes = json.dumps(request, sort_keys=True, ensure_ascii=False).encode()
    common = {
        "instance_id": run.instance(str(instance["id"])),
        "split": instance.get("split") or "test",
        "sub_split": instance.get("sub_split"),
        "input": original["input"]["text"] if original is not instance or not contrast else contrast["text"],
        "references": references,
        "perturbation": variant.perturbation,
        "perturbation_seed": variant.seed,
        "perturbation_parameters": variant.parameters,
        "perturbed_input": instance["input"]["text"],
        "perturbed_references": _references(instance),
        "changed": variant.parameters is not None,
        "trial": int(state.get("train_trial_index") or 0),
        "reference_index": state.get("reference_index"),
        "request_mode": state.get("request_mode"),
        "choices": list(mapping) if mapping else None,
        "continuation": _continuation(run, state),
        "model": run.model,
        "suffix": _prompt(request),
        "shots_used": state.get("num_train_instances"),
        "prompt_truncated": bool(state.get("prompt_truncated")),
        "num_conditioning_tokens": state.get("num_conditioning_tokens") or None,
        "latency": result.get("request_time"),
        "cached": bool(result.get("cached")),
    }
    completions = result.get("completions") or []
    if not result.get("success", False) or not completions:
        message = str(result.get("error") or "HELM has no completion of it")
        return [common | {"output_index": 0, "request_id": _id(request_bytes, 0), "error": f"HelmError: {message}"}]
    return [
        common
        | {"output_index": number, "request_id": _id(request_bytes, number)}
        | _answer(completion, state, run, common["continuation"])
        for number, completion in enumerate(completions)
    ]


def _answer(
    completion: Mapping[str, Any], state: Mapping[str, Any], run: Run, continuation: str | None
) -> dict[str, Any]:
    tokens = completion.get("tokens") or []
    if run.models_language:
        tokens = _predicted(tokens, int(state.get("num_conditioning_tokens") or 0))
        continuation = _text(tokens)
    elif continuation is not None:
        # the request echoed the prompt, and the scored text is at its end
        tokens = _last(tokens, len(continuation))
    reason = (completion.get("finish_reason") or {}).get("reason")
    thinking = completion.get("thinking")
    return {
        "completion": completion["text"] if continuation is None else continuation,
        "continuation": continuation,
        "reasoning": thinking.get("text") if isinstance(thinking, Mapping) else thinking,
        "logprob": completion.get("logprob") if continuation is None else _sum(tokens),
        "token_logprobs": [token.get("logprob") for token in tokens] if tokens else None,
        TOKENS: [token.get("text") for token in tokens] if tokens else None,
        "finish_reason": _FINISH.get(str(reason), reason),
        "output_tokens": len(tokens) if tokens else None,
    }


def _continuation(run: Run, state: Mapping[str, Any]) -> str | None:
    """Return the text whose log-probability HELM requested; None if the model generated text."""
    if run.adapter.method not in SCORED:
        return None
    if run.models_language:  # a failed request has no tokens
        return str(state["request"]["prompt"])
    reference = state["instance"]["references"][int(state["reference_index"])]
    text = cue_end(run.adapter) + str(reference["output"]["text"])
    suffix = run.adapter.output_suffix + run.adapter.global_suffix
    return text + suffix if str(state["request"]["prompt"]).endswith(text + suffix) else text


def _last(tokens: Sequence[Mapping[str, Any]], characters: int) -> list[Mapping[str, Any]]:
    """Return the last tokens that contain this number of characters."""
    start, n_characters = len(tokens), 0
    while start and n_characters < characters:
        start -= 1
        n_characters += len(str(tokens[start].get("text") or ""))
    return list(tokens[start:])


def _predicted(tokens: Sequence[Mapping[str, Any]], conditioning: int) -> Sequence[Mapping[str, Any]]:
    """Return the tokens of a window that HELM scores: those after the conditioning tokens.

    Source: HELM `compute_language_modeling_metrics`, which first drops an empty token that some tokenizers insert.
    """
    if conditioning and tokens and not tokens[0].get("text"):
        tokens = tokens[1:]
    return tokens[conditioning:]


def _text(tokens: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of tokens with HELM's number of bytes: one "?" for each byte of a cut character."""
    joined = b"".join(_bytes(str(token.get("text") or "")) for token in tokens)
    return re.sub("[\udc80-\udcff]", "?", joined.decode("utf-8", "surrogateescape"))


def _bytes(token: str) -> bytes:
    if not token.startswith(_BYTES):
        return token.encode()
    return bytes(int(digits, 16) for digits in re.findall(r"\\x([0-9a-fA-F]{2})", token))


def _sum(tokens: Sequence[Mapping[str, Any]]) -> float | None:
    logprobs = [float(token["logprob"]) for token in tokens if token.get("logprob") is not None]
    return sum(logprobs) if logprobs else None


def _references(instance: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "text": reference["output"]["text"],
            "correct": "correct" in reference["tags"],
            "tags": [tag for tag in reference["tags"] if tag != "correct"],
        }
        for reference in instance.get("references") or []
    ]


def _prompt(request: Mapping[str, Any]) -> str:
    """Return the prompt; for a conversation, its turns one after the other."""
    messages = request.get("messages")
    if not messages:
        return str(request.get("prompt") or "")
    return "\n\n".join(f"{message.get('role')}: {message.get('content')}" for message in messages)


def _id(request: bytes, output: int) -> bytes:
    return hashlib.sha256(b"%d\n%s" % (output, request)).digest()[:16]
