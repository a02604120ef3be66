"""Conversations as they are."""

from typing import Any

import polars as pl
import pytest

from helmframe.errors import ArgumentError
from tests.adapters.test_adapt import requests
from tests.frames import variants

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "How are you?"},
]


def conversation(**columns: Any) -> pl.DataFrame:
    return variants(["How are you?"], data_subject="talk").with_columns(**columns)


def turns(asked: pl.DataFrame, **said: Any) -> list[tuple[str, str, str]]:
    (row,) = requests(asked, asked.clear(), method="chat", **said).to_dicts()
    return [(each["role"], each["kind"], each["content"][0]["text"]) for each in row["blocks"]]


def test_the_messages_are_blocks_and_the_last_is_the_question() -> None:
    assert turns(conversation(data_messages=pl.lit(pl.Series([TURNS])))) == [
        ("system", "message", "Be brief."),
        ("user", "message", "Hi"),
        ("assistant", "message", "Yes?"),
        ("user", "question", "How are you?"),
    ]


def test_a_perturbation_changes_the_last_message() -> None:
    asked = conversation(data_messages=pl.lit(pl.Series([TURNS])), perturbed_input=pl.lit("how r u"))
    assert turns(asked)[-1] == ("user", "question", "how r u")


def test_without_messages_the_input_is_the_only_one() -> None:
    assert turns(conversation()) == [("user", "question", "How are you?")]


def test_one_instance_may_have_none() -> None:
    none = pl.lit(pl.Series([None], dtype=pl.List(pl.Struct({"role": pl.String, "content": pl.String}))))
    assert turns(conversation(data_messages=none)) == [("user", "question", "How are you?")]


@pytest.mark.parametrize(("said", "asked"), [({}, None), ({"chat_template": True}, True)])
def test_the_chat_template_is_used_where_there_is_one_unless_it_must_be(said: dict[str, Any], asked: object) -> None:
    (row,) = requests(conversation(), conversation().clear(), method="chat", **said).to_dicts()
    assert row["chat_template"] is asked


def test_messages_of_another_type_are_told() -> None:
    with pytest.raises(ArgumentError, match="column 'messages' is String; chat wants a list of"):
        turns(conversation(data_messages=pl.lit("Hi")))
