"""The grid of settings, and the stage: requests, heads, subsets, trials."""

import json
from typing import Any

import polars as pl
import pytest

from helmframe._core.specs import AdapterSpec, MainScore, ScenarioSpec, frozen
from helmframe._schema import HEADS, REQUESTS
from helmframe.adapters.adapt import ADAPTERS, Setting, adapt, adapter, adapter_id, settings
from helmframe.errors import ArgumentError, UnknownNameError
from tests.frames import instances, right, variants

TRAIN = instances(
    ["1 + 1?", "2 + 2?", "2 + 3?", "Capital of Italy?", "Capital of Peru?"],
    [right("2"), right("4"), right("5"), right("Rome"), right("Lima")],
    subset=["sums", "sums", "sums", "cities", "cities"],
    data_subject=["sums", "sums", "sums", "cities", "cities"],
    instance_id=["sums/id0", "sums/id1", "sums/id2", "cities/id0", "cities/id1"],
    split="train",
)
ASKED = variants(
    ["3 + 3?", "4 + 4?", "Capital of France?"],
    [right("6"), right("8"), right("Paris")],
    subset=["sums", "sums", "cities"],
    data_subject=["sums", "sums", "cities"],
    instance_id=["sums/id3", "sums/id4", "cities/id2"],
)


def spec(**fields: Any) -> ScenarioSpec:
    return ScenarioSpec("s", "1", "SELECT 1", MainScore("exact_match"), ("exact_match",), **fields)


def setting(**fields: Any) -> Setting:
    return settings(spec(), frozen(fields))[0]


def requests(asked: pl.DataFrame = ASKED, train: pl.DataFrame = TRAIN, **fields: Any) -> pl.DataFrame:
    """Requests with `prompt`, as a model without window or template gets it."""
    rows, heads = adapt(asked.lazy(), train, setting(**fields), ["subject"])
    of_head = pl.col("head").list.eval(_text(pl.element())).list.join("").alias("before")
    return (
        rows.collect()
        .join(heads.select("head_id", of_head).unique(), on="head_id", maintain_order="left", validate="m:1")
        .with_columns(prompt=pl.col("before") + pl.col("blocks").list.eval(_text(pl.element())).list.join(""))
    )


def _text(block: pl.Expr) -> pl.Expr:
    return block.struct.field("content").list.eval(pl.element().struct.field("text")).list.join("")


def cells(adapt_said: dict[str, Any], generate_said: dict[str, Any] | None = None, **of_spec: Any) -> list[Setting]:
    return settings(spec(**of_spec), frozen(adapt_said), frozen(generate_said or {}))


# -- settings --------------------------------------------------------------------------------------------------------


def test_without_lists_there_is_one_nameless_setting() -> None:
    (cell,) = cells({"shots": 2})
    assert (cell.name, cell.adapter.shots) == ("", 2)


def test_fields_of_the_plan_override_the_scenario_and_those_the_method() -> None:
    (cell,) = cells(
        {"output_prefix": "=> "},
        {"max_tokens": 7},
        adapter=frozen({"method": "multiple_choice_joint", "shots": 3, "output_prefix": "Reply: "}),
        decoding=frozen({"temperature": 0.5}),
    )
    assert (cell.adapter.shots, cell.adapter.output_prefix, cell.adapter.input_prefix) == (3, "=> ", "Question: ")
    assert cell.decoding == (("max_tokens", 7), ("temperature", 0.5))


def test_every_list_is_an_axis() -> None:
    grid = cells({"shots": [0, 5]}, {"temperature": [0.0, 0.7]})
    assert [each.name for each in grid] == [
        "shots=0,temperature=0.0",
        "shots=0,temperature=0.7",
        "shots=5,temperature=0.0",
        "shots=5,temperature=0.7",
    ]
    assert [each.adapter.shots for each in grid] == [0, 0, 5, 5]
    assert [dict(each.decoding)["temperature"] for each in grid] == [0.0, 0.7, 0.0, 0.7]


def test_methods_can_be_an_axis() -> None:
    grid = cells({"method": ["generation", "multiple_choice_joint"]})
    assert [each.adapter.input_prefix for each in grid] == ["Input: ", "Question: "]
    assert [dict(each.decoding)["max_tokens"] for each in grid] == [100, 1]


def test_stop_is_a_list_already() -> None:
    (cell,) = cells({}, {"stop": ["\n", "###"]})
    assert dict(cell.decoding)["stop"] == ("\n", "###")


