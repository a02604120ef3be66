"""Metrics that compare the output with the references as wholes."""

from collections.abc import Sequence

import polars as pl

from helmframe._core.expressions import stripped
from helmframe.errors import ArgumentError
from helmframe.metrics.protocol import metric

HELM = "HELM, evaluate_reference_metrics.py"


@metric("exact_match", source=HELM, helm="exact_match", lm_eval=("exact_match", "acc"))
def exact_match() -> pl.Expr:
    """1 where the output equals a correct reference, both stripped; an empty output scores 0.

    "Paris" against "Paris " is 1, "paris" is 0. HELM's. What SQuAD calls exact match, and Inspect exact, is
    `quasi_exact_match`; lm-eval's and HF evaluate's exact_match strips nothing.
    """
    return (stripped(pl.col("output")) == stripped(pl.col("gold"))) & _has_output()


@metric("quasi_exact_match", source=HELM, helm="quasi_exact_match")
def quasi_exact_match() -> pl.Expr:
    """1 where both are equal in lower case, without punctuation and articles; an empty output scores 0.

    "the Eiffel tower!" against "Eiffel Tower" is 1. SQuAD's exact match (Rajpurkar et al. 2016), and nearly Inspect's
    exact, which also takes 1.0 for 1.
    """
    return (pl.col("normal_output") == pl.col("normal_gold")) & _has_output()


@metric("quasi_leave_articles_exact_match", source=HELM, helm="quasi_leave_articles_exact_match")
def quasi_leave_articles_exact_match() -> pl.Expr:
    """As `quasi_exact_match`, articles kept: "the Eiffel tower!" against "Eiffel Tower" is 0."""
    return (pl.col("bare_output") == pl.col("bare_gold")) & _has_output()


@metric("prefix_exact_match", source=HELM, helm="prefix_exact_match")
def prefix_exact_match() -> pl.Expr:
    """1 where the output starts with a correct reference, both stripped. "Paris, of course" against "Paris" is 1."""
    return stripped(pl.col("output")).str.starts_with(stripped(pl.col("gold"))) & _has_output()


@metric("quasi_prefix_exact_match", source=HELM, helm="quasi_prefix_exact_match")
def quasi_prefix_exact_match() -> pl.Expr:
    """As `prefix_exact_match`, after the normalisation of `quasi_exact_match`.

    "The Eiffel tower, of course" against "Eiffel Tower" is 1.
    """
    return pl.col("normal_output").str.starts_with(pl.col("normal_gold")) & _has_output()


@metric("exact_match_indicator", source=HELM, helm="exact_match_indicator")
def exact_match_indicator(*, indicator: str = " ") -> pl.Expr:
    """1 where both are equal after their last indicator: "so it is ## 7" against "it is ## 7" is 1.

    Args:
        indicator: what stands before the answer; with the default the last words are compared.
    """
    output, gold = (stripped(pl.col(name).str.split(indicator).list.last()) for name in ("output", "gold"))
    return (output == gold) & (output != "")


@metric(
    "final_number_exact_match", source=HELM, helm="final_number_exact_match", lm_eval="exact_match,flexible-extract"
)
def final_number_exact_match() -> pl.Expr:
    """1 where the last number is the same text in both, commas dropped: "so 1,500 eggs" against "#### 1500" is 1.

    HELM's pattern lets any character stand for the decimal point: "3/4" is one number. Without a number it is 0.
    """
    # Python's \\d are the decimal digits of all scripts, as Rust's
    output, gold = (
        pl.col(name)
        .str.extract_all(r"-?[\d,]+(?:.\d+)?")
        .list.last()
        .fill_null("")
        .str.replace_all(",", "", literal=True)
        for name in ("output", "gold")
    )
    return (stripped(output) == stripped(gold)) & (output != "")


@metric("regex_match", source="lm-eval, RegexFilter and exact_match", lm_eval="exact_match,strict-match")
def regex_match(*, pattern: str = r"(-?[0-9.,]+)", last: bool = False) -> pl.Expr:
    """1 where what the pattern finds in the output equals a correct reference, both stripped.

    "#### 18" against "18" is 1 under `regex_match(pattern='#### (.+)')`.

    Args:
        pattern: a regular expression (Rust's: no look-around) whose first group is the answer; without a group the
            whole match is.
        last: whether the last place it is found counts, instead of the first.
    """
    grouped = pattern if _n_groups(pattern) else f"({pattern})"
    match = pl.col("output").str.extract(grouped, 1)
    if last:
        match = pl.col("output").str.extract_all(grouped).list.last().str.extract(grouped, 1)
    return (stripped(match) == stripped(pl.col("gold"))).fill_null(value=False)


@metric(
    "choice_match",
    source="HELM, output_mapping_pattern; lm-eval, MultiChoiceRegexFilter",
    needs=("choices",),
    correctness=True,
)
def choice_match(*, pattern: str = r"(?i)answer(?:\s+is)?\s*:?\s*\(?([A-Z])\b") -> pl.Expr:
    """1 where the letter that the pattern finds in the completion, else its first letter alone, is a correct choice's.

    For chats: where B is correct, "The answer is (B)." is 1, so is "B) Lyon"; "Bring it" is 0.

    Args:
        pattern: a regular expression whose first group is the letter.
    """
    letter = pl.coalesce(
        pl.col("completion").str.extract(pattern, 1), pl.col("completion").str.extract(r"^\W*([A-Z])(?:\W|$)", 1)
    )
    marks = pl.col("perturbed_references").list.eval(pl.element().struct.field("correct"))
    return pl.map_batches([letter, "choices", marks], _letters_correct, return_dtype=pl.Float64, is_elementwise=True)


def _letters_correct(columns: Sequence[pl.Series]) -> pl.Series:
    frame = pl.DataFrame(dict(zip(("predicted", "letter", "right"), columns, strict=True))).with_row_index("row")
    options = frame.filter(pl.col("letter").list.len() > 0).explode("letter", "right")
    hits = options.filter(pl.col("letter") == pl.col("predicted")).group_by("row").agg(pl.col("right").any())
    joined = frame.select("row").join(hits, on="row", how="left", maintain_order="left")
    return joined["right"].fill_null(value=False).cast(pl.Float64)


def _n_groups(pattern: str) -> int:
    """How many groups the pattern has."""
    try:
        first = pl.select(pl.lit("").str.extract_groups(pattern)).to_series()
    except pl.exceptions.PolarsError as error:
        raise ArgumentError(f"pattern={pattern!r} is no regular expression: {error}") from None
    return len(first.struct.fields)


def _has_output() -> pl.Expr:
    return pl.col("output") != ""
