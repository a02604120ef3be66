"""Options scored one by one, and prompts of `ranking_binary`."""

from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._schema import NO, YES
from helmframe.adapters.adapt import adapt
from tests.adapters.test_adapt import requests as ranking_requests
from tests.adapters.test_adapt import setting
from tests.frames import instances, right, variants

ASKED = variants(["Ice is"], [[("cold", True), ("hot", False)]], data_subject="physics")
TRAIN = instances(["Fire is"], [right("hot")], data_subject="physics", split="train")


def requests(asked: pl.DataFrame = ASKED, train: pl.DataFrame = TRAIN, **fields: Any) -> pl.DataFrame:
    """Requests with `prompt`: what stands before the continuation."""
    rows, heads = adapt(
        asked.lazy(), train, setting(**{"method": "multiple_choice_separate_original", **fields}), ["subject"]
    )
    texts = pl.element().struct.field("content").list.eval(pl.element().struct.field("text")).list.join("")
    before = heads.select("head_id", before=pl.col("head").list.eval(texts).list.join("")).unique()
    return (
        rows.collect()
        .join(before, on="head_id", how="left", maintain_order="left", validate="m:1")
        .with_columns(prompt=pl.col("before") + pl.col("blocks").list.eval(texts).list.join(""))
    )


def continuations(rows: pl.DataFrame) -> list[tuple[str, str]]:
    return list(rows.select("prompt", "continuation").iter_rows())


def test_each_option_is_a_request_with_the_space_before_it() -> None:
    rows = requests()
    assert continuations(rows) == [("Ice is", " cold"), ("Ice is", " hot")]
    assert rows["reference_index"].to_list() == [0, 1]
    assert set(rows["request_mode"]) == {"original"}


def test_the_cue_precedes_the_option_with_its_space() -> None:
    assert continuations(requests(input_prefix="Q: ", input_suffix="\n", output_prefix="A: ", output_suffix=".")) == [
        ("Q: Ice is\nA:", " cold."),
        ("Q: Ice is\nA:", " hot."),
    ]


def test_space_in_the_cue_is_not_scored() -> None:
    assert continuations(requests(output_prefix="=", cue_space="space"))[0] == ("Ice is= ", "cold")


def test_what_ends_the_prompt_belongs_to_the_option() -> None:
    assert continuations(requests(global_suffix="!"))[0] == ("Ice is", " cold!")


def test_few_shot_examples_show_the_option_text() -> None:
    assert continuations(requests(shots=1))[0] == ("Fire is hot\nIce is", " cold")


def test_calibration_asks_about_the_option_without_question_and_examples() -> None:
    rows = requests(method="multiple_choice_separate_calibrated", shots=1, instructions="Go on.")
    assert rows["request_mode"].to_list() == ["original", "calibration"] * 2
    assert continuations(rows)[:2] == [("Go on.\n\nFire is hot\nIce is", " cold"), ("Go on.\n\nAnswer:", " cold")]
    assert rows["shot_ids"].to_list()[:2] == [["id0"], []]


def test_nothing_is_decoded() -> None:
    assert set(requests(shots=0)["decoding"]) == {"{}"}


def test_an_empty_input_is_no_context() -> None:
    asked = variants([""], [[("One.", True), ("Two.", False)]], data_subject="physics")
    assert continuations(requests(asked, output_prefix="")) == [("", "One."), ("", "Two.")]


def test_an_instance_without_options_has_no_request() -> None:
    assert requests(variants(["Ice is"], [[]], data_subject="physics")).height == 0


@pytest.mark.parametrize("trials", [1, 3])
def test_each_option_is_there_once_a_trial(trials: int) -> None:
    rows = requests(trials=trials, shots=1)
    assert rows.select("reference_index", "trial").unique().height == rows.height == 2 * trials


def test_calibration_through_a_plan_whatever_number_of_options_each_instance_has() -> None:
    options = [["cold", "hot", "wet"], ["4", "5"]]
    references = [[{"text": text, "correct": text == each[0]} for text in each] for each in options]
    frame = pl.DataFrame({"input": ["Ice is", "2+2 is"], "references": references})
    plan = hf.scenario(frame).adapt(method="multiple_choice_separate_calibrated", shots=0)
    results = plan.generate(hf.models.oracle()).metrics("option_accuracy_calibrated", "logprob").score()
    assert results.value("option_accuracy_calibrated") == 1.0
    rows = results.rows()
    assert rows.height == 10
    assert rows.filter(rows["request_mode"] == "calibration")["logprob"].to_list() == [-2.0] * 5


QUERY = variants(["red fruit?"], [[("Cherries are red.", True), ("Sky is blue.", False)]], data_subject="food")
QUERY_TRAIN = instances(["sour fruit?"], [[("Lemons.", True), ("Dates.", False)]], data_subject="food", split="train")
CUE = "Does the passage answer the query?\nAnswer:"
SAID = {"method": "ranking_binary"}


def test_each_passage_has_a_request() -> None:
    rows = ranking_requests(QUERY, QUERY_TRAIN, **SAID, shots=0)
    assert rows["prompt"].to_list() == [
        f"Passage: Cherries are red.\nQuery: red fruit?\n{CUE}",
        f"Passage: Sky is blue.\nQuery: red fruit?\n{CUE}",
    ]
    assert rows["reference_index"].to_list() == [0, 1]
    assert rows["continuation"].null_count() == 2


def test_an_example_asks_about_all_its_passages() -> None:
    rows = ranking_requests(QUERY, QUERY_TRAIN, **SAID, shots=1)
    assert rows["prompt"][0] == (
        f"Passage: Lemons.\nQuery: sour fruit?\n{CUE} {YES}\n\n"
        f"Passage: Dates.\nQuery: sour fruit?\n{CUE} {NO}\n\n"
        f"Passage: Cherries are red.\nQuery: red fruit?\n{CUE}"
    )


def test_an_example_is_one_however_many_passages_it_has() -> None:
    assert ranking_requests(QUERY, QUERY_TRAIN, **SAID, shots=1)["shot_ids"].to_list() == [["id0"], ["id0"]]


def test_texts_that_look_like_answers_stay() -> None:
    train = instances(["Yes\n\n"], [right("No\n\n")], data_subject="food", split="train")
    assert ranking_requests(QUERY, train, **SAID, shots=1)["prompt"][0].startswith(
        f"Passage: No\n\n\nQuery: Yes\n\n\n{CUE} Yes\n\nPassage: Ch"
    )
