"""Results row by row: the wrong outputs, and the worst."""

from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import helmframe as hf
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.results._pairing import ShortTable

ANSWERS = ["yes", "no no no no no no no no", "yes yes", "no", "yes"]


def results(*metrics: Any, **columns: Any) -> hf.Results:
    """Five instances whose reference is "yes", completed by `ANSWERS`."""
    rows = pl.DataFrame({"q": [f"question {index}?" for index in range(5)], "a": ["yes"] * 5, **columns})
    plan = hf.scenario(rows, input="q", references="a").metrics(*metrics)
    return plan.generate(lambda prompt: ANSWERS[int(prompt.split("question ")[1][0])]).score()


def ids(rows: pl.DataFrame) -> list[str]:
    return rows["instance_id"].to_list()


def test_wrong_lists_the_rows_that_score_0_by_a_metric_of_correctness() -> None:
    scored = results("exact_match", "final_number_equal")
    order = ids(scored.rows())
    assert ids(scored.wrong()) == [order[1], order[2], order[3]]
    assert ids(scored.wrong("final_number_equal")) == order


@pytest.mark.parametrize("metric", ["f1_score", "repetition", "refusal", "output_words"])
def test_wrong_refuses_a_metric_of_anything_else(metric: str) -> None:
    with pytest.raises(ArgumentError, match=rf"wrong\('{metric}'\).*worst_outputs\(n=20, metric='{metric}'\)"):
        results(metric).wrong()


def test_worst_outputs_follow_the_direction_of_the_metric() -> None:
    scored = results("f1_bag", "repetition")
    order = ids(scored.rows())
    # ties are in the order of the instances
    assert ids(scored.worst_outputs(n=2)) == [order[1], order[3]]
    worst = scored.worst_outputs(n=2, metric="repetition")
    assert ids(worst) == [order[1], order[0]]
    assert worst["repetition"][0] > worst["repetition"][1] == 0.0


def test_worst_outputs_of_a_metric_without_direction_need_one() -> None:
    scored = results("output_words")
    order = ids(scored.rows())
    with pytest.raises(ArgumentError, match=r"'output_words'.*no direction.*higher_is_better"):
        scored.worst_outputs()
    assert ids(scored.worst_outputs(n=1, higher_is_better=False)) == [order[1]]
    assert ids(scored.worst_outputs(n=2, higher_is_better=True)) == [order[0], order[3]]


def test_rows_without_a_score_are_never_the_worst() -> None:
    def fails(prompt: str) -> str:
        if "3" in prompt:
            raise ValueError("down")
        return "no"

    rows = pl.DataFrame({"q": [f"question {index}?" for index in range(5)], "a": ["yes"] * 5})
    scored = hf.scenario(rows, input="q", references="a").generate(hf.model(fails)).score()
    assert (scored.worst_outputs(n=10).height, scored.wrong().height) == (4, 4)


def test_metrics_that_join_outputs_are_columns_of_rows_too() -> None:
    rows = pl.DataFrame({"q": ["one?", "two?"], "a": ["yes", "no"]})
    plan = hf.scenario(rows, input="q", references="a").metrics("exact_match@2", "exact_match")
    scored = plan.generate(lambda prompt: "yes", n=2).score()
    assert scored.rows()["exact_match@2"].to_list() == [1.0, 1.0, 0.0, 0.0]
    # one score, one row
    assert scored.wrong("exact_match@2").height == 1
    assert scored.wrong("exact_match").height == 2
    assert scored.worst_outputs(n=1, metric="exact_match@2")["input"].to_list() == ["two?"]


def test_options_that_were_scored_one_by_one_are_one_row_each() -> None:
    class Likes:
        name = "likes"

        def loglikelihood(self, pairs: list[tuple[str, str]]) -> list[float]:
            return [-1.0 if text.strip() == "red" else -2.0 for _, text in pairs]

    rows = pl.DataFrame({"q": ["one?", "two?"], "c": [["red", "blue"]] * 2, "a": [0, 1]})
    plan = hf.scenario(rows, input="q", choices="c", answer="a").adapt(method="multiple_choice_separate_original")
    scored = plan.metrics("option_accuracy", "exact_match").generate(Likes()).score()
    assert scored.rows()["option_accuracy"].to_list() == [1.0, 1.0, 0.0, 0.0]
    for metric in ("option_accuracy", "exact_match"):
        assert scored.wrong(metric)["input"].to_list() == ["two?"]


def test_a_metric_of_a_whole_set_has_no_rows() -> None:
    scored = results("exact_match", "classification_macro_f1")
    for verb in (scored.wrong, lambda metric: scored.worst_outputs(metric=metric)):
        with pytest.raises(ArgumentError, match=r"'classification_macro_f1'.*is a metric of the whole set"):
            verb("classification_macro_f1")
    with pytest.raises(ArgumentError, match="is a metric of the whole set"):
        scored.rows(metric="classification_macro_f1", score=0.0)
    with pytest.raises(UnknownNameError, match="exact_match"):
        scored.worst_outputs(metric="exact_mach")


@pytest.mark.parametrize("n", [0, -1, 1.5, True])
def test_n_is_a_whole_number(n: Any) -> None:
    with pytest.raises(ArgumentError, match="n must be an integer ≥ 1"):
        results("exact_match").worst_outputs(n=n)


def test_a_flat_table_has_each_score_with_its_input_and_completion() -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(4).perturb("lowercase")
    results = plan.generate({"one": hf.models.oracle(), "two": hf.models.noisy(0.5)}).score()
    flat = results.to_frame(metrics="exact_match")
    wide = results.rows()
    keys = ["instance_id", "perturbation", "model"]
    columns = [*keys, "input", "perturbed_input", "prompt", "completion", "output"]
    assert_frame_equal(flat.select(columns).sort(keys), wide.select(columns).sort(keys))
    assert flat.sort(keys)["score"].to_list() == wide.sort(keys)["exact_match"].to_list()
    assert flat["completion_id"].n_unique() == flat.height == 16
    assert "data_subject" in flat.columns


def test_a_flat_table_of_a_grid_has_the_typed_fields_of_each_setting() -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(2).adapt(shots=[0, 1])
    flat = plan.generate(hf.models.oracle(), stop=[["a"], ["b", "c"]]).score().to_frame(metrics="exact_match")
    assert flat.schema["setting_fields"] == pl.Struct({"shots": pl.Int64, "stop": pl.String})
    fields = flat.select("setting", pl.col("setting_fields").struct.unnest()).unique()
    assert set(fields.select("shots", "stop").rows()) == {(n, stop) for n in (0, 1) for stop in ("['a']", "['b', 'c']")}
    assert all(f"shots={shots}" in setting for setting, shots, _ in fields.rows())


def test_failed_requests_are_shown_by_message() -> None:
    def fails(prompt: str) -> str:
        if "x" in prompt:
            raise ValueError("no x, please")
        raise KeyError("none")

    rows = [{"input": text, "references": "a"} for text in ("x 1", "x 2", "3")]
    results = hf.scenario(rows).generate(hf.model(fails, name="fails")).score()
    errors = results.errors()
    assert isinstance(errors, ShortTable)
    assert errors.height == errors.frame.height == 3
    text = str(errors)
    assert text.splitlines()[1].split()[:2] == ["2", "fails"]
    assert "no x, please" in text.splitlines()[1]
    assert type(errors.frame) is pl.DataFrame
    first = repr(results).splitlines()[0]
    assert first.startswith("3 of 3 requests failed: 2 × ValueError: no x, please")
