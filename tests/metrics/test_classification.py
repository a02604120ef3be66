"""Macro-F1 against values worked by hand."""

import warnings
from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_fscore_support
from sklearn.preprocessing import MultiLabelBinarizer

from helmframe.metrics.classification import confusion
from helmframe.metrics.protocol import METRICS, resolve_metrics
from helmframe.metrics.score import parse
from tests.frames import completions, right


def macro_f1(golds: Sequence[str], outputs: Sequence[str | None], **columns: object) -> float | None:
    read = parse(completions(outputs, [right(gold) for gold in golds], **columns).lazy()).collect()
    value = read.select(METRICS["classification_macro_f1"].function()).item()
    assert value is None or isinstance(value, float)
    return value


@pytest.mark.parametrize(
    ("golds", "outputs", "expected"),
    [
        (["a1", "a1", "b1"], ["a1", "b1", "b1"], 2 / 3),  # a: 2·1/(2+1), b: 2·1/(1+2)
        (["x", "y"], ["x", "y"], 1.0),
        (["x", "y"], ["y", "x"], 0.0),
        (["x", "x", "x", "y"], ["x", "x", "x", "x"], (6 / 7 + 0) / 2),  # y never occurs
        (["x", "y"], ["x", "other"], (1 + 0) / 2),  # 'other' is no class: y is missed, nothing else
        (["x", "x"], ["x", "other"], (2 / 3 + 0) / 2),  # one class: 2·1/(2+1), and 0 of its absence
        (["x", "x"], ["x", "x"], 1.0),  # its absence is nowhere
        (["x", "x"], ["other", ""], 0.0),
        (["Yes", "No"], ["yes!", "NO  "], 1.0),  # normalised
        (["a", "b"], ["a", "the b"], 0.5),  # articles are words
        (["x", "y"], ["", "y"], 0.5),  # an empty output is a miss
    ],
)
def test_macro_f1(golds: list[str], outputs: list[str], expected: float) -> None:
    assert macro_f1(golds, outputs) == pytest.approx(expected, abs=1e-12)


def test_failed_requests_are_left_out() -> None:
    assert macro_f1(["x", "y", "y"], ["x", "y", None]) == 1.0


def test_unreadable_answers_are_misses() -> None:
    assert macro_f1(["x", "y"], ["A", "?"], choices=[["A"], ["A"]]) == 0.5


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_several_labels_are_what_scikit_learn_makes_of_them(average: str) -> None:
    golds = [["x", "y"], ["y"], [], ["z"], ["x"]]
    outputs = ["y, x", "y, x", "n/a", "", "x, x, other"]
    read = parse(completions(outputs, [right(*each) for each in golds], data_label_delimiter=", ").lazy()).collect()
    value = read.select(METRICS[f"classification_{average}_f1"].function()).item()
    binary = MultiLabelBinarizer().fit(golds)
    predicted = [[each for each in text.split(", ") if each in "xyz" and each] for text in outputs]
    expected = f1_score(binary.transform(golds), binary.transform(predicted), average=average, zero_division=0)
    assert value == pytest.approx(expected)
    # x: predicted three times, right twice; y: twice, both right; z: never
    assert value == pytest.approx({"macro": (4 / 5 + 1 + 0) / 3, "micro": 8 / 10}[average])


@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize("outputs", [["x", "y", "x"], ["x", "x", "x"], ["y", "y", ""]])
def test_a_single_class_is_what_scikit_learn_makes_of_it(outputs: list[str], average: str) -> None:
    read = parse(completions(outputs, [right("x")] * 3).lazy()).collect()
    value = read.select(METRICS[f"classification_{average}_f1"].function()).item()
    gold, predicted = [[1]] * 3, [[int(each == "x")] for each in outputs]
    assert value == pytest.approx(f1_score(gold, predicted, average=average, zero_division=0))


def test_all_failed_has_no_value() -> None:
    assert macro_f1(["x"], [None]) is None


def test_no_completions_have_no_value() -> None:
    assert macro_f1([], []) is None


