"""What a perturbation changes in the adapter: `adapter_change`, merged into the adapter of the setting."""

import json
import re
from typing import Any

import polars as pl

from helmframe._core.specs import AdapterSpec, adapter_spec, frozen
from helmframe.adapters.labels import counted
from helmframe.errors import ArgumentError

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
