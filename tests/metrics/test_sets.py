"""Sets of answers."""

from collections.abc import Sequence

import pytest

from helmframe.metrics.protocol import resolve_metrics
from helmframe.metrics.score import parse
from tests.frames import completions, right, scored


# output, reference, then iou, f1 and exact
@pytest.mark.parametrize(
    ("output", "reference", "expected"),
    [
        ("it is a and b", "it is b and c", (1 / 3, 1 / 2, 0)),
        ("b and a", "it is a and b.", (1, 1, 1)),
        ("it is a.\nand b", "a", (1, 1, 1)),
        ("Nothing.", "Nothing.", (1, 1, 1)),
        ("a", "Nothing.", (0, 0, 0)),
        ("Nothing.", "a", (0, 0, 0)),
        ("a and a", "a", (1, 1, 1)),
        ("", "", (1, 1, 1)),  # both are the set of the empty text
        ("a is b is c and d", "d and c", (1, 1, 1)),
    ],
)
def test_sets(output: str, reference: str, expected: tuple[float, ...]) -> None:
    names = ("iou_set_match", "f1_set_match", "exact_set_match")
    assert tuple(scored([output], [right(reference)], name)[0] for name in names) == pytest.approx(expected)


def test_the_separators_of_a_set_are_arguments() -> None:
    name = "iou_set_match(start=': ', separator=', ', empty='none')"
    references = [right("y: b, c"), right("none")]
    assert scored(["x: a, b", "none"], references, name) == [pytest.approx(1 / 3), 1.0]


@pytest.mark.parametrize(
    ("output", "references", "expected"),
    [
        ("red, blue", ["red", "green"], 0.5),
        ("Green ,RED", ["red", "green"], 1.0),
        ("\x1cgreen ,red\x1f", ["red", "green\x1d"], 1.0),
        ("red", ["red, green"], 2 / 3),
        ("", ["red"], 0.0),
        ("", [], 1.0),  # no labels predicted, none expected
        ("red", [], 0.0),
    ],
)
def test_labels(output: str, references: list[str], expected: float) -> None:
    assert scored([output], [right(*references)], "label_f1") == pytest.approx([expected])


def entity_scores(outputs: Sequence[str], golds: Sequence[str]) -> tuple[float, float]:
    read = parse(completions(outputs, [right(gold) for gold in golds]).lazy()).collect()
    word, adjusted = (
        read.select(resolve_metrics([name])[0].expression()).item()
        for name in ("word_macro_f1_score", "adjusted_macro_f1_score")
    )
    return word, adjusted


@pytest.mark.parametrize(
    ("output", "gold", "word", "adjusted"),
    [
        ("284 [cy]", "284 million [cy]", 2 / 3 / 4, 2 / 3 / 4),
        ("284 [cy], total cost [kpi]", "284 [cy], total cost [kpi]", 2 / 4, 2 / 4),
        ("284 [py]", "284 [cy]", 0.0, 0.0),
        ("284 [other]", "284 [cy]", 0.0, 0.0),
        ("no entities", "284 [cy]", 0.0, 0.0),
        ("284 million net [cy]", "284 million [cy]", 2 * 2 / 5 / 4, 2 / (2 + 1 / 3) / 4),
    ],
)
def test_entities_are_compared_by_their_words(output: str, gold: str, word: float, adjusted: float) -> None:
    assert entity_scores([output], [gold]) == pytest.approx((word, adjusted))


def test_words_of_entities_are_summed_over_texts() -> None:
    assert entity_scores(["1 [cy]", "2 [cy]"], ["1 [cy]", "3 [cy]"]) == pytest.approx(
        (1 / 2 / 4, 1 / (1 + 1 / 2 + 1 / 2) / 4 * 1)
    )
