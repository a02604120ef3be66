"""Five styles of chat models: the lenient parser reads four and flags the refusal; the diagnosis counts them."""

import logging
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe._plan import Plan
from helmframe.models.model import Model
from tests.models.openai_server import Asked, Reply, Server, serving

N = 200
LETTERS = "ABCD"
STYLES: dict[str, Callable[[str, str], str]] = {
    "sentence": lambda letter, text: f"The answer is **{letter}**.",
    "bracket": lambda letter, text: f"{letter})",
    "option": lambda letter, text: f"({letter}) {text}",
    "reasoning": lambda letter, text: f"<think>Is it {LETTERS[LETTERS.index(letter) - 1]}? No.</think> {letter}",
    "refusal": lambda letter, text: "I'm sorry, but I can't help with that.",
}
ADVICE = "answer_parser='lenient' would read {:,}: results.rescore(answer_parser='lenient')."


def sums() -> Plan:
    """Sums of two numbers with four options each."""
    rows = [
        {"q": f"What is {first} + {first * 7 % 90}?", "o": [str(first * 8 % 90 + shift) for shift in range(4)], "a": 0}
        for first in range(N)
    ]
    for number, row in enumerate(rows):
        right = sum(map(int, re.findall(r"\d+", str(row["q"]))))
        row["o"] = [str(right + (place - number) % 4) for place in range(4)]
        row["a"] = number % 4
    frame = pl.DataFrame(rows)
    return hf.scenario(frame, input="q", choices="o", answer="a", name="sums").metrics("exact_match")


def solved(prompt: str) -> tuple[str, str]:
    """The letter and the text of the right option of the last question in a prompt."""
    question = prompt.rpartition("What is ")[2]
    first, second, *_ = map(int, re.findall(r"\d+", question))
    match = re.search(rf"^([A-D])\. ({first + second})$", question, re.MULTILINE)
    assert match is not None
    return match[1], match[2]


