"""Every metric has a worked example in its docstring; those about an output and references are worked again here."""

import inspect
from collections.abc import Sequence

import pytest

from helmframe.metrics import METRICS
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
    ("regex_match(pattern='#### (.+)')", "#### 18", ["18"], 1),
    ("f1_score", "the cat sat", ["a cat"], 2 / 3),
    ("f1_bag", "cat cat sat", ["cat sat sat"], 2 / 3),
    ("rouge_1", "cats sat", ["the cat sat"], 0.8),
    ("rouge_2", "cats sat", ["the cat sat"], 2 / 3),
    ("rouge_l", "sat a cat", ["cat sat"], 0.4),
    ("bleu_1", "the the cat", ["the cat sat"], 2 / 3),
    ("bleu_4", "a b c d x", ["a b c d e"], 1 / 2),
    ("bleu_cumulative", "a b c d x", ["a b c d e"], (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
    ("iou_set_match", "it is a and b", ["it is b and c"], 1 / 3),
    ("label_f1", "red, blue", ["red", "green"], 1 / 2),
    ("output_characters", "Zoë", ["Zoë"], 3),
]

OURS = [name for name in METRICS if METRICS[name].function.__module__.startswith("helmframe.")]


def docstring(name: str) -> str:
    function = METRICS[name.partition("(")[0]].function
    return " ".join((inspect.getdoc(function) or "").split("Args:")[0].split())


@pytest.mark.parametrize(("name", "output", "references", "value"), PAIRS)
def test_it_is_true(name: str, output: str, references: Sequence[str], value: float) -> None:
    said = docstring(name)
    assert all(f'"{text}"' in said for text in (output, *references))
    assert scored([output], [right(*references)], name) == [pytest.approx(value)]


@pytest.mark.parametrize("name", OURS)
def test_every_metric_has_one(name: str) -> None:
    assert any(character.isdigit() for character in docstring(name))


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


def test_those_of_sets_of_texts_are_true() -> None:
    texts = completions(["one two three", "one two"], [right("x")] * 2)
    assert of_set(texts, "distinct_in_all") == pytest.approx(2 / 3)
    bytes_8 = completions(["abcd", "efgh"], [right("x")] * 2, logprob=[-2.0, -4.0], output_tokens=[2, 1])
    assert of_set(bytes_8, "byte_perplexity") == pytest.approx(2.117, abs=5e-4)
    assert of_set(bytes_8, "logprob_per_byte") == pytest.approx(-0.75)
    assert of_set(bytes_8, "logprob_per_token") == pytest.approx(-2.0)
