"""Every metric has a worked example in its docstring; those about an output and references are worked again here."""

import inspect
import math
import re
from collections.abc import Sequence

import pytest

from helmframe.metrics.protocol import METRICS
from tests.frames import completions, right, scored
from tests.metrics.options import asked, of_instances, of_set

PAIRS = [
    ("exact_match", "Paris", ["Paris "], 1),
    ("quasi_exact_match", "the Eiffel tower!", ["Eiffel Tower"], 1),
    ("quasi_leave_articles_exact_match", "the Eiffel tower!", ["Eiffel Tower"], 0),
    ("prefix_exact_match", "Paris, of course", ["Paris"], 1),
    ("quasi_prefix_exact_match", "The Eiffel tower, of course", ["Eiffel Tower"], 1),
    ("exact_match_indicator", "so it is ## 7", ["it is ## 7"], 1),
    ("final_number_exact_match", "so 1,500 eggs", ["#### 1500"], 1),
    ("final_number_equal", "about $1,200.00.", ["#### 1200"], 1),
    ("absolute_value_difference", "1,010", ["1000"], 10),
    ("regex_match(pattern='#### (.+)')", "#### 18", ["18"], 1),
    ("aime_match", "so $\\boxed{42}$", ["042"], 1),
    ("bbeh_match", "The answer is: **(A)**", ["a"], 1),
    ("grid_match", "The output is [[0, 1], [1,0]].", ["[[0, 1], [1, 0]]"], 1),
    ("f1_score", "the cat sat", ["a cat"], 2 / 3),
    ("f1_bag", "cat cat sat", ["cat sat sat"], 2 / 3),
    ("rouge_1", "cats sat", ["the cat sat"], 0.8),
    ("rouge_2", "cats sat", ["the cat sat"], 2 / 3),
    ("rouge_l", "sat a cat", ["cat sat"], 0.4),
    ("bleu_1", "the the cat", ["the cat sat"], 2 / 3),
    ("bleu_4", "a b c d x", ["a b c d e"], 1 / 2),
    ("bleu_cumulative", "a b c d x", ["a b c d e"], (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
    ("iou_set_match", "it is a and b", ["it is b and c"], 1 / 3),
    ("f1_set_match", "it is a and b", ["it is b and c"], 1 / 2),
    ("exact_set_match", "it is a and b", ["it is b and a"], 1),
    ("math_equiv", "0.5", ["1/2"], 1),
    ("math_equiv_chain_of_thought", "so \\boxed{0.5}", ["\\boxed{1/2}"], 1),
    ("math_boxed", "so \\boxed{\\frac12}", ["1/2"], 1),
    ("ruler_string_match_part", "It was Paris.", ["paris"], 1),
    ("refusal", "I'm sorry, but I can't help with that.", [], 1),
    ("label_f1", "red, blue", ["red", "green"], 1 / 2),
    ("output_characters", "Zoë", ["Zoë"], 3),
]

OURS = [name for name in METRICS if METRICS[name].function.__module__.startswith("helmframe.")]


def docstring(name: str) -> str:
    function = METRICS[name.partition("(")[0]].function
    return " ".join((inspect.getdoc(function) or "").split("Args:")[0].split())


@pytest.mark.parametrize(("name", "output", "references", "value"), PAIRS)
def test_it_is_true(name: str, output: str, references: Sequence[str], value: float) -> None:
    text_of_docstring = docstring(name)
    assert all(f'"{text}"' in text_of_docstring for text in (output, *references))
    assert scored([output], [right(*references)], name) == [pytest.approx(value)]


# The value in the paragraph that starts with "Example: ", after "is", "=", a colon and the like.
VALUE = r"(?:[:=,>]|\b(?:is|so|are|has|have|cost)) -?\|?\d"


@pytest.mark.parametrize("name", OURS)
def test_every_metric_has_one(name: str) -> None:
    document = inspect.getdoc(METRICS[name].function) or ""
    examples = [
        " ".join(paragraph.split()) for paragraph in document.split("\n\n") if paragraph.startswith("Example: ")
    ]
    assert examples
    assert all(re.search(VALUE, re.sub("`[^`]*`", "", example)) for example in examples)


# slopes and intercepts may be any number
UNBOUNDED = ("lm_eval_aggregate", "lm_eval_score", "platt_coef", "platt_intercept")


@pytest.mark.parametrize("name", OURS)
def test_every_metric_says_its_unit_range_and_source(name: str) -> None:
    metric = METRICS[name]
    assert metric.unit
    assert metric.source
    assert name in UNBOUNDED or (metric.low, metric.high) != (None, None)


def test_those_of_options_are_true() -> None:
    cities = asked({"Paris": (-4.0, True), "Lyon": (-3.0, False)}, tokens=[2, 1])
    assert of_instances(cities, "option_accuracy_per_token") == [1.0]
    assert of_instances(cities, "option_accuracy_per_character") == [0.0]
    even = asked({"Paris": (-4.0, True), "Lyon": (-5.0, False), "Nice": (-4.0, False)})
    assert of_instances(even, "option_accuracy") == [0.5]
    calibrated = asked({"Paris": (-4.0, True, -6.0), "Lyon": (-3.0, False, -3.0)})
    assert of_instances(calibrated, "option_accuracy_calibrated") == [1.0]
    two = asked({"Paris": (-1.0, True), "Lyon": (-2.0, False)})
    assert of_instances(two, "option_max_prob") == [pytest.approx(0.731, abs=5e-4)]
    sentences = asked({"a": (-4.0, "stereotype"), "b": (-7.0, "anti-stereotype"), "c": (-6.0, "unrelated")})
    assert of_instances(sentences, "meaningful_preferred") == [0.5]


@pytest.mark.parametrize(
    ("name", "answers", "sure", "value"),
    [
        ("ece", ["yes", "no"], [0.95, 0.95], 0.45),
        ("brier_score", ["yes", "no"], [0.8, 0.6], 0.2),
        ("brier_reliability", ["yes", "no"], [0.8, 0.8], 0.09),
        ("brier_resolution", ["yes", "yes", "no", "no"], [0.9, 0.9, 0.4, 0.4], 0.25),
        ("selective_accuracy", ["yes", "no"] * 10, [0.9, 0.9] + [0.1] * 18, 0.5),
    ],
)
def test_those_of_calibration_are_true(name: str, answers: Sequence[str], sure: Sequence[float], value: float) -> None:
    frame = completions(answers, [right("yes")] * len(answers), sure=list(sure))
    assert of_set(frame, f"{name}(confidence='sure')") == pytest.approx(value)


def test_those_of_platt_scaling_are_true() -> None:
    sure = [math.log(0.5)] * 2 + [math.log(0.9)] * 4
    frame = completions(["yes", "no", "yes", "yes", "yes", "no"], [right("yes")] * 6, logprob=sure)
    assert of_set(frame, "platt_coef") == pytest.approx(0.5, abs=1e-4)
    assert of_set(frame, "platt_intercept") == pytest.approx(0.0, abs=1e-4)
    assert of_set(frame, "platt_ece_10_bin") == pytest.approx(0.0, abs=1e-4)
    assert of_set(frame, "platt_ece_1_bin") == pytest.approx(0.0, abs=1e-4)


def test_those_of_classes_and_translations_are_true() -> None:
    classes = completions(["x", "b", "b"], [right("x"), right("x"), right("b")])
    assert of_set(classes, "class_f1(label='x')") == pytest.approx(2 / 3)
    assert of_set(classes, "class_precision(label='b')") == 0.5
    assert of_set(classes, "class_recall(label='x')") == 0.5
    assert of_set(completions(["The cat sat"], [right("The cat sat.")]), "corpus_chrf") == pytest.approx(88.4, abs=0.05)
    assert of_set(completions(["The cat sat"], [right("The cat sat down")]), "corpus_ter") == 25


def test_those_of_sets_of_texts_are_true() -> None:
    texts = completions(["one two three", "one two"], [right("x")] * 2)
    assert of_set(texts, "distinct_in_all") == pytest.approx(2 / 3)
    bytes_8 = completions(["abcd", "efgh"], [right("x")] * 2, logprob=[-2.0, -4.0], output_tokens=[2, 1])
    assert of_set(bytes_8, "byte_perplexity") == pytest.approx(2.117, abs=5e-4)
    assert of_set(bytes_8, "text_perplexity") == pytest.approx(20.086, abs=5e-4)
    words_4 = completions([" the cat", "it sat"], [right("x")] * 2, logprob=[-2.0, -4.0], output_tokens=[2, 2])
    assert of_set(words_4, "word_perplexity") == pytest.approx(4.482, abs=5e-4)
    assert of_set(bytes_8, "logprob_per_byte") == pytest.approx(-0.75)
    assert of_set(bytes_8, "logprob_per_token") == pytest.approx(-2.0)
