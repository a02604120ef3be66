"""Checks of an adapter, and what a variant changes in it."""

import json
from typing import Any

import polars as pl
import pytest

from helmframe._core.specs import AdapterSpec
from helmframe._schema import HEADS, REQUESTS
from helmframe.adapters.adapt import adapt
from helmframe.adapters.checks import with_change
from helmframe.errors import ArgumentError
from tests.adapters.test_adapt import cells, setting
from tests.frames import instances, variants


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"answer_parser": "lenientt"}, "Did you mean 'lenient'"),
        ({"balance": "letter"}, "Did you mean 'letters'"),
        ({"shots_as": "turns"}, "Add chat_template=True"),
        ({"shots_as": "turn"}, "Did you mean 'turns'"),
        ({"truncation": "left"}, "truncation must be 'right'"),
        ({"substitutions": [["(", ""]]}, "invalid regular expression"),
        ({"substitutions": ["\n", ";"]}, "must be .*replacement"),
        ({"substitutions": [["a", "b", "c"]]}, "must be .*replacement"),
        ({"reference_prefix_characters": "ABC"}, "must be a list of texts"),
        ({"repeats": 0}, "repeats=0 is below the minimum"),
        ({"format_instructions": "nothing"}, "unsupported value for method"),
    ],
)
def test_invalid_values_raise(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        cells(fields)


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
        dict(cells(fields, **scenario)[0].decoding)
        for fields in ({}, {"method": "multiple_choice_joint_chain_of_thought"})
    )
    assert (own["max_tokens"], other["max_tokens"], other["stop"]) == (1, 2048, ("\n",))


OPTIONS = [("Stone", False), ("Cork", True)]
TRAIN = instances(
    ["Which sinks?", "Which burns?"],
    [[("Iron", True), ("Wood", False)], [("Water", False), ("Oil", True)]],
    data_subject="physics",
    split="train",
    instance_id=["t0", "t1"],
)


def requests(changes: list[dict[str, Any] | None], trials: int = 1, **fields: Any) -> pl.DataFrame:
    """One question asked once for each change, with `prompt`."""
    asked = variants(
        ["Which floats?"] * len(changes),
        [OPTIONS] * len(changes),
        data_subject="physics",
        perturbation=[f"p{place}" for place in range(len(changes))],
        adapter_change=pl.Series([None if each is None else json.dumps(each) for each in changes], dtype=pl.String),
    )
    cell = setting(**{"method": "multiple_choice_joint", "shots": 1, "sample_train": False, "trials": trials, **fields})
    rows, heads = adapt(asked.lazy(), TRAIN, cell, ["subject"])
    assert heads.schema == pl.Schema(HEADS.schema)
    texts = pl.element().struct.field("content").list.eval(pl.element().struct.field("text")).list.join("")
    heads = heads.select("head_id", before=pl.col("head").list.eval(texts).list.join("")).unique()
    collected = rows.collect()
    assert set(REQUESTS.schema) <= set(collected.columns)
    return collected.join(heads, on="head_id", maintain_order="left", validate="m:1").with_columns(
        prompt=pl.col("before") + pl.col("blocks").list.eval(texts).list.join("")
    )


def prompt(change: dict[str, Any], **fields: Any) -> str:
    (text,) = requests([change], **fields)["prompt"]
    assert isinstance(text, str)
    return text


PLAIN = "Question: Which sinks?\nA. Iron\nB. Wood\nAnswer: A\n\nQuestion: Which floats?\nA. Stone\nB. Cork\nAnswer:"


def test_null_changes_nothing() -> None:
    assert requests([None])["prompt"].to_list() == [PLAIN]


def test_labels_change_in_the_examples_too() -> None:
    (row,) = requests([{"reference_prefix": "1) "}]).rows(named=True)
    assert row["prompt"] == (
        "Question: Which sinks?\n1) Iron\n2) Wood\nAnswer: 1\n\nQuestion: Which floats?\n1) Stone\n2) Cork\nAnswer:"
    )
    assert row["choices"] == ["1", "2"]


def test_instructions_change_and_may_name_part_columns() -> None:
    assert prompt({"instructions": "On {subject}."}) == "On physics.\n\n" + PLAIN


