"""Metrics that look for the letter of an option in a chain of thought, as for MMLU-Pro and GPQA."""

from string import ascii_uppercase

import polars as pl

from helmframe.metrics.protocol import metric

_HELM_PATTERNS = (
    r"answer is \(?([A-J])\)?",
    # meant for "Answer: B" and written so that it never fires: HELM's
    r"\.*\[aA\]nswer:\s*\(?([A-J])\)?",
    r"correct answer is [^A-Za-z]*([A-J])",
    r"correct answer is [^A-Z]*([A-J])",
)
# "answer: B", "answer is (B)", "answer choice is **B**", "\boxed{B}", "\boxed{\text{(B)}}"; or B alone on the last line
_DRESS = r"[\s*_$({\[]*(?:\\[a-z]+\{[\s({]*)*"
_LETTER = r"([A-J])(?:[^\w'’]|$)"
_NAMED = r"(?i:answer)(?:[^.\n]{0,60}?(?i:\bis\b)|[\s*_]*:|(?i:\s+choice|\s+option)?)"
_STATED = rf"(?:{_NAMED}[\s:]*{_DRESS}(?i:option\s+|choice\s+)?{_DRESS}|\\boxed\{{{_DRESS})"
_LAST_LINE = r"(?:^|\n)[\s*_$(\[]*([A-J])[\s*_$)\].]*$"


@metric(
    "chain_of_thought_correctness", source="HELM, gpqa_chain_of_thought_metric.py", helm="chain_of_thought_correctness"
)
def chain_of_thought_correctness() -> pl.Expr:
    """1 where the first letter that HELM's four patterns find in the completion is that of the correct option.

    Where B is correct, "The answer is (B)." is 1 and "Answer: B" is 0: it says nothing (`chain_of_thought_choice` reads
    it).
    """
    letter = pl.coalesce(pl.col("completion").str.extract(pattern, 1) for pattern in _HELM_PATTERNS)
    return letter.eq_missing(_correct_letter())


@metric("chain_of_thought_choice", source="as HELM's chain_of_thought_correctness, mended")
def chain_of_thought_choice() -> pl.Expr:
    r"""1 where the last letter that the completion names as its answer is that of the correct option.

    "answer is (B)", "Answer: **B**", "\\boxed{B}", or B alone on the last line; of several, the last: who says "the
    answer is A, no, the answer is B" says B; where B is correct that is 1.
    """
    stated = pl.col("completion").str.extract_all(_STATED + _LETTER).list.last().str.extract(_STATED + _LETTER, 1)
    return pl.coalesce(stated, pl.col("completion").str.extract(_LAST_LINE, 1)).eq_missing(_correct_letter())


def _correct_letter() -> pl.Expr:
    """The letter of the first correct reference."""
    correct = pl.col("perturbed_references").list.eval(pl.element().struct.field("correct").cast(pl.Int8))
    index = pl.when(correct.list.max() == 1).then(correct.list.arg_max())
    return index.replace_strict(dict(enumerate(ascii_uppercase)), default=None, return_dtype=pl.String).fill_null(
        "none"
    )