def replying(asked: Asked) -> Reply:
    """Answer the question in the style that the model is named for."""
    (message,) = asked.body["messages"]
    text = STYLES[asked.body["model"]](*solved(message["content"]))
    message = {"role": "assistant", "content": text}
    return Reply({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as served:
        served.models, served.reply = list(STYLES), replying
        yield served


def chatting(server: Server) -> list[Model]:
    return [hf.models.http(server.url, name, chat=True) for name in STYLES]


def test_the_lenient_parser_reads_four_styles_and_flags_the_refusal(server: Server) -> None:
    plan = sums().generate(chatting(server))
    explained = plan.explain()
    assert "only chat: option letters are parsed leniently for all models" in explained
    assert "adapt(format_instructions=True)" in explained
    results = plan.score()
    assert len(server.asked) == N * len(STYLES)
    table = results.table().select("model", "value", "n_unparsed").rows()
    print(f"lenient: {table}")
    assert {model: (value, unparsed) for model, value, unparsed in table} == {
        **{style: (1.0, 0) for style in STYLES if style != "refusal"},
        "refusal": (0.0, N),
    }
    assert f"sums × refusal: {N} of {N} completions name no option; the lenient parser reads none" in repr(results)

    strict = plan.adapt(answer_parser="strict").score()  # from the cache
    assert len(server.asked) == N * len(STYLES)
    ids = [run.completions.collect()["request_id"].sort() for run in (strict, results)]
    assert ids[0].equals(ids[1])
    assert ids[0].n_unique() == N * len(STYLES)
    values = dict(strict.table().select("model", "value").rows())
    assert values == {"sentence": 0.0, "bracket": 0.0, "option": 0.0, "reasoning": 1.0, "refusal": 0.0}
    for style in ("sentence", "bracket", "option"):
        assert f"sums × {style}: {N} of {N} completions name no option; {ADVICE.format(N)}" in repr(strict)
    again = strict.rescore(answer_parser="lenient")
    assert again.table().equals(results.table())
    assert again.manifest["unparsed_completions"] == results.manifest["unparsed_completions"]


def test_one_model_that_only_chats_decides_for_all_unless_the_plan_or_helm_does(server: Server) -> None:
    def in_sentences(prompt: str) -> str:
        return STYLES["sentence"](*solved(prompt))

    chat, function = hf.models.http(server.url, "bracket", chat=True), hf.model(in_sentences, name="f", version="1")
    both = sums().generate([chat, function])
    assert both.score().table()["value"].to_list() == [1.0, 1.0]
    assert sums().generate(function).score().table()["value"].to_list() == [0.0]
    assert both.adapt(answer_parser="strict").score().table()["value"].to_list() == [0.0, 0.0]
    helm = hf.scenario("sampler", compat="helm").where(subject="music").limit(2)
    fields = ["prompt", "answer_parser", "adapter_id", "scored_outputs"]
    with_chat, without = (helm.generate(model).requests().select(fields).collect() for model in (chat, function))
    assert with_chat.equals(without)
    assert with_chat["answer_parser"].null_count() == with_chat.height
    assert "only chats: option letters are parsed as HELM does" in helm.generate(chat).explain()


def test_the_diagnosis_names_the_right_counts_and_rescoring_sends_nothing(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    numbers = count()
    prompts: list[str] = []

    def mixed(prompt: str) -> str:
        """Answer in sentences 36 times, refuse twice, and answer with the letter otherwise."""
        prompts.append(prompt)
        style = next(numbers)
        if style < 36:
            return [STYLES[name] for name in ("sentence", "bracket", "option")][style % 3](*solved(prompt))
        return STYLES["refusal"]("", "") if style < 38 else solved(prompt)[0]

    plan = sums().generate(mixed)
    with caplog.at_level(logging.WARNING):
        results = plan.score()
    line = f"sums × mixed: 38 of 200 completions name no option; {ADVICE.format(36)}"
    print(line)
    assert line in repr(results)
    assert line in caplog.text
    assert isinstance(results.path, Path)
    for stored in (results, hf.load(results.path), hf.load(results.to_parquet(tmp_path / "copy"))):
        rescored = stored.rescore(answer_parser="lenient")
        assert rescored.table().select("value", "n_unparsed", "n").row(0) == (198 / 200, 2, 200)
        assert "2 of 200 completions name no option; the lenient parser reads none of them" in repr(rescored)
        assert stored.value() == 162 / 200
        parsed_by = ["answer_parser", "adapter_id"]
        before, after = (each.completions.drop(parsed_by).collect() for each in (stored, rescored))
        assert after.equals(before)
        assert rescored.rescore(answer_parser="strict").table().equals(results.table())
    assert len(prompts) == N
    same = plan.adapt(answer_parser="lenient").score(resume=results.path.name)
    assert len(prompts) == N
    assert hf.compare(rescored, same)["differs"].to_list() == ["nothing"]
    assert hf.compare(rescored, results)["differs"].to_list() == ["parser"]


def test_rescoring_works_on_results_of_suites(server: Server) -> None:
    chat = hf.models.http(server.url, "sentence", chat=True)
    suite = hf.suite(sums().limit(10), sums().limit(20).adapt(shots=0)).generate(chat).adapt(answer_parser="strict")
    results = suite.score()
    n_sent = len(server.asked)
    assert set(results.table()["value"]) == {0.0}
    assert set(results.rescore("exact_match", answer_parser="lenient").table()["value"]) == {1.0}
    assert len(server.asked) == n_sent


def test_format_instructions_change_the_prompt_and_nothing_else_does(server: Server) -> None:
    plan = sums().limit(3)
    chat = hf.models.http(server.url, "sentence", chat=True)
    plain, with_chat = (
        rows["prompt"].to_list()
        for rows in (plan.generate(model).requests().collect() for model in (hf.models.oracle(), chat))
    )
    assert plain == with_chat
    instructed = plan.generate(chat).adapt(format_instructions=True)
    prompts = instructed.requests().collect()["prompt"].to_list()
    assert all(prompt.startswith("Answer with only a single letter.\n\n") for prompt in prompts)
    assert "adapt(format_instructions=True)" not in instructed.explain()
