"""Checks of an adapter's fields, and the changes that a perturbation makes to them (`adapter_change`)."""

import json
import re
from typing import Any

import polars as pl

from helmframe._core.checks import regex_problem
from helmframe._core.specs import AdapterSpec, adapter_spec, frozen
from helmframe._schema import PARSERS
from helmframe.adapters import examples, layout
from helmframe.adapters.format_instructions import expand_format_instructions
from helmframe.adapters.layout import counted
from helmframe.errors import ArgumentError

ALL = "all"
# Fields with a fixed set of values.
_CHOICES = {
    "balance": ("", "letters"),
    "shots_as": ("text", "turns"),
    "answer_parser": PARSERS,
    "truncation": ("", "right"),
    "scored_outputs": (ALL, "helm"),
}


def check(spec: AdapterSpec) -> None:
    """Check that values are allowed, regular expressions are valid, and fields that need each other are present.

    Raises:
        ArgumentError: A check failed; the message states what to write.
    """
    _check_pattern(spec.answer_pattern)
    examples.check_order(spec.shot_order)
    expand_format_instructions(layout.cued(spec))
    for name, values in _CHOICES.items():
        value = getattr(spec, name)
        if value not in values:
            raise ArgumentError.unknown_value(f"adapt({name}={value!r})", value, list(filter(None, values)))
    if spec.shots_as == "turns" and not spec.chat_template:
        raise ArgumentError("adapt(shots_as='turns') needs the model's chat template. Add chat_template=True.")
    for source, _ in spec.substitutions:
        try:
            re.compile(source)
        except re.error as error:
            raise ArgumentError(f"adapt(substitutions=…): invalid regular expression {source!r}: {error}.") from None


def _check_pattern(pattern: str | None) -> None:
    if pattern is None:
        return
    try:
        groups = pl.select(pl.lit("").str.extract_groups(pattern)).to_series().struct.fields
    except pl.exceptions.ComputeError as error:
        problem = regex_problem(error)
        raise ArgumentError(f"adapt(answer_pattern={pattern!r}): invalid regular expression: {problem}.") from None
    if not groups:
        raise ArgumentError(f"adapt(answer_pattern={pattern!r}): the pattern needs a group (…) around the answer.")


# These fields decide which requests exist and how they are decoded. A grid can change them, a perturbation can't.
_FIXED = ("method", "shots", "trials", "sample_train", "repeats", "balance")


def with_change(spec: AdapterSpec, change: str | None) -> AdapterSpec:
    """Return the adapter with the fields of `change` replaced; null changes nothing.

    Args:
        spec: The adapter of the setting.
        change: The value of `adapter_change`: fields of `AdapterSpec` as JSON.

    Raises:
        ArgumentError: A field is unknown, has the wrong type, or must be the same for all variants. Or the options get
            other labels, and the setting's `answer_pattern` matches the old ones only.
    """
    if change is None:
        return spec
    fields = _fields(change)
    for name in _FIXED:
        if name in fields:
            raise ArgumentError(
                f"A perturbation must not change {name!r} of the adapter. To compare values, write .adapt({name}=[…])."
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
        raise ArgumentError(f"adapter_change={change!r} isn't valid JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise ArgumentError(f'adapter_change={change!r} must be a JSON object, such as {{"output_prefix": "A:"}}.')
    return fields


def _check_readable(old: AdapterSpec, new: AdapterSpec) -> None:
    """Check that a pattern that matches the first two old labels in a common answer matches the new ones there too."""
    if old.answer_pattern is None:
        return
    before, after = (counted(adapter.reference_prefix)[1][:2] for adapter in (old, new))
    # around the label
    answers = (("", ""), ("(", ")"), ("", "."), ("The answer is ", "."), ("answer is (", ")."), (old.output_prefix, ""))
    for answer in answers:
        if _reads(old.answer_pattern, answer, before) and not _reads(old.answer_pattern, answer, after):
            raise ArgumentError(
                f"answer_pattern={old.answer_pattern!r} matches {' and '.join(before)}, but a perturbation labels the "
                f"options {', '.join(after)}, …, so that no answer could be parsed. Write a pattern that matches both, "
                f"such as {_both(before, after)!r}."
            )


def _reads(pattern: str, answer: tuple[str, str], labels: list[str]) -> bool:
    answers = pl.Series([label.join(answer) for label in labels])
    return answers.str.extract(pattern, 1).to_list() == labels


def _both(*labels: list[str]) -> str:
    return f"({'|'.join(re.escape(label) for group in labels for label in group)}|…)"