def test_a_list_of_lists_of_stops_is_an_axis() -> None:
    assert [each.name for each in cells({}, {"stop": [["\n"], ["###"]]})] == ["stop=['\\n']", "stop=['###']"]


def test_stop_may_be_empty() -> None:
    (cell,) = cells({}, {"stop": []}, decoding=frozen({"stop": ["\n"]}))
    assert dict(cell.decoding)["stop"] == ()


def test_decoding_as_json_has_sorted_keys_and_no_nulls() -> None:
    (cell,) = cells({}, {"top_p": None, "stop": ["\n"], "temperature": 0.0, "max_tokens": 5})
    assert cell.decoding_json == '{"max_tokens": 5, "stop": ["\\n"], "temperature": 0.0}'


@pytest.mark.parametrize("values", [[], [5, 5]])
def test_a_grid_without_values_or_with_one_twice_raises(values: list[int]) -> None:
    with pytest.raises(ArgumentError, match="a grid must be a list of one or more different values"):
        cells({"shots": values})


def test_an_unknown_field_names_near_ones() -> None:
    with pytest.raises(ArgumentError, match=r"no argument 'shot'\. Did you mean 'shots'"):
        cells({"shot": 5})
    with pytest.raises(ArgumentError, match="no argument 'shot'"):
        cells({"shot": [0, 5]})


@pytest.mark.parametrize(
    "fields",
    [
        {"shots": "5"},
        {"shots": 1.0},
        {"shots": True},
        {"shots": -1},
        {"trials": 0},
        {"instructions": None},
        {"shots": [0, "x"]},
    ],
)
def test_a_value_of_the_wrong_type_raises(fields: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(fields))):
        cells(fields)


