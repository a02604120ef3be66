"""Two results compared: where they come from, which instances and names they share, what differs."""

import json
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, NotComparableError, StoreError

QUESTIONS = [f"question {place}?" for place in range(40)]


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
            "doc_id": place,
            "doc": {"question": question, "answer": "yes"},
            "target": "yes",
            "arguments": [[question, {"until": ["\n"]}]],
            "resps": [["yes" if place else "no"]],
            "filtered_resps": ["yes" if place else "no"],
            "filter": "none",
            "metrics": ["exact_match"],
            "exact_match": float(place > 0),
        }
        for place, question in enumerate(QUESTIONS[:30])
    ]
    log = tmp_path / "theirs" / "samples_asked_2026-01-01.jsonl"
    log.parent.mkdir()
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ours = plan().generate(hf.models.oracle()).score()
    row = hf.compare(ours, log.parent, axis=["model", "prompt", "decoding"]).row(0, named=True)
    assert (row["n"], row["n_dropped"], row["value_b"]) == (30, 10, pytest.approx(29 / 30))


def test_a_folder_of_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Nor are they HELM's, lm-eval's or Inspect's"):
        hf.compare(tmp_path, tmp_path)


def test_yesterdays_and_todays_answers_of_one_model() -> None:
    answers = iter(["no"] * 40 + ["yes"] * 40)
    model = hf.model(lambda prompt: next(answers), name="drifting", version="1")
    asked = plan().generate(model)
    yesterday, today = asked.score(), asked.score(fresh=True)
    row = hf.compare(today, yesterday, labels=("today", "yesterday")).row(0, named=True)
    assert (row["a"], row["b"], row["difference"], row["differs"]) == ("today", "yesterday", 1.0, "nothing")


def test_the_models_are_the_names_of_the_sides() -> None:
    one, two = (plan().generate({name: hf.models.noisy(0.5, seed=seed)}).score() for seed, name in enumerate("xy"))
    row = hf.compare(one, two).row(0, named=True)
    assert (row["a"], row["b"]) == ("x", "y")
    with pytest.raises(ArgumentError, match="need two names"):
        hf.compare(one, two, labels=("same", "same"))


def test_what_both_have_by_name_is_compared_name_by_name() -> None:
    models = {name: hf.models.noisy(0.5, seed=seed) for seed, name in enumerate("xyz")}
    before = plan().generate({name: models[name] for name in "xy"}).score()
    after = plan().generate({name: models[name] for name in "xyz"}).score()
    table = hf.compare(after, before)
    assert table.select("model", "difference", "n").rows() == [("x", 0.0, 40), ("y", 0.0, 40)]
    assert table["differs"][0] == "nothing; one side alone has model 'z'"


def test_several_that_share_no_name_are_not_compared() -> None:
    two = plan().generate({name: hf.models.noisy(0.5, seed=seed) for seed, name in enumerate("xy")}).score()
    other = plan().generate({"z": hf.models.oracle()}).score()
    with pytest.raises(NotComparableError, match="no model is on both sides, and there are several: 'x', 'y'; 'z'"):
        hf.compare(two, other)


def test_perturbations_that_one_side_lacks_are_left_out() -> None:
    asked = plan().generate(hf.models.noisy(0.5))
    table = hf.compare(asked.perturb(["typos", "lowercase"]).score(), asked.perturb("typos").score())
    assert table["perturbation"].to_list() == ["original", "typos"]
    assert table["n"].to_list() == [40, 40]


def test_a_scenario_that_one_side_lacks_makes_no_difference_of_prompts() -> None:
    model = hf.models.noisy(0.5)
    both = hf.suite(plan(), plan(QUESTIONS[:10], "more").adapt(instructions="Say yes."), models=model).score()
    table = hf.compare(both, plan().generate(model).score())
    assert table.select("n", "differs").rows() == [(40, "nothing; one side alone has scenario 'more'")]


def test_instances_of_another_version_are_paired_by_content() -> None:
    model = hf.models.oracle()
    one = plan().generate(model).score()
    # the same questions but for one, and in another order: ids say nothing
    two = plan(["a new question?", *QUESTIONS[:0:-1]]).generate(hf.models.noisy(0.5)).score()
    row = hf.compare(one, two).row(0, named=True)
    assert (row["n"], row["n_dropped"], row["differs"]) == (39, 2, "model; other versions, paired by content")


def test_nothing_in_common_is_no_comparison() -> None:
    one, two = plan(), plan([f"other {place}?" for place in range(5)], "other")
    with pytest.raises(NotComparableError):
        hf.compare(one.generate(hf.models.oracle()).score(), two.generate(hf.models.oracle()).score())


def test_a_metric_that_only_one_side_has_is_told() -> None:
    one = plan().generate(hf.models.oracle()).score()
    with pytest.raises(NotComparableError, match=r"was not scored in the second: rescore"):
        hf.compare(one, one.rescore("f1_score"))
