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
    most = _most_options(variants, len(letters), spec)
    references, count = pl.col("perturbed_references"), pl.col("perturbed_references").list.len()
    # Place by place over whole columns: list.eval with a place of its own would run once per row.
    texts = references.list.eval(pl.element().struct.field("text"))
    lines = [
        pl.when(count > place)
        .then(
            pl.concat_str(
                pl.lit(prefixes[place]), texts.list.get(place, null_on_oob=True), pl.lit(spec.reference_suffix)
            )
        )
        .otherwise(pl.lit(""))
        for place in range(most)
    ]
    correct = references.list.eval(pl.element().struct.field("correct").cast(pl.Int8))
    first = correct.list.arg_max().replace_strict(list(range(len(letters))), letters, return_dtype=pl.String)
    return variants.with_columns(
        question=pl.concat_str(
            pl.lit(spec.input_prefix),
            "perturbed_input",
            pl.lit(spec.input_suffix),
            *lines,
            pl.lit(spec.output_prefix),
        ),
        answer=pl.when(correct.list.max() > 0).then(first).otherwise(pl.lit("n/a")),
        choices=pl.lit(pl.Series([letters], dtype=pl.List(pl.String))).list.head(count),
    )


def _most_options(variants: pl.LazyFrame, letters: int, spec: AdapterSpec) -> int:
    """The most options an instance has."""
    count = pl.col("perturbed_references").list.len()
    most: int = variants.select(count.max()).collect().item() or 0
    if most > letters:
        instance = variants.filter(count == most).select("scenario", "instance_id").head(1).collect().row(0)
        raise ArgumentError(
            f"instance {instance[1]!r} of scenario {instance[0]!r} has {most} options, and from "
            f"{spec.reference_prefix!r} on there are {letters} letters; use method='generation' or another "
            "reference_prefix."
        )
    return most


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