def test_an_unknown_method_names_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown adapter method 'generations'\. Did you mean 'generation'"):
        cells({"method": "generations"})


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "invalid regular expression: unclosed group"), ("answer: .*", r"the pattern needs a group \(…\)")],
)
def test_a_pattern_that_can_find_nothing_raises(pattern: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        cells({"answer_pattern": pattern})


# -- the stage -------------------------------------------------------------------------------------------------------


def test_the_columns_are_those_of_requests_and_heads() -> None:
    rows, heads = adapt(ASKED.lazy(), TRAIN, setting(shots=1), ["subject"])
    assert {name: rows.collect_schema()[name] for name in REQUESTS.schema} == REQUESTS.schema
    assert heads.schema == HEADS.schema


def test_one_row_per_variant_and_trial_in_order() -> None:
    rows = requests(shots=1, trials=2)
    assert rows.select("instance_id", "trial").rows() == [
        ("sums/id3", 0),
        ("sums/id3", 1),
        ("sums/id4", 0),
        ("sums/id4", 1),
        ("cities/id2", 0),
        ("cities/id2", 1),
    ]


def test_shots_come_from_the_own_subset() -> None:
    rows = requests(shots=5)
    assert [sorted(ids) for ids in rows["shot_ids"]] == [
        ["sums/id0", "sums/id1", "sums/id2"],
        ["sums/id0", "sums/id1", "sums/id2"],
        ["cities/id0", "cities/id1"],
    ]


def test_a_subset_without_train_instances_has_no_shots() -> None:
    rows = requests(train=TRAIN.filter(subset="cities"), shots=2)
    assert rows["shot_ids"].list.len().to_list() == [0, 0, 2]


def test_no_train_pool_at_all() -> None:
    assert requests(train=TRAIN.clear(), shots=2)["shot_ids"].list.len().to_list() == [0, 0, 0]


def test_no_variants_no_requests() -> None:
    rows, heads = adapt(ASKED.clear().lazy(), TRAIN, setting(shots=1), ["subject"])
    assert (rows.collect().height, heads.height) == (0, 0)


def test_two_subsets_together_equal_the_two_alone() -> None:
    fields: dict[str, Any] = {"shots": 2, "trials": 2, "instructions": "About {subject}."}
    together = requests(**fields)
    alone = pl.concat(
        [
            requests(
                ASKED.filter(subset=subset),
                TRAIN.filter(subset=subset),
                shots=2,
                trials=2,
                instructions="About {subject}.",
            )
            for subset in ("sums", "cities")
        ]
    )
    assert together.rows() == alone.rows()


def test_the_head_is_shared_by_a_subset_and_trial() -> None:
    rows = requests(shots=2, trials=2)
    assert rows.group_by("subset", "trial").agg(pl.col("head_id").n_unique())["head_id"].to_list() == [1] * 4


def test_shots_are_not_perturbed() -> None:
    shouted = ASKED.with_columns(pl.col("perturbed_input").str.to_uppercase())
    assert requests(shouted, shots=3)["before"].to_list() == requests(shots=3)["before"].to_list()


def test_instructions_are_filled_from_subset_columns_with_spaces_for_underscores() -> None:
    asked = ASKED.head(1).with_columns(data_subject=pl.lit("high_school_maths"))
    (prompt,) = requests(asked, shots=0, instructions="About {subject}.")["prompt"]
    assert prompt == "About high school maths.\n\nInput: 3 + 3?\nOutput:"


def test_braces_that_name_no_subset_column_stay() -> None:
    (prompt,) = requests(ASKED.head(1), shots=0, instructions="{Answer} as {}, {input}: {subject}")["prompt"]
    assert prompt.startswith("{Answer} as {}, {input}: sums\n")


def test_a_value_with_braces_is_not_filled_again() -> None:
    asked = ASKED.head(1).with_columns(data_subject=pl.lit("{subject}"))
    assert requests(asked, shots=0, instructions="{subject}!")["prompt"][0].startswith("{subject}!\n")


def test_adapter_ids_tell_adapters_apart_and_say_the_same_again() -> None:
    ids = [requests(shots=shots)["adapter_id"][0] for shots in (0, 1, 0)]
    assert ids[0] == ids[2] != ids[1]


def test_fields_that_came_later_leave_the_id_as_it_was() -> None:
    assert adapter_id(AdapterSpec()) == "82d28700a603ef81"
    assert adapter_id(AdapterSpec(cue_space="space")) != adapter_id(AdapterSpec())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cue_space": "tab"}, r"adapt\(cue_space='tab'\)"),
        ({"cue_space": ["space", "newlin"]}, r"cue_space='newlin'\): cue_space must be .*\. Did you mean 'newline'"),
        ({"shot_order": "reversed"}, r"shot_order='reversed'\): shot_order must be .*\. Did you mean 'reverse'"),
    ],
)
def test_an_unknown_space_or_order_raises_when_the_plan_is_built(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        cells(fields)


def test_spaces_and_orders_can_be_an_axis() -> None:
    names = [each.name for each in cells({"cue_space": ["", "space"], "shot_order": ["", "reverse"]})]
    assert names == [
        "cue_space=,shot_order=",
        "cue_space=,shot_order=reverse",
        "cue_space=space,shot_order=",
        "cue_space=space,shot_order=reverse",
    ]


def test_content_parts_keep_the_image() -> None:
    part = {"type": "text", "text": "What is this?", "media": None}
    image = {"type": "image", "text": None, "media": {"name": "cat.png", "data": b"\x89PNG"}}
    asked = ASKED.head(1).with_columns(content=pl.Series([[part, image]], dtype=REQUESTS.schema["content"]))
    (blocks,) = requests(asked, shots=0)["blocks"].to_list()
    assert blocks == [
        {
            "role": "user",
            "kind": "question",
            "content": [image, {"type": "text", "text": "Input: 3 + 3?\nOutput:", "media": None}],
        }
    ]


def test_an_instance_without_content_parts_beside_one_with_some() -> None:
    image = {"type": "image", "text": None, "media": {"name": "cat.png", "data": b"\x89PNG"}}
    asked = ASKED.head(2).with_columns(content=pl.Series([[image], None], dtype=REQUESTS.schema["content"]))
    blocks = requests(asked, shots=0)["blocks"].to_list()
    assert [len(each[0]["content"]) for each in blocks] == [2, 1]


def test_an_adapter_of_ones_own() -> None:
    @adapter("question_only", decoding={"max_tokens": 3})
    def question_only(asked: pl.LazyFrame, _: AdapterSpec) -> pl.LazyFrame:
        free = pl.lit(None, dtype=pl.List(pl.String))
        return asked.with_columns(question="perturbed_input", answer=pl.lit("?"), choices=free)

    (row,) = requests(ASKED.head(1), method="question_only", shots=0).rows(named=True)
    assert (row["prompt"], row["decoding"]) == ("3 + 3?", '{"max_tokens": 3}')


def test_an_adapter_that_is_none_raises() -> None:
    with pytest.raises(ArgumentError, match=r"@hf\.adapter\('of_one'\): the function must take \(variants, adapter\)"):
        adapter("of_one")(lambda asked: asked)  # type: ignore[arg-type,misc]
    adapter("of_nothing", examples=ADAPTERS["generation"].function)(lambda asked, _: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(
        ArgumentError, match=r"'of_nothing' returned a value of type NoneType\. It must return the lazy frame"
    ):
        requests(ASKED, method="of_nothing")
    adapter("of_no_columns", examples=ADAPTERS["generation"].function)(lambda asked, _: asked)
    with pytest.raises(ArgumentError, match="'of_no_columns' must add a column 'question'"):
        requests(ASKED, method="of_no_columns")


def test_repeats_are_further_trials_with_the_same_examples() -> None:
    rows = requests(ASKED.head(1), shots=1, trials=2, repeats=2).sort("trial")
    assert rows["trial"].to_list() == [0, 1, 2, 3]
    assert rows["repeat"].to_list() == [0, 0, 1, 1]
    assert rows["shot_ids"].to_list()[:2] == rows["shot_ids"].to_list()[2:]


def test_repeats_differ_from_those_of_the_placebo() -> None:
    again = pl.concat(
        [ASKED.head(1), ASKED.head(1).with_columns(perturbation=pl.lit("rerun"), repeat=pl.lit(1, dtype=pl.Int64))]
    )
    rows, _ = adapt(again.lazy(), TRAIN, setting(shots=0, repeats=3), ["subject"])
    assert rows.collect()["repeat"].to_list() == [0, 1, 2, 3, 4, 5]


def test_what_came_later_changes_no_id_of_before() -> None:
    assert adapter_id(AdapterSpec()) == "82d28700a603ef81"
    assert adapter_id(AdapterSpec(repeats=2)) != adapter_id(AdapterSpec())


def test_turns_are_blocks_of_two_roles() -> None:
    _, heads = adapt(
        ASKED.head(1).lazy(), TRAIN, setting(shots=1, shots_as="turns", chat_template=True, instructions="Add."), []
    )
    blocks = [(each["role"], each["kind"], each["content"][0]["text"]) for each in heads["head"][0]]
    assert blocks[0] == ("user", "instructions", "Add.\n\n")
    assert blocks[1:] in (
        [("user", "shot", f"Input: {question}\nOutput:"), ("assistant", "shot", answer)]
        for question, answer in (("1 + 1?", "2"), ("2 + 2?", "4"), ("2 + 3?", "5"))
    )


# -- subsets for which the spec overrides something --------------------------------------------------------------------


def test_a_subset_has_shots_and_decoding_of_its_own() -> None:
    fields = {"cities": {"adapter": {"shots": 1, "output_prefix": "City: "}, "decoding": {"max_tokens": 3}}}
    of_spec = spec(subsets=("subject",), per_subset=frozen(fields), adapter=frozen({"shots": 2}))
    (cell,) = settings(of_spec)
    rows, heads = adapt(ASKED.lazy(), TRAIN, cell, ["subject"])
    asked = rows.collect()
    assert asked["instance_id"].to_list() == ASKED["instance_id"].to_list()
    assert asked["shot_ids"].list.len().to_list() == [2, 2, 1]
    assert [json.loads(each)["max_tokens"] for each in asked["decoding"]] == [100, 100, 3]
    assert asked["blocks"].list.last().struct.field("content").list.first().struct.field("text").to_list() == [
        "Input: 3 + 3?\nOutput:",
        "Input: 4 + 4?\nOutput:",
        "Input: Capital of France?\nCity:",
    ]
    assert asked["adapter_id"].to_list() == [adapter_id(cell.adapter)] * 2 + [
        adapter_id(cell.for_subset("cities").adapter)
    ]
    assert heads["subset"].to_list() == ["sums", "cities"]


def test_what_a_sentence_says_holds_for_all_subsets() -> None:
    fields = {"cities": {"adapter": {"shots": 1}, "decoding": {"max_tokens": 3}}}
    cells_ = settings(
        spec(subsets=("subject",), per_subset=frozen(fields)), frozen({"shots": [0, 4]}), frozen({"max_tokens": 9})
    )
    assert [cell.for_subset("cities").adapter.shots for cell in cells_] == [0, 4]
    assert [cell.for_subset("cities").name for cell in cells_] == ["shots=0", "shots=4"]
    assert {dict(each.decoding)["max_tokens"] for cell in cells_ for each in cell.with_subsets} == {9}


def test_a_decorator_without_a_name_raises() -> None:
    def bare(frame: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
        return frame

    with pytest.raises(ArgumentError, match=r'@hf.adapter needs a name. Write @hf.adapter\("bare"\)'):
        adapter(bare)  # type: ignore[arg-type]
