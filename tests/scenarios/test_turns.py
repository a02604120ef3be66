"""Conversations as instances: one row per turn, with conditions and samples over whole conversations."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, PlanError, SourceBrokenError, SpecError
from helmframe.scenarios.load import count, keys, load
from helmframe.scenarios.spec_file import load_scenario

SPEC = """\
scenario: talks
version: 1
source: {rows: "{data}/talks/{topic}/{split}-*.parquet"}
columns: {messages: "VARCHAR[]", answers: "VARCHAR[]", speaker: VARCHAR}
splits: {test: test}
subsets: [topic]
turns: messages
instances: |
  SELECT row_index, split, topic, messages, speaker,
         list_transform(answers, lambda text: [{'text': text, 'correct': true}]) AS "references"
  FROM rows
adapter: {method: chat, shots: 0}
metrics: [exact_match]
main: {metric: exact_match}
"""
TALKS = pl.DataFrame(
    {
        "messages": [["Capital of France?", "And of Spain?"], ["1 + 1?"], ["Hello", "Who are you?", "Why?"]],
        "answers": [["Paris", "Madrid"], ["2"], []],
        "speaker": ["ann", "ben", "ann"],
    },
    schema_overrides={"answers": pl.List(pl.String)},
)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "talks" / "chat" / "test-0.parquet"
    file.parent.mkdir(parents=True)
    TALKS.write_parquet(file)
    (tmp_path / "talks.yaml").write_text(SPEC)
    return tmp_path / "talks.yaml"


def plan(spec: Path) -> hf.Plan:
    return hf.scenario(str(spec), data=spec.parent)


def texts(references: list[dict[str, Any]]) -> list[str]:
    return [reference["text"] for reference in references]


def test_each_turn_is_an_instance_of_its_conversation(spec: Path) -> None:
    rows = plan(spec).instances().collect()
    assert rows.select("instance_id", "conversation", "turn", "cluster", "input").rows() == [
        ("chat/id0/turn1", "chat/id0", 1, "chat/id0", "Capital of France?"),
        ("chat/id0/turn2", "chat/id0", 2, "chat/id0", "And of Spain?"),
        ("chat/id1/turn1", "chat/id1", 1, "chat/id1", "1 + 1?"),
        ("chat/id2/turn1", "chat/id2", 1, "chat/id2", "Hello"),
        ("chat/id2/turn2", "chat/id2", 2, "chat/id2", "Who are you?"),
        ("chat/id2/turn3", "chat/id2", 3, "chat/id2", "Why?"),
    ]
    assert list(map(texts, rows["references"].to_list())) == [["Paris"], ["Madrid"], ["2"], [], [], []]
    assert "data_messages" not in rows.columns
    assert rows["data_speaker"].to_list() == ["ann", "ann", "ben", "ann", "ann", "ann"]


def test_conditions_and_samples_select_whole_conversations(spec: Path) -> None:
    assert plan(spec).where(speaker="ann").instances().collect()["turn"].to_list() == [1, 2, 1, 2, 3]
    assert plan(spec).where("len(messages) = 2").instances().collect()["conversation"].unique().to_list() == [
        "chat/id0"
    ]
    assert plan(spec).where(pl.col("input") == "Hello").instances().collect()["turn"].to_list() == [1, 2, 3]
    sampled = plan(spec).sample(2, seed=3).instances().collect()
    assert sampled["conversation"].n_unique() == 2
    assert sampled.group_by("conversation").agg(pl.col("turn").max() == pl.len())["turn"].all()


def test_a_condition_on_the_turn_names_the_methods_of_results(spec: Path) -> None:
    with pytest.raises(ArgumentError, match=r"select whole conversations.*results\.rows\(turn=2\)"):
        plan(spec).where(turn=2)


def test_counts_are_of_turns_and_keys_of_conversations(spec: Path) -> None:
    loaded = load_scenario(spec)
    assert count(loaded, data=str(spec.parent))["n"].to_list() == [6]
    assert keys(loaded, data=str(spec.parent))["instance_id"].to_list() == ["chat/id0", "chat/id1", "chat/id2"]


def test_a_frame_of_rows_has_all_turns_of_a_conversation(spec: Path) -> None:
    frames = load(load_scenario(spec), data=str(spec.parent), rows=2)
    assert [frame["turn"].to_list() for frame in frames] == [[1, 2], [1], [1, 2, 3]]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("turns: messages", "turns: [messages]", "turns: must be the name of a column of the SELECT"),
        ("turns: messages", "turns: talk", "the SELECT must have a column 'talk'"),
        ("turns: messages", "turns: speaker", "column 'speaker' must be a list of texts, not VARCHAR"),
        ("[{'text': text, 'correct': true}]", "{'text': text, 'correct': true}", "a list of text and correct for each"),
    ],
)
def test_an_invalid_spec_names_the_problem(spec: Path, old: str, new: str, problem: str) -> None:
    spec.write_text(SPEC.replace(old, new))
    with pytest.raises(SpecError, match=problem.replace("(", r"\(")):
        plan(spec).instances()


def test_a_conversation_without_turns_or_with_too_many_references_is_named(spec: Path) -> None:
    file = spec.parent / "talks" / "chat" / "test-0.parquet"
    rows: list[dict[str, Any]] = [
        {"messages": []}, {"messages": ["Hi"], "answers": ["a", "b"]}, {"messages": ["Hi", None]}
    ]  # fmt: skip
    for row in rows:
        pl.DataFrame([row], schema=TALKS.schema).write_parquet(file)
        with pytest.raises(SourceBrokenError, match="conversation 'chat/id0' is invalid"):
            plan(spec).instances()


def test_content_parts_are_refused() -> None:
    frame = FRAME.with_columns(content=pl.Series([[{"type": "image", "text": None, "media": None}]] * 2))
    with pytest.raises(SourceBrokenError, match="'content' isn't supported in a scenario with turns"):
        hf.scenario(frame, turns="said").instances()


def test_conversations_take_neither_examples_nor_stopping_rules(spec: Path) -> None:
    with pytest.raises(ArgumentError, match=r"no few-shot examples: adapt\(shots=2\)\. Write shots=0\."):
        plan(spec).adapt(method="generation", shots=2)
    with pytest.raises(ArgumentError, match="generates no completions"):
        plan(spec).adapt(method="language_modeling")
    with pytest.raises(PlanError, match="stopping rules don't support them"):
        plan(spec).generate(hf.models.echo()).score(until=hf.precise(0.1))


# -- frames -----------------------------------------------------------------------------------------------------------

FRAME = pl.DataFrame({"said": [["Capital of France?", "And of Spain?"], ["1 + 1?"]], "turn": ["x", "y"]})


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([["Paris", "Madrid"], ["2"]], [["Paris"], ["Madrid"], ["2"]]),
        ([["Paris", None], []], [["Paris"], [], []]),
        ([[["Paris", "paris"], []], [["2", "two"]]], [["Paris", "paris"], [], ["2", "two"]]),
        ([[None, ["Madrid"]], [["2"]]], [[], ["Madrid"], ["2"]]),
    ],
)
def test_references_of_a_frame_are_a_text_or_a_list_per_turn(answers: list[Any], expected: list[Any]) -> None:
    frame = FRAME.with_columns(answers=pl.Series(answers))
    rows = hf.scenario(frame, turns="said", references="answers").instances().collect()
    assert list(map(texts, rows["references"].to_list())) == expected


def test_references_of_turns_can_be_marked_wrong() -> None:
    marked = [[[{"text": "Paris", "correct": True}, {"text": "Rome", "correct": False}], []], [[]]]
    rows = hf.scenario(FRAME.with_columns(r=pl.Series(marked)), turns="said", references="r").instances().collect()
    assert [reference["correct"] for reference in rows["references"][0]] == [True, False]


def test_a_frame_of_conversations_is_a_chat_and_needs_no_references() -> None:
    chat = hf.scenario(FRAME, turns="said")
    results = chat.generate(hf.models.echo()).score()
    assert results.metric_names == ["output_words"]
    assert chat.requests().collect()["chat_template"].null_count() == 0
    # a column of the frame named as one of helmframe's has its prefix
    assert chat.instances().collect()["data_turn"].to_list() == ["x", "x", "y"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"turns": "sayd"}, "Did you mean 'said'"),
        ({"turns": "turn"}, "must be List, not String"),
        ({"turns": "numbers"}, r"must be a list of texts, not List\(Int64\)"),
        ({"turns": "gaps"}, "row 1 must have one or more texts and no null"),
        ({"turns": "said", "choices": "said", "answer": "turn"}, "turns excludes choices and answer"),
    ],
)
def test_invalid_arguments_of_a_frame_are_named(arguments: dict[str, str], problem: str) -> None:
    frame = FRAME.with_columns(numbers=pl.Series([[1], [2]]), gaps=pl.Series([["a"], ["a", None]]))
    with pytest.raises(ArgumentError, match=problem):
        hf.scenario(frame, **arguments)  # type: ignore[arg-type]
