"""Tasks of the Hub's eval.yaml: fields, solvers, scorers, epochs, several tasks, a local Hub and hostile files."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.cli.app import main
from helmframe.errors import ArgumentError, CapabilityError, SourceError, SpecError, UnknownNameError
from helmframe.interop.inspect.definition import choice_template, render
from tests.hub_server import hub_server
from tests.prompts import prompts_of

ROWS = pl.DataFrame(
    {
        "question": ["1 + 1?", "Capital of France?"],
        "answer": ["2", "Paris"],
        "options": [["1", "2", "3"], ["Paris", "Rome"]],
        "gold": [1, 0],
        "wrong": ["3", "Rome"],
        "hint": ["add", "a {city}"],
        "level": [1, 2],
    }
)
TEXT = """
name: Toy
evaluation_framework: inspect-ai
tasks:
  - id: text
    field_spec: {input: question, target: answer, metadata: [hint, level]}
    solvers:
      - {name: system_message, args: {template: "Hint: {hint}, level {level:02d}, {unknown key}"}}
      - {name: prompt_template, args: {template: "Q: {prompt} ({tone})", tone: short}}
      - name: chain_of_thought
      - name: generate
    scorers:
      - {name: match, args: {numeric: true}}
      - name: includes
"""
CHOICE = """
tasks:
  - id: choice
    split: train
    config: easy
    epochs: 2
    epoch_reducer: pass_at_2
    field_spec: {input: question, target: gold, choices: options}
    solvers: [{name: multiple_choice}]
    scorers: [{name: choice}]
  - id: literal
    split: train
    config: easy
    shuffle_choices: true
    field_spec: {input: question, target: "literal:B", choices: [wrong, answer]}
    solvers: [{name: multiple_choice, args: {cot: true}}]
    scorers: [{name: choice}]