def test_it_aggregates_any_group() -> None:
    frame = completions(["x", "y", "y", "y"], [right(each) for each in "xyxy"], subset=["p", "p", "q", "q"])
    read = parse(frame.lazy())
    values = read.group_by("subset").agg(value=METRICS["classification_macro_f1"].function()).sort("subset").collect()
    assert values["value"].to_list() == pytest.approx([1.0, (0 + 2 / 3) / 2])


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("xyzw")), min_size=1, max_size=20))
def test_macro_f1_is_the_mean_of_the_classes_f1(pairs: list[tuple[str, str]]) -> None:
    classes = {gold for gold, _ in pairs}
    assume(len(classes) > 1)
    f1 = []
    for each in classes:
        hits = sum(gold == predicted == each for gold, predicted in pairs)
        missed = sum(gold == each != predicted for gold, predicted in pairs)
        false = sum(predicted == each != gold for gold, predicted in pairs)
        f1.append(hits / (hits + (missed + false) / 2))
    if len(classes) == 1 and f1 != [1.0]:  # the absence of the class, which no gold has
        f1.append(0.0)
    assert macro_f1(*zip(*pairs, strict=True)) == pytest.approx(sum(f1) / len(f1))


def value_of(name: str, golds: Sequence[str], outputs: Sequence[str | None]) -> float | None:
    read = parse(completions(outputs, [right(gold) for gold in golds]).lazy()).collect()
    value = read.select(resolve_metrics([name])[0].expression()).item()
    assert value is None or isinstance(value, float)
    return value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("classification_micro_f1", 0.5),  # 1 hit, 2 misses, no false alarm
        ("class_f1(label='X')", 2 / 3),
        ("class_f1(label='y')", 0.0),
        ("class_precision(label='x')", 1.0),
        ("class_recall(label='x')", 0.5),
        ("class_recall(label='z')", 0.0),
        ("class_precision(label='z')", 0.0),
    ],
)
def test_one_class_and_all(name: str, expected: float) -> None:
    assert value_of(name, ["x", "x", "y"], ["x", "other", "other"]) == pytest.approx(expected)


CLASSES = st.tuples(st.sampled_from("xyz"), st.sampled_from("xyzw"))


@settings(deadline=None)
@given(st.lists(CLASSES, min_size=1, max_size=20))
def test_f1_is_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    golds, outputs = [gold for gold, _ in pairs], [output for _, output in pairs]
    binary = MultiLabelBinarizer().fit([[gold] for gold in golds])
    gold, predicted = (
        binary.transform([[each] if each in golds else [] for each in texts]) for texts in (golds, outputs)
    )
    for name, average in (("classification_macro_f1", "macro"), ("classification_micro_f1", "micro")):
        expected = f1_score(gold, predicted, average=average, zero_division=0)
        assert value_of(name, golds, outputs) == pytest.approx(expected)


def test_confusion_counts_outputs_per_class() -> None:
    read = parse(completions(["a1", "b1", "B1!", None], [right(each) for each in ("a1", "a1", "a1", "b1")]).lazy())
    assert confusion(read).rows() == [("a1", "b1", 2), ("a1", "a1", 1)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=2, max_size=30))
def test_weighted_metrics_equal_sklearns(pairs: list[tuple[str, str]]) -> None:
    golds, outputs = zip(*pairs, strict=True)
    binarizer = MultiLabelBinarizer().fit([["a", "b", "c"]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unknown classes, and classes without instances
        expected = precision_recall_fscore_support(
            binarizer.transform(golds), binarizer.transform(outputs), average="weighted", zero_division=0
        )
    read = parse(completions(outputs, [right(gold) for gold in golds]).lazy()).collect()
    values = [
        read.select(METRICS[f"classification_weighted_{name}"].function()).item()
        for name in ("precision", "recall", "f1")
    ]
    assert values == pytest.approx(list(expected[:3]))


def differences(texts: Sequence[str], golds: Sequence[str], sex: str) -> list[float]:
    frame = completions(texts, [right(gold) for gold in golds]).with_columns(sex=pl.Series(list(sex)))
    read = parse(frame.lazy()).collect()
    names = ("demographic_parity_difference", "equalized_odds_difference")
    return [read.select(resolve_metrics([name])[0].expression()).item() for name in names]


@pytest.mark.parametrize(
    ("texts", "golds", "sex", "expected"),
    [
        (["yes", "no", "yes", "yes"], "1010", "ffmm", [0.5, 1.0]),
        (["yes", "no", "yes", "no"], "1010", "ffmm", [0.0, 0.0]),
        (["yes", "yes", "no"], "111", "fmm", [0.5, 0.5]),
        (["yes", "yes or no", "perhaps", "no"], "1111", "fmmm", [0.0, 0.0]),  # two can be read
        (["yes", "yes", "yes"], "110", "fff", [0.0, 0.0]),  # one group
    ],
)
def test_differences_between_groups(texts: list[str], golds: str, sex: str, expected: list[float]) -> None:
    assert differences(texts, golds, sex) == pytest.approx(expected)
