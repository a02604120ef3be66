"""How a metric is registered, named and looked up."""

from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._plan import spec_of
from helmframe.errors import ArgumentError, CapabilityError, PlanError, UnknownNameError
from helmframe.metrics.protocol import (
    METRICS,
    flatten_metrics,
    is_binary,
    manifest_entry,
    metric,
    name_or_metric,
    resolve_metrics,
)
from helmframe.metrics.score import score
from tests.frames import completions, right


def values(given: Any, texts: list[str | None], golds: list[str]) -> list[tuple[float | None, str | None]]:
    frame = completions(texts, [right(gold) for gold in golds])
    rows = score(frame.lazy(), resolve_metrics(flatten_metrics([given]))).collect()
    return rows.select("score", "reason").rows()


# -- of one's own ----------------------------------------------------------------------------------------------------


def test_an_expression_with_a_name() -> None:
    chars = pl.col("output").str.len_chars().alias("chars")
    assert values(chars, ["abc", "", None], ["x"] * 3) == [(3.0, None), (0.0, None), (None, None)]


def test_an_expression_over_a_reference() -> None:
    same = (pl.col("output").str.to_lowercase() == pl.col("gold").str.to_lowercase()).alias("same")
    assert values(same, ["Paris", "Lyon"], ["PARIS", "Paris"]) == [(1.0, None), (0.0, None)]


def test_an_expression_that_gives_text_raises_when_the_plan_is_built() -> None:
    with pytest.raises(ArgumentError, match=r"'m' returns String, but a score must be a number.*\.alias\('m'\)"):
        name_or_metric(pl.col("output").alias("m"))
    number = pl.col("output").cast(pl.Float64, strict=False).alias("m")
    assert values(number, ["3.5", "no"], ["x"] * 2) == [(3.5, None), (None, "no value")]


def test_a_plug_in_that_gives_text_raises() -> None:
    metric("texts", range=None)(lambda: pl.col("output"))
    with pytest.raises(ArgumentError, match="Metric 'texts' returns String"):
        values("texts", ["3.5"], ["x"])


def test_an_expression_over_a_scenarios_own_column_is_looked_at_where_that_is_known() -> None:
    frame = completions(["a"], [right("x")]).with_columns(data_subject=pl.lit("music"))
    with pytest.raises(ArgumentError, match="'m' returns String"):
        score(frame.lazy(), resolve_metrics(flatten_metrics([pl.col("subject").alias("m")])))


def test_a_function_whose_parameters_are_columns() -> None:
    def longer(output: str, gold: str) -> bool:
        return len(output) > len(gold)

    assert values(longer, ["abc", "a"], ["ab", "ab"]) == [(1.0, None), (0.0, None)]


def test_yes_or_no_is_a_fraction_and_of_a_number_nothing_is_known() -> None:
    def polite(output: str) -> bool:
        return "please" in output

    def letters(output: str) -> int:
        return len(output)

    yes_or_no, number = resolve_metrics(flatten_metrics([polite, letters]))
    assert (yes_or_no.unit, yes_or_no.higher_is_better) == ("fraction", True)
    assert (number.unit, number.higher_is_better) == ("", None)


def test_where_a_function_raises_that_row_has_a_reason() -> None:
    def inverse(output: str) -> float:
        return 1 / len(output)

    assert values(inverse, ["ab", "", None], ["x"] * 3) == [
        (0.5, None),
        (None, "ZeroDivisionError: division by zero"),
        (None, None),
    ]


