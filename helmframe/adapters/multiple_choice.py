"""The adapter `multiple_choice_joint`: all options in one prompt, each under a letter, which is the answer."""

import re
from itertools import takewhile

import polars as pl

from helmframe.adapters.adapt import adapter
from helmframe.errors import ArgumentError
from helmframe.specs import AdapterSpec

# Alphabets without an end (Han, Hangul) are cut here; Latin ends at Z by itself.
MOST = 64


@adapter(
    "multiple_choice_joint",
    defaults={"input_prefix": "Question: ", "output_prefix": "Answer: "},
    decoding={"max_tokens": 1, "temperature": 0.0},
)
def multiple_choice_joint(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """`Question: …`, a line per option (`A. …`), `Answer: `; an example ends with its first correct letter, or n/a.

    The letter is the first letter or digit of `reference_prefix`, counted up.

    Raises:
        ArgumentError: `reference_prefix` has nothing to count up from, or too few letters for an instance's options.

    Source: HELM `MultipleChoiceJointAdapter`.
    """
    prefixes, letters = _lettered(spec.reference_prefix)
    _check_options(variants, len(letters), spec)
    places = list(range(len(letters)))
    place = pl.int_range(pl.len())
    options = pl.col("perturbed_references").list.eval(
        pl.concat_str(
            place.replace_strict(places, prefixes, default=None, return_dtype=pl.String),
            pl.element().struct.field("text"),
            pl.lit(spec.reference_suffix),
        )
    )
    named = pl.col("perturbed_references").list.eval(
        place.replace_strict(places, letters, default=None, return_dtype=pl.String)
    )
    right = pl.col("perturbed_references").list.eval(
        place.filter(pl.element().struct.field("correct")).replace_strict(
            places, letters, default=None, return_dtype=pl.String
        )
    )
    return variants.with_columns(
        question=pl.concat_str(
            pl.lit(spec.input_prefix),
            "perturbed_input",
            pl.lit(spec.input_suffix),
            options.list.join(""),
            pl.lit(spec.output_prefix),
        ),
        answer=right.list.first().fill_null("n/a"),
        choices=named,
    )


def _check_options(variants: pl.LazyFrame, letters: int, spec: AdapterSpec) -> None:
    count = pl.col("perturbed_references").list.len()
    beyond = variants.filter(count > letters).select("scenario", "instance_id", count).head(1).collect()
    for scenario, instance_id, options in beyond.iter_rows():
        raise ArgumentError(
            f"instance {instance_id!r} of scenario {scenario!r} has {options} options, and from "
            f"{spec.reference_prefix!r} on there are {letters} letters; use method='generation' or another "
            "reference_prefix."
        )


def _lettered(prefix: str) -> tuple[list[str], list[str]]:
    """`A. ` → `A. `, `B. `, … and A, B, …."""
    found = re.search(r"[^\W_]", prefix)
    if found is None:
        raise ArgumentError(
            f"adapt(reference_prefix={prefix!r}): needs a letter or digit to count up from, such as 'A. '."
        )
    counted = (chr(code) for code in range(ord(found.group()), ord(found.group()) + MOST))
    letters = list(takewhile(str.isalnum, counted))
    return [prefix[: found.start()] + letter + prefix[found.end() :] for letter in letters], letters
