"""Completions as HELM's request states: `scenario_state.json`."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from helmframe.interop.helm.fields import SCORED
from helmframe.interop.helm.state_reader import TOKENS
from helmframe.interop.helm.variants import describe_variant

VARIANT = ["instance_id", "perturbation", "perturbation_seed", "trial"]
REQUEST = [*VARIANT, "reference_index", "request_mode", "window_index"]


def states_of(
    completions: pl.DataFrame, prefixes: pl.DataFrame, adapter: Mapping[str, Any], model: str, *, is_from_helm: bool
) -> Iterator[dict[str, Any]]:
    """Yield one request state per request, in the order of the rows.

    Args:
        completions: `COMPLETIONS` of one run, with HELM's instance ids.
        prefixes: `PREFIXES` without duplicates.
        adapter: HELM's AdapterSpec.
        model: HELM's name of the model.
        is_from_helm: Whether the rows come from HELM: they have `TOKENS`, and prompts that end with the scored text.
    """
    prompts = completions.join(prefixes, on="prefix_id", how="left", maintain_order="left")
    frame = prompts.with_columns(prompt=pl.col("prefix").fill_null("") + pl.col("suffix").fill_null(""))
    for _, rows in frame.group_by(REQUEST, maintain_order=True):
        yield _state(rows.sort("output_index").to_dicts(), adapter, model, is_from_helm=is_from_helm)


def _state(rows: list[dict[str, Any]], adapter: Mapping[str, Any], model: str, *, is_from_helm: bool) -> dict[str, Any]:
    row = rows[0]
    context = row["prompt"]
    if row["continuation"] is not None:
        if is_from_helm:
            context = context.removesuffix(row["continuation"])
        else:
            row |= {"prompt": context + row["continuation"]}
    perturbation = describe_variant(row["perturbation"], row["perturbation_seed"], row["perturbation_parameters"])
    instance: dict[str, Any] = {
        "input": {"text": row["perturbed_input"]},
        "references": _references(row["perturbed_references"]),
        "split": row["split"],
        "sub_split": row["sub_split"],
        "id": row["instance_id"],
    }
    if perturbation is not None:
        instance |= {"perturbation": perturbation, "contrast_inputs": [{"text": row["input"]}]}
    texts = [reference["text"] for reference in row["perturbed_references"] or []]
    return without_none(
        {
            "instance": without_none(instance),
            "reference_index": row["reference_index"],
            "request_mode": row["request_mode"],
            "train_trial_index": row["trial"],
            "output_mapping": dict(zip(row["choices"], texts, strict=False)) if row["choices"] else None,
            "request": _request(row, len(rows), adapter, model),
            "result": _result(rows, context, is_from_helm=is_from_helm),
            "num_train_instances": row["shots_used"] or 0,
            "prompt_truncated": bool(row["prompt_truncated"]),
            "num_conditioning_tokens": row["num_conditioning_tokens"] or 0,
        }
    )


def _request(row: Mapping[str, Any], outputs: int, adapter: Mapping[str, Any], model: str) -> dict[str, Any]:
    scored = row["continuation"] is not None
    method = str(adapter.get("method", ""))
    joint = method.startswith("multiple_choice_joint")
    stops = adapter.get("stop_sequences", []) if method == SCORED[0] or not (scored or joint) else []
    return {
        "model_deployment": adapter.get("model_deployment") or model,
        "model": model,
        "embedding": False,
        "prompt": row["prompt"],
        "temperature": 0 if scored else adapter.get("temperature", 1.0),
        "num_completions": outputs,
        "top_k_per_token": adapter.get("num_outputs", 1) if joint else 1,
        "max_tokens": 0 if scored else adapter.get("max_tokens", 100),
        "stop_sequences": stops,
        "echo_prompt": scored,
        "top_p": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
    }


def _result(rows: list[dict[str, Any]], context: str, *, is_from_helm: bool) -> dict[str, Any]:
    first = rows[0]
    failed = first["completion"] is None
    return without_none(
        {
            "success": not failed,
            "embedding": [],
            "completions": [] if failed else [_completion(row, context, is_from_helm=is_from_helm) for row in rows],
            "cached": bool(first["cached"]),
            "request_time": first["latency"] or 0.0,
            "request_datetime": int(time.time()),
            "error": str(first["error"]).removeprefix("HelmError: ") if failed else None,
        }
    )


def _completion(row: Mapping[str, Any], context: str, *, is_from_helm: bool) -> dict[str, Any]:
    scores = _token_logprobs(row)
    # HELM has a text for each token; if ours aren't stored, the first token has the whole text
    texts = (is_from_helm and row.get(TOKENS)) or [row["completion"], *("" for _ in scores[1:])]
    return without_none(
        {
            "text": row["completion"],
            "logprob": row["logprob"] if row["logprob"] is not None else 0.0,
            "tokens": [
                *_conditioning(row["num_conditioning_tokens"] or 0, context),
                *({"text": text, "logprob": score} for text, score in zip(texts, scores, strict=False)),
            ],
            "finish_reason": {"reason": row["finish_reason"]} if row["finish_reason"] else None,
            "thinking": {"text": row["reasoning"]} if row["reasoning"] else None,
        }
    )


def _token_logprobs(row: Mapping[str, Any]) -> list[float]:
    """Return the log-probabilities of tokens; if only the sum of a text is available, its first token has it."""
    if row["token_logprobs"] or row["continuation"] is None or row["logprob"] is None:
        return row["token_logprobs"] or []
    return [row["logprob"], *(0.0 for _ in range((row["output_tokens"] or 1) - 1))]


def _conditioning(count: int, context: str) -> list[dict[str, Any]]:
    """Return the tokens before those that are scored, which HELM skips; the first has all their text."""
    # HELM drops a first token without text, so there is always one
    texts = [context or "<s>", *("" for _ in range(count - 1))][:count]
    return [{"text": text, "logprob": 0.0} for text in texts]


def _references(references: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    return [
        {
            "output": {"text": reference["text"]},
            "tags": [*(["correct"] if reference["correct"] else []), *(reference["tags"] or [])],
        }
        for reference in references or []
    ]


def without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that aren't None: HELM's JSON has no nulls."""
    return {key: value for key, value in fields.items() if value is not None}
