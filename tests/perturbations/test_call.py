"""What a perturbation gives is text for every text, or an error names it before a model is asked."""

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, PlanError
from helmframe.perturbations.parsing import parse
from helmframe.perturbations.perturb import perturb
from tests.frames import instances, right


def perturbed(spec: str, *texts: str | None) -> list[str | None]:
    """The texts under one perturbation, each the reference of its instance too."""
    references = [[] if text is None else right(text) for text in texts]
    rows = perturb(instances(list(texts), references).lazy(), [parse(spec)]).collect()
    return rows.filter(pl.col("perturbation") != "original")["perturbed_input"].to_list()


def with_zzz() -> None:
    @hf.perturbation("marked")
    def marked(text: pl.Expr) -> pl.Expr:
        return pl.when(text.str.contains("zzz")).then(text + "!")


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("marked", "'marked'"),
        ("lowercase+marked", "'marked'"),
        ("marked(fields='references')", "\"marked(fields='references')\""),
        ("marked(fields='both')", "\"marked(fields='both')\""),
    ],
)
def test_a_text_that_becomes_null_is_an_error_that_says_how_many_and_what_to_write(spec: str, named: str) -> None:
    with_zzz()
    with pytest.raises(PlanError) as raised:
        perturbed(spec, "a", "zzz", "b", None)
    assert str(raised.value) == (
        f"Perturbation {named} returned null for 2 of 3 texts. Return a text for each: "
        "pl.when(…).then(…).otherwise(text)."
    )


def test_a_text_that_was_null_may_stay_so() -> None:
    with_zzz()
    assert perturbed("marked", "zzz", None) == ["zzz!", None]


def test_no_model_is_asked_where_a_text_became_null() -> None:
    with_zzz()
    asked = []

    def model(prompt: str) -> str:
        asked.append(prompt)
        return "a"

    frame = pl.DataFrame({"question": ["a", "zzz"], "answer": ["a", "b"]})
    plan = hf.scenario(frame, input="question", references="answer").perturb("marked").generate(model)
    with pytest.raises(PlanError, match="'marked' returned null for 1 of 2 texts"):
        plan.score()
    assert asked == []


def test_a_perturbation_that_gives_no_text_raises_when_the_plan_is_built() -> None:
    hf.perturbation("counted")(lambda text: text.str.len_chars())
    with pytest.raises(ArgumentError, match="Perturbation 'counted' returned UInt32, but it must return text"):
        parse("counted")


def test_a_perturbation_whose_rows_alone_tell_what_it_gives_raises_when_it_runs() -> None:
    @hf.perturbation("measured", takes="frame")
    def measured(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.with_columns(perturbed_input=pl.col("perturbed_input").str.len_chars())

    with pytest.raises(ArgumentError, match="Perturbation 'measured' returned UInt32, but it must return text"):
        perturbed("measured", "a")


def raising(text: str) -> str:
    raise ValueError(f"no {text}\nat all")


def of_text(text: pl.Expr) -> pl.Expr:
    return text.map_elements(raising, return_dtype=pl.String)


def of_frame(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.with_columns(perturbed_input=of_text(pl.col("perturbed_input")))


@pytest.mark.parametrize("spec", ["raises", "raises(fields='references')", "raises(protect='numbers')", "reframes"])
def test_what_a_function_raises_on_a_text_names_the_perturbation(spec: str) -> None:
    hf.perturbation("raises")(of_text)
    hf.perturbation("reframes", takes="frame")(of_frame)
    with pytest.raises(PlanError) as raised:
        perturbed(spec, "a")
    assert str(raised.value) == f"Perturbation {spec!r} raised ValueError: no a\nat all"
    assert isinstance(raised.value.__cause__, ValueError)


def test_what_a_function_raises_at_build_time_names_the_arguments() -> None:
    @hf.perturbation("marks")
    def marks(text: pl.Expr, n: int = 1) -> pl.Expr:
        return text + "!" * n

    assert perturbed("marks(n=2)", "a") == ["a!!"]
    with pytest.raises(ArgumentError, match=r"""Perturbation "marks\(n='x'\)" raised TypeError: can't multiply"""):
        parse("marks(n='x')")


def test_an_error_of_a_function_of_the_whole_instance_names_it() -> None:
    @hf.perturbation("asks_too_much", takes="frame")
    def asks_too_much(frame: pl.LazyFrame) -> pl.LazyFrame:
        raise KeyError("subject")

    with pytest.raises(ArgumentError, match="Perturbation 'asks_too_much' raised KeyError: subject"):
        parse("asks_too_much")


def test_a_decorator_without_a_name_is_told() -> None:
    with pytest.raises(ArgumentError, match=r'@hf.perturbation needs a name. Write @hf.perturbation\("of_text"'):
        hf.perturbation(of_text)  # type: ignore[arg-type]


def test_references_that_are_none_any_more_raise() -> None:
    @hf.perturbation("flattened", takes="frame")
    def flattened(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.with_columns(perturbed_references=pl.lit("a"))

    with pytest.raises(PlanError, match="Perturbation 'flattened' raised "):
        perturbed("flattened", "a")


def test_an_error_without_a_text_is_named_by_its_type() -> None:
    class UnreadableError(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    @hf.perturbation("unreadable")
    def unreadable(text: pl.Expr) -> pl.Expr:
        raise UnreadableError

    with pytest.raises(ArgumentError, match="'unreadable' raised UnreadableError: <str\\(\\) raised ValueError>"):
        perturbed("unreadable", "a")
