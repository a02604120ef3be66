"""Details of one instance as JSON values, for the viewer."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

import polars as pl

from helmframe._schema import OF_REQUEST, source_column, source_names
from helmframe.metrics.score import parse
from helmframe.results._rows import image_digests
from helmframe.views.diff import changes
from helmframe.views.html import thumbnails

LONGEST = 100_000  # characters shown of one text
LONGEST_COMPARED = 20_000
MOST_TOKENS = 2_000
MOST_COMPLETIONS = 50
LONGEST_RIGHT = 2_000
_LONGEST_SIBLING = 200

_OUTPUT_KEY = ("output_index", *OF_REQUEST)
_VARIANT_KEY = ("perturbation", "perturbation_seed", "setting", "trial", "model")
_FACTS = (
    *("finish_reason", "prompt_tokens", "output_tokens", "reasoning_tokens", "latency", "cached", "attempts"),
    *("shots_used", "prompt_truncated", "decoding"),
)


def completions_of_row(row: Mapping[str, Any], completions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the completions of one request that a score covers: it may join outputs, options or windows."""
    names = [name for name in _OUTPUT_KEY if row[name] is not None]
    return [completion for completion in completions if all(completion[name] == row[name] for name in names)]


def right_answer(references: Sequence[Mapping[str, Any]], choices: Sequence[str] | None) -> str:
    """Return the correct references, each with the label that stands for it.

    >>> right_answer([{"text": "Rome", "correct": False}, {"text": "Paris", "correct": True}], ["A", "B"])
    'B. Paris'
    """
    labels = list(choices or [])
    texts = [
        f"{labels[index]}. {reference['text']}" if index < len(labels) else str(reference["text"])
        for index, reference in enumerate(references)
        if reference["correct"]
    ]
    return " | ".join(texts)


def instance_details(
    row: Mapping[str, Any],
    siblings: Sequence[Mapping[str, Any]],
    completions: pl.DataFrame,
    scores: pl.DataFrame,
    prefixes: pl.DataFrame,
    verdicts: pl.DataFrame,
    images: pl.LazyFrame,
) -> dict[str, Any]:
    """Return the details of the instance of a row.

    Args:
        row: A row of the index.
        siblings: The rows of the same instance, under all models and perturbations.
        completions: All completions of the instance.
        scores: All scores of the instance.
        prefixes: The prefixes of its prompts.
        verdicts: All verdicts on the instance.
        images: `IMAGES`, for the thumbnails.

    Returns:
        title, input, images (digest, src, label), change (pieces before and after, or None), original (input), right
        (the correct references), references, own (the scenario's columns), completions, scores, verdicts, siblings. A
        text is {"text", "more": number of characters cut}.
    """
    rows = parse(completions.lazy()).collect().to_dicts()
    variant_rows = [record for record in rows if all(record[name] == row[name] for name in _VARIANT_KEY)]
    row_completions = completions_of_row(row, variant_rows)
    first = row_completions[0] if row_completions else rows[0]
    texts = dict(prefixes.select("prefix_id", "prefix").iter_rows())
    before, after = first["input"] or "", first["perturbed_input"] or ""
    compared = list(changes(before[:LONGEST_COMPARED], after[:LONGEST_COMPARED])) if before != after else None
    right = first["perturbed_references"] or []
    facts = {name: first[name] for name in ("subset", "split")}
    # the table's column wins over a source column of its name
    facts |= {
        source_column(name) if name in facts else name: first[source_column(name)]
        for name in source_names(completions.columns)
    }
    return {
        "row": row["row"],
        "title": {name: row[name] for name in ("scenario", "instance_id", *_VARIANT_KEY, *_OUTPUT_KEY)},
        "input": _cut(after),
        "images": [asdict(image) for image in thumbnails(images, _digests(completions))],
        "change": compared,
        "original": _cut(before),
        "right": right_answer(right, first["choices"])[:LONGEST_RIGHT],
        "references": [{"text": _cut(record["text"] or ""), "correct": bool(record["correct"])} for record in right],
        "choices": first["choices"] or [],
        "own": [[name, _cut(_format_value(value))] for name, value in facts.items() if value not in (None, "")],
        "completions": [_completion(record, texts) for record in row_completions[:MOST_COMPLETIONS]],
        "more_completions": max(0, len(row_completions) - MOST_COMPLETIONS),
        "scores": [_score(record) for record in scores.to_dicts() if _belongs_to_row(row, record)],
        "verdicts": [_verdict(record) for record in verdicts.to_dicts() if _belongs_to_row(row, record)],
        "siblings": [_sibling(record, rows) for record in siblings],
    }


def _digests(completions: pl.DataFrame) -> list[str]:
    """Return the sha256 of each image of an instance."""
    lists = completions.lazy().select(image_digests(completions.lazy())).collect().to_series()
    return next((list(digests) for digests in lists if digests is not None), [])


def _completion(row: Mapping[str, Any], prefixes: Mapping[str, str]) -> dict[str, Any]:
    logprobs = row["token_logprobs"] or []
    return {
        **{name: row[name] for name in _OUTPUT_KEY},
        "prefix": _cut(prefixes.get(row["prefix_id"]) or ""),
        "suffix": _cut(row["suffix"] or ""),
        "shots": row["shots_used"] or 0,
        "continuation": _text(row["continuation"]),
        "completion": _text(row["completion"]),
        "reasoning": _text(row["reasoning"]),
        "output": _text(row["output"]),
        "parsed": row["parsed"],
        "error": _text(row["error"]),
        "logprob": _finite(row["logprob"]),
        "token_logprobs": [_finite(value) for value in logprobs[:MOST_TOKENS]],
        "tokens": len(logprobs),
        "facts": [[name, _format_value(row[name])] for name in _FACTS if row.get(name) is not None],
    }


def _score(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"metric": row["metric"], "score": _finite(row["score"]), "reason": row.get("reason"), **_output_fields(row)}


def _verdict(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("metric", "judge", "order", "against", "value", "verdict")
    fields = {name: row[name] for name in names}
    fields["value"] = _finite(fields["value"])
    return {**fields, "reasoning": _text(row["reasoning"]), "reply": _text(row["reply"]), "error": row["error"]}


def _sibling(sibling: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    variant_rows = [row for row in rows if all(row[name] == sibling[name] for name in _VARIANT_KEY)]
    completions = completions_of_row(sibling, variant_rows)
    first = completions[0] if len(completions) == 1 else dict.fromkeys(("output", "completion", "error"))
    texts = {name: (first[name] or "")[:_LONGEST_SIBLING] for name in ("output", "completion", "error")}
    return {**{name: sibling[name] for name in ("row", *_VARIANT_KEY, *_OUTPUT_KEY, "score")}, **texts}


def _belongs_to_row(row: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Return whether a score or verdict belongs to the request of a row, or to the output of it that the row names."""
    if any(record[name] != row[name] for name in _VARIANT_KEY):
        return False
    return all(None in (row[name], record.get(name)) or record.get(name) == row[name] for name in _OUTPUT_KEY)


def _output_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record.get(name) for name in _OUTPUT_KEY}


def _finite(value: float | None) -> float | None:
    """Return the number, or None if JSON can't represent it."""
    return value if value is not None and isfinite(value) else None


def _text(text: str | None) -> dict[str, Any] | None:
    return None if text is None else _cut(text)


def _cut(text: str) -> dict[str, Any]:
    return {"text": text[:LONGEST], "more": max(0, len(text) - LONGEST)}


def _format_value(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.4g}" if isinstance(value, float) else str(value)