"""


def write(folder: Path, text: str, files: tuple[str, ...] = ("test-00000-of-00001.parquet",)) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "eval.yaml").write_text(text, encoding="utf-8")
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        ROWS.write_parquet(folder / name)
    return f"hf:{folder}"


@pytest.fixture
def text_task(tmp_path: Path) -> str:
    return write(tmp_path / "toy", TEXT)


@pytest.fixture
def choice_tasks(tmp_path: Path) -> str:
    return write(tmp_path / "choices", CHOICE, ("easy/train.parquet",))


def test_solvers_make_a_conversation(text_task: str) -> None:
    system, question = prompts_of(hf.scenario(text_task))[0]
    assert system == ("system", "Hint: add, level 01, {unknown key}")
    assert question[0] == "user"
    assert question[1].startswith("\nQ: 1 + 1? (short)\n\nBefore answering, reason in a step-by-step manner")
    # braces in a value are data
    assert prompts_of(hf.scenario(text_task))[1][0] == ("system", "Hint: a {city}, level 02, {unknown key}")


def test_scorers_are_metrics_and_columns_are_columns(text_task: str) -> None:
    plan = hf.scenario(text_task)
    completions = {"1 + 1?": "so it's $2.", "Capital of France?": "PARIS or Rome"}
    results = plan.generate(lambda prompt: next(text for key, text in completions.items() if key in prompt)).score()
    assert results.metric_names == ["inspect_match(numeric=True)", "inspect_includes"]
    assert results.value("inspect_match(numeric=True)") == 0.5
    assert results.value("inspect_includes") == 1.0
    assert plan.where(level=2).instances().collect()["input"].to_list() == ["Capital of France?"]
    assert plan.instances().collect()["instance_id"].to_list() == ["1", "2"]


def test_perturbations_change_only_the_sample_input(text_task: str) -> None:
    original, changed = prompts_of(hf.scenario(text_task).where(level=2).perturb("uppercase"))
    assert changed[0] == original[0]
    assert changed[1][1] == original[1][1].replace("Capital of France?", "CAPITAL OF FRANCE?")


def test_options_have_letters_and_the_index_is_the_target(choice_tasks: str) -> None:
    plan = hf.scenario(f"{choice_tasks}#choice")
    expected = choice_template().format(letters="A,B,C", question="1 + 1?", choices="A) 1\nB) 2\nC) 3")
    assert prompts_of(plan)[0] == [("user", expected)]
    texts = iter(["ANSWER: B", "ANSWER: A", "ANSWER: **C**", "no idea"])
    results = plan.generate(lambda prompt: next(texts)).score()
    name = "inspect_epochs(k=2, metric='inspect_choice', reducer='pass_at')"
    assert results.manifest["scenarios"]["choice"]["main"]["metric"] == name
    assert sorted(results.scores.filter(metric=name).collect()["score"].to_list()) in ([0.0, 1.0], [1.0, 1.0])
    assert results.completions.collect().height == 4


def test_literal_targets_follow_shuffled_options(choice_tasks: str) -> None:
    plan = hf.scenario(f"{choice_tasks}#literal")
    references = plan.instances().collect()["references"].to_list()
    assert [[ref["text"] for ref in row if ref["correct"]] for row in references] == [["2"], ["Paris"]]
    assert "Think step by step before answering." in prompts_of(plan)[0][0][1]
    assert prompts_of(plan) == prompts_of(hf.scenario(f"{choice_tasks}#literal"))


def test_a_file_with_several_tasks_is_several_scenarios(choice_tasks: str) -> None:
    plan = hf.scenario(choice_tasks)
    assert plan.instances().collect()["scenario"].unique().sort().to_list() == ["choice", "literal"]
    assert hf.Plan.from_yaml(plan.to_yaml()) == plan
    with pytest.raises(UnknownNameError, match=r"'choises'.*\n?.*Did you mean 'choice'"):
        hf.scenario(f"{choice_tasks}#choises")


def test_a_data_set_of_the_hub_is_read_from_its_converted_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = tmp_path / "rows.parquet"
    ROWS.write_parquet(parquet)
    repositories: dict[str, Any] = {
        "toys/math": {"eval.yaml": TEXT.encode()},
        "toys/math@refs/convert/parquet": {"default/test/0000.parquet": parquet.read_bytes()},
        "toys/empty": {"README.md": b""},
    }
    with hub_server(repositories) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.delenv("HELMFRAME_DATA", raising=False)
        plan = hf.scenario("hf:toys/math")
        assert plan.instances().collect()["input"].to_list() == ROWS["question"].to_list()
        assert plan.instances().collect()["scenario"].unique().to_list() == ["math"]
        with pytest.raises(SourceError, match=r"eval\.yaml"):
            hf.scenario("hf:toys/empty")


def test_a_task_runs_on_the_command_line(text_task: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", text_task, "--model", "oracle()"])
    assert "toy" in capsys.readouterr().out


def test_a_task_with_a_model_as_scorer_names_the_judge_to_choose(tmp_path: Path) -> None:
    text = TEXT.replace("      - name: includes\n", "      - name: model_graded_fact\n")
    plan = hf.scenario(write(tmp_path / "graded", text))
    with pytest.raises(CapabilityError, match=r"hf\.judge\('MODEL', 'inspect_fact'\)"):
        plan.generate(lambda prompt: "Paris").score()


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("name: generate", "name: self_critique", CapabilityError, "solver 'self_critique' is unsupported"),
        ("name: generate", "name: chain_of_thought", CapabilityError, "without generate"),
        ("name: includes", "name: bleu", CapabilityError, "scorer 'bleu' is unsupported"),
        ("id: text", "id: text\n    limit: 5", SpecError, "unknown key 'tasks\\[0\\].limit'"),
        ("id: text", "id: text\n    epochs: 0", SpecError, "epochs: must be an integer"),
        ("id: text", "id: text\n    epoch_reducer: sum", SpecError, "isn't a reducer"),
        ("numeric: true", "numbers: true", CapabilityError, "argument numbers=True is unsupported"),
        ("Q: {prompt}", "Q: {prompt", SpecError, "template .* fails"),
        ("name: Toy", "name: [", SpecError, "invalid YAML in line 4"),
    ],
)
def test_unsupported_and_invalid_files_are_typed_errors(
    tmp_path: Path, old: str, new: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        hf.scenario(write(tmp_path / "toy", TEXT.replace(old, new)))


def test_unknown_columns_and_folders_are_typed_errors(tmp_path: Path) -> None:
    plan = hf.scenario(write(tmp_path / "toy", TEXT.replace("target: answer", "target: anser")))
    with pytest.raises(ArgumentError, match="Did you mean 'answer'"):
        plan.instances().collect()
    with pytest.raises(hf.HelmframeError, match=r"no folder|has no eval\.yaml"):
        hf.scenario("hf:../../etc")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{prompt.__class__.__mro__}", "{prompt.__class__.__mro__}"),
        ("{prompt.upper}", "{prompt.upper}"),
        ("{data[secret]} {data[0]} {data[a][1]}", "{data[secret]} {data[0]} 5"),
        ("{/etc/passwd}", "{/etc/passwd}"),
        ("{} {0}", None),
        ("{}", "{0}"),
        ("{prompt!r:>4}", " 'p'"),
        ("{prompt:x}", "{p:x}"),
        ("{prompt:9999999999}", "{p:9999999999}"),
        ("{nothing}", "{nothing}"),
    ],
)
def test_templates_read_no_attributes_and_have_limits(template: str, expected: str | None) -> None:
    values = {"prompt": "p", "data": {"a": [4, 5]}, "nothing": None}
    if expected is None:
        with pytest.raises(SpecError, match="fails"):
            render("task", template, values, unknown="keep")
    else:
        assert render("task", template, values, unknown="keep") == expected


def test_a_template_can_not_multiply_a_text() -> None:
    with pytest.raises(SpecError, match="inserts more than"):
        render("task", "{prompt}" * 5_000, {"prompt": "x" * 1_000}, unknown="keep")


def test_anchors_can_not_multiply_a_file(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(SpecError, match="values"):
        hf.scenario(write(tmp_path / "bomb", "\n".join(lines) + TEXT))


def test_a_task_compares_with_a_log_of_inspect(text_task: str, tmp_path: Path) -> None:
    plan = hf.scenario(text_task)
    new = plan.generate({"m": lambda prompt: "It is 2"}).score()
    samples = []
    for row in plan.instances().collect().iter_rows(named=True):
        choices = [{"message": {"role": "assistant", "content": "It is Paris"}, "stop_reason": "stop"}]
        score = {"value": "C" if row["input"].startswith("Capital") else "I"}
        samples.append(
            {
                "id": int(row["instance_id"]), "epoch": 1, "input": row["input"],
                "target": row["references"][0]["text"], "output": {"choices": choices}, "scores": {"includes": score},
            }
        )  # fmt: skip
    header = {"task": "hf/toys/toy", "model": "mockllm/model", "scorers": [{"name": "includes"}]}
    (tmp_path / "log.json").write_text(json.dumps({"eval": header, "samples": samples}), encoding="utf-8")
    old = hf.read_inspect(tmp_path / "log.json")
    a, b = (results.completions.collect().sort("instance_id") for results in (new, old))
    columns = ["scenario", "instance_id", "input"]
    assert a.select(columns).equals(b.select(columns))
    table = hf.compare(
        new, old.rescore("inspect_includes"), metrics="inspect_includes", axis=["model", "prompt", "decoding"]
    )
    assert table.select("n", "difference").rows() == [(2, 0.0)]


def test_a_run_resumes_with_the_cached_completions(text_task: str) -> None:
    calls: list[str] = []

    def answer(prompt: str) -> str:
        calls.append(prompt)
        return "It is 2"

    model = hf.model(answer, name="m", version="1")
    plan = hf.scenario(text_task).perturb("uppercase")
    plan.where(level=1).generate(model).score()
    assert len(calls) == 2 - (ROWS["question"][0] == ROWS["question"][0].upper())
    results = hf.Plan.from_yaml(plan.to_yaml()).generate(model).score()
    assert len(calls) == len(set(calls)) == 3
    assert results.scores.filter(metric="inspect_includes").collect().height == 4
