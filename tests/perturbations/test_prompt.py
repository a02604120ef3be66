"""Changes of the prompt around the question, from the frame to the score."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._plan import spec_of
from helmframe._schema import VARIANTS
from helmframe.errors import ArgumentError
from helmframe.perturbations.call import call
from helmframe.perturbations.parsing import parse
from helmframe.perturbations.perturb import perturb
from helmframe.perturbations.prompt import INSTRUCTIONS
from tests.frames import Options, instances

FOUR: Options = [("Stone", False), ("Cork", True), ("Lead", False), ("Iron", False)]


def variant(spec: str, options: list[Options], seed: int = 0) -> pl.DataFrame:
    """The instances with these options under one perturbation."""
    rows = perturb(instances(["Which?"] * len(options), options).lazy(), [parse(spec, seeds=seed + 1)]).collect()
    assert set(VARIANTS.schema) <= set(rows.columns)
    return rows.filter((pl.col("perturbation") != "original") & (pl.col("perturbation_seed") == seed))


def texts(rows: pl.DataFrame) -> list[list[str]]:
    return rows["perturbed_references"].list.eval(pl.element().struct.field("text")).to_list()


def changes(rows: pl.DataFrame) -> list[dict[str, Any] | None]:
    return [None if each is None else json.loads(each) for each in rows["adapter_change"]]


# -- option order ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "order"),
    [
        ("option_order(order='reverse')", ["Iron", "Lead", "Cork", "Stone"]),
        ("option_order(order='rotate')", ["Iron", "Stone", "Cork", "Lead"]),
        ("option_order(order='rotate', shift=-1)", ["Cork", "Lead", "Iron", "Stone"]),
        ("option_order(order='rotate', shift=4)", ["Stone", "Cork", "Lead", "Iron"]),
        ("option_order", ["Cork", "Lead", "Iron", "Stone"]),
    ],
)
def test_options_come_in_another_order_and_right_stays_right(spec: str, order: list[str]) -> None:
    rows = variant(spec, [FOUR])
    assert texts(rows) == [order]
    (references,) = rows["perturbed_references"].to_list()
    assert [each["text"] for each in references if each["correct"]] == ["Cork"]
    assert rows["changed"].to_list() == [order != ["Stone", "Cork", "Lead", "Iron"]]
    assert rows["references"].to_list()[0][0]["text"] == "Stone"


def test_instances_with_no_or_other_numbers_of_options() -> None:
    options: list[Options] = [[], [("a", True)], [("a", True), ("b", False)], FOUR, []]
    assert texts(variant("option_order(order='reverse')", options)) == [
        [], ["a"], ["b", "a"], ["Iron", "Lead", "Cork", "Stone"], []
    ]  # fmt: skip


def test_a_random_order_is_any_of_them_alike() -> None:
    from scipy.stats import chisquare

    three: Options = [("a", True), ("b", False), ("c", False)]
    seen = Counter("".join(each) for each in texts(variant("option_order", [three] * 6_000)))
    assert sorted(seen) == ["abc", "acb", "bac", "bca", "cab", "cba"]
    assert chisquare(list(seen.values())).pvalue > 0.001


def test_another_seed_is_another_order_and_other_rows_do_not_matter() -> None:
    many = texts(variant("option_order", [FOUR] * 50))
    assert texts(variant("option_order", [FOUR] * 10)) == many[:10]
    assert texts(variant("option_order", [FOUR] * 50, seed=1)) != many


@pytest.mark.parametrize(
    "pointing",
    ["All of the above", "none of these", "Both A and B", "A and C", "B or D only", "Options A and B", "A, B and C"],
)
def test_options_that_point_at_others_hold_all_in_place(pointing: str) -> None:
    options: Options = [("Stone", False), ("Cork", True), (pointing, False)]
    for spec in ("option_order(order='reverse')", "option_labels"):
        rows = variant(spec, [options])
        assert texts(rows) == [["Stone", "Cork", pointing]]
        assert rows["changed"].to_list() == [False]


@pytest.mark.parametrize("plain", ["cats and a dog", "Vitamin A", "a", "above-ground", "I and II"])
def test_options_that_only_look_like_it_do_not(plain: str) -> None:
    options: Options = [("Stone", False), (plain, True)]
    expected = [plain, "Stone"] if plain != "above-ground" else ["Stone", plain]
    assert texts(variant("option_order(order='reverse')", [options])) == [expected]


def test_all_can_be_permuted() -> None:
    options: Options = [("x", False), ("All of the above", True)]
    assert texts(variant("option_order(order='reverse', unless='')", [options])) == [["All of the above", "x"]]


# -- changes of the adapter -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        ("option_labels", {"reference_prefix": "1. "}),
        ("option_labels(prefix='(a) ')", {"reference_prefix": "(a) "}),
        ("instructions(texts=['Choose.'])", {"instructions": "Choose."}),
        ("instructions(texts='Choose.')", {"instructions": "Choose."}),
        ("example_order(order='reverse')", {"shot_order": "reverse"}),
        ("example_order(orders=1)", {"shot_order": "random:1"}),
        ("cue_space(space='newline')", {"cue_space": "newline"}),
        (
            "option_labels+cue_space+instructions(texts='x')",
            {"cue_space": "space", "instructions": "x", "reference_prefix": "1. "},
        ),
        ("option_labels+option_labels(prefix='a. ')", {"reference_prefix": "a. "}),
    ],
)
def test_changes_of_the_adapter(spec: str, change: dict[str, str]) -> None:
    rows = variant(spec, [FOUR, FOUR])
    assert changes(rows) == [change, change]
    assert rows["changed"].to_list() == [True, True]
    assert rows["perturbed_input"].to_list() == ["Which?", "Which?"]


def test_labels_stay_where_there_are_no_options_or_options_like_labels() -> None:
    numbers: Options = [("4", True), ("(5)", False)]
    letters: Options = [("x", True), ("y", False)]
    assert changes(variant("option_labels", [[], numbers, letters])) == [None, None, {"reference_prefix": "1. "}]
    assert changes(variant("option_labels(prefix='a. ')", [numbers, letters])) == [{"reference_prefix": "a. "}, None]


def test_each_instance_gets_one_of_the_instructions() -> None:
    drawn = Counter(each["instructions"] for each in changes(variant("instructions", [FOUR] * 2_000)) if each)
    assert set(drawn) == set(INSTRUCTIONS)
    assert min(drawn.values()) > 120


def test_a_list_of_lists_of_instructions_is_a_variant_each() -> None:
    rows = perturb(
        instances(["Which?"], [FOUR]).lazy(),
        spec_of(
            hf.scenario(pl.DataFrame({"q": ["?"], "a": ["x"]}), input="q", references="a").perturb(
                call("instructions", texts=[["One."], ["Two."]])
            )
        ).perturbations,
    ).collect()
    assert changes(rows) == [None, {"instructions": "One."}, {"instructions": "Two."}]


def test_examples_come_in_few_orders() -> None:
    drawn = Counter(each["shot_order"] for each in changes(variant("example_order(orders=3)", [FOUR] * 300)) if each)
    assert sorted(drawn) == ["random:1", "random:2", "random:3"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "option_order(order='reversed')",
            r"option_order\(order='reversed'\): order must be .*\. Did you mean 'reverse'",
        ),
        ("option_order(shift=1.5)", r"option_order\(shift=1\.5\): shift must be an integer"),
        ("option_order(unless='(')", r"option_order\(unless='\('\): invalid regular expression: unclosed group\.$"),
        ("option_labels(prefix='- ')", "prefix must contain a letter or digit to count up from"),
        ("instructions(texts=[])", "texts must be a list of one or more texts"),
        ("example_order(order='rotate')", r"example_order\(order='rotate'\)"),
        ("example_order(orders=0)", "orders must be an integer from 1 to 1000"),
        ("cue_space(space='tab')", r"cue_space\(space='tab'\)"),
    ],
)
def test_wrong_arguments_raise_when_the_plan_is_built(spec: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        parse(spec)


# -- from the frame to the score -------------------------------------------------------------------------------------

ALL = [
    "option_order",
    "option_order(order='reverse')",
    "option_labels",
    "option_labels(prefix='i. ')",
    "instructions",
    "example_order",
    "cue_space(space='newline')",
    "option_order+option_labels(prefix='(a) ')+instructions+cue_space+typos(prob=0.2)",
]


def sentence() -> hf.Plan:
    rows = pl.DataFrame(
        {
            "question": ["Which floats?", "Which sinks?", "Which burns?", "Which sums to four?"],
            "choices": [
                ["Stone", "Cork", "Lead", "Iron"],
                ["Iron", "Wood", "Both A and B", "Oil"],
                ["Water", "Sand", "Oil"],
                ["1 + 2", "2 + 2"],
            ],
            "answer": [1, 0, 2, 1],
        }
    )
    plan = hf.scenario(rows, input="question", choices="choices", answer="answer", name="toy")
    return plan.adapt(method="multiple_choice_joint", shots=0).perturb([*ALL], seeds=3)


def test_a_model_that_knows_the_answers_is_right_under_each() -> None:
    scores = sentence().generate(hf.models.oracle()).score().scores.collect()
    by = scores.group_by("perturbation").agg(pl.col("score").mean(), pl.col("parsed").all()).sort("perturbation")
    assert by.rows() == [(name, 1.0, True) for name in sorted(["original", *ALL])]


def test_a_model_that_always_says_a_is_right_as_often_as_a_is() -> None:
    plan = sentence().perturb(["option_order(order='reverse')", "option_labels"])
    scores = plan.generate({"a": lambda prompt: "A"}).metrics("exact_match").score().scores.collect()
    by = scores.group_by("perturbation").agg(pl.col("score").sum(), pl.col("parsed").sum()).sort("perturbation")
    # Reversed, A is right where the last option was, and where the options stay; under numbers A says nothing.
    assert by.rows() == [("option_labels", 1.0, 1), ("option_order(order='reverse')", 3.0, 4), ("original", 1.0, 4)]


def test_the_requests_show_the_prompts() -> None:
    rows = sentence().requests().collect().filter(pl.col("instance_id").str.contains("0$"))
    by = dict(rows.filter(pl.col("perturbation_seed") == 0).select("perturbation", "prompt").iter_rows())
    plain = "Question: Which floats?\n{0}. Stone\n{1}. Cork\n{2}. Lead\n{3}. Iron\nAnswer:"
    assert by["original"] == plain.format(*"ABCD")
    assert by["option_labels"] == plain.format(*"1234")
    assert by["option_labels(prefix='i. ')"] == plain.format("i", "ii", "iii", "iv")
    assert by["cue_space(space='newline')"] == plain.format(*"ABCD") + "\n"
    assert by["instructions"].partition("\n\n")[0] in INSTRUCTIONS
    assert by["instructions"].partition("\n\n")[2] == plain.format(*"ABCD")


def test_an_unchanged_prompt_is_sent_once() -> None:
    asked: list[str] = []

    def model(prompt: str) -> str:
        asked.append(prompt)
        return "A"

    # Without examples their order changes nothing: the prompt is the original's.
    sentence().perturb("example_order").generate({"a": model}).score()
    assert len(asked) == 4


def test_explain_counts_them_without_asking() -> None:
    text = sentence().perturb(["option_order(order='reverse')", "cue_space"]).generate(hf.models.oracle()).explain()
    assert "12 variants, 1 unchanged" in text
    assert "11 distinct requests" in text


@pytest.mark.shared
def test_with_real_questions_and_their_examples(shared: Path) -> None:
    plan = hf.scenario("mmlu", data=str(shared / "scenarios")).where(subject="philosophy").sample(20).perturb([*ALL])
    rows = plan.requests().collect()
    original = rows.filter(pl.col("perturbation") == "original").select("instance_id", "prompt", shots="shot_ids")
    both = rows.join(original, on="instance_id", suffix="_before")
    assert both["shot_ids"].list.sort().equals(both["shots"].list.sort(), check_names=False)
    reordered = both.filter(pl.col("perturbation") == "example_order")
    assert (reordered["prompt"] != reordered["prompt_before"]).mean() > 0.9  # type: ignore[operator]
    scores = plan.generate(hf.models.oracle()).metrics("exact_match").score().scores.collect()
    assert scores["score"].unique().to_list() == [1.0]
    assert scores.height == 9 * 20


def test_plans_with_them_come_back_from_yaml() -> None:
    plan = hf.scenario("mmlu").perturb([*ALL, call("instructions", texts=["One.", "Two."])])
    assert hf.Plan.from_yaml(plan.to_yaml()) == plan