@pytest.mark.parametrize(
    ("space", "example", "end"),
    [
        ("none", "Answer:A\n", "\nAnswer:"),
        ("space", "Answer: A\n", "\nAnswer: "),
        ("spaces", "Answer:  A\n", "\nAnswer:  "),
        ("newline", "Answer:\nA\n", "\nAnswer:\n"),
        ("blank_line", "\n\nAnswer: A\n", "\n\nAnswer:"),
    ],
)
def test_space_around_the_cue(space: str, example: str, end: str) -> None:
    text = prompt({"cue_space": space})
    assert example in text
    assert text.endswith("B. Cork" + end)


def test_examples_in_another_order_are_the_same_examples() -> None:
    plain, back, drawn = requests([None, {"shot_order": "reverse"}, {"shot_order": "random:3"}], shots=2)[
        "shot_ids"
    ].to_list()
    assert plain == ["t0", "t1"]
    assert back == ["t1", "t0"]
    assert sorted(drawn) == ["t0", "t1"]


def test_variants_stay_in_order_with_all_their_trials() -> None:
    rows = requests([{"instructions": "x"}, None, {"instructions": "y"}, None, {"instructions": "x"}], trials=2)
    assert rows.select("perturbation", "trial").rows() == [
        (f"p{place}", trial) for place in range(5) for trial in (0, 1)
    ]
    starts = [text.partition("Question")[0].strip() for text in rows["prompt"]]
    assert starts == ["x", "x", "", "", "y", "y", "", "", "x", "x"]


def test_variants_with_the_same_examples_share_a_head() -> None:
    rows = requests([None, {"cue_space": "space"}, {"reference_prefix": "1. "}], shots=0)
    assert rows["head_id"].n_unique() == 1


def test_the_adapter_stays_the_specified_one() -> None:
    rows = requests([None, {"instructions": "x"}])
    assert rows["adapter_id"].n_unique() == 1


def test_roman_labels_leave_room_and_end_with_the_line() -> None:
    plain, roman = (json.loads(each) for each in requests([None, {"reference_prefix": "i. "}])["decoding"])
    assert plain == {"max_tokens": 1, "temperature": 0.0}
    assert roman == {"max_tokens": 2, "stop": ["\n"], "temperature": 0.0}


def test_roman_labels_fit_where_max_tokens_is_larger() -> None:
    rows = requests([{"reference_prefix": "i. "}], answer_pattern="(i+)")
    assert rows["choices"].to_list() == [["i", "ii"]]


# -- what can't be changed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('{"shots": 2}', "must not change 'shots' of the adapter"),
        ('{"method": "generation"}', "must not change 'method' of the adapter"),
        ('{"instruction": "x"}', "adapter_change has no argument 'instruction'. Did you mean 'instructions'"),
        ('{"instructions": 3}', "instructions=3 must be str"),
        ("[1]", "must be a JSON object"),
        ("{", "isn't valid JSON"),
    ],
)
def test_an_invalid_change_raises(change: str, message: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        with_change(AdapterSpec(), change)
    assert message in str(raised.value)


@pytest.mark.parametrize("pattern", ["([A-D])", "answer is \\(?([A-Z])", r"^\s*([AB])\b"])
def test_labels_that_the_answer_pattern_can_not_read_raise(pattern: str) -> None:
    with pytest.raises(ArgumentError, match="matches A and B, but a perturbation labels the options 1, 2"):
        with_change(AdapterSpec(answer_pattern=pattern), '{"reference_prefix": "1. "}')


@pytest.mark.parametrize("pattern", [None, r"([A-D]|\d)", r"answer is \(?(\w+)", r"#### (.*)"])
def test_labels_that_the_answer_pattern_reads_are_fine(pattern: str | None) -> None:
    spec = with_change(AdapterSpec(answer_pattern=pattern), '{"reference_prefix": "1. "}')
    assert spec.reference_prefix == "1. "


def test_a_change_may_bring_its_own_answer_pattern() -> None:
    spec = with_change(
        AdapterSpec(answer_pattern="([A-D])"), '{"reference_prefix": "1. ", "answer_pattern": "([1-4])"}'
    )
    assert spec.answer_pattern == "([1-4])"


def test_hostile_braces_in_an_output_prefix_are_text() -> None:
    spec = AdapterSpec(answer_pattern="([A-D])", output_prefix="{0.__class__}{x} ")
    with pytest.raises(ArgumentError, match="matches A and B"):
        with_change(spec, '{"reference_prefix": "1. "}')


def test_new_labels_take_the_place_of_listed_ones() -> None:
    text = prompt({"reference_prefix": "1. "}, reference_prefix_characters=["x", "y"])
    assert "1. Stone\n2. Cork\n" in text
    assert "x. " not in text
