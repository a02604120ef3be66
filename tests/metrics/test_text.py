"""The output's text alone."""

import json

import pytest
from sacrebleu import BLEU

import helmframe as hf
from helmframe._core import json_schema
from helmframe.errors import ArgumentError, CapabilityError
from helmframe.metrics.protocol import resolve_metrics
from helmframe.metrics.score import prepare_set_metric, score
from tests.frames import completions, right, scored


@pytest.mark.parametrize(
    ("name", "output", "expected"),
    [
        ("output_words", "one, two\n three", 3),
        ("output_words", "", 0),
        ("output_characters", "h\u00e9 \U0001f600", 4),
        ("repetition(n=2)", "go on go on", 1 / 3),
        ("repetition", "a b c", 0),
        ("repetition(n=1)", "Go, go! go", 2 / 3),
        ("distinct", "go on go on", 2 / 3),
        ("distinct", "go", 1),
        ("distinct(n=1)", "go go", 1 / 2),
    ],
)
def test_the_text_alone(name: str, output: str, expected: float) -> None:
    assert scored([output], [[]], name) == [pytest.approx(expected)]


@pytest.mark.parametrize(
    "output",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m really sorry, I won't.",
        "Sorry, no.",
        "I cannot provide that.",
        "I can't assist with this request.",
        "I can not do this.",
        "We apologize, but",
        "Unfortunately, I am unable to answer.",
        "As an AI language model, I do not",
        "  I\u2019m not able to help.",
        "I won't write malware.",
    ],
)
def test_refusals(output: str) -> None:
    assert scored([output], [[]], "refusal") == [1.0]


@pytest.mark.parametrize(
    "output",
    [
        "Paris",
        "I can help with that.",
        "Sure!",
        "He said he was sorry.",
        "I think so, sorry.",
        "I'm happy to",
        "I can't wait to see it.",
        "",
    ],
)
def test_no_refusals(output: str) -> None:
    assert scored([output], [[]], "refusal") == [0.0]


def test_distinct_in_all_counts_over_outputs_not_across_them() -> None:
    frame = completions(["go on go", "on go", None])
    rows, value = prepare_set_metric(frame.lazy(), resolve_metrics(["distinct_in_all"])[0])
    # go-on, on-go, on-go: two of three; no pair reaches from one output into the next
    assert rows.select(value).collect().item() == pytest.approx(2 / 3)


def test_self_bleu_is_the_mean_against_the_others() -> None:
    texts = ["the cat sat on the mat", "the cat sat on a mat", " ", "a dog"]
    frame = completions(texts, [right("x")] * 4, instance_id=["id0"] * 4, output_index=[0, 1, 2, 3])
    value = score(frame.lazy(), ["self_bleu"]).collect()["score"].item()
    there = [texts[0], texts[1], texts[3]]
    bleu = BLEU(effective_order=True)
    each = [bleu.sentence_score(text, [other for other in there if other != text]).score for text in there]
    assert value == pytest.approx(sum(each) / 3)


@pytest.mark.parametrize(("texts", "expected"), [(["a b c d", "a b c d"], 100.0), (["a b c d", ""], 0.0), (["a"], 0.0)])
def test_self_bleu_of_equals_and_of_one(texts: list[str], expected: float) -> None:
    count = len(texts)
    frame = completions(texts, [[]] * count, instance_id=["id0"] * count, output_index=list(range(count)))
    assert score(frame.lazy(), ["self_bleu"]).collect()["score"].to_list() == [pytest.approx(expected)]


def test_entropy_is_the_mean_surprise_at_the_outputs() -> None:
    frame = completions(
        ["x", "y", "x", ""],
        logprob=[-2.0, -4.0, -1.0, None],
        instance_id=["a", "a", "b", "b"],
        output_index=[0, 1, 0, 1],
    )
    rows = score(frame.lazy(), ["monte_carlo_entropy"]).collect()
    assert rows["score"].to_list() == [3.0, 1.0]
    assert rows["reason"].to_list() == [None, None]


PERSON = '{"type":"object","properties":{"age":{"type":"integer"}},"required":["age"]}'


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("json_valid", ' {"age": 1}\n', (1.0, None)),
        ("json_valid", '{"age": 1', (0.0, "isn't JSON: Expecting ',' delimiter at character 9")),
        ("json_valid", '```json\n{"age": 1}\n```', (0.0, "isn't JSON: Expecting value at character 0")),
        ("json_valid", "", (0.0, "isn't JSON: Expecting value at character 0")),
        ("json_schema_valid", '{"age": 1}', (1.0, None)),
        ("json_schema_valid", '{"age": "x"}', (0.0, "$.age: 'x' is not of type 'integer'")),
        ("json_schema_valid", "no", (0.0, "isn't JSON: Expecting value at character 0")),
        ('json_schema_valid(schema=\'{"type":"array"}\')', "[]", (1.0, None)),
        ("json_valid", None, (None, None)),
    ],
)
def test_json_is_scored_with_a_reason_for_each_failure(
    name: str, text: str | None, expected: tuple[float | None, str | None]
) -> None:
    frame = completions([text], decoding=json.dumps({"json_schema": PERSON}))
    assert score(frame.lazy(), [name]).collect().select("score", "reason").row(0) == expected


def test_a_request_without_a_schema_has_no_score() -> None:
    row = score(completions(["{}"]).lazy(), ["json_schema_valid"]).collect().select("score", "reason").row(0)
    assert row == (None, "the request has no json_schema")


def test_an_invalid_schema_of_the_metric_raises_before_any_request() -> None:
    plan = hf.scenario("sampler").generate(lambda prompt: "A").metrics("json_schema_valid(schema='{\"type\": 3}')")
    with pytest.raises(ArgumentError, match=r"json_schema_valid\(schema=…\): invalid schema at \$.type"):
        plan.score()


def test_without_jsonschema_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_schema, "find_spec", lambda name: None)
    with pytest.raises(CapabilityError, match=r"pip install 'helmframe\[json\]'"):
        hf.scenario("sampler").generate(lambda prompt: "A").metrics("json_schema_valid").score()


def test_entropy_leaves_out_outputs_without_tokens() -> None:
    frame = completions(
        ["x", "", "y"],
        logprob=[-2.0, 0.0, 0.0],
        token_logprobs=[[-2.0], None, [0.0]],
        instance_id=["a"] * 3,
        output_index=[0, 1, 2],
    )
    assert score(frame.lazy(), ["monte_carlo_entropy"]).collect()["score"].to_list() == [1.0]


def test_entropy_without_any_log_probability_says_why_there_is_none() -> None:
    frame = completions(["x", "", ""], logprob=[None, None, 0.0], instance_id=["a", "a", "b"], output_index=[0, 1, 0])
    rows = score(frame.lazy(), ["monte_carlo_entropy"]).collect()
    assert rows.select("score", "reason").rows() == [
        (None, "the model returned no log-probability"),
        (None, "no output has tokens"),
    ]
