"""What a plan says about itself before it runs."""

from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe import _pipeline
from helmframe.models import budget
from helmframe.views import explain


def test_of_a_large_scenario_the_first_instances_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pipeline, "SHARD_ROWS", 10)
    monkeypatch.setattr(explain, "MOST_COUNTED", 20)
    frame = pl.DataFrame({"q": [f"Question {i}" for i in range(50)], "a": ["yes"] * 50})
    plan = hf.scenario(frame, input="q", references="a").perturb("lowercase").generate(lambda prompt: "yes")
    text = plan.explain()
    assert "counts are scaled up from the first 20 of 50 instances" in text
    assert "50 instances" in text
    assert "100 variants" in text
    assert "100 distinct requests" in text


def test_of_others_all_are_counted() -> None:
    frame = pl.DataFrame({"q": [f"Question {i}" for i in range(50)], "a": ["yes"] * 50})
    text = hf.scenario(frame, input="q", references="a").generate(lambda prompt: "yes").explain()
    assert "50 instances" in text
    assert "scaled" not in text


def test_the_first_metric_of_a_plan_that_replaces_them_is_the_main_one() -> None:
    frame = pl.DataFrame({"q": ["Who?"], "a": ["yes"]})
    plan = hf.scenario(frame, input="q", references="a").generate(lambda prompt: "yes")
    assert "main: quasi_exact_match on test" in plan.explain()
    replaced = plan.metrics("f1_score", "rouge_l")
    assert "main: f1_score on test" in replaced.explain()
    assert next(iter(replaced.score().manifest["scenarios"].values()))["main"]["metric"] == "f1_score"
    assert "main: quasi_exact_match on test" in plan.metrics("f1_score", "quasi_exact_match").explain()


ENTRIES = {"gpt-x": {"litellm_provider": "openai", "input_cost_per_token": 2e-3, "output_cost_per_token": 8e-3}}


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace litellm's list of prices."""
    monkeypatch.setattr(budget, "_price_file", lambda: ("9.9", ENTRIES))


def note_on(text: str, start: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith(start)]


@pytest.mark.usefixtures("listed")
def test_the_cost_of_the_missing_requests_is_estimated_as_a_range() -> None:
    frame = pl.DataFrame({"q": ["Who?", "What?"], "a": ["yes", "no"]})
    plan = hf.scenario(frame, input="q", references="a").adapt(shots=0).generate("openai:gpt-x", max_tokens=10)
    tokens = int(plan.requests().collect()["prompt"].str.len_chars().sum()) // 4
    low, high = tokens * 0.002, tokens * 0.002 + 2 * 10 * 0.008
    (note,) = note_on(plan.explain(), "gpt-x: estimated cost")
    assert note == (
        f"gpt-x: estimated cost of the requests to send: ${low:.2g} (no output) to ${high:.2f} (max_tokens for each); "
        "4 characters count as a token; prices: litellm 9.9"
    )
    own = plan.explain(prices={"gpt-x": (1e6, 0)})
    assert note_on(own, "gpt-x: estimated")[0].startswith(
        f"gpt-x: estimated cost of the requests to send: ${tokens:,.2f} (no output) to ${tokens:,.2f}"
    )
    assert hf.suite(plan).explain(prices={"gpt-x": (1e6, 0)}) == own


def test_cached_requests_cost_nothing_more() -> None:
    model = hf.model(lambda prompt: "yes", name="mine", version="1")
    frame = pl.DataFrame({"q": ["Who?", "What?"], "a": ["yes", "no"]})
    plan = hf.scenario(frame, input="q", references="a").adapt(shots=0).generate(model)
    assert len(note_on(plan.explain(prices={"mine": (1, 1)}), "mine: estimated cost")) == 1
    plan.score()
    assert note_on(plan.explain(prices={"mine": (1, 1)}), "mine: estimated cost") == []


@pytest.mark.usefixtures("listed")
def test_an_unknown_price_is_stated_for_models_of_providers_only() -> None:
    frame = pl.DataFrame({"q": ["Who?"], "a": ["yes"]})
    plan = hf.scenario(frame, input="q", references="a").generate(["openai:none", hf.models.oracle()])
    text = plan.explain()
    assert "none: the price is unknown. To estimate the cost, write explain(prices={'none': (2.5, 10)})." in text
    assert text.count("unknown") == 1


@pytest.mark.usefixtures("listed")
def test_verdicts_have_an_upper_estimate() -> None:
    frame = pl.DataFrame({"q": ["Who?"], "a": ["yes"]})
    plan = hf.scenario(frame, input="q", references="a").generate(hf.models.oracle())
    text = plan.metrics("exact_match", hf.judge("openai:gpt-x", "safety")).explain()
    assert len(note_on(text, "gpt-x: estimated cost of verdicts: up to $")) == 1
    text = plan.metrics("exact_match", hf.judge("openai:gpt-x", "safety", max_tokens=None)).explain()
    assert "gpt-x: max_tokens isn't set, so the cost of verdicts isn't estimated" in text


def chatting(n: int = 1) -> list[hf.Model]:
    return [hf.models.http("http://localhost:1/v1", f"chat{number}", chat=True) for number in range(n)]


LENIENT = "option letters are parsed leniently for all models; adapt(answer_parser='strict') parses as HELM does"


@pytest.mark.parametrize(
    ("fields", "compat", "lines"),
    [
        ({}, None, [f"chat0 only chats: {LENIENT}", "  adapt(format_instructions=True)", "  max_tokens=1 ends"]),
        ({"format_instructions": True}, None, [f"chat0 only chats: {LENIENT}"]),
        ({"answer_parser": "lenient"}, None, ["chat0 only chats: option letters are parsed leniently\n"]),
        ({"answer_parser": "strict"}, None, ["chat0 only chats: option letters are parsed as HELM does"]),
        ({}, "helm", ["chat0 only chats: option letters are parsed as HELM does"]),
    ],
    ids=["default", "instructed", "lenient", "strict", "helm"],
)
def test_plans_with_a_model_that_only_chats_explain_how_letters_are_parsed(
    fields: dict[str, Any], compat: str | None, lines: list[str]
) -> None:
    plan = hf.scenario("sampler", compat=compat).where(subject="music").limit(1).adapt(**fields)
    text = plan.generate([*chatting(), hf.models.oracle()]).explain()
    for line in lines:
        assert line in f"{text}\n"
    assert ("adapt(format_instructions=True)" in text) is ("format_instructions" not in fields)
    assert "only chat" not in plan.generate(hf.models.oracle()).explain()


def test_the_parser_of_free_text_stays_strict_and_needs_no_note() -> None:
    plan = hf.scenario(pl.DataFrame({"q": ["a"], "a": ["b"]}), input="q", references="a").generate(chatting(2))
    assert "only chat" not in plan.explain()
    assert plan.requests().collect()["answer_parser"].null_count() == 2


def test_a_note_warns_if_a_line_break_ends_json() -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(1)
    cut = plan.generate(hf.models.echo(), json_schema={"title": "Person", "type": "object"}).explain()
    assert "json_schema=Person-" in cut
    assert r"stop=['\n'] ends JSON at its first line break; generate(…, stop=[]) removes it" in cut
    assert "ends JSON" not in plan.generate(hf.models.echo(), json_schema={}, stop=[]).explain()
