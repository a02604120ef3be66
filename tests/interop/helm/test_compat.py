"""Run entries follow HELM's rules: which rows a run has, how they are numbered, and which copies and texts stay."""

import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
import yaml

import helmframe as hf
from helmframe._core.specs import Sql
from helmframe._plan import Plan, spec_of
from helmframe.errors import ArgumentError, SpecError
from helmframe.interop.helm import parse_entry, plans_of
from helmframe.models.model import Model, Tokens
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.load import load_train
from tests.acceptance import byte_tokens


def rows(folder: Path, scenario: str, split: str, columns: Mapping[str, object]) -> None:
    file = folder / scenario / f"{split}-00000-of-00001.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(columns).write_parquet(file)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """bAbI: of tasks 1 and 15 two examples, a validation question and two test questions each, mixed in the files."""
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    for split, tasks in (("train", [15, 1, 1, 15]), ("validation", [1, 15]), ("test", [1, 15, 15, 1])):
        names = [f"{split} {task} {number}" for number, task in enumerate(tasks)]
        columns = {"passage": ["A. "] * len(tasks), "question": names, "answer": names, "task": tasks}
        rows(tmp_path, "babi_qa/all", split, columns)
    boolq = {"question": ["is it", "was it"], "passage": ["a cat.", "A DOG."], "answer": [True, False]}
    rows(tmp_path, "boolq/data", "train", boolq)
    rows(tmp_path, "boolq/data", "validation", boolq)
    return tmp_path


def entry(text: str) -> Plan:
    plan = hf.entry(text)
    assert isinstance(plan, Plan)
    return plan


def asked(plan: Plan) -> list[tuple[str, str]]:
    """Instance id and question."""
    question = pl.col("input").str.split("Question: ").list.last()
    return list(plan.instances().sort("subset", "row_index").select("instance_id", question).collect().iter_rows())


@pytest.mark.usefixtures("data")
def test_a_task_of_babi_has_examples_of_its_own_and_is_numbered_alone() -> None:
    plan = entry("babi_qa:task=15")
    assert asked(plan) == [("15/id2", "validation 15 1"), ("15/id3", "test 15 1"), ("15/id4", "test 15 2")]
    requests = plan.requests().collect()
    assert requests["shot_ids"].list.sort().to_list() == [["15/id0", "15/id1"]] * 3
    assert "train 1 " not in "".join(requests["prompt"])


@pytest.mark.usefixtures("data")
def test_all_tasks_of_babi_are_numbered_task_by_task() -> None:
    examples = load_train(find_scenario("babi_qa"), compat="helm")
    assert examples["instance_id"].to_list() == ["all/id0", "all/id1", "all/id5", "all/id6"]
    assert asked(entry("babi_qa:task=all")) == [
        ("all/id2", "validation 1 0"),
        ("all/id3", "test 1 0"),
        ("all/id4", "test 1 3"),
        ("all/id7", "validation 15 1"),
        ("all/id8", "test 15 1"),
        ("all/id9", "test 15 2"),
    ]


@pytest.mark.usefixtures("data")
def test_tasks_of_several_entries_are_subsets_of_one_plan() -> None:
    entries = [parse_entry(f"babi_qa:task={task}") for task in ("all", 1, 15)]
    (plan,) = plans_of(entries)
    ids = [name for name, _ in asked(plan)]
    assert [name for name in ids if name.startswith("1/")] == ["1/id2", "1/id3", "1/id4"]
    assert len(ids) == 12


@pytest.mark.usefixtures("data")
def test_helms_rules_are_said_of_the_scenario_too() -> None:
    plan = hf.scenario("babi_qa", compat="helm").where(task=15, split=["valid", "test"])
    assert plan == entry("babi_qa:task=15")
    assert [name for name, _ in asked(hf.scenario("babi_qa").where(task=15))] == ["15/id7", "15/id8"]


def test_rules_of_nobody_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"scenario\(compat='hlem'\).*Did you mean 'helm'"):
        hf.scenario("sampler", compat="hlem")


def test_the_rules_are_part_of_the_plan_as_yaml() -> None:
    plan = hf.scenario("sampler", compat="helm").where(Sql("length(input) < 90", narrows=True), subject="music")
    said = yaml.safe_load(plan.to_yaml())
    assert said["compat"] == "helm"
    assert said["where"] == [{"sql": "length(input) < 90", "narrows": True}, {"subject": "music"}]
    assert Plan.from_yaml(plan.to_yaml()) == plan
    with pytest.raises(SpecError, match=r"where\.narrows: must be true or false, not 1"):
        Plan.from_yaml("scenario: sampler\nwhere: [{sql: 'true', narrows: 1}]")
    with pytest.raises(SpecError, match="compat='hlem'"):
        Plan.from_yaml("scenario: sampler\ncompat: hlem")


@pytest.mark.usefixtures("data")
def test_instances_have_the_references_of_helms() -> None:
    def references(plan: Plan) -> list[list[tuple[str, bool]]]:
        rows = plan.instances().collect()["references"]
        return [[(reference["text"], reference["correct"]) for reference in row] for row in rows]

    assert references(entry("boolq")) == [[("Yes", True)], [("No", True)]]
    assert references(hf.scenario("boolq")) == [[("Yes", True), ("No", False)], [("Yes", False), ("No", True)]]
    columns = hf.scenario("boolq").instances().collect_schema().names()
    assert not [name for name in columns if "helm" in name]


@pytest.mark.usefixtures("data")
def test_entries_keep_the_unchanged_copies_that_helm_keeps() -> None:
    variants = entry("boolq:data_augmentation=extra_space").variants().collect()
    assert variants.filter(perturbation="extra_space(compat='helm', num_spaces=2)")["changed"].to_list() == [True, True]
    lowercase = entry("boolq:data_augmentation=lower").variants().collect().filter(pl.col("changed"))
    assert lowercase["perturbed_input"].to_list() == ["a cat.\nquestion: is it?", "a dog.\nquestion: was it?"]


@pytest.mark.usefixtures("data")
def test_unchanged_copies_count_in_the_rows_of_their_perturbation() -> None:
    results = entry("boolq:data_augmentation=contract").generate("oracle()").score()
    table = results.robustness(definition="helm").filter(metric="quasi_exact_match")
    counts = dict(table.select("perturbation", "n").iter_rows())
    assert counts["contraction(compat='helm')"] == counts["expansion(compat='helm')"] == 2


@pytest.mark.usefixtures("data")
def test_unchanged_copies_count_as_changed_by_helms_rules_alone() -> None:
    frame = hf.scenario("boolq").perturb("typos(prob=0.0)", compat="helm").variants().collect()
    assert frame.filter(pl.col("perturbation") != "original")["changed"].to_list() == [True, True]
    frame = hf.scenario("boolq").perturb("typos(prob=0.0)").variants().collect()
    assert frame.filter(pl.col("perturbation") != "original")["changed"].to_list() == [False, False]


def test_perturbations_of_a_helm_plan_are_helms_where_it_has_them() -> None:
    plan = hf.scenario("sampler", compat="helm").perturb(["typos", "uppercase", "lowercase+uppercase"])
    assert [each.name for each in spec_of(plan).perturbations] == [
        "typos(compat='helm')",
        "uppercase",
        "lowercase(compat='helm')+uppercase",
    ]


def test_examples_of_mmlu_pro_have_no_reasoning_in_helm(data: Path) -> None:
    columns = {
        "question_id": [70, 71],
        "question": ["One?", "Two?"],
        "options": [["a", "b"], ["c", "d"]],
        "answer": ["A", "B"],
        "category": ["math", "law"],
        "cot_content": ["Let's think.", "Let's think."],
    }
    for split in ("validation", "test"):
        rows(data, "mmlu_pro/data", split, columns)
    requests = entry("mmlu_pro:subject=math,max_train_instances=2").requests().collect()
    assert requests["shot_ids"].to_list() == [["id70"]]
    assert "B. b\n\nA. \n\nWhat is the correct" in requests["prompt"].item()
    plain = hf.scenario("mmlu_pro").where(subject="math").adapt(shots=2).requests().collect()
    assert plain["shot_ids"].list.len().to_list() == [2]
    assert "Let's think.\nA. \n" in plain["prompt"].item()


def windowed(window: int) -> Model:
    tokens = Tokens(byte_tokens.encode, byte_tokens.decode, lambda: "")
    return Model(
        "m", "m", lambda prompts, _: ["x" for _ in prompts], str, durable=False, takes=None, window=window,
        tokens=tokens, count_tokens=lambda texts: [len(byte_tokens.encode(text)) for text in texts],
    )  # fmt: skip


@pytest.mark.usefixtures("data")
def test_entries_cut_prompts_that_are_too_long_without_examples() -> None:
    plan = entry("babi_qa:task=15,eval_split=valid")
    cut = hf.scenario("babi_qa").where(task=15, split="valid").generate(windowed(30)).requests().collect()
    assert cut["refused"].item().startswith("the prompt is longer than the window of 30 tokens")
    requests = plan.generate(windowed(30)).requests().collect()
    assert (requests["prompt"].item(), requests["refused"].item()) == ("Passage: A. Question: val", None)
    assert (requests["prompt_truncated"].item(), requests["shots_used"].item()) == (True, 0)
    assert json.loads(requests["decoding"].item())["max_tokens"] == 5


@pytest.mark.usefixtures("data")
def test_explain_tells_dropped_examples_from_prompts_that_are_cut() -> None:
    plan = entry("babi_qa:task=15,eval_split=valid")
    (prompt,) = plan.adapt(shots=0).requests().collect()["prompt"]
    fits = plan.generate(windowed(len(prompt) + 5)).explain()
    assert "m: 1 prompts drop few-shot examples to fit the window" in fits
    assert "truncated at the end" not in fits
    assert "m: 1 prompts are truncated at the end to fit the window" in plan.generate(windowed(30)).explain()
