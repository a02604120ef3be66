"""A frame as a scenario."""

import datetime
from typing import Any

import duckdb
import polars as pl
import pytest

from helmframe._core.specs import SPLITS, Equals, Expression, Sample, ScenarioSpec, Sql
from helmframe.errors import ArgumentError
from helmframe.scenarios.frames import frame_scenario
from helmframe.scenarios.load import count, load, load_train
from helmframe.scenarios.validation import check_where, values

QUESTIONS = pl.DataFrame(
    {
        "q": ["1+1?", "sun?", "2+2?", "3+3?"],
        "a": ["2", "star", "4", "6"],
        "subject": ["sums", "sky", "sums", "sums"],
        "split": ["test", "test", "train", "test"],
    }
)
CHOICES = pl.DataFrame({"q": ["1?", "2?"], "options": [["x", "y"], ["u", "v", "w"]]})


def loaded(spec: ScenarioSpec, **said: Any) -> pl.DataFrame:
    return pl.concat(load(spec, **said))


def right(spec: ScenarioSpec) -> list[list[str]]:
    """The texts of the correct references, row by row."""
    return [[each["text"] for each in row if each["correct"]] for row in loaded(spec)["references"]]


def test_a_column_of_texts_is_one_right_answer() -> None:
    spec = frame_scenario(QUESTIONS, input="q", references="a")
    assert loaded(spec).select("instance_id", "input", "references").row(0) == (
        "id1",
        "1+1?",
        [{"text": "2", "correct": True, "tags": []}],
    )


def test_the_frames_other_columns_stay() -> None:
    rows = loaded(frame_scenario(QUESTIONS, input="q", references="a"))
    assert rows["data_subject"].to_list() == ["sums", "sky", "sums"]


def test_a_sub_split_of_the_frames_own_stays() -> None:
    frame = pl.DataFrame({"input": ["?", "!"], "references": ["1", "2"], "sub_split": ["toxic", None]})
    assert loaded(frame_scenario(frame))["sub_split"].to_list() == ["toxic", None]


def test_a_nested_sub_split_is_a_column_of_the_scenarios_own() -> None:
    frame = pl.DataFrame({"input": ["?", "!"], "references": ["1", "2"], "sub_split": [["a"], ["b"]]})
    rows = loaded(frame_scenario(frame))
    assert rows["sub_split"].null_count() == 2
    assert rows["data_sub_split"].to_list() == [["a"], ["b"]]


def test_a_list_of_texts_is_several_right_answers() -> None:
    frame = pl.DataFrame({"input": ["?"], "references": [["a", "b"]]})
    assert right(frame_scenario(frame)) == [["a", "b"]]


def test_a_list_of_structs_says_which_is_right() -> None:
    frame = pl.DataFrame(
        {"input": ["?"], "references": [[{"text": "a", "correct": False}, {"text": "b", "correct": True}]]}
    )
    assert right(frame_scenario(frame)) == [["b"]]


@pytest.mark.parametrize("answers", [[1, 2], ["B", "C"], ["y", "w"]])
def test_the_correct_choice_is_an_index_a_letter_or_a_text(answers: list[Any]) -> None:
    spec = frame_scenario(
        CHOICES.with_columns(answer=pl.Series(answers)), input="q", choices="options", answer="answer"
    )
    assert right(spec) == [["y"], ["w"]]


def test_choices_are_prompted_jointly_and_scored_exactly() -> None:
    spec = frame_scenario(CHOICES.with_columns(answer=0), input="q", choices="options", answer="answer")
    assert dict(spec.adapter)["method"] == "multiple_choice_joint"
    assert spec.main.metric == "exact_match"


def test_free_answers_are_generated_and_scored_quasi_exactly() -> None:
    spec = frame_scenario(QUESTIONS, input="q", references="a")
    assert dict(spec.adapter)["method"] == "generation"
    assert spec.main.metric == "quasi_exact_match"


def test_an_answer_that_is_no_choice_is_named() -> None:
    frame = CHOICES.with_columns(answer=pl.lit("Z"))
    with pytest.raises(ArgumentError, match="'Z' in row 0 isn't one of the 2 options"):
        frame_scenario(frame, input="q", choices="options", answer="answer")


