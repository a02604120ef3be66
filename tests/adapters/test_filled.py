"""Texts of the adapter that name columns: filled subset by subset."""

from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError

ROWS = pl.DataFrame(
    {
        "lang": ["fr_fr", "fr_fr", "de_de"],
        "source": ["French", "French", "German"],
        "split": ["train", "test", "test"],
        "q": ["chien", "chat", "Hund"],
        "a": ["dog", "cat", "dog"],
    }
)


def prompts(**adapter: Any) -> list[str]:
    plan = hf.scenario(ROWS, input="q", references="a", subset="lang").adapt(shots=1, **adapter)
    return plan.requests().collect()["prompt"].to_list()


def test_prefixes_say_what_the_column_says_in_each_subset_and_in_the_shots_too() -> None:
    # subsets in alphabetical order
    assert prompts(instructions="From {source}.", input_prefix="{source}: ", output_prefix="English: ") == [
        "From German.\n\nGerman: Hund\nEnglish:",
        "From French.\n\nFrench: chien\nEnglish: dog\n\nFrench: chat\nEnglish:",
    ]


def test_subset_columns_have_spaces_for_underscores() -> None:
    assert prompts(input_prefix="{lang}: ")[0].startswith("de de: ")


def test_braces_that_name_no_column_stay() -> None:
    assert prompts(instructions=r"Use \boxed{} and {this}.")[0].startswith(r"Use \boxed{} and {this}.")


def test_a_column_that_differs_within_a_subset_is_refused() -> None:
    rows = ROWS.head(2).with_columns(split=pl.lit("test"))
    plan = hf.scenario(rows, input="q", references="a", subset="lang").adapt(shots=0, input_prefix="{q}: ")
    with pytest.raises(ArgumentError, match="column 'q' has 2 values in subset"):
        plan.requests()


def test_requests_keep_the_order_of_the_instances() -> None:
    frame = pl.DataFrame({"k": ["b", "a", "b", "a"], "n": ["B", "A", "B", "A"], "q": list("1234"), "a": list("1234")})
    plan = hf.scenario(frame, input="q", references="a", subset="k").adapt(shots=0, input_prefix="{n} ")
    asked = plan.requests().collect()
    assert asked["instance_id"].to_list() == plan.instances().collect()["instance_id"].to_list()
    assert [text.split("\n")[0] for text in asked["prompt"]] == ["A 2", "A 4", "B 1", "B 3"]
