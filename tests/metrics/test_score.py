"""Reading answers, the table of scores, metric@k, and how metrics are registered."""

from typing import Any

import polars as pl
import pytest

from helmframe._schema import SCORES
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.metrics.protocol import metric, resolve_metrics
from helmframe.metrics.score import parse, score
from tests.frames import completions, right, scored

OPTIONS = [("Paris", True), ("Lyon", False)]


def read(text: str | None, **columns: Any) -> tuple[str | None, bool | None, bool | None]:
    frame = parse(completions([text], [OPTIONS], **columns).lazy()).collect()
    return frame.select("output", "parsed", "truncated").row(0)


# -- parse -----------------------------------------------------------------------------------------------------------


def test_free_text_is_the_completion_stripped() -> None:
    assert read(" Paris\u00a0\n") == ("Paris", True, False)


def test_an_empty_completion_is_read_as_empty() -> None:
    assert read("") == ("", True, False)


def test_what_failed_is_neither_read_nor_unread() -> None:
    assert read(None) == (None, None, None)


@pytest.mark.parametrize(
    ("completion", "output"),
    [(" A", "Paris"), ("B\n", "Lyon"), ("C", None), ("a", None), ("A.", None), ("(A)", None), ("", None)],
)
def test_a_choice_is_the_text_of_its_option(completion: str, output: str | None) -> None:
    assert read(completion, choices=[["A", "B"]]) == (output, output is not None, False)


def test_the_text_of_an_option_is_stripped() -> None:
    frame = parse(completions(["A"], [[(" Paris ", True)]], choices=[["A"]]).lazy()).collect()
    assert frame["output"].to_list() == ["Paris"]


@pytest.mark.parametrize(
    ("completion", "output"),
    [
        ("I think. Answer: Paris ", "Paris"),
        ("Answer:  Paris\nAnswer: Lyon", "Paris"),
        ("Paris", None),
        ("Answer: ", ""),
    ],
)
def test_a_pattern_takes_its_first_group(completion: str, output: str | None) -> None:
    assert read(completion, answer_pattern="Answer:(.*)") == (output, output is not None, False)


@pytest.mark.parametrize(("completion", "output"), [("So it is (B).", "Lyon"), ("So it is (C).", None), ("B", None)])
def test_a_pattern_finds_the_letter_of_a_choice(completion: str, output: str | None) -> None:
    assert read(completion, choices=[["A", "B"]], answer_pattern=r"\(([A-Z])\)")[0] == output


def test_free_text_that_ended_at_the_limit_is_truncated() -> None:
    assert read("Par", finish_reason="length") == ("Par", True, True)


def test_a_letter_that_ended_at_the_limit_is_whole() -> None:
    assert read("A", finish_reason="length", choices=[["A", "B"]])[2] is False


def test_reasoning_is_not_read() -> None:
    assert read("Lyon", reasoning="Paris") == ("Lyon", True, False)


def test_perturbed_references_count() -> None:
    frame = completions(["paris"], [right("Paris")])
    lowered = pl.col("references").list.eval(
        pl.struct(
            pl.element().struct.field("text").str.to_lowercase(),
            pl.element().struct.field("correct"),
            pl.element().struct.field("tags"),
        )
    )
    asked = frame.with_columns(perturbed_references=lowered).lazy()
    assert score(asked, ["exact_match"]).collect()["score"].to_list() == [1.0]


# -- score -----------------------------------------------------------------------------------------------------------


def test_one_row_per_completion_and_metric() -> None:
    frame = completions(["a", "b"], [right("a"), right("a")])
    rows = score(frame.lazy(), ["exact_match", "f1_score"]).collect()
    assert rows.select("instance_id", "metric", "score").rows() == [
        ("id0", "exact_match", 1.0),
        ("id1", "exact_match", 0.0),
        ("id0", "f1_score", 0.0),  # 'a' is an article
        ("id1", "f1_score", 0.0),
    ]


def test_the_columns_are_those_of_scores() -> None:
    rows = score(completions(["a"], [right("a")]).lazy(), ["exact_match", "exact_match@1"]).collect()
    assert rows.schema == SCORES.schema


