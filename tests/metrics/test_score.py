"""Reading answers, the table of scores, metric@k, and how metrics are registered."""

from typing import Any

import polars as pl
import pytest

from helmframe.columns import SCORES
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.metrics import METRICS, chosen, metric, metrics, parse, score
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


def test_the_best_of_a_metric_where_lower_is_better_is_the_lowest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))

    @metric("length", unit="characters", higher_is_better=False)
    def length() -> pl.Expr:
        return pl.col("output").str.len_chars()

    assert at_k(["abc", "a"], 2, "length")["score"].to_list() == [1.0]
    assert scored(["abc"], [right("x")], "length") == [3.0]
    assert length().meta.root_names() == ["output"]


# -- names -----------------------------------------------------------------------------------------------------------


def test_an_unknown_metric_names_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"no metric is called 'exact_mach'\. Did you mean 'exact_match'"):
        chosen(["exact_mach"])
    with pytest.raises(UnknownNameError, match="no metric is called 'exact_mach'"):
        chosen(["exact_mach@5"])


@pytest.mark.parametrize(
    "name", ["exact_match@", "exact_match@0", "exact_match@x", "exact_match@-1", "exact_match@1@2"]
)
def test_at_needs_a_number(name: str) -> None:
    with pytest.raises(UnknownNameError, match="name@k needs a number"):
        chosen([name])


def test_a_metric_of_a_set_has_no_k() -> None:
    with pytest.raises(ArgumentError, match="only metrics of one output have an @k"):
        chosen(["classification_macro_f1@2"])


def test_a_metric_has_a_known_level() -> None:
    with pytest.raises(ArgumentError, match="should be 'output' or 'set'"):
        metric("m", level="outputs")


def test_the_metrics_as_a_frame() -> None:
    rows = metrics()
    assert rows.columns == ["name", "level", "unit", "higher_is_better", "source"]
    assert rows.filter(name="f1_score").select("level", "unit", "higher_is_better").rows() == [
        ("output", "fraction", True)
    ]
    assert rows["name"].is_sorted()


def test_every_metric_has_a_docstring_and_a_source() -> None:
    built_in = [METRICS[name] for name in METRICS]
    assert [each.name for each in built_in if not (each.function.__doc__ and each.source)] == []
