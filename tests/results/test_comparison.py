"""Two results compared: their folders, shared instances and names, and what differs."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, NotComparableError, StoreError, UnknownNameError

QUESTIONS = [f"question {index}?" for index in range(40)]


def plan(questions: list[str] = QUESTIONS, name: str = "asked") -> hf.Plan:
    rows = pl.DataFrame({"q": questions, "a": ["yes"] * len(questions)})
    return hf.scenario(rows, input="q", references="a", name=name).metrics("exact_match")


def test_folders_are_read(tmp_path: Path) -> None:
    good = plan().generate(hf.models.oracle()).score().to_parquet(tmp_path / "good")
    bad = plan().generate(hf.models.noisy(0.3)).score().to_parquet(tmp_path / "bad")
    row = hf.compare(good, str(bad)).row(0, named=True)
    assert (row["n"], row["value_a"], row["differs"]) == (40, 1.0, "model")


def test_another_tools_folder_is_read(tmp_path: Path) -> None:
    lines = [
        {
            "doc_id": index,
            "doc": {"question": question, "answer": "yes"},
            "target": "yes",
            "arguments": [[question, {"until": ["\n"]}]],
            "resps": [["yes" if index else "no"]],
            "filtered_resps": ["yes" if index else "no"],
            "filter": "none",
            "metrics": ["exact_match"],
            "exact_match": float(index > 0),
        }
        for index, question in enumerate(QUESTIONS[:30])
    ]
    log = tmp_path / "theirs" / "samples_asked_2026-01-01.jsonl"
    log.parent.mkdir()
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ours = plan().generate(hf.models.oracle()).score()
    row = hf.compare(ours, log.parent, axis=["model", "prompt", "decoding"]).row(0, named=True)
    assert (row["n"], row["n_dropped"], row["value_b"]) == (30, 10, pytest.approx(29 / 30))


def test_an_empty_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="contains no results of HELM, lm-eval or Inspect either"):
        hf.compare(tmp_path, tmp_path)


def test_two_runs_of_one_model_are_compared() -> None:
    answers = iter(["no"] * 40 + ["yes"] * 40)
    model = hf.model(lambda prompt: next(answers), name="drifting", version="1")
    noisy_plan = plan().generate(model)
    yesterday, today = noisy_plan.score(), noisy_plan.score(fresh=True)
    row = hf.compare(today, yesterday, labels=("today", "yesterday")).row(0, named=True)
    assert (row["a"], row["b"], row["difference"], row["differs"]) == ("today", "yesterday", 1.0, "nothing")


def test_the_models_are_the_names_of_the_sides() -> None:
    one, two = (plan().generate({name: hf.models.noisy(0.5, seed=seed)}).score() for seed, name in enumerate("xy"))
    row = hf.compare(one, two).row(0, named=True)
    assert (row["a"], row["b"]) == ("x", "y")
    with pytest.raises(ArgumentError, match="labels must be two different names"):
        hf.compare(one, two, labels=("same", "same"))


def test_what_both_have_by_name_is_compared_name_by_name() -> None:
    models = {name: hf.models.noisy(0.5, seed=seed) for seed, name in enumerate("xyz")}
    before = plan().generate({name: models[name] for name in "xy"}).score()
    after = plan().generate({name: models[name] for name in "xyz"}).score()
    table = hf.compare(after, before)
    assert table.select("model", "difference", "n").rows() == [("x", 0.0, 40), ("y", 0.0, 40)]
    assert table["differs"][0] == "nothing; only one side has model 'z'"


def test_several_that_share_no_name_are_not_compared() -> None:
    two = plan().generate({name: hf.models.noisy(0.5, seed=seed) for seed, name in enumerate("xy")}).score()
    other = plan().generate({"z": hf.models.oracle()}).score()
    with pytest.raises(NotComparableError, match=r"share no model.* The first has 'x', 'y'; the second has 'z'"):
        hf.compare(two, other)


def test_perturbations_that_one_side_lacks_are_left_out() -> None:
    noisy_plan = plan().generate(hf.models.noisy(0.5))
    table = hf.compare(noisy_plan.perturb(["typos", "lowercase"]).score(), noisy_plan.perturb("typos").score())
    assert table["perturbation"].to_list() == ["original", "typos"]
    assert table["n"].to_list() == [40, 40]


def test_a_scenario_that_one_side_lacks_makes_no_difference_of_prompts() -> None:
    model = hf.models.noisy(0.5)
    both = hf.suite(plan(), plan(QUESTIONS[:10], "more").adapt(instructions="Say yes."), models=model).score()
    table = hf.compare(both, plan().generate(model).score())
    assert table.select("n", "differs").rows() == [(40, "nothing; only one side has scenario 'more'")]


def test_instances_of_another_version_are_paired_by_content() -> None:
    model = hf.models.oracle()
    one = plan().generate(model).score()
    # the same questions but for one, and in another order: ids say nothing
    two = plan(["a new question?", *QUESTIONS[:0:-1]]).generate(hf.models.noisy(0.5)).score()
    row = hf.compare(one, two).row(0, named=True)
    assert (row["n"], row["n_dropped"], row["differs"]) == (39, 2, "model; scenario version, so paired by content")


def test_nothing_in_common_is_no_comparison() -> None:
    one, two = plan(), plan([f"other {index}?" for index in range(5)], "other")
    with pytest.raises(NotComparableError):
        hf.compare(one.generate(hf.models.oracle()).score(), two.generate(hf.models.oracle()).score())


def test_a_metric_of_only_one_side_raises() -> None:
    one = plan().generate(hf.models.oracle()).score()
    with pytest.raises(NotComparableError, match=r"the second results lack 'exact_match'.* rescore\('exact_match'\)"):
        hf.compare(one, one.rescore("f1_score"))


def answered(answers: list[str], references: list[str], questions: list[str] = QUESTIONS) -> hf.Results:
    """Results of a model that gives these answers, over questions with these references."""
    rows = pl.DataFrame({"q": questions, "a": references})
    by_question = dict(zip(questions, answers, strict=True))
    model = hf.model(lambda prompt: next(by_question[q] for q in questions if q in prompt.splitlines()[-2]), name="m")
    plan = hf.scenario(rows, input="q", references="a", name="asked").metrics("exact_match")
    return plan.generate(model).score()


def test_changed_references_are_not_paired_but_counted() -> None:
    # identical completions, half of them right by the old references of the last 10 instances
    answers = ["yes"] * 20 + ["no"] * 20
    old = answered(answers, ["yes"] * 40)
    new = answered(answers, ["yes"] * 30 + ["no"] * 10)
    row = hf.compare(new, old).row(0, named=True)
    assert (row["n"], row["difference"]) == (30, 0.0)
    assert "10 instances not paired: their references differ" in row["differs"]
    assert "10 instances not paired: their references differ" in repr(hf.compare(new, old))
    gate = new.gate(against=old, margin=0.2)
    assert gate.table.select("n", "difference").row(0) == (30, 0.0)


def test_another_correct_option_is_another_reference() -> None:
    def options(answer: int) -> hf.Results:
        rows = pl.DataFrame({"q": QUESTIONS, "c": [["red", "blue"]] * 40, "a": [0] * 30 + [answer] * 10})
        plan = hf.scenario(rows, input="q", choices="c", answer="a", name="asked").metrics("exact_match")
        return plan.generate(hf.model(lambda prompt: "A", name="m")).score()

    row = hf.compare(options(1), options(0)).row(0, named=True)
    assert (row["n"], row["difference"], row["value_a"]) == (30, 0.0, 1.0)
    assert "10 instances not paired: their references differ" in row["differs"]


def test_where_no_references_agree_nothing_is_compared() -> None:
    with pytest.raises(NotComparableError, match=r"40 instances have the same input .* different references"):
        hf.compare(answered(["yes"] * 40, ["yes"] * 40), answered(["yes"] * 40, ["no"] * 40))


def theirs(folder: Path, targets: list[str]) -> Path:
    """The log of lm-eval, of the first questions with these targets, all of which were right."""
    lines = [
        {
            "doc_id": index,
            "doc": {"question": question},
            "target": target,
            "arguments": [[question, {"until": ["\n"]}]],
            "resps": [[target]],
            "filtered_resps": [target],
            "filter": "none",
            "metrics": ["exact_match"],
            "exact_match": 1.0,
        }
        for index, (question, target) in enumerate(zip(QUESTIONS, targets, strict=False))
    ]
    folder.mkdir()
    file = folder / "samples_asked_2026-01-01.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize(
    ("reference", "target", "agrees"),
    [
        (["yes", "yeah"], "yes", True),  # lm-eval keeps one of several
        (["She sells 9 * 2 = 18. The answer is 18."], "9 * 2 = <<9*2=18>>18\n#### 18", True),
        (["yes"], "no", False),
        (["The answer is 18."], "#### 19", False),
    ],
)
def test_correct_references_of_other_tools_are_matched(
    tmp_path: Path, reference: list[str], target: str, agrees: bool
) -> None:
    rows = pl.DataFrame({"q": QUESTIONS, "a": [["yes"]] + [reference] * 39}, schema_overrides={"a": pl.List(pl.String)})
    ours = hf.scenario(rows, input="q", references="a", name="asked").metrics("exact_match")
    log = theirs(tmp_path / "theirs", ["yes"] + [target] * 39)
    table = hf.compare(ours.generate(hf.models.oracle()).score(), log, axis=["model", "prompt", "decoding"])
    assert table["n"].to_list() == [40 if agrees else 1]
    assert ("39 instances not paired: their references differ" in table["differs"][0]) is not agrees


def test_the_letter_of_another_tool_is_compared_with_the_option_it_names(tmp_path: Path) -> None:
    rows = pl.DataFrame({"q": QUESTIONS, "c": [["red", "blue"]] * 40, "a": [0, 1] * 20})
    ours = hf.scenario(rows, input="q", choices="c", answer="a", name="asked").metrics("exact_match")
    log = theirs(tmp_path / "theirs", ["(A)", "B"] * 10 + ["B", "A"] * 10)
    table = hf.compare(ours.generate(hf.models.oracle()).score(), log, axis=["model", "prompt", "decoding"])
    assert table["n"].to_list() == [20]
    assert "20 instances not paired: their references differ" in table["differs"][0]


def test_two_models_are_compared_by_their_names() -> None:
    models = {"large": hf.models.noisy(0.9), "middle": hf.models.noisy(0.6), "small": hf.models.noisy(0.3)}
    results = hf.scenario("sampler").where(subject="music").generate(models).score()
    (row,) = results.compare("large", "small").select("a", "b", "n").rows()
    assert row == ("large", "small", 32)
    whole = results.compare("model", "small").filter(a="large")
    assert results.compare("large", "small")["difference"].to_list() == whole["difference"].to_list()
    with pytest.raises(ArgumentError, match=r"'large' is a model. Write compare\('large', 'middle'\)"):
        results.compare("large")
    with pytest.raises(UnknownNameError, match="axis 'large' of comparison"):
        results.compare("large", "huge")


def _grid(models: dict[str, float], **options: Any) -> hf.Results:
    plan = hf.scenario("sampler").where(subject="music").adapt(shots=[0, 2, 4])
    return plan.generate({name: hf.models.noisy(p) for name, p in models.items()}, **options).score()


def test_sensitivity_is_a_short_table_of_models() -> None:
    table = _grid({"z": 0.9, "a": 0.5}).sensitivity()
    assert table["model"].to_list() == ["all", "z", "a"]
    assert set(table["lowest_at"]) <= {"shots=0", "shots=2", "shots=4"}
    assert table["interval"].is_not_null().all()
    lines = str(table).splitlines()
    assert lines[0].split()[:3] == ["model", "value", "range"]
    assert "pairs that flip" in lines[0]
    assert "text-align:right" in table._repr_html_()
    assert str(table.select("model")) == str(table.frame.select("model"))


def test_sensitivity_to_perturbations_and_without_a_grid() -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(8).perturb(["typos", "lowercase"])
    results = plan.generate(hf.models.noisy(0.7)).score()
    assert results.sensitivity("perturbation")["n_levels"].to_list() == [3]
    with pytest.raises(ArgumentError, match="at least two values of 'setting'"):
        results.sensitivity()
    with pytest.raises(UnknownNameError, match="of sensitivity"):
        results.sensitivity("model")


def test_components_are_separate_for_models_and_axes_that_are_no_facets() -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(8).perturb("typos").adapt(shots=[0, 2])
    results = plan.generate({"z": hf.models.noisy(0.9), "a": hf.models.noisy(0.5)}).score()
    every = results.variance_components()
    assert every.table["model"].unique(maintain_order=True).to_list() == ["z", "a"]
    assert every.table.filter(model="z")["component"].to_list() == [
        "instance", "setting", "perturbation", "instance × setting", "instance × perturbation",
        "setting × perturbation", "residual",
    ]  # fmt: skip
    one = results.variance_components(["setting"])
    assert one.table.select("model", "perturbation").n_unique() == 4
    assert one.designs["design"].to_list()[:2] == ["present", "more: instance"]
    assert "designs that halve the standard error:" in str(one)
    assert "<table>" in one._repr_html_()
    with pytest.raises(UnknownNameError, match="facet"):
        results.variance_components(["model"])


def test_judges_with_one_scale_are_a_facet() -> None:
    @hf.metric("strict", unit="fraction")
    def strict(output: str, references: list[str]) -> float:
        return float(len(output) % 2)

    @hf.metric("mild", unit="fraction")
    def mild(output: str, references: list[str]) -> float:
        return float(len(output) % 3 > 0)

    rows = pl.DataFrame({"q": ["x" * n for n in range(1, 31)], "a": "y"})
    plan = hf.scenario(rows, input="q", references="a", name="judged").adapt(shots=0).metrics([strict, mild])
    results = plan.generate(hf.models.echo()).score()
    result = results.variance_components(judges=["strict", "mild"])
    assert result.table["component"].to_list() == ["instance", "judge", "residual"]
    assert set(result.table["metric"]) == {"judges"}
    with pytest.raises(ArgumentError, match="judges must be two or more metrics"):
        results.variance_components(judges=["strict"])


def test_equivalence_is_a_verdict_of_comparisons_and_gates() -> None:
    plan = hf.scenario("sampler").where(subject="music")
    new, old = (plan.generate({"model": hf.models.noisy(0.9)}).score() for _ in range(2))
    table = hf.compare(new, old, equivalence=0.2)
    assert table.select("verdict", "difference").row(0) == ("equivalent", 0.0)
    assert "p (equivalence)" in str(table)
    assert new.gate(against=old, equivalent=0.2).verdict == "pass"
    assert new.gate(against=old, equivalent=0.02).verdict == "undecided"
    with pytest.raises(ArgumentError, match="a baseline is needed"):
        new.gate(at_least=0.5, equivalent=0.02)
    two = plan.generate({"good": hf.models.noisy(0.9), "bad": hf.models.noisy(0.3)}).score()
    assert two.compare("model", equivalence=0.05)["verdict"].to_list() == ["different"]
