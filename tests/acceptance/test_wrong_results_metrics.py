"""Metrics of texts on adversarial texts: finite, within bounds, and a function of their own row alone."""

import random
from collections.abc import Sequence

import polars as pl
import pytest

from helmframe.metrics.protocol import METRICS
from helmframe.metrics.score import score
from tests._core.test_text import ODD
from tests.acceptance.figures import shown
from tests.frames import Options, completions, right

ROWS = 400
# What texts of models and references may hold, beside `ODD`: numbers, sets, LaTeX, markup, and texts of a size.
TEXTS = [
    "", " ", "\n", "...", "\x00", "\x00\x00a", "a " * 50_000, "A" * 100_000, "a," * 3000, "1" * 5000, "1" * 400,
    "-" + "9" * 400, "1." + "0" * 400, "9,999", "-1e400", "1e-400", "1/0", "0/0", "50%", "½", "²", "١٢٣", "٣٫٥", "∞",
    "inf", "nan", "--1", "0.1.2", "0x10", "1_000", "\\frac{1}{0}", "\\frac", "\\dfrac12", "\\sqrt", "\\sqrt{-1}",
    "\\text{", "{" * 1000, "(" * 200 + "1" + ")" * 200, "\\boxed{", "\\boxed{}", "\\boxed{7}", "\\left(", "$", "$$",
    "\\$5", "5^\\circ", "Nothing.", " is ", " and ", "x is a and a", "7 is 7 and 8", "a. a. a.", "(A)",
    "the answer is (B).", "<script>", "=1+1", "\ufeff", "\u202eabc", "\u05d0\u05d1 abc", "x=5",
]  # fmt: skip
PIECES = [*ODD, "1", "2", "%", ",", ".", " is ", " and ", "\\", "{", "}", "$"]
# These run programs, ask a classifier, or read columns that texts alone do not have.
ELSEWHERE = {"pass", "test_avg", "strict_acc", "toxicity", "math_symbolic", "cost"}
NAMES = [
    name for name, metric in ((name, METRICS[name]) for name in METRICS)
    if metric.level == "output" and not metric.needs and name not in ELSEWHERE
    and metric.function.__module__.startswith("helmframe.")
]  # fmt: skip
OF_GOLD = [
    "exact_match", "quasi_exact_match", "quasi_leave_articles_exact_match", "prefix_exact_match",
    "quasi_prefix_exact_match", "exact_match_indicator", "final_number_exact_match", "final_number_equal", "f1_score",
    "f1_bag", "rouge_1", "rouge_2", "rouge_l", "bleu_1", "bleu_4", "bleu_1_unsplit", "bleu_4_unsplit",
    "bleu_cumulative", "iou_set_match", "f1_set_match", "exact_set_match", "math_equiv", "math_boxed",
    "ruler_string_match_part",
]  # fmt: skip
SYMMETRIC = [
    "exact_match", "exact_match_indicator", "final_number_exact_match", "final_number_equal", "f1_score", "f1_bag",
    "rouge_1", "rouge_2", "rouge_l",
]  # fmt: skip


def texts(seed: str, count: int = ROWS) -> list[str]:
    draws = random.Random(seed)
    return [
        draws.choice(TEXTS) if draws.random() < 0.4 else "".join(draws.choices(PIECES, k=draws.randrange(14)))
        for _ in range(count)
    ]


def scores(rows: Sequence[int], name: str) -> pl.DataFrame:
    """The scores of these of the `ROWS` instances, by instance."""
    outputs, inputs, references = (
        texts("outputs"),
        texts("inputs"),
        [texts(f"references {n}", n % 4) for n in range(ROWS)],
    )
    golds = [right(*references[n], *([outputs[n]] if n % 7 == 0 else [])) for n in rows]
    frame = completions([outputs[n] for n in rows], golds, instance_id=[f"id{n}" for n in rows])
    frame = frame.with_columns(pl.Series("perturbed_input", [inputs[n] for n in rows], dtype=pl.String))
    return score(frame.lazy(), [name]).collect().select("instance_id", "score", "reason").sort("instance_id")


def values(outputs: Sequence[str], references: Sequence[Options], name: str) -> list[float]:
    return score(completions(outputs, references).lazy(), [name]).collect()["score"].to_list()


@pytest.mark.parametrize("name", NAMES)
def test_a_score_is_finite_within_bounds_and_of_its_row_alone(name: str) -> None:
    every = scores(range(ROWS), name)
    metric = METRICS[name]
    known = every["score"].drop_nulls()
    assert known.is_finite().all()
    assert metric.low is None or known.is_empty() or known.min() >= metric.low  # type: ignore[operator]
    assert metric.high is None or known.is_empty() or known.max() <= metric.high  # type: ignore[operator]
    assert every.filter(pl.col("score").is_null() & pl.col("reason").is_null()).height == 0
    order = random.Random(name).sample(range(ROWS), ROWS)
    assert scores(order, name).equals(every)
    shards = [scores(order[start : start + 37], name) for start in range(0, ROWS, 37)]
    assert pl.concat(shards).sort("instance_id").equals(every)
    shown("14", f"{name} of {ROWS} odd texts: with a score, in order and in 11 shards alike", known.len(), "alike")


@pytest.mark.parametrize("name", OF_GOLD)
def test_of_several_references_the_best_counts(name: str) -> None:
    outputs, first, second = (texts(each) for each in ("outputs", "first", "second"))
    alone = [values(outputs, [right(gold) for gold in golds], name) for golds in (first, second)]
    together = values(outputs, [right(*golds) for golds in zip(first, second, strict=True)], name)
    assert together == [max(pair) for pair in zip(*alone, strict=True)]


@pytest.mark.parametrize("name", SYMMETRIC)
def test_output_and_reference_may_change_places(name: str) -> None:
    outputs, golds = texts("outputs"), texts("first")
    forth = values(outputs, [right(gold) for gold in golds], name)
    back = values(golds, [right(output) for output in outputs], name)
    assert forth == pytest.approx(back, abs=1e-12)
