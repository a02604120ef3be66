"""What can be told of an adapter before it is used."""

import re

import polars as pl

from helmframe._core.specs import AdapterSpec
from helmframe.adapters import examples, layout
from helmframe.adapters.format_instructions import expanded
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
