"""Blocks, which are the pieces of a prompt in order before a model renders them; and labels of options."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import takewhile
from typing import Any

import polars as pl

from helmframe._core.specs import AdapterSpec
from helmframe._schema import BLOCK, COMPLETION_PART, CONTENT, HEADS, MEDIA, TURN, VARIANTS, source_column
from helmframe.errors import ArgumentError

_OF_HEADS = ("instructions", "system")
_TEXTS = (
    *_OF_HEADS,
    *("global_prefix", "global_suffix", "input_prefix", "input_suffix", "reference_prefix", "reference_suffix"),
    *("output_prefix", "output_suffix", "instance_prefix"),
)
# `cue_space` → the space between the cue and the answer.
AFTER_CUE = {"none": "", "space": " ", "spaces": "  ", "newline": "\n"}


def heads(
    subsets: pl.DataFrame, shots: pl.DataFrame, setting: str, spec: AdapterSpec, subset_columns: Sequence[str]
) -> pl.DataFrame:
    """Return the blocks before the question, for each subset and trial: system message, instructions, examples.

    The joined texts are HELM's prompt. Every block ends with `instance_prefix`, so that blocks can be dropped from the
    prompt.

    Args:
        subsets: One row per subset, with `subset` and the subset columns.
        shots: The examples as returned by `examples.draw`.
        setting: The name of the setting.
        spec: The adapter.
        subset_columns: The columns that `instructions` and `system` may contain in braces.

    Returns:
        `HEADS`.
    """
    rows = []
    by_subset = shots.partition_by("subset", "trial", as_dict=True)
    for subset in subsets.iter_rows(named=True):
        filled = {name: str(subset[source_column(name)]).replace("_", " ") for name in subset_columns}
        for trial in range(spec.trials):
            trial_shots = by_subset.get((subset["subset"], trial), shots.clear())
            blocks = _head(trial_shots, spec, filled)
            ids = trial_shots["shot_id"].to_list()
            digest = sha256(json.dumps(blocks, ensure_ascii=False).encode()).hexdigest()[:32]
            rows.append(
                {
                    "head_id": digest,
                    "subset": subset["subset"],
                    "setting": setting,
                    "trial": trial,
                    "head": blocks,
                    "shot_ids": ids,
                }
            )
    return pl.DataFrame(rows, schema=HEADS.schema)


def question_block(
    question: pl.Expr, spec: AdapterSpec, content: str | None, *, kind: str = "question", scored: bool = False
) -> pl.Expr:
    """Return the question as a list of one block: its text up to `output_prefix`, and other media.

    The trailing space of `output_prefix` is removed, except for that of `cue_space`. If a continuation is `scored`, the
    continuation contains `global_suffix`. `content` is the column with the instance's content parts; parts that are not
    text come before the text.
    """
    # only the space of the prefix is removed, not one at the end of an input or option
    after = "" if scored else spec.global_suffix
    text = question.str.strip_suffix(cue_end(spec))
    text = pl.concat_str(text, pl.lit(after)) if after else text
    parts = pl.concat_list(pl.struct(type=pl.lit("text"), text=text, media=pl.lit(None, dtype=MEDIA))).cast(CONTENT)
    if content:
        media = pl.col(content).list.eval(pl.element().filter(pl.element().struct.field("type") != "text"))
        parts = pl.concat_list(media.fill_null([]), parts).cast(CONTENT)
    return pl.concat_list(pl.struct(role=pl.lit("user"), kind=pl.lit(kind), content=parts)).cast(pl.List(BLOCK))


def completion_block(spec: AdapterSpec, *, kind: str, is_text: bool) -> pl.Expr:
    """Return the completion of the turn before the question as a list of one block, and nothing before the first turn.

    Its part of type "completion" is filled in once the completion is generated. In a prompt that is a text, the
    completion follows the cue, as the answer of a few-shot example does.
    """
    before, after = (cue_end(spec), spec.output_suffix + spec.instance_prefix) if is_text else ("", "")
    parts = [
        {"type": kind_of_part, "text": text, "media": None}
        for kind_of_part, text in (("text", before), (COMPLETION_PART, None), ("text", after))
    ]
    block = [{"role": "assistant", "kind": kind, "content": parts}]
    return (
        pl.when(pl.col(TURN) > 1)
        .then(pl.lit(pl.Series([block], dtype=pl.List(BLOCK))))
        .otherwise(pl.lit(pl.Series([[]], dtype=pl.List(BLOCK))))
    )


def cue_end(spec: AdapterSpec) -> str:
    """Return the white space at the end of `output_prefix`, which is removed from the question."""
    return "" if spec.cue_space in AFTER_CUE else spec.output_prefix[len(spec.output_prefix.rstrip()) :]


def cued(spec: AdapterSpec) -> AdapterSpec:
    """Return the adapter with the `output_prefix` that its `cue_space` sets.

    Raises:
        ArgumentError: `cue_space` is unsupported.
    """
    if not spec.cue_space:
        return spec
    if spec.cue_space == "blank_line":
        return replace(spec, output_prefix="\n" + spec.output_prefix)
    if spec.cue_space not in AFTER_CUE:
        values = [*AFTER_CUE, "blank_line"]
        where = f"adapt(cue_space={spec.cue_space!r})"
        raise ArgumentError.unknown_value(where, spec.cue_space, values)
    return replace(spec, output_prefix=spec.output_prefix.rstrip() + AFTER_CUE[spec.cue_space])


def columns_named(spec: AdapterSpec, columns: Sequence[str], subset_columns: Sequence[str]) -> list[str]:
    """Return the scenario's columns that the adapter's texts contain in braces and that are filled in per subset.

    If only instructions and system contain them and they are subset columns, `heads` fills them in.
    """
    names = {
        name
        for field in _TEXTS
        for name in re.findall(r"\{(\w+)\}", str(getattr(spec, field)))
        if name in columns
        and (name in subset_columns or name not in VARIANTS.schema)
        and not (field in _OF_HEADS and name in subset_columns)
    }
    return sorted(names)


def filled(spec: AdapterSpec, subset: pl.DataFrame, named: Sequence[str], subset_columns: Sequence[str]) -> AdapterSpec:
    """Return the adapter with the values that these columns have in a subset.

    Values of subset columns have spaces for underscores.

    Raises:
        ArgumentError: A column has several values within the subset.
    """
    values = {}
    for name in named:
        distinct = subset[source_column(name)].unique()
        if distinct.len() > 1:
            raise ArgumentError(
                f"adapt(): {{{name}}} must have one value per subset, but column {name!r} has {distinct.len()} values "
                f"in subset {subset['subset'][0]!r}. Add the column to the scenario's subsets, or remove {{{name}}} "
                "from the adapter's texts."
            )
        values[name] = str(distinct[0]).replace("_", " ") if name in subset_columns else str(distinct[0])
    texts: dict[str, Any] = {field: _fill(getattr(spec, field), values) for field in _TEXTS}
    return replace(spec, **texts)


def _head(shots: pl.DataFrame, spec: AdapterSpec, filled: Mapping[str, str]) -> list[dict[str, Any]]:
    blocks = []
    if spec.system:
        blocks.append(_block("system", "system", _fill(spec.system, filled)))
    instructions = _ended(_fill(spec.instructions, filled), spec.instructions_suffix)
    if instructions or spec.global_prefix:
        after = spec.instance_prefix if instructions else ""
        blocks.append(_block("user", "instructions", spec.global_prefix + instructions + after))
    for question, answer in shots.select("question", "answer").iter_rows():
        if spec.shots_as == "turns":
            blocks.append(_block("user", "shot", question.removesuffix(cue_end(spec))))
            blocks.append(_block("assistant", "shot", answer))
        else:
            blocks.append(_block("user", "shot", question + answer + spec.output_suffix + spec.instance_prefix))
    return blocks


def _ended(text: str, end: str) -> str:
    """Return the text with this ending, unless the text is empty or has the ending already."""
    return text if not text or text.endswith(end) else text + end


def _fill(text: str, filled: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: filled.get(match.group(1), match.group()), text)


def _block(role: str, kind: str, text: str) -> dict[str, Any]:
    return {"role": role, "kind": kind, "content": [{"type": "text", "text": text, "media": None}]}


# The largest number of labels. Latin ends at Z; Han and Hangul have no end.
_MAX_LABELS = 64

_ROMAN = (("xl", 40), ("x", 10), ("ix", 9), ("v", 5), ("iv", 4), ("i", 1))


def labels(spec: AdapterSpec) -> tuple[list[str], list[str]]:
    """Return the text before each option, and the label in it: from the adapter's list, or counted up.

    Raises:
        ArgumentError: `reference_prefix` has no letter or digit, or a label is repeated.
    """
    prefixes, counted_up = counted(spec.reference_prefix)
    listed = list(spec.reference_prefix_characters)
    if not listed:
        return prefixes, counted_up
    if len(set(listed)) < len(listed) or not all(listed):
        raise ArgumentError(f"adapt(reference_prefix_characters={listed!r}): labels must differ and must not be empty.")
    return [spec.reference_prefix.replace(counted_up[0], label) for label in listed], listed


def counted(prefix: str) -> tuple[list[str], list[str]]:
    """Return the prefixes `A. `, `B. `, … and the labels A, B, … for the prefix `A. `.

    The first letter or digit is counted up. A single i is a Roman numeral.

    >>> counted("(i) ")[0][:3]
    ['(i) ', '(ii) ', '(iii) ']

    Raises:
        ArgumentError: The prefix has no letter or digit to count up from.
    """
    match = re.search(r"[^\W_]", prefix)
    if match is None:
        raise ArgumentError(
            f"adapt(reference_prefix={prefix!r}): the prefix must contain a letter or digit to count up from, such as "
            "'A. '."
        )
    start = match.group()
    alone = not prefix[match.end() : match.end() + 1].isalnum()
    if start in "iI" and alone:
        romans = [_roman(number) for number in range(1, _MAX_LABELS + 1)]
        labels = [roman.upper() for roman in romans] if start == "I" else romans
    else:
        labels = list(takewhile(str.isalnum, (chr(code) for code in range(ord(start), ord(start) + _MAX_LABELS))))
    return [prefix[: match.start()] + label + prefix[match.end() :] for label in labels], labels


def _roman(number: int) -> str:
    """Return a number below 90 as a Roman numeral."""
    numerals = "l" if number >= 50 else ""
    rest = number - 50 if numerals else number
    for numeral, value in _ROMAN:
        numerals += numeral * (rest // value)
        rest %= value
    return numerals