def test_where_a_function_exits_or_its_error_has_no_text_that_row_has_a_reason() -> None:
    class UnreadableError(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    def fails(output: str) -> float:
        raise SystemExit(2) if output == "exits" else UnreadableError

    reasons = ["SystemExit: 2", "UnreadableError: <str() raised ValueError>"]
    assert values(fails, ["exits", "raises"], ["x"] * 2) == [(None, reason) for reason in reasons]


def test_a_function_that_gives_no_number_is_a_rows_error() -> None:
    def odd(output: str) -> object:
        return None if output == "none" else output

    none, text = values(odd, ["none", "text"], ["x"] * 2)
    assert none == (None, "no value")
    assert text[1] is not None
    assert text[1].startswith("ValueError: could not convert")


def test_a_plug_in_with_arguments() -> None:
    @metric("at_most", unit="fraction")
    def at_most(output: str, *, words: int = 3) -> bool:
        return len(output.split()) <= words

    assert values("at_most", ["a b c", "a b c d"], ["x"] * 2) == [(1.0, None), (0.0, None)]
    assert values("at_most(words=4)", ["a b c", "a b c d"], ["x"] * 2) == [(1.0, None), (1.0, None)]
    assert resolve_metrics(["at_most(words=4)"])[0].name == "at_most(words=4)"


def test_a_registered_function_becomes_its_name() -> None:
    @metric("mine")
    def mine(output: str) -> float:
        return 1.0

    assert flatten_metrics([mine, ["f1_score"]]) == ("mine", "f1_score")


def test_the_decorator_returns_the_function_as_it_was() -> None:
    def plain(output: str) -> float:
        return float(len(output))

    assert metric("plain")(plain) is plain


def test_a_metric_of_a_set_may_be_a_plain_function_of_columns() -> None:
    @metric("different", level="set", unit="outputs")
    def different(output: pl.Series) -> float:
        return output.n_unique()

    frame = completions(["a", "a", "b"])
    value = resolve_metrics(["different"])[0].expression()
    assert frame.with_columns(output=pl.col("completion")).select(value).item() == 2.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, r"metrics\(3\): a metric must be a name"),
        (pl.col("output"), r"the expression needs a name of its own"),
        (pl.col("output").str.len_chars(), r"the expression needs a name of its own"),
        (pl.col("output", "correct").is_null(), r"the expression needs a name of its own"),
        (pl.col("output").is_null().alias("f1_score"), r"A metric named 'f1_score' already exists"),
        (pl.col("output").is_null().alias("error"), r"Metric name 'error' isn't allowed, because tables have a column"),
        (lambda output: 1.0, r"the function needs a name\. Define it with def"),
        ("f1_score(n=2)", r"f1_score\(\) has no argument 'n'"),
        ("f1_score(2)", r"is not a name or a call"),
        ("f1 score", r"is not a name or a call"),
        ("class_f1", r"Metric 'class_f1' needs label\. Write 'class_f1\(label=…\)'"),
        ("cost(prices=1)", r"cost\(prices=1\): prices must map each model to its prices"),
        ("regex_match(pattern='(')", r"pattern='\(': invalid regular expression: unclosed group"),
        ("classification_macro_f1@2", r"has level 'set'\. Only metrics of level 'output' support @k"),
        (
            "maj@8(metric='classification_macro_f1')",
            r"metric='classification_macro_f1' has level 'set', and must have level 'output'",
        ),
    ],
)
def test_what_can_be_no_metric_raises_at_once(given: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        name_or_metric(given)


def test_a_function_without_columns_is_no_metric() -> None:
    def always() -> float:
        return 1.0

    with pytest.raises(
        ArgumentError, match=r"the parameters must name the columns that the function reads: def always\(output"
    ):
        name_or_metric(always)


@pytest.mark.parametrize("name", ["f1_scor", "maj@8(metric='exact_mach')", "exact_match^3", "maj^3"])
def test_an_unknown_name_raises_at_once(name: str) -> None:
    with pytest.raises(UnknownNameError, match="Unknown metric"):
        name_or_metric(name)


def test_a_missing_package_raises_at_once() -> None:
    @metric("needy", packages=["no_such_package"])
    def needy() -> pl.Expr:
        return pl.col("output").str.len_chars()

    with pytest.raises(
        CapabilityError, match=r"Metric 'needy' needs no_such_package: pip install 'helmframe\[metrics\]'"
    ):
        name_or_metric("needy")


def test_a_metric_has_a_known_level() -> None:
    with pytest.raises(ArgumentError, match="level must be 'output', 'instance' or 'set'"):
        metric("m", level="outputs")


def test_a_decorator_without_a_name_raises() -> None:
    def shouted(output: str) -> float:
        return float(output.isupper())

    with pytest.raises(ArgumentError, match=r'@hf.metric needs a name. Write @hf.metric\("shouted"\)'):
        metric(shouted)  # type: ignore[arg-type]


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said_as", "name", "k"),
    [
        ("exact_match@5", "exact_match@5", 5),
        ("maj@8", "maj@8", 8),
        ("pass^4", "pass^4", 4),
        ("at_least@2( metric = 'f1_score' )", "at_least@2(metric='f1_score')", 2),
        ("RR@10", "RR@10", 0),
        ("Success@5", "success@5", 0),
        ("RR@10(topk=30)", "RR@10(topk=30)", 0),
        ("rougeL", "rouge_l", 0),
        ("iou_set_match()", "iou_set_match", 0),
    ],
)
def test_a_name_is_always_written_the_same_way(said_as: str, name: str, k: int) -> None:
    (found,) = resolve_metrics([said_as])
    assert (found.name, found.k) == (name, k)
    assert resolve_metrics([name])[0] == found