def test_rows_are_test_rows_unless_the_frame_says_otherwise() -> None:
    spec = frame_scenario(QUESTIONS.drop("split"), input="q", references="a")
    assert count(spec, splits=SPLITS).rows() == [("", "test", 4)]


def test_train_rows_are_the_pool() -> None:
    assert load_train(frame_scenario(QUESTIONS, input="q", references="a"))["input"].to_list() == ["2+2?"]


def test_there_are_no_shots_without_a_pool() -> None:
    assert dict(frame_scenario(QUESTIONS.drop("split"), input="q", references="a").adapter)["shots"] == 0


def test_row_index_counts_within_the_subset_train_first() -> None:
    spec = frame_scenario(QUESTIONS, input="q", references="a", subset="subject")
    assert loaded(spec)["instance_id"].to_list() == ["sky/id0", "sums/id1", "sums/id2"]


def test_ids_may_come_from_a_column() -> None:
    frame = QUESTIONS.with_columns(key=pl.Series(["a", "b", "c", "d"]))
    spec = frame_scenario(frame, input="q", references="a", id="key")
    assert loaded(spec)["instance_id"].to_list() == ["a", "b", "d"]


def test_repeated_ids_raise() -> None:
    with pytest.raises(ArgumentError, match="'sums' occurs more than once"):
        frame_scenario(QUESTIONS, input="q", references="a", id="subject")


def test_clusters_may_come_from_a_column() -> None:
    spec = frame_scenario(QUESTIONS, input="q", references="a", cluster="subject")
    assert loaded(spec)["cluster"].to_list() == ["sums", "sky", "sums"]


def test_two_equal_frames_are_the_same_scenario() -> None:
    one, two = (frame_scenario(each, input="q", references="a") for each in (QUESTIONS, QUESTIONS.clone()))
    assert one == two
    assert hash(one) == hash(two)


def test_another_content_is_another_version() -> None:
    other = QUESTIONS.with_columns(a=pl.lit("?"))
    versions = {frame_scenario(each, input="q", references="a", name="n").version for each in (QUESTIONS, other)}
    assert len(versions) == 2


@pytest.mark.parametrize(
    "as_other",
    [
        pl.DataFrame.lazy,
        pl.DataFrame.to_arrow,
        lambda frame: frame.to_arrow().to_reader(),
        lambda frame: duckdb.connect().from_arrow(frame.to_arrow()),
    ],
    ids=["lazy", "arrow table", "arrow stream", "duckdb"],
)
def test_lazy_frames_and_arrow_streams_are_frames(as_other: Any) -> None:
    assert frame_scenario(as_other(QUESTIONS), input="q", references="a") == frame_scenario(
        QUESTIONS, input="q", references="a"
    )


def test_other_objects_than_frames_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"scenario\(list\): the argument must be a name, a path, a data frame"):
        frame_scenario([1, 2], input="q", references="a")


def test_a_missing_column_has_near_ones() -> None:
    with pytest.raises(
        ArgumentError, match=r"references='answr': column not found in the frame. Did you mean 'answer'"
    ):
        frame_scenario(QUESTIONS.rename({"a": "answer"}), input="q", references="answr")


def test_null_inputs_are_counted_and_refused() -> None:
    with pytest.raises(ArgumentError, match="input='q': 1 of 2 rows are null"):
        frame_scenario(pl.DataFrame({"q": ["?", None], "a": ["1", "2"]}), input="q", references="a")


@pytest.mark.parametrize(
    "references",
    [
        [["x"], ["y", None]],
        [[{"text": "x", "correct": True}], [{"text": None, "correct": True}]],
        [[{"text": "x", "correct": True}], [{"text": "y", "correct": None}]],
        [[{"text": "x", "correct": True}], [None]],
    ],
)
def test_a_null_within_the_references_is_refused_with_its_row(references: list[Any]) -> None:
    with pytest.raises(ArgumentError, match="references='references': row 1 has a null text or correct"):
        frame_scenario(pl.DataFrame({"input": ["?", "?"], "references": references}))


def test_a_null_among_the_choices_is_refused_with_its_row() -> None:
    frame = pl.DataFrame({"q": ["1?", "2?"], "options": [["x", "y"], ["u", None]], "answer": [0, 0]})
    with pytest.raises(ArgumentError, match="choices='options': row 1 has a null text"):
        frame_scenario(frame, input="q", choices="options", answer="answer")


