"""Runs of conversations: prompts with the model's own completions, the cache, resume and errors per turn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError
from helmframe.models.model import Model

FRAME = pl.DataFrame(
    {
        "said": [["Capital of France?", "And of Spain?"], ["Hello", "Who?", "Why?"]],
        "answers": [["Paris", "Madrid"], [None, None, "because"]],
    }
)


class Bot:
    """A model that records its prompts, and replies to the last message."""

    def __init__(self, reply: Callable[[str], str] = lambda message: f"re: {message}") -> None:
        self.prompts: list[str] = []
        self.reply = reply

    def model(self, name: str = "bot", **fields: Any) -> Model:
        def generate(prompt: str) -> str:
            self.prompts.append(prompt)
            return self.reply(prompt.removesuffix("\n\nAssistant:").rpartition("User: ")[2])

        return replace(hf.model(generate, name=name, version="1"), **fields)


def talks(**arguments: Any) -> hf.Plan:
    return hf.scenario(FRAME, turns="said", references="answers", **arguments)


def test_the_prompt_of_a_turn_has_the_models_own_completions_without_reasoning() -> None:
    bot = Bot(lambda message: f"<think>hm</think> re: {message} \n")
    results = talks().generate(bot.model()).score()
    assert bot.prompts[-1] == (
        "User: Hello\n\nAssistant: re: Hello\n\nUser: Who?\n\nAssistant: re: Who?\n\nUser: Why?\n\nAssistant:"
    )
    rows = results.rows()
    assert sorted(rows["prompt"]) == sorted(bot.prompts)
    assert rows.select("instance_id", "turn").rows() == [
        ("id0/turn1", 1), ("id0/turn2", 2), ("id1/turn1", 1), ("id1/turn2", 2), ("id1/turn3", 3)
    ]  # fmt: skip
    assert rows["reasoning"].unique().to_list() == ["hm"]


def test_a_chat_model_receives_messages_and_a_text_model_the_adapters_texts() -> None:
    def template(messages: Sequence[Mapping[str, str]]) -> str:
        return "|".join(f"{message['role']}={message['content']}" for message in messages)

    bot = Bot(lambda _: "Paris")
    plan = talks(adapter={"system": "Be brief."}).limit(1)
    plan.generate(bot.model("chat", chat=template)).score()
    assert bot.prompts == [
        "system=Be brief.|user=Capital of France?",
        "system=Be brief.|user=Capital of France?|assistant=Paris|user=And of Spain?",
    ]
    prefixes = {"input_prefix": "Q: ", "output_prefix": "A: ", "instructions": "Be brief."}
    as_text = talks(method="generation", adapter=prefixes).limit(1).generate(bot.model("text")).score()
    assert as_text.rows()["prompt"][1] == "Be brief.\n\nQ: Capital of France?\nA: Paris\n\nQ: And of Spain?\nA:"
    both = talks(method="generation", adapter=prefixes | {"chat_template": True}).limit(1)
    assert both.generate(bot.model("both", chat=template)).score().rows()["prompt"][1] == (
        "user=Be brief.\n\nQ: Capital of France?\nA:|assistant=Paris|user=Q: And of Spain?\nA:"
    )


def test_equal_requests_of_all_turns_are_cached() -> None:
    bot = Bot()
    plan = talks().generate(bot.model())
    before = plan.score()
    assert len(bot.prompts) == 5
    after = plan.score()
    assert len(bot.prompts) == 5
    assert after.completions.collect()["cached"].all()
    ids = [results.completions.collect()["request_id"].to_list() for results in (before, after)]
    assert ids[0] == ids[1]


def test_another_completion_of_a_turn_makes_other_requests_of_the_next() -> None:
    bot = Bot()
    plan = talks().where("len(said) = 3").generate(bot.model())
    before = plan.score().completions.collect()
    bot.reply = lambda message: "Bonjour"
    after = plan.score(fresh=True).completions.collect()
    assert [old == new for old, new in zip(before["request_id"], after["request_id"], strict=True)] == [
        True, False, False
    ]  # fmt: skip
    assert bot.prompts[4] == "User: Hello\n\nAssistant: Bonjour\n\nUser: Who?\n\nAssistant:"
    plan.score()
    assert len(bot.prompts) == 6


def test_a_run_that_was_limited_resumes_with_the_missing_turns() -> None:
    bot = Bot()
    plan = talks().generate(bot.model())
    limited = plan.score(max_requests=3)
    assert limited.manifest["status"] == "stopped"
    assert limited.manifest["counts"]["planned"] == 5
    assert len(bot.prompts) == 3
    assert limited.completions.collect()["turn"].to_list() == [1, 2, 1]
    assert plan.results().completions.collect().height == 3
    whole = plan.score()
    assert len(bot.prompts) == 5
    assert whole.completions.collect().height == 5
    assert whole.manifest["status"] == "done"


def test_completions_of_an_unpinned_model_are_resumed_turn_by_turn() -> None:
    prompts: list[str] = []

    def bot(prompt: str) -> str:
        prompts.append(prompt)
        return f"reply {len(prompt)}"

    first = talks().generate(bot).score(max_requests=4)
    assert len(prompts) == 4
    second = talks().generate(bot).score(resume=str(first.path).rpartition("/")[2])
    assert len(prompts) == 5
    assert second.completions.collect()["error"].null_count() == 5


def test_an_error_makes_the_later_turns_errors_that_the_next_run_retries() -> None:
    broken = True

    def reply(message: str) -> str:
        if broken and message == "Hello":
            raise ValueError("no")
        return f"re: {message}"

    bot = Bot(reply)
    results = talks().generate(bot.model()).score()
    assert results.errors().select("instance_id", "error").rows() == [
        ("id1/turn1", "ValueError: no"), ("id1/turn2", "turn 1 failed"), ("id1/turn3", "turn 1 failed")
    ]  # fmt: skip
    assert results.table(metrics="exact_match").select("n", "n_error").row(0) == (2, 1)
    broken, n = False, len(bot.prompts)
    assert talks().generate(bot.model()).score().errors().is_empty()
    assert len(bot.prompts) - n == 3


def test_a_prompt_that_is_too_long_fails_the_later_turns() -> None:
    bot = Bot(lambda _: "word " * 50)
    model = bot.model(window=100, count_tokens=lambda texts: [len(text.split()) for text in texts])
    results = talks(decoding={"max_tokens": 30}).where("len(said) = 3").generate(model).score()
    assert results.errors().select("instance_id", "error").rows() == [
        ("id1/turn3", "the prompt is longer than the window of 100 tokens even without examples")
    ]
    shorter = talks(decoding={"max_tokens": 60}).where("len(said) = 3").generate(model).score()
    assert shorter.errors()["error"].to_list()[1:] == ["turn 2 failed"]


def test_each_of_several_outputs_has_its_own_conversation() -> None:
    def model(prompt: str, temperature: float = 1.0, seed: int = 0) -> str:
        return f"seed {seed}"

    results = talks().limit(1).generate(hf.model(model, name="m", version="1"), n=2, temperature=1.0).score()
    rows = results.rows(turn=2).sort("output_index")
    first = results.rows(turn=1).sort("output_index")["completion"].to_list()
    assert first[0] != first[1]
    assert [text in prompt for text, prompt in zip(first, rows["prompt"], strict=True)] == [True, True]


def test_perturbations_apply_to_every_turn_and_count_as_a_change_of_later_ones() -> None:
    bot = Bot()
    results = talks().where("said[1] = 'Hello'").perturb("uppercase").generate(bot.model()).score()
    rows = results.rows(perturbation="uppercase")
    assert rows["perturbed_input"].to_list() == ["HELLO", "WHO?", "WHY?"]
    assert rows["prompt"][2].startswith("User: HELLO\n\nAssistant: re: HELLO\n\nUser: WHO?")
    frame = pl.DataFrame({"said": [["hello", "1?"]]})
    variants = hf.scenario(frame, turns="said").perturb("uppercase").variants().collect()
    assert variants.filter(perturbation="uppercase")["changed"].to_list() == [True, True]


def test_all_turns_of_a_conversation_have_the_same_changed_instructions() -> None:
    frame = pl.DataFrame({"said": [["a", "b", "c", "d"]] * 8})
    plan = hf.scenario(frame, turns="said", method="generation", adapter={"instructions": "Answer."})
    results = plan.perturb("instructions").generate(Bot().model()).score()
    rows = results.rows(perturbation="instructions").with_columns(
        instructions=pl.col("prompt").str.split("\n").list.first()
    )
    assert rows["instructions"].n_unique() > 1
    assert rows.group_by("conversation").agg(pl.col("instructions").n_unique())["instructions"].to_list() == [1] * 8


def test_metrics_score_the_turns_that_have_references() -> None:
    bot = Bot(lambda message: {"Why?": "because"}.get(message, "Paris"))
    results = talks().metrics("exact_match", "output_words").generate(bot.model()).score()
    assert results.table(by="turn", metrics="exact_match").select("turn", "value", "n").rows() == [
        (1, 1.0, 1), (2, 0.0, 1), (3, 1.0, 1)
    ]  # fmt: skip
    assert results.table(metrics="output_words")["n"].to_list() == [5]
    assert results.value("exact_match", turn=3) == 1.0
    assert results.rows(turn=2)["conversation"].to_list() == ["id0", "id1"]
    assert results.rescore("quasi_exact_match").table()["n"].to_list() == [3]


def test_the_turns_of_a_conversation_are_one_cluster() -> None:
    frame = pl.DataFrame({"said": [["a", "b", "c"]] * 30, "answers": [["x"] * 3] * 15 + [["y"] * 3] * 15})
    results = hf.scenario(frame, turns="said", references="answers").generate(lambda prompt: "x").score()
    row = results.table(metrics="exact_match").row(0, named=True)
    assert (row["value"], row["n"]) == (0.5, 90)
    # all turns of a conversation are right or wrong together: 30 clusters, not 90 rows
    assert row["stderr"] == pytest.approx((0.25 / 29) ** 0.5, rel=0.02)


def test_explain_and_requests_show_what_depends_on_completions() -> None:
    bot = Bot()
    plan = talks().generate(bot.model())
    assert plan.requests().collect()["prompt"][-1] == (
        "User: Hello\n\nAssistant: {completion of turn 1}\n\nUser: Who?\n\n"
        "Assistant: {completion of turn 2}\n\nUser: Why?\n\nAssistant:"
    )
    text = plan.explain()
    assert "5 instances, the turns of 2 conversations" in text
    assert "5 distinct requests: 0 cached, 5 to send" in text
    assert "bot: 3 requests of later turns contain completions that aren't generated yet" in text
    assert bot.prompts == []
    plan.score()
    assert "5 distinct requests: 5 cached, 0 to send" in plan.explain()
    assert "later turns" not in plan.explain()


def test_judges_and_people_read_the_whole_conversation() -> None:
    seen: list[str] = []

    def judge(prompt: str) -> str:
        seen.append(prompt)
        return "<score>1</score>"

    results = talks().generate(Bot().model()).metrics(hf.judge(judge, "safety", name="safe")).score()
    assert results.table(by="turn", metrics="safe").select("value", "n").rows() == [(1.0, 2), (1.0, 2), (1.0, 1)]
    conversation = "User: Hello\n\nAssistant: re: Hello\n\nUser: Who?\n\nAssistant: re: Who?\n\nUser: Why?\n"
    assert sum(conversation in prompt for prompt in seen) == 1
    assert sum("\nHello\n" in prompt for prompt in seen) == 1  # the first turn, as any single request
    n = len(seen)
    results.judge(hf.judge(judge, "safety", name="later"))
    assert len(seen) == n  # the same prompts, so the verdicts are cached
    assert conversation.strip() in results.to_label(5)["perturbed_input"].to_list()


def test_judges_of_pairs_read_both_conversations() -> None:
    seen: list[str] = []

    def judge(prompt: str) -> str:
        seen.append(prompt)
        return "<score>A=B</score>"

    models = {"a": Bot(lambda _: "from a").model("a"), "b": Bot(lambda _: "from b").model("b")}
    results = talks().generate(list(models.values())).score()
    results.judge(hf.judge(judge, "preference"), against="b")
    longest = max(seen, key=len)
    for name in models:
        assert f"User: Hello\n\nAssistant: from {name}\n\nUser: Who?\n\nAssistant: from {name}\n\nUser: Why?" in longest


def test_a_report_shows_the_conversation_of_a_later_turn(tmp_path: Path) -> None:
    one, other = Bot(lambda _: "no idea").model("one"), Bot(lambda _: "pardon").model("other")
    page = tmp_path / "report.html"
    talks().generate([one, other]).score().report(page)
    text = page.read_text()
    assert "Conversation with one:\n\nUser: Capital of France?\n\nAssistant: no idea\n\nUser: And of Spain?" in text


def test_messages_and_turns_exclude_each_other() -> None:
    frame = FRAME.with_columns(messages=pl.Series([[{"role": "user", "content": "Hi"}]] * 2))
    with pytest.raises(ArgumentError, match="can't have a column 'messages' too"):
        hf.scenario(frame, turns="said").requests()