def test_the_metrics_as_a_frame() -> None:
    rows = hf.list_metrics()
    assert rows.columns == [
        "name", "level", "unit", "direction", "low", "high", "needs", "arguments", "helm", "lm_eval", "source", "what",
    ]  # fmt: skip
    assert rows["name"].is_sorted()
    row = rows.filter(name="iou_set_match").drop("source", "what").row(0)
    arguments = "start=' is ', separator=' and ', empty='Nothing.'"
    assert row == ("iou_set_match", "output", "fraction", "higher", 0.0, 1.0, "", arguments, "iou_set_match", "")


def test_every_metric_has_a_docstring_and_a_source() -> None:
    every = [METRICS[name] for name in METRICS]
    built_in = [each for each in every if each.function.__module__.startswith("helmframe.")]
    assert len(built_in) > 100
    assert [each.name for each in built_in if not (each.function.__doc__ and each.source)] == []


# -- in a sentence ---------------------------------------------------------------------------------------------------


def chars(output: str) -> int:
    return len(output)


PLAN = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle())


def test_plans_with_the_same_metrics_are_equal() -> None:
    length = pl.col("output").str.len_chars().alias("length")
    one = PLAN.metrics(chars, length, "f1_score")
    two = PLAN.metrics([chars, pl.col("output").str.len_chars().alias("length")], "f1_score")
    assert one == two
    assert hash(one) == hash(two)
    assert one != PLAN.metrics(chars, "f1_score")


def test_a_plan_with_a_function_as_metric_runs_and_has_no_yaml() -> None:
    plan = PLAN.metrics("exact_match", chars)
    assert plan.score().value("chars") > 0
    with pytest.raises(PlanError, match=r"metric chars is an object, which YAML can't contain"):
        plan.to_yaml()
    assert "<chars>" in repr(plan)


def test_a_call_has_a_place_in_yaml() -> None:
    plan = PLAN.metrics("iou_set_match(separator=',')", "exact_match@1")
    assert spec_of(hf.Plan.from_yaml(plan.to_yaml())).metrics == ("iou_set_match(separator=',')", "exact_match@1")


def test_a_repeated_metric_is_an_error() -> None:
    with pytest.raises(ArgumentError, match=r"metrics\(\): 'f1_score' is repeated"):
        PLAN.metrics("f1_score", ["f1_score"])


def test_rescoring_asks_no_model() -> None:
    results = PLAN.score()
    again = results.rescore("rouge_1", chars, "maj@1")
    assert again.metric_names == ["rouge_1", "chars", "maj@1"]
    assert again.value("rouge_1") == 1.0
    assert again.completions.collect().equals(results.completions.collect())


def test_what_is_right_or_wrong_follows_from_the_type_of_its_values() -> None:
    names = ("exact_match", "quasi_prefix_exact_match", "f1_score", "maj@1", "output_words", "classification_macro_f1")
    assert [is_binary(each) for each in resolve_metrics(names)] == [True, True, False, False, False, False]
    assert not is_binary(resolve_metrics(flatten_metrics([chars]))[0])


@pytest.mark.parametrize(
    ("name", "bounds", "correctness"),
    [
        ("exact_match", [0.0, 1.0], True),
        ("exact_match@5", [0.0, 1.0], True),
        ("option_accuracy", [0.0, 1.0], True),
        ("math_equiv", [0.0, 1.0], True),
        ("f1_score", [0.0, 1.0], False),
        ("refusal", [0.0, 1.0], False),
        ("logprob", [None, 0.0], False),
        ("self_bleu", [0.0, 100.0], False),
    ],
)
def test_a_manifest_has_the_range_of_a_metric_and_whether_it_is_of_correctness(
    name: str, bounds: list[float | None], correctness: bool
) -> None:
    entry = manifest_entry(resolve_metrics([name])[0])
    assert (entry["range"], entry["correctness"]) == (bounds, correctness)


def test_a_function_that_returns_bool_is_of_correctness() -> None:
    def says_yes(output: str) -> bool:
        return output == "yes"

    entry = manifest_entry(resolve_metrics(flatten_metrics([says_yes]))[0])
    assert (entry["range"], entry["correctness"]) == ([0.0, 1.0], True)