@pytest.mark.parametrize("argument", ["id", "subset", "cluster"])
def test_null_names_are_counted_and_refused(argument: str) -> None:
    frame = pl.DataFrame({"input": ["?", "?"], "references": ["1", "2"], "key": ["a", None]})
    said: Any = {argument: "key"}
    with pytest.raises(ArgumentError, match=f"{argument}='key': 1 of 2 rows are null"):
        frame_scenario(frame, **said)


@pytest.mark.parametrize("argument", ["id", "subset", "cluster"])
def test_names_that_are_lists_are_refused(argument: str) -> None:
    frame = pl.DataFrame({"input": ["?"], "references": ["1"], "key": [["a"]]})
    said: Any = {argument: "key"}
    with pytest.raises(
        ArgumentError, match=rf"{argument}='key': the column must be text or numbers, not List\(String\)"
    ):
        frame_scenario(frame, **said)


def test_names_that_differ_in_case_only_are_refused() -> None:
    with pytest.raises(ArgumentError, match="'q' and 'Q' differ only in case"):
        frame_scenario(pl.DataFrame({"q": ["?"], "Q": ["!"], "a": ["1"]}), input="q", references="a")


def test_the_input_may_be_called_as_ours_in_capitals() -> None:
    assert loaded(frame_scenario(pl.DataFrame({"Input": ["?"], "a": ["1"]}), input="Input", references="a"))[
        "input"
    ].to_list() == ["?"]


def test_python_objects_are_refused() -> None:
    frame = pl.DataFrame({"input": ["?"], "references": ["1"], "thing": [object()]})
    with pytest.raises(ArgumentError, match="column 'thing' has Python objects"):
        frame_scenario(frame)


def test_a_column_content_of_another_type_is_a_column_of_the_scenarios_own() -> None:
    rows = loaded(frame_scenario(pl.DataFrame({"input": ["?"], "references": ["1"], "content": ["a page"]})))
    assert rows["content"].null_count() == 1
    assert rows["data_content"].to_list() == ["a page"]


def test_a_type_that_no_table_can_hold_is_refused() -> None:
    frame = pl.DataFrame({"input": ["?"], "references": ["1"], "took": [datetime.timedelta(seconds=1)]})
    with pytest.raises(ArgumentError, match=r"column 'took' has the unsupported type Duration"):
        frame_scenario(frame)


def test_a_single_metric_may_be_a_text() -> None:
    assert frame_scenario(QUESTIONS, input="q", references="a", metrics="f1_score").metrics == ("f1_score",)


def test_a_split_that_is_none_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"invalid split 'validation'. Did you mean 'valid'"):
        frame_scenario(QUESTIONS.with_columns(split=pl.lit("validation")), input="q", references="a")


@pytest.mark.parametrize(
    "condition", [Equals("subject", ("sky",)), Sql("subject = 'sky'"), Expression.of(pl.col("subject") == "sky")]
)
def test_where_cuts_a_frame_in_each_of_its_forms(condition: Any) -> None:
    spec = frame_scenario(QUESTIONS, input="q", references="a")
    assert loaded(spec, where=[condition])["input"].to_list() == ["sun?"]


def test_a_value_no_subset_has_is_refused_with_near_ones() -> None:
    spec = frame_scenario(QUESTIONS, input="q", references="a", subset="subject")
    with pytest.raises(ArgumentError, match=r"where\(subject='sum'\) matches no instance .* Did you mean 'sums'"):
        check_where(spec, [Equals("subject", ("sum",))])


def test_the_values_of_a_column_are_sorted() -> None:
    assert values(frame_scenario(QUESTIONS, input="q", references="a"), "subject") == ["sky", "sums"]


def test_a_sample_is_per_subset() -> None:
    spec = frame_scenario(QUESTIONS, input="q", references="a", subset="subject")
    assert loaded(spec, sample=Sample(1, order="first"))["instance_id"].to_list() == ["sky/id0", "sums/id1"]


def test_content_of_more_than_text_passes() -> None:
    media = {"name": "cat.png", "data": b"\x89PNG"}
    parts = [{"type": "text", "text": "what?", "media": None}, {"type": "image", "text": None, "media": media}]
    frame = pl.DataFrame({"input": ["what?"], "references": ["cat"], "content": [parts]})
    assert loaded(frame_scenario(frame))["content"].to_list() == [parts]
