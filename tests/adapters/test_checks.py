"""What is told when the plan is said."""

from typing import Any

import pytest

from helmframe.errors import ArgumentError
from tests.adapters.test_adapt import cells


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"answer_parser": "lenientt"}, "Did you mean 'lenient'"),
        ({"balance": "letter"}, "Did you mean 'letters'"),
        ({"shots_as": "turns"}, "add chat_template=True"),
        ({"shots_as": "turn"}, "Did you mean 'turns'"),
        ({"truncation": "left"}, "Known: right"),
        ({"substitutions": [["(", ""]]}, "is no regular expression"),
        ({"substitutions": ["\n", ";"]}, "should be .*replacement"),
        ({"substitutions": [["a", "b", "c"]]}, "should be .*replacement"),
        ({"reference_prefix_characters": "ABC"}, "should be a list of texts"),
        ({"repeats": 0}, "repeats=0 is too small"),
        ({"format_instructions": "nothing"}, "none such"),
    ],
)
def test_what_cannot_be_is_told(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        cells(said)


def test_a_list_of_pairs_is_one_value_and_a_list_of_such_lists_a_grid() -> None:
    assert [each.name for each in cells({"substitutions": [["\n", ";"], ["a", "b"]]})] == [""]
    grid = cells({"substitutions": [[], [["\n", ";"]]]})
    assert [each.adapter.substitutions for each in grid] == [(), (("\n", ";"),)]


def test_a_list_of_characters_is_one_value_and_a_list_of_such_lists_a_grid() -> None:
    assert [each.name for each in cells({"reference_prefix_characters": ["x", "y"]})] == [""]
    grid = cells({"reference_prefix_characters": [["x", "y"], ["1", "2"]]})
    assert [each.adapter.reference_prefix_characters for each in grid] == [("x", "y"), ("1", "2")]


def test_decoding_of_a_scenario_is_meant_for_its_own_method() -> None:
    scenario: dict[str, Any] = {
        "adapter": (("method", "multiple_choice_joint"),),
        "decoding": (("max_tokens", 1), ("stop", ("\n",))),
    }
    own, other = (
        dict(cells(said, **scenario)[0].decoding) for said in ({}, {"method": "multiple_choice_joint_chain_of_thought"})
    )
    assert (own["max_tokens"], other["max_tokens"], other["stop"]) == (1, 2048, ("\n",))
