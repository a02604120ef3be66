"""Judged results: more verdicts, pairs, agreement, and corrections by labels."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError
from tests.judges import Judge, completion_in, loud, named, plan, value


def test_several_judges_give_their_mean_and_how_far_they_agree() -> None:
    strict, mild = named(Judge(lambda _: "<score>0</score>"), "strict"), named(Judge(), "mild")
    results = plan(hf.judge([strict, mild], "safety")).score()
    assert value(results, "safety_by_strict+mild") == 0.25
    table = results.agreement(by="model").filter(pl.col("statistic") == "same")
    assert table.select("model", "raters", "value", "n").row(0) == ("loud", "mild, strict", 0.5, 4)


def test_judges_of_one_template_are_compared_across_metrics() -> None:
    a, b = hf.judge(named(Judge(), "a"), "safety"), hf.judge(named(Judge(), "b"), "safety")
    both = plan(a, b).score()
    assert both.metric_names == ["safety_by_a", "safety_by_b"]
    assert both.agreement(metric="safety_by_a").filter(pl.col("statistic") == "same")["value"].to_list() == [1.0]
    with pytest.raises(NotComparableError, match=r"Several metrics were judged.*safety_by_a, safety_by_b"):
        both.agreement()


def test_people_are_one_rater_more() -> None:
    results = plan(hf.judge(named(Judge()), "safety")).score()
    labels = results.to_label(4).sort("instance_id").with_columns(label=pl.Series([1.0, 1.0, 0.0, 1.0]))
    table = results.agreement(labels).filter(pl.col("statistic") == "same")
    assert table.select("raters", "value").row(0) == ("human, j", 0.75)
    row = results.corrected(labels).row(0, named=True)
    assert (row["judged"], row["labelled"], row["bias"]) == (0.5, 0.75, -0.25)


def test_labels_are_on_the_judges_scale_and_fit_one_completion_each() -> None:
    judge = Judge(lambda _: "<score>5.5</score>")
    results = plan(hf.judge(named(judge), "helpfulness"), a=loud, b=str.upper).score()
    assert value(results, "helpfulness_by_j", model="a") == 0.5
    labels = results.to_label(8).with_columns(label=pl.lit(10.0))
    assert results.corrected(labels, by="model")["labelled"].to_list() == pytest.approx([1.0, 1.0])
    with pytest.raises(ArgumentError, match="must be on the judge's scale, 1 to 10"):
        results.corrected(labels.with_columns(label=pl.lit(11.0)))
    with pytest.raises(ArgumentError, match=r"matches several completions. Add the column model"):
        results.corrected(labels.filter(pl.col("model") == "a").select("instance_id", "label"))
    with pytest.raises(ArgumentError, match="a completion has two labels"):
        results.corrected(pl.concat([labels, labels]))
    with pytest.raises(ArgumentError, match="to_label"):
        results.corrected(labels.drop("label"))


def test_labels_must_be_filled_in_with_numbers() -> None:
    results = plan(hf.judge(named(Judge()), "safety")).score()
    empty = results.to_label(4)
    for method in (results.agreement, results.corrected):
        with pytest.raises(ArgumentError, match=r"labels: the column label is empty. Fill in a number"):
            method(empty)
        with pytest.raises(
            ArgumentError, match=r"labels: each label must be a number on the judge's scale, not 'good'"
        ):
            method(empty.with_columns(label=pl.lit("good")))
    assert results.corrected(empty.with_columns(label=pl.lit("1")))["labelled"].item() == 1.0
    with pytest.raises(ArgumentError, match=r"Write agreement\(metric='safety_by_j'\)"):
        results.agreement("safety_by_j")  # type: ignore[arg-type]


@pytest.mark.parametrize("reply", ["<score>1</score>", "no verdict"])
def test_the_printed_table_shows_the_judged_metric(reply: str) -> None:
    first = plan("exact_match").score()
    text = repr(first.judge(hf.judge(named(Judge(lambda _: reply)), "safety", retries=0)))
    (row,) = [line for line in text.splitlines() if "safety_by_j " in line and "loud" in line]
    assert ("1.000" in row) == ("score" in reply)
    assert ("safety_by_j: 4 of 4 completions have no score: no verdict on the scale" in text) == ("score" not in reply)


def test_judges_print_a_line_of_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = plan("exact_match").score()
    capsys.readouterr()
    first.judge(hf.judge(named(Judge()), "safety"))
    assert "helmframe: 4 of 4 judge requests\n" in capsys.readouterr().err
    monkeypatch.setenv("HELMFRAME_PROGRESS", "0")
    first.judge(hf.judge(named(Judge()), "safety"))
    assert "judge requests" not in capsys.readouterr().err


def test_a_sheet_to_label_is_a_random_draw_without_scores_that_no_order_changes() -> None:
    results = plan("exact_match", m=str.upper).score()
    sheet = results.to_label(2, seed=1)
    assert sheet.equals(results.to_label(2, seed=1))
    assert "exact_match" not in sheet.columns
    assert sheet["label"].null_count() == 2
    assert len({tuple(results.to_label(2, seed=seed)["instance_id"]) for seed in range(20)}) > 3


def test_results_can_be_judged_afterwards_and_ask_the_judge_alone() -> None:
    calls = []

    def model(prompt: str) -> str:
        calls.append(prompt)
        return loud(prompt)

    judge = Judge()
    first = plan("exact_match", m=model).score()
    later = first.judge(hf.judge(named(judge), "safety"))
    assert (len(calls), len(judge.asked)) == (4, 4)
    assert later.metric_names == ["exact_match", "safety_by_j"]
    assert first.metric_names == ["exact_match"]
    assert value(later, "safety_by_j") == 0.5
    assert value(first.rescore(hf.judge(named(judge), "safety")), "safety_by_j") == 0.5
    assert len(judge.asked) == 4


def test_judged_results_travel_whole(tmp_path: Path) -> None:
    results = plan(hf.judge(named(Judge()), "safety")).score()
    loaded = hf.load(results.to_parquet(tmp_path / "out"))
    assert loaded.verdicts.collect().equals(results.verdicts.collect())
    labels = results.to_label(3).with_columns(label=pl.lit(1.0))
    assert loaded.corrected(labels).equals(results.corrected(labels))


def first_wins(prompt: str) -> str:
    return "<score>A++</score>"


def longer_wins(prompt: str) -> str:
    a, b = len(completion_in(prompt, "first")), len(completion_in(prompt, "second"))
    return f"<score>{'A=B' if a == b else 'A+' if a > b else 'B+'}</score>"


def test_pairs_are_judged_in_both_orders() -> None:
    judge = Judge(longer_wins)
    both = plan("exact_match", a=lambda prompt: "longer", b=lambda prompt: "x").score()
    results = both.judge(hf.judge(named(judge), "preference"), against="b")
    assert len(judge.asked) == 8
    table = results.table(metrics="preference_by_j")
    assert table.select("model", "value", "n").rows() == [("a", 0.75, 4)]
    assert results.verdicts.select("order", "verdict", "value", "against").unique().sort("order").collect().rows() == [
        (0, "A+", 0.75, "b"), (1, "B+", 0.75, "b"),
    ]  # fmt: skip
    swapped = both.judge(hf.judge(named(judge), "preference"), against="a")
    assert swapped.table(metrics="preference_by_j").select("model", "value").rows() == [("b", 0.25)]
    assert len(judge.asked) == 8  # the same pairs, the same prompts


def test_a_judge_that_goes_by_position_is_seen_and_does_not_move_the_score() -> None:
    both = plan("exact_match", a=loud, b=str.upper).score()
    results = both.judge(hf.judge(named(Judge(first_wins)), "preference"), against="b")
    assert results.table(metrics="preference_by_j")["value"].to_list() == [0.5]
    bias = results.position_bias()
    assert bias.select("judge", "first_favoured", "turned", "n").row(0) == ("j", 0.5, 1.0, 4)
    fair = both.judge(hf.judge(named(Judge(longer_wins), "fair"), "preference"), against="b").position_bias()
    assert fair.select("first_favoured", "turned").row(0) == (0.0, 0.0)


def test_verdicts_of_pairs_are_battles() -> None:
    models = {"a": lambda prompt: "longer", "b": lambda prompt: "long", "c": lambda prompt: "x"}
    run = plan("exact_match", **models).score()
    judged = run.judge(hf.judge(named(Judge(longer_wins)), "preference"), against="b")
    board = judged.bradley_terry(prior=1)
    assert board.table.select("model", "win", "tie", "loss", "n", "n_clusters").rows() == [
        ("a", 8, 0, 0, 8, 4), ("b", 8, 0, 8, 16, 4), ("c", 0, 0, 8, 8, 4),
    ]  # fmt: skip
    assert board.effects["value"].item() == pytest.approx(0)
    # both orders are battles, so a judge that goes by position moves no strength
    first = run.judge(hf.judge(named(Judge(first_wins), "first"), "preference"), against="b")
    with pytest.raises(NotComparableError, match="position=False"):
        first.bradley_terry()
    assert first.bradley_terry(position=False).table["strength"].to_list() == pytest.approx([0, 0, 0])


def test_battles_of_several_judges_are_pooled_and_have_the_length_of_completions() -> None:
    models = {"a": lambda prompt: "longer", "b": lambda prompt: "long", "c": lambda prompt: "x"}
    run = plan("exact_match", **models).score()
    for other in ("b", "c"):
        run = run.judge(hf.judge(named(Judge(longer_wins)), "preference", name=f"to_{other}"), against=other)
    assert run.bradley_terry(["to_b", "to_c"], prior=1).n == 32
    alike = run.bradley_terry(["to_b", "to_c"], covariates="length", prior=1)
    assert alike.effects["effect"].to_list() == ["position", "length"]
    assert alike.effects["value"][1] > 0
    with pytest.raises(UnknownNameError, match="covariate"):
        run.bradley_terry("to_b", covariates="lengthy")


def test_pairs_may_come_from_two_runs() -> None:
    mine, theirs = plan("exact_match", a=lambda p: "longer").score(), plan("exact_match", c=lambda p: "x").score()
    results = mine.judge(hf.judge(named(Judge(longer_wins)), "preference"), against=theirs)
    assert results.table(metrics="preference_by_j").select("model", "value").rows() == [("a", 0.75)]


def test_invalid_pairs_raise() -> None:
    preference, safety = hf.judge(named(Judge()), "preference"), hf.judge(named(Judge()), "safety")
    with pytest.raises(ArgumentError, match=r"compares pairs of completions. Score the plan first"):
        plan(preference)
    results = plan("exact_match", a=loud, b=str.upper).score()
    with pytest.raises(ArgumentError, match="Name the model to compare with: against='NAME'"):
        results.judge(preference)
    with pytest.raises(ArgumentError, match="each judge must judge pairs"):
        results.judge(safety, against="b")
    with pytest.raises(UnknownNameError, match="Unknown model 'c' of these results"):
        results.judge(preference, against="c")
    with pytest.raises(ArgumentError, match=r"each argument must be a judge"):
        results.judge("exact_match")
    with pytest.raises(ArgumentError, match="judge rates single completions"):
        results.judge(safety).position_bias()
    with pytest.raises(ArgumentError, match="judge rates single completions"):
        results.judge(safety).bradley_terry()


def letters() -> hf.Plan:
    frame = pl.DataFrame({"q": ["one", "two"], "o": [["x", "y"]] * 2, "a": [0, 1]})
    return hf.scenario(frame, input="q", choices="o", answer="a", name="letters").adapt(shots=0)


def test_another_parser_changes_the_answers_and_leaves_verdicts() -> None:
    judge = Judge(lambda _: "<score>1</score>")
    plan = letters().metrics("exact_match", hf.judge(named(judge), "safety"), "classification_macro_f1")
    results = plan.generate(lambda prompt: "I'd say (A).").score()
    n_judged = len(judge.asked)
    lenient = results.rescore(answer_parser="lenient")
    assert len(judge.asked) == n_judged
    assert lenient.metric_names == results.metric_names == ["exact_match", "safety_by_j", "classification_macro_f1"]
    assert (value(results, "exact_match"), value(lenient, "exact_match")) == (0.0, 0.5)
    assert value(lenient, "classification_macro_f1") > value(results, "classification_macro_f1") == 0.0
    assert value(lenient, "safety_by_j") == 1.0
    assert lenient.verdicts.collect().equals(results.verdicts.collect())
    assert lenient.path is None
    strict = lenient.rescore(answer_parser="strict")
    assert strict.table().equals(results.table())
    assert strict.manifest["adapters"] == results.manifest["adapters"]


def test_an_unknown_parser_raises() -> None:
    results = letters().generate(lambda prompt: "A").score()
    with pytest.raises(ArgumentError, match=r"rescore\(answer_parser='lenent'\).*Did you mean 'lenient'"):
        results.rescore(answer_parser="lenent")


def test_completions_without_adapters_in_the_manifest_are_parsed_again_too() -> None:
    results = letters().metrics("exact_match").generate(lambda prompt: "(A)").score()
    bare = replace(results, manifest={name: entry for name, entry in results.manifest.items() if name != "adapters"})
    assert value(bare.rescore(answer_parser="lenient"), "exact_match") == 0.5