@pytest.mark.parametrize("names", [["classification_macro_f1"], []])
def test_without_a_metric_of_outputs_there_are_no_rows(names: list[str]) -> None:
    rows = score(completions(["a"], [right("a")]).lazy(), names).collect()
    assert (rows.height, rows.schema) == (0, SCORES.schema)


def test_no_completions_give_no_scores() -> None:
    rows = score(completions([]).lazy(), ["exact_match", "f1_score", "exact_match@2"]).collect()
    assert (rows.height, rows.schema) == (0, SCORES.schema)


# -- metric@k --------------------------------------------------------------------------------------------------------


def at_k(texts: list[str | None], k: int, name: str = "exact_match", **columns: Any) -> pl.DataFrame:
    frame = completions(
        texts,
        [right("a1")] * len(texts),
        instance_id=["id0"] * len(texts),
        output_index=list(range(len(texts))),
        **columns,
    )
    return score(frame.lazy(), [f"{name}@{k}"]).collect()


@pytest.mark.parametrize(
    ("texts", "k", "expected"),
    [
        (["b1", "a1"], 2, 1.0),
        (["b1", "a1"], 1, 0.0),
        (["b1", "b1"], 2, 0.0),
        (["a1", None], 2, None),  # one failed: nobody knows the best
        (["a1", None], 1, 1.0),
        (["a1"], 2, None),
    ],
)
def test_the_best_of_the_first_k_outputs(texts: list[str | None], k: int, expected: float | None) -> None:
    assert at_k(texts, k)["score"].to_list() == [expected]


def test_k_outputs_join_into_one_row() -> None:
    rows = at_k(["b1", "a1"], 2).select("instance_id", "output_index", "output", "metric", "parsed", "truncated")
    assert rows.rows() == [("id0", None, None, "exact_match@2", True, False)]


def test_each_variant_is_joined_for_itself() -> None:
    frame = completions(
        ["a1", "b1", "b1", "b1"],
        [right("a1")] * 4,
        instance_id=["id0"] * 4,
        perturbation=["original", "original", "typos", "typos"],
        output_index=[0, 1, 0, 1],
    )
    rows = score(frame.lazy(), ["exact_match@2"]).collect()
    assert rows.select("perturbation", "score").rows() == [("original", 1.0), ("typos", 0.0)]


def test_the_best_of_a_metric_where_lower_is_better_is_the_lowest() -> None:
    @metric("length", unit="characters", higher_is_better=False)
    def length() -> pl.Expr:
        return pl.col("output").str.len_chars()

    assert at_k(["abc", "a"], 2, "length")["score"].to_list() == [1.0]
    assert scored(["abc"], [right("x")], "length") == [3.0]
    assert length().meta.root_names() == ["output"]


# -- names -----------------------------------------------------------------------------------------------------------


def test_an_unknown_metric_names_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown metric 'exact_mach'\. Did you mean 'exact_match'"):
        resolve_metrics(["exact_mach"])
    with pytest.raises(UnknownNameError, match="Unknown metric 'exact_mach'"):
        resolve_metrics(["exact_mach@5"])


@pytest.mark.parametrize(
    "name", ["exact_match@", "exact_match@0", "exact_match@x", "exact_match@-1", "exact_match@1@2"]
)
def test_at_needs_a_number(name: str) -> None:
    with pytest.raises(UnknownNameError, match="name@k needs a number"):
        resolve_metrics([name])


def test_a_metric_of_a_set_has_no_k() -> None:
    with pytest.raises(ArgumentError, match="Only metrics of level 'output' support @k"):
        resolve_metrics(["classification_macro_f1@2"])


# -- why there is no score -------------------------------------------------------------------------------------------


def scored_with_reasons(name: str, texts: list[str | None], **columns: Any) -> list[tuple[float | None, str | None]]:
    rows = score(completions(texts, [right("a1")] * len(texts), **columns).lazy(), [name]).collect()
    return rows.select("score", "reason").rows()


def test_without_what_a_metric_needs_there_is_no_score_but_a_reason() -> None:
    @metric("surprise", unit="nats", needs=["logprob"])
    def surprise() -> pl.Expr:
        return -pl.col("logprob")

    assert scored_with_reasons("surprise", ["a", "b", None], logprob=[-1.5, None, None]) == [
        (1.5, None),
        (None, "the model returned no log-probability"),
        (None, None),  # it failed: its error says why
    ]


