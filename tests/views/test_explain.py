"""What a plan says about itself before it runs."""

from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe import _pipeline
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
