"""All there is about one instance, as values that JSON has: what the explorer shows of it."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import polars as pl

from helmframe._schema import OF_REQUEST, source_column, source_names
from helmframe.metrics.score import parse
from helmframe.views.diff import changes

LONGEST = 100_000  # characters shown of one text
LONGEST_COMPARED = 20_000
MOST_TOKENS = 2_000
MOST_ANSWERS = 50

_OF_ANSWER = ("output_index", *OF_REQUEST)
_ASKED = ("perturbation", "perturbation_seed", "setting", "trial", "model")
_FACTS = (
    *("finish_reason", "prompt_tokens", "output_tokens", "latency", "cached", "attempts"),
    *("shots_used", "prompt_truncated", "decoding"),
)


def answers_of_row(row: Mapping[str, Any], completions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the completions of one request those a score is about; it may join outputs, options or windows."""
    said = [name for name in _OF_ANSWER if row[name] is not None]
    return [each for each in completions if all(each[name] == row[name] for name in said)]


def about_instance(
    row: Mapping[str, Any],
    siblings: Sequence[Mapping[str, Any]],
    completions: pl.DataFrame,
    scores: pl.DataFrame,
    prefixes: pl.DataFrame,
    verdicts: pl.DataFrame,
) -> dict[str, Any]:
    """The instance of a row.

    Args:
        row: of the index.
        siblings: the rows of the same instance, under all models and perturbations.
        completions: all of the instance.
        scores: all of the instance.
        prefixes: those of its prompts.
        verdicts: all of the instance.

    Returns:
        title, input, change (pieces before and after; None where there is none), references, own (the scenario's own
        columns), answers, scores, verdicts, siblings. A text is {"text", "more": characters left out}.
    """
    rows = parse(completions.lazy()).collect().to_dicts()
    asked = [each for each in rows if all(each[name] == row[name] for name in _ASKED)]
    answers = answers_of_row(row, asked)
    first = answers[0] if answers else rows[0]
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
        "title": {name: row[name] for name in ("scenario", "instance_id", *_ASKED, *_OF_ANSWER)},
        "input": _cut(after),
        "change": compared,
        "references": [{"text": _cut(each["text"] or ""), "correct": bool(each["correct"])} for each in right],
        "choices": first["choices"] or [],
        "own": [[name, _cut(_said(value))] for name, value in facts.items() if value not in (None, "")],
        "answers": [_answer(each, texts) for each in answers[:MOST_ANSWERS]],
        "more_answers": max(0, len(answers) - MOST_ANSWERS),
        "scores": [_score(each) for each in scores.to_dicts() if _same(row, each)],
        "verdicts": [_verdict(each) for each in verdicts.to_dicts() if _same(row, each)],
        "siblings": [_sibling(each, rows) for each in siblings],
    }


def _answer(each: Mapping[str, Any], prefixes: Mapping[str, str]) -> dict[str, Any]:
    logprobs = each["token_logprobs"] or []
    return {
        **{name: each[name] for name in _OF_ANSWER},
        "prefix": _cut(prefixes.get(each["prefix_id"]) or ""),
        "suffix": _cut(each["suffix"] or ""),
        "shots": each["shots_used"] or 0,
        "continuation": _text(each["continuation"]),
        "completion": _text(each["completion"]),
        "reasoning": _text(each["reasoning"]),
        "output": _text(each["output"]),
        "parsed": each["parsed"],
        "error": _text(each["error"]),
        "logprob": _finite(each["logprob"]),
        "token_logprobs": [_finite(value) for value in logprobs[:MOST_TOKENS]],
        "tokens": len(logprobs),
        "facts": [[name, _said(each[name])] for name in _FACTS if each[name] is not None],
    }


def _score(each: Mapping[str, Any]) -> dict[str, Any]:
    return {"metric": each["metric"], "score": _finite(each["score"]), "reason": each.get("reason"), **_places(each)}


def _verdict(each: Mapping[str, Any]) -> dict[str, Any]:
    names = ("metric", "judge", "order", "against", "value", "verdict")
    told = {name: each[name] for name in names}
    told["value"] = _finite(told["value"])
    return {**told, "reasoning": _text(each["reasoning"]), "reply": _text(each["reply"]), "error": each["error"]}


def _sibling(each: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    asked = [row for row in rows if all(row[name] == each[name] for name in _ASKED)]
    answers = answers_of_row(each, asked)
    output = (answers[0]["output"] if len(answers) == 1 else None) or ""
    return {**{name: each[name] for name in ("row", *_ASKED, *_OF_ANSWER, "score")}, "output": output[:200]}


def _same(row: Mapping[str, Any], each: Mapping[str, Any]) -> bool:
    """Whether a score or verdict is about what the row is about: its request, or the part of it that the row names."""
    if any(each[name] != row[name] for name in _ASKED):
        return False
    return all(None in (row[name], each.get(name)) or each.get(name) == row[name] for name in _OF_ANSWER)


def _places(each: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each.get(name) for name in _OF_ANSWER}


def _finite(value: float | None) -> float | None:
    """The number, where JSON has it."""
    return value if value is not None and isfinite(value) else None


def _text(text: str | None) -> dict[str, Any] | None:
    return None if text is None else _cut(text)


def _cut(text: str) -> dict[str, Any]:
    return {"text": text[:LONGEST], "more": max(0, len(text) - LONGEST)}


def _said(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.4g}" if isinstance(value, float) else str(value)
