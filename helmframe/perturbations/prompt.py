"""Perturbations of the prompt around the question: order and labels of options, instructions, order of examples, cue.

Options are permuted as references, so that the correct option stays correct. All other changes are in `adapter_change`:
fields of the adapter that a variant replaces, also for its few-shot examples. The stage `adapt` merges them into the
setting.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from helmframe._core.checks import is_integer, regex_problem
from helmframe._core.expressions import keyed_draws
from helmframe._schema import REFERENCE
from helmframe.errors import ArgumentError
from helmframe.perturbations.factory import perturbation
from helmframe.perturbations.noise_kernel import check_word

ORDERS = ("random", "reverse", "rotate")
SPACES = ("none", "space", "spaces", "newline", "blank_line")

# Options that refer to others by position or label ("all of the above", "both A and B"): these must not move.
POINTING = (
    r"(?i)\b(?:above|below|(?:all|none|any|both|neither|either|each|two) of (?:the |these|those|them))"
    r"|(?-i:\b[A-H]\)? ?(?:,|and|or|nor|&) ?\(?[A-H]\b)"
    r"|(?-i:\b(?:[Oo]ptions?|[Cc]hoices?|[Aa]nswers?) \(?[A-H]\b)"
)

# Paraphrases: none names the subject, none gives a hint.
INSTRUCTIONS = (
    "The following are multiple choice questions (with answers).",
    "Answer the following multiple choice questions.",
    "Each of the following questions comes with several options. Choose the correct one.",
    "Below are multiple choice questions. Give the label of the correct option for each.",
    "Read each question and its options, then pick the right answer.",
    "For each question, select the option that answers it best.",
    "Here are some questions with answer options. Exactly one option is right.",
    "You will see multiple choice questions. Respond with the label of the correct answer.",
    "Please answer these multiple choice questions.",
    "Choose the right option for every question below.",
)


@perturbation("option_order", takes="frame")
def option_order(
    frame: pl.LazyFrame, key: pl.Expr, order: str = "random", shift: int = 1, unless: str = POINTING
) -> pl.LazyFrame:
    """Permute the options of multiple-choice questions.

    The correct answer moves with its option.

    Args:
        frame: `INSTANCES`.
        key: The column that random numbers depend on.
        order: "random", "reverse" or "rotate". With "random" each order has the same probability, the original one
            included. "rotate" moves each option `shift` positions down and the last options to the top.
        shift: The number of positions for "rotate".
        unless: A regular expression. Instances with an option that matches it stay unchanged. By default these are
            instances whose options refer to others ("all of the above", "both A and B"). "" permutes all instances.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(1)
    >>> rows = plan.perturb("option_order(order='reverse')").variants().collect()
    >>> for options in rows["perturbed_references"]:
    ...     [option["text"] for option in options]
    ['Perfect fifth', 'Minor seventh', 'Major sixth', 'Perfect fourth']
    ['Perfect fourth', 'Major sixth', 'Minor seventh', 'Perfect fifth']

    Source: Pezeshkpour & Hruschka 2023; Zheng et al. 2023 (cyclic permutation).
    """
    check_word("option_order", "order", order, ORDERS)
    _check_pattern("option_order", unless)
    if not is_integer(shift):
        raise ArgumentError(f"option_order(shift={shift!r}): shift must be an integer.")

    def permuted(columns: list[pl.Series] | Any) -> pl.Series:
        options, keys = columns
        counts = options.list.len().fill_null(0).to_numpy().astype(np.int64)
        return options.list.gather(_lists(_old_positions(counts, keys.to_numpy(), order, shift), counts))

    references = pl.col("perturbed_references")
    moved = pl.map_batches([references, key], permuted, return_dtype=pl.List(REFERENCE), is_elementwise=True)
    return frame.with_columns(perturbed_references=pl.when(_movable(unless)).then(moved).otherwise(references))


@perturbation("option_labels", takes="frame")
def option_labels(frame: pl.LazyFrame, prefix: str = "1. ", unless: str = POINTING) -> pl.LazyFrame:
    """Relabel the options of multiple-choice questions, also in the few-shot examples.

    Args:
        frame: `INSTANCES`.
        prefix: The text before the first option: "1. ", "a. ", "(A) ", "i. " (i, ii, iii, …). Its first letter or digit
            is counted up, as in the adapter's `reference_prefix`.
        unless: A regular expression, as for `option_order`. Labels also stay unchanged if an option looks like a label
            itself, such as a number under "1. ".

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(1)
    >>> rows = plan.perturb("option_labels(prefix='(a) ')").variants().collect()
    >>> rows["adapter_change"].to_list()
    [None, '{"reference_prefix": "(a) "}']

    Source: Alzahrani et al. 2024 (When Benchmarks are Targets); Zheng et al. 2023 (option ids).
    """
    if not isinstance(prefix, str) or not re.search(r"[^\W_]", prefix):
        raise ArgumentError(
            f"option_labels(prefix={prefix!r}): prefix must contain a letter or digit to count up from, such as '1. '."
        )
    _check_pattern("option_labels", unless)
    has_options = pl.col("perturbed_references").list.len() > 0
    renamed = has_options & _movable(unless) & _movable(_label_pattern(prefix))
    return _changing(frame, pl.when(renamed).then(pl.lit(_json(reference_prefix=prefix))))


@perturbation("instructions", takes="frame")
def instructions(frame: pl.LazyFrame, key: pl.Expr, texts: Sequence[str] = INSTRUCTIONS) -> pl.LazyFrame:
    """Replace the instructions of the prompt with a paraphrase.

    Each instance gets one of the texts; all have the same probability. Several seeds are several samples. With
    `texts=[["…"], ["…"]]`, each text is a variant.

    Args:
        frame: `INSTANCES`.
        key: The column that random numbers depend on.
        texts: The paraphrases. They may contain subset columns (`{subject}`). The default is ten neutral instructions
            for multiple choice.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(1).perturb(instructions(texts=["Choose one."]))
    >>> plan.variants().collect()["adapter_change"].to_list()
    [None, '{"instructions": "Choose one."}']

    Source: Mizrahi et al. 2024 (State of What Art?); Sclar et al. 2024.
    """
    paraphrases = [texts] if isinstance(texts, str) else list(texts)
    if not paraphrases or not all(isinstance(text, str) for text in paraphrases):
        raise ArgumentError(f"instructions(texts={texts!r}): texts must be a list of one or more texts.")
    return _changing(frame, _one_of(key, [_json(instructions=text) for text in paraphrases]))


@perturbation("example_order", takes="frame")
def example_order(frame: pl.LazyFrame, key: pl.Expr, order: str = "random", orders: int = 8) -> pl.LazyFrame:
    """Reorder the few-shot examples of the prompt.

    The examples themselves are the same.

    Args:
        frame: `INSTANCES`.
        key: The column that random numbers depend on.
        order: "random" or "reverse".
        orders: The number of random orders, an integer from 1 to 1000. Each instance gets one of them. With few orders,
            instances share their examples, and models process the shared text once.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(1)
    >>> rows = plan.perturb("example_order(order='reverse')").variants().collect()
    >>> rows["adapter_change"].to_list()
    [None, '{"shot_order": "reverse"}']

    Source: Lu et al. 2022 (Fantastically Ordered Prompts).
    """
    check_word("example_order", "order", order, ("random", "reverse"))
    if not is_integer(orders) or not 1 <= orders <= 1000:
        raise ArgumentError(f"example_order(orders={orders!r}): orders must be an integer from 1 to 1000.")
    if order == "reverse":
        return _changing(frame, pl.lit(_json(shot_order="reverse")))
    return _changing(frame, _one_of(key, [_json(shot_order=f"random:{number}") for number in range(1, orders + 1)]))


@perturbation("cue_space", takes="frame")
def cue_space(frame: pl.LazyFrame, space: str = "space") -> pl.LazyFrame:
    """Change the white space around the answer cue (`Answer:`), also in the few-shot examples.

    HELM's prompts have a space after the cue in the examples, and none at the end of the prompt.

    Args:
        frame: `INSTANCES`.
        space: The white space. After the cue: "none" (`Answer:A`), one "space", two "spaces", or a "newline". The
            prompt then ends with it too. Before the cue: a "blank_line".

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(1)
    >>> rows = plan.perturb("cue_space(space='newline')").variants().collect()
    >>> rows["adapter_change"].to_list()
    [None, '{"cue_space": "newline"}']

    Source: Sclar et al. 2024 (FormatSpread).
    """
    check_word("cue_space", "space", space, SPACES)
    return _changing(frame, pl.lit(_json(cue_space=space)))


def _movable(unless: str) -> pl.Expr:
    """Return whether the options of an instance may be moved and relabelled."""
    if not unless:
        return pl.lit(value=True)
    texts = pl.col("perturbed_references").list.eval(pl.element().struct.field("text").str.contains(unless))
    return ~texts.list.any().fill_null(value=False)


def _label_pattern(prefix: str) -> str:
    """Return a pattern for options that look like a label of this kind."""
    first = re.search(r"[^\W_]", prefix)
    kind = r"\d\d?" if first and first.group().isdigit() else r"\pL|(?i:[ivx]+)"
    return rf"^\W*(?:{kind})\W*$"


def _old_positions(counts: Any, keys: Any, order: str, shift: int) -> Any:
    """Return, for each position of each list, the old position of its new option."""
    rows = np.repeat(np.arange(len(counts)), counts)
    first = (np.cumsum(counts) - counts)[rows]
    position = np.arange(len(rows)) - first
    if order == "reverse":
        return counts[rows] - 1 - position
    if order == "rotate":
        return (position - shift) % counts[rows]
    return np.lexsort((keyed_draws(keys[rows], position.astype(np.uint64)), rows)) - first


def _lists(values: Any, counts: Any) -> pl.Series:
    import pyarrow as pa

    offsets = np.concatenate([[0], np.cumsum(counts)])
    return pl.Series(pl.from_arrow(pa.LargeListArray.from_arrays(offsets, pa.array(values, pa.uint32()))))


def _one_of(key: pl.Expr, changes: Sequence[str]) -> pl.Expr:
    index = key % len(changes)
    return index.replace_strict(list(range(len(changes))), list(changes), return_dtype=pl.String)


def _json(**fields: Any) -> str:
    return json.dumps(fields, sort_keys=True, ensure_ascii=False)


def _changing(frame: pl.LazyFrame, change: pl.Expr) -> pl.LazyFrame:
    """Return the frame with this change merged into `adapter_change`; it overrides earlier links of a chain."""

    def merged(columns: list[pl.Series] | Any) -> pl.Series:
        old, new = columns
        # a literal is one value for all rows
        pairs = pl.DataFrame({"old": old, "new": new if len(new) == len(old) else new.new_from_index(0, len(old))})
        distinct = pairs.unique(maintain_order=True)
        changes = pl.Series([_merged_change(*pair) for pair in distinct.iter_rows()], dtype=pl.String)
        table = distinct.with_columns(change=changes)
        return pairs.join(table, on=["old", "new"], how="left", maintain_order="left", nulls_equal=True)["change"]

    both = [pl.col("adapter_change"), change]
    return frame.with_columns(adapter_change=pl.map_batches(both, merged, return_dtype=pl.String, is_elementwise=True))


def _merged_change(old: str | None, new: str | None) -> str | None:
    if old is None or new is None:
        return new if old is None else old
    before: Mapping[str, Any] = json.loads(old)
    return _json(**{**before, **json.loads(new)})


def _check_pattern(perturbation: str, pattern: object) -> None:
    if not isinstance(pattern, str):
        raise ArgumentError(f"{perturbation}(unless={pattern!r}): unless must be a regular expression.")
    try:
        pl.select(pl.lit("").str.contains(pattern))
    except pl.exceptions.ComputeError as error:
        problem = regex_problem(error)
        raise ArgumentError(f"{perturbation}(unless={pattern!r}): invalid regular expression: {problem}.") from None
