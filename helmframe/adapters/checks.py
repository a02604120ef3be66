"""What can be told of an adapter before it is used."""

import json
import re
from typing import Any

import polars as pl

from helmframe._core.specs import AdapterSpec, adapter_spec, frozen
from helmframe.adapters import examples, layout
from helmframe.adapters.format_instructions import expanded
from helmframe.adapters.layout import counted
from helmframe.errors import ArgumentError

STRICT = "strict"
ALL = "all"
# Fields whose value is one of a few words.
WORDS = {
    "balance": ("", "letters"),
    "shots_as": ("text", "turns"),
    "answer_parser": (STRICT, "lenient"),
    "truncation": ("", "right"),
    "scored_outputs": (ALL, "helm"),
}


def check(spec: AdapterSpec) -> None:
    """That the words in it are known, its expressions can be read, and what belongs together is there.

    Raises:
        ArgumentError: not so; says what to write instead.
    """
    _check_pattern(spec.answer_pattern)
    examples.check_order(spec.shot_order)
    expanded(layout.cued(spec))
    for name, known in WORDS.items():
        value = getattr(spec, name)
        if value not in known:
            raise ArgumentError.unknown_value(f"adapt({name}={value!r})", value, [each for each in known if each])
    if spec.shots_as == "turns" and not spec.chat_template:
        raise ArgumentError("adapt(shots_as='turns'): turns need the model's chat template; add chat_template=True.")
    for source, _ in spec.substitutions:
        try:
            re.compile(source)
        except re.error as error:
            raise ArgumentError(f"adapt(substitutions=…): {source!r} is no regular expression: {error}.") from None


def _check_pattern(pattern: str | None) -> None:
    if pattern is None:
        return
    try:
        groups = pl.select(pl.lit("").str.extract_groups(pattern)).to_series().struct.fields
    except pl.exceptions.ComputeError as error:
        raise ArgumentError(f"answer_pattern={pattern!r} is no regular expression: {error}") from None
    if not groups:
        raise ArgumentError(f"answer_pattern={pattern!r} has no group (…) around the answer.")


# These say which requests there are and how they are decoded: a grid, no variant of an instance.
FIXED = ("method", "shots", "trials", "sample_train", "repeats", "balance")


def changed(spec: AdapterSpec, change: str | None) -> AdapterSpec:
    """The adapter with the fields that `change` replaces; null changes nothing.

    Args:
        spec: the setting's.
        change: `adapter_change`: fields of `AdapterSpec` as JSON.

    Raises:
        ArgumentError: no such field, a value of the wrong type, or a field that a variant can't change; or the options
            get other labels and the setting's `answer_pattern` reads the old ones alone.
    """
    if change is None:
        return spec
    fields = _fields(change)
    for name in FIXED:
        if name in fields:
            raise ArgumentError(
                f"a perturbation changes {name!r} of the adapter; a variant can't. Write .adapt({name}=[…]), a grid."
            )
    if "reference_prefix" in fields:
        fields.setdefault("reference_prefix_characters", [])  # the new labels, not those listed
    new = adapter_spec(frozen(spec.__dict__), frozen(fields), where="adapter_change")
    if "reference_prefix" in fields and "answer_pattern" not in fields:
        _check_readable(spec, new)
    return new


def _fields(change: str) -> dict[str, Any]:
    try:
        fields = json.loads(change)
    except ValueError as error:
        raise ArgumentError(f"adapter_change={change!r} is no JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise ArgumentError(f'adapter_change={change!r}: should be an object such as {{"output_prefix": "A:"}}.')
    return fields


def _check_readable(old: AdapterSpec, new: AdapterSpec) -> None:
    """That a pattern which finds the first two old labels in a common answer finds the new ones there too."""
    if old.answer_pattern is None:
        return
    before, after = (counted(each.reference_prefix)[1][:2] for each in (old, new))
    # around the label
    answers = (("", ""), ("(", ")"), ("", "."), ("The answer is ", "."), ("answer is (", ")."), (old.output_prefix, ""))
    for answer in answers:
        if _reads(old.answer_pattern, answer, before) and not _reads(old.answer_pattern, answer, after):
            raise ArgumentError(
                f"answer_pattern={old.answer_pattern!r} reads {' and '.join(before)}, and a perturbation labels the "
                f"options {', '.join(after)}, …: every answer would be unreadable. Write a pattern that reads both, "
                f"such as {_both(before, after)!r}."
            )


def _reads(pattern: str, answer: tuple[str, str], labels: list[str]) -> bool:
    said = pl.DataFrame({"said": [label.join(answer) for label in labels]})
    return said.select(pl.col("said").str.extract(pattern, 1)).to_series().to_list() == labels


def _both(*labels: list[str]) -> str:
    return f"({'|'.join(re.escape(label) for each in labels for label in each)}|…)"
