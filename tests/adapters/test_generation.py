"""Prompts of `generation`, character for character; conversations; texts that are scored as a whole."""

from typing import Any

import polars as pl
import pytest

from helmframe.errors import ArgumentError
from tests.adapters.test_adapt import cells, requests
from tests.frames import instances, right, variants

ASKED = variants(["Capital of France?"], [right("Paris")], data_subject="cities")
TRAIN = instances(["Capital of Italy?"], [right("Rome", "Roma")], data_subject="cities", split="train")


def prompt(**fields: object) -> str:
    (text,) = requests(ASKED, TRAIN, **fields)["prompt"]
    assert isinstance(text, str)
    return text


def test_no_shots() -> None:
    assert prompt(shots=0) == "Input: Capital of France?\nOutput:"


def test_one_shot_ends_with_its_first_correct_reference() -> None:
    assert prompt(shots=1) == "Input: Capital of Italy?\nOutput: Rome\n\nInput: Capital of France?\nOutput:"


def test_instructions_come_first() -> None:
    assert prompt(shots=1, instructions="Answer.") == (
        "Answer.\n\nInput: Capital of Italy?\nOutput: Rome\n\nInput: Capital of France?\nOutput:"
    )


def test_instructions_that_end_a_line_get_no_second_end() -> None:
    assert prompt(shots=0, instructions="Answer.\n") == prompt(shots=0, instructions="Answer.")


def test_every_text_of_the_adapter_has_its_place() -> None:
    assert prompt(
        shots=1,
        instructions="I",
        global_prefix="<g>",
        global_suffix="</g>",
        input_prefix="<i>",
        input_suffix="</i>",
        output_prefix="<o> ",
        output_suffix="</o>",
        instance_prefix="|",
    ) == "<g>I\n|<i>Capital of Italy?</i><o> Rome</o>|<i>Capital of France?</i><o></g>"  # fmt: skip


def test_a_global_prefix_alone_is_not_followed_by_an_instance_prefix() -> None:
    assert prompt(shots=0, global_prefix="[S2S]") == "[S2S]Input: Capital of France?\nOutput:"


def test_a_system_text_is_a_block_of_its_own() -> None:
    (blocks,) = requests(ASKED, TRAIN, shots=0, system="Be brief on {subject}.")["before"]
    assert blocks == "Be brief on cities."


def test_only_the_output_prefix_loses_its_trailing_space() -> None:
    # as HELM: with no output prefix the end of the input stays as it is
    assert prompt(shots=0, input_prefix="", output_prefix="") == "Capital of France?\n"
    assert prompt(shots=0, input_suffix="  \n", output_prefix=" ") == "Input: Capital of France?  \n"


def test_an_example_without_a_correct_reference_says_so() -> None:
    train = instances(["Capital of Atlantis?"], [[("Rome", False)]], data_subject="cities", split="train")
    (text,) = requests(ASKED, train, shots=1)["prompt"]
    assert text.startswith("Input: Capital of Atlantis?\nOutput: n/a\n\n")


def test_an_answer_is_free_text() -> None:
    assert requests(ASKED, TRAIN)["choices"].to_list() == [None]


def test_the_perturbed_text_is_in_the_prompt() -> None:
    asked = ASKED.with_columns(perturbed_input=ASKED["perturbed_input"].str.to_lowercase())
    assert requests(asked, TRAIN, shots=0)["prompt"].to_list() == ["Input: capital of france?\nOutput:"]


def test_a_system_text_that_is_no_text_raises() -> None:
    with pytest.raises(ArgumentError, match="system=3 must be str"):
        requests(ASKED, TRAIN, system=3)


def test_all_correct_references_answer_with_multi_label() -> None:
    assert prompt(shots=1, multi_label=True).startswith("Input: Capital of Italy?\nOutput: Rome, Roma\n\n")


def test_instructions_can_end_without_a_line() -> None:
    assert prompt(shots=0, instructions="Go:", instructions_suffix="", instance_prefix=" ") == (
        "Go: Input: Capital of France?\nOutput:"
    )


TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "How are you?"},
]


def conversation(**columns: Any) -> pl.DataFrame:
    return variants(["How are you?"], data_subject="talk").with_columns(**columns)


def turns(asked: pl.DataFrame, **fields: Any) -> list[tuple[str, str, str]]:
    (row,) = requests(asked, asked.clear(), method="chat", **fields).to_dicts()
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


@pytest.mark.parametrize(("fields", "asked"), [({}, None), ({"chat_template": True}, True)])
def test_the_chat_template_is_used_where_there_is_one_unless_it_must_be(fields: dict[str, Any], asked: object) -> None:
    (row,) = requests(conversation(), conversation().clear(), method="chat", **fields).to_dicts()
    assert row["chat_template"] is asked


def test_messages_of_another_type_raise() -> None:
    with pytest.raises(ArgumentError, match=r"Column 'messages' has type String\. Method 'chat' needs a list of"):
        turns(conversation(data_messages=pl.lit("Hi")))


TALE = variants(["Once upon\na time"], data_subject="tales")


def test_the_text_is_scored_after_an_empty_context() -> None:
    (row,) = requests(TALE, TALE.clear(), method="language_modeling").to_dicts()
    assert (row["prompt"], row["continuation"], row["decoding"]) == ("", "Once upon\na time", "{}")
    assert (row["reference_index"], row["request_mode"]) == (None, None)


def test_a_scenarios_examples_and_instructions_are_left_out() -> None:
    (cell,) = cells({"method": "language_modeling"}, adapter=(("instructions", "Go on."), ("shots", 5)))
    assert (cell.adapter.shots, cell.adapter.instructions) == (0, "")


def test_shots_of_language_modeling_raise() -> None:
    with pytest.raises(ArgumentError, match=r"shots=5.*'language_modeling' doesn't use shots"):
        cells({"method": "language_modeling", "shots": 5})