def test_a_needed_column_that_is_not_there_at_all_is_a_reason_too() -> None:
    @metric("graded", needs=["grade"])
    def graded() -> pl.Expr:
        return pl.col("grade") / 10

    assert scored_with_reasons("graded", ["a", None]) == [(None, "no grade"), (None, None)]
    assert scored_with_reasons("graded@1", ["a"]) == [(None, "no grade")]


def test_another_column_that_is_not_there_is_an_error() -> None:
    @metric("by_subject")
    def by_subject() -> pl.Expr:
        return pl.col("ouput").str.len_chars()

    with pytest.raises(UnknownNameError, match=r"Unknown column 'ouput'. Did you mean 'output'(?s:.*)by_subject"):
        scored_with_reasons("by_subject", ["a"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_no_score(value: float) -> None:
    @metric("broken", unit="things")
    def broken() -> pl.Expr:
        return pl.when(pl.col("output") == "a").then(1.0).otherwise(value)

    assert scored_with_reasons("broken", ["a", "b"]) == [(1.0, None), (None, "the value isn't a number")]


def test_an_unreadable_answer_is_no_good_one_where_low_is_good() -> None:
    @metric("errors", unit="errors", higher_is_better=False)
    def errors() -> pl.Expr:
        return pl.col("output").str.len_chars()

    assert scored_with_reasons("errors", ["?"], choices=[["A"]]) == [(None, "no answer could be read")]


def test_the_best_reference_is_the_lowest_where_low_is_good() -> None:
    @metric("distance", unit="characters", higher_is_better=False)
    def distance() -> pl.Expr:
        return (pl.col("output").str.len_chars().cast(pl.Int64) - pl.col("gold").str.len_chars().cast(pl.Int64)).abs()

    frame = completions(["abc", "abc"], [right("a", "ab", "abcdef"), []])
    rows = score(frame.lazy(), ["distance"]).collect()
    assert rows.select("score", "reason").rows() == [(1.0, None), (None, "no correct reference")]


# -- joining an instance's outputs -----------------------------------------------------------------------------------


def test_outputs_are_joined_in_their_order() -> None:
    @metric("last", level="instance", unit="number")
    def last() -> pl.Expr:
        return pl.col("output").last().cast(pl.Float64)

    frame = completions(["2", "1", "3"], [[]] * 3, instance_id=["id0"] * 3, output_index=[1, 0, 2])
    assert score(frame.lazy(), ["last"]).collect()["score"].to_list() == [3.0]


def test_an_instance_with_a_failed_output_has_no_score() -> None:
    @metric("count", level="instance", unit="number")
    def count() -> pl.Expr:
        return pl.len()

    frame = completions(["2", None, "3"], [[]] * 3, instance_id=["id0", "id0", "id1"], output_index=[0, 1, 0])
    assert score(frame.lazy(), ["count"]).collect()["score"].to_list() == [None, 1.0]


def test_a_plain_function_of_an_instance_gets_lists() -> None:
    @metric("spread", level="instance", unit="characters")
    def spread(output: list[str], instance_id: list[str]) -> float:
        assert set(instance_id) == {instance_id[0]}
        return max(map(len, output)) - min(map(len, output))

    frame = completions(["a", "abc", "a"], [[]] * 3, instance_id=["id0", "id0", "id1"], output_index=[0, 1, 0])
    assert score(frame.lazy(), ["spread"]).collect()["score"].to_list() == [2.0, 0.0]


def test_shared_texts_give_what_each_metric_alone_gives() -> None:
    names = ["quasi_exact_match", "f1_score", "rouge_1", "bleu_1", "exact_match", "f1_bag", "f1_score@2"]
    frame = completions(
        ["The cat", "a dog", None, "cat sat."],
        [right("cat", "the cat sat"), right("dog"), right("x"), []],
        instance_id=["id0", "id1", "id1", "id0"],
        output_index=[0, 0, 1, 1],
    )
    together = score(frame.lazy(), names).collect()
    assert together.equals(pl.concat([score(frame.lazy(), [name]).collect() for name in names]))
