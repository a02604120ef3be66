"""lm-eval's tasks: plans (1), requests and scores (2), those with Python functions (3), and groups (4)."""

import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import polars as pl
import pytest
from jinja2 import Environment, TemplateError, meta

import helmframe as hf
from helmframe.errors import HelmframeError
from helmframe.interop.lm_eval.config import TaskConfig, index, read_task_file, task_config
from helmframe.interop.lm_eval.tasks import task_scenario
from tests.acceptance.eval_peers import peers_python
from tests.acceptance.figures import shown
from tests.acceptance.lm_eval_functions_child import Replayed
from tests.demo import ROOT

CHILD = Path(__file__).with_name("lm_eval_tasks_child.py")
DOCUMENTS = 30
SAMPLED, SEED = 120, 25  # tasks over made documents
OURS = {"acc": "option_accuracy", "acc_norm": "option_accuracy_per_character", "acc_bytes": "option_accuracy_per_byte"}
COMPLETIONS = (
    "#### 18", "The answer is 18.", "so the answer is (B).", "B", "  ", " A", "C.", "yes", "$70,000",
    "The answer is $1,234.00.",
)  # fmt: skip
# Task → the folder of its rows below data/scenarios.
REAL = {
    "arc_easy": "ai2_arc/ARC-Easy",
    "arc_challenge": "ai2_arc/ARC-Challenge",
    "openbookqa": "openbookqa/main",
    "gsm8k": "gsm8k/main",
    "gsm8k_cot": "gsm8k/main",
    "gsm8k_cot_zeroshot": "gsm8k/main",
    **{f"mmlu_{subject}": f"mmlu/{subject}" for subject in ("anatomy", "astronomy", "virology", "world_religions")},
    **{f"mmlu_{subject}_generative": f"mmlu/{subject}" for subject in ("philosophy", "prehistory", "sociology")},
    **{f"mmlu_{subject}_continuation": f"mmlu/{subject}" for subject in ("anatomy", "marketing")},
    **{
        f"blimp_{name}": f"blimp/{name}"
        for name in ("adjunct_island", "causative", "drop_argument", "ellipsis_n_bar_1", "npi_present_1", "passive_1")
    },
}


@pytest.fixture(scope="session")
def tasks() -> Path:
    """Return the folder of the installed lm-eval's tasks."""
    code = "import importlib.util; print(importlib.util.find_spec('lm_eval').submodule_search_locations[0])"
    ended = subprocess.run([peers_python(), "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return Path(ended.stdout.strip()) / "tasks"


@pytest.fixture(autouse=True)
def configured(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_LM_EVAL_TASKS", str(tasks))


def pure_tasks(tasks: Path) -> list[TaskConfig]:
    """Return the tasks that have no Python function."""
    entries = [entry for entry in index(tasks).values() if entry.kind == "task" and entry.path is not None]
    configs = [task_config(read_task_file(entry.path), entry.path) for entry in entries if entry.path]
    return [config for config in configs if not config.functions()]


def test_1_pure_tasks_become_plans(tasks: Path) -> None:
    start = time.perf_counter()
    listed = hf.list_scenarios("lm_eval")
    listing = time.perf_counter() - start
    shown("1", f"seconds to list {listed.height:,} tasks, groups and tags", f"{listing:.2f}", "< 2")
    reasons: Counter[str] = Counter()
    seconds, total = [], 0
    for config in pure_tasks(tasks):
        total += 1
        start = time.perf_counter()
        try:
            task_scenario(config, None, config.task)
        except HelmframeError as error:
            reasons[re.sub(r"^Task '[^']*': ", "", str(error))] += 1
        seconds.append(time.perf_counter() - start)
    plans = total - reasons.total()
    for reason, count in reasons.most_common():
        shown("1", f"tasks without a plan: {reason}", count, "printed")
    shown("1", "median milliseconds per plan, without reading its file", f"{median(seconds) * 1000:.2f}", "printed")
    shown("1", "pure YAML tasks that become plans", f"{plans}/{total} = {plans / total:.1%}", "≥ 97 %")
    assert total > 4_000
    assert plans / total >= 0.97
    assert listing < 2


def answers(questions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return lm-eval's requests and scores of each task."""
    ended = subprocess.run(
        [peers_python(), str(CHILD)], input="\n".join(map(json.dumps, questions)), capture_output=True, text=True,
        check=False, timeout=1_500, env={"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
    )  # fmt: skip
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(lines) == len(questions), ended.stderr[-2_000:]
    return lines


def compare(question: Mapping[str, Any], answer: Mapping[str, Any], folder: Path) -> tuple[list[int], list[int]]:
    """Return [equal, total] of the requests and of the scores of one task."""
    file = folder / f"{question['name'].replace('/', '_')}.yaml"
    data = f"dataset_kwargs: {{data_files: {json.dumps(question['files'])}}}"
    file.write_text(f"include: {question['path']}\ndataset_path: parquet\ndataset_name: null\n{data}\n")
    plan = hf.scenario(f"lm_eval:{file}").adapt(shots=question["shots"]).limit(question["limit"])
    table = plan.requests().collect()
    table = table.sort("row_index", *(["reference_index"] if "reference_index" in table.columns else []))
    ours = [[row["prompt"], row.get("continuation")] for row in table.iter_rows(named=True)]
    theirs = [[args[0], args[1] if kind == "loglikelihood" else None] for kind, _, args in answer["requests"]]
    requests = [sum(one == other for one, other in zip(ours, theirs, strict=False)), max(len(ours), len(theirs))]
    completions = {row["prompt"]: question["completions"][str(row["row_index"])] for row in table.iter_rows(named=True)}
    results = plan.generate({"replayed": Replayed(completions)}).score()
    positions = results.completions.select("instance_id", "row_index").unique().collect()
    scores = [0, 0]
    for name, values in answer["scores"].items():
        metric, _, step = name.partition(",")
        our_name = OURS.get(metric) or f"lm_eval_exact_match(filter='{step}')"
        mine = results.scores.filter(metric=our_name).collect().join(positions, on="instance_id").sort("row_index")
        if metric in OURS or metric == "exact_match":
            pairs = zip(mine["score"].to_list(), map(float, values), strict=False)
            scores[0] += sum(abs(one - other) < 1e-9 for one, other in pairs)
            scores[1] += max(len(values), mine.height)
    return requests, scores


def of_completions(n: int) -> dict[str, str]:
    return {str(number): COMPLETIONS[number % len(COMPLETIONS)] for number in range(n)}


@pytest.mark.shared
def test_2_requests_and_scores_over_real_rows(shared: Path, tasks: Path, tmp_path: Path) -> None:
    entries, questions = index(tasks), []
    for name, folder in REAL.items():
        files = {path.name.split("-")[0]: str(path) for path in (shared / "scenarios" / folder).glob("*.parquet")}
        questions += [
            {
                "name": name, "path": str(entries[name].path), "files": files, "shots": shots, "limit": DOCUMENTS,
                "completions": of_completions(DOCUMENTS),
            }
            for shots in (0, 3)
        ]  # fmt: skip
    compared(questions, answers(questions), tmp_path, "real rows")


LISTS = {"choices", "options", "endings", "candidates", "answers", "distractors", "possible_answers"}
INDICES = {"label", "gold", "answer_index", "cop", "answer_idx", "target_idx", "correct", "gold_index", "idx"}
LETTERS = {"answer", "target", "answerKey", "correct_answer", "gold", "label"}


def variables(config: TaskConfig) -> set[str]:
    """Return the fields that the templates of a task read."""
    environment = Environment(autoescape=False)
    environment.filters["regex_replace"] = lambda text, *_: text
    fewshot, names = config.fewshot, set()
    for source in (
        config.doc_to_text, config.doc_to_target, config.doc_to_choice, config.description, config.gen_prefix,
        fewshot.doc_to_text, fewshot.doc_to_target, fewshot.doc_to_choice,
    ):  # fmt: skip
        if isinstance(source, str):
            try:
                field = {source} if re.fullmatch(r"\w+", source) else set()
                names |= field or meta.find_undeclared_variables(environment.parse(source))
            except TemplateError:
                continue
    return names or {"text"}


def document(names: set[str], number: int, form: str, *, choice: bool) -> dict[str, Any]:
    """Return a made document: texts, lists of options, and an index or a letter as the answer."""
    made: dict[str, Any] = {}
    for name in sorted(names):
        if name in LISTS:
            made[name] = [f"{name} {number} {letter}" for letter in "abcd"]
        elif (name in INDICES and form != "text") or (form == "index" and name in ("answer", "target")):
            made[name] = number % 4 if choice else number
        elif form == "letter" and name in LETTERS:
            made[name] = "ABCD"[number % 4]
        else:
            made[name] = f" {name} text {number}: is it so? "
    return made


def test_2_requests_and_scores_over_made_documents(tasks: Path, tmp_path: Path) -> None:
    configs = pure_tasks(tasks)
    Random(SEED).shuffle(configs)
    questions: list[dict[str, Any]] = []
    for config in configs[:SAMPLED]:
        for form in ("index", "letter", "text"):
            splits = {config.training_split, config.validation_split, config.test_split, config.fewshot.split} - {None}
            files = {}
            for offset, split in enumerate(sorted(map(str, splits))):
                file = tmp_path / f"{config.task.replace('/', '_')}-{form}-{offset}.parquet"
                names, choice = variables(config), config.doc_to_choice is not None
                rows = [document(names, number + 10 * offset, form, choice=choice) for number in range(8)]
                pl.DataFrame(rows).write_parquet(file)
                files[split] = str(file)
            questions.append(
                {
                    "name": config.task, "path": str(config.path), "files": files, "limit": 6,
                    "shots": len(questions) // 3 % 2 * 2, "completions": of_completions(6),
                }
            )  # fmt: skip
    pairs: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for question, answer in zip(questions, answers(questions), strict=True):
        if "error" not in answer and question["name"] not in pairs:
            pairs[question["name"]] = (question, answer)
    shown("2", "sampled tasks that lm-eval itself runs on made documents", f"{len(pairs)}/{SAMPLED}", "printed")
    assert len(pairs) >= SAMPLED // 3
    compared([one for one, _ in pairs.values()], [other for _, other in pairs.values()], tmp_path, "made documents")


def compared(
    questions: Sequence[Mapping[str, Any]], made: Sequence[Mapping[str, Any]], folder: Path, what: str
) -> None:
    """Print task × equal/total, and require that all are equal."""
    totals, kinds = [0, 0, 0, 0], Counter[str]()
    for question, answer in zip(questions, made, strict=True):
        assert "error" not in answer, (question["name"], answer["error"])
        try:
            requests, scores = compare(question, answer, folder)
        except HelmframeError as error:
            shown("2", f"{question['name']} is refused", str(error).partition("\n")[0], "printed")
            continue
        kinds[answer["requests"][0][0]] += 1
        totals = [one + other for one, other in zip(totals, [*requests, *scores], strict=True)]
        figure = f"requests {requests[0]}/{requests[1]}, scores {scores[0]}/{scores[1]}"
        shown("2", f"{question['name']}, {question['shots']} shots", figure, "all")
        assert requests[0] == requests[1]
        assert scores[0] == scores[1]
    shown("2", f"{what}: requests equal to lm-eval's", f"{totals[0]:,}/{totals[1]:,} ({dict(kinds)})", "all")
    shown("2", f"{what}: scores of documents equal to lm-eval's", f"{totals[2]:,}/{totals[3]:,}", "all")
    assert totals[1] > 0 < totals[3]


def of_mmlu_pro(subject: str, number: int) -> dict[str, Any]:
    """Return a made document in the columns of MMLU-Pro."""
    letter = "ABCDEFGHIJ"[number % 10]
    return {
        "question_id": number, "question": f"Question {number} about {subject}?", "category": subject,
        "options": [f"{subject} option {number}.{option}" for option in range(10)], "answer": letter,
        "answer_index": number % 10, "src": "made",
        "cot_content": f"A: Let's think step by step. It is so. The answer is ({letter}).",
    }  # fmt: skip


@pytest.mark.shared
def test_3_tasks_with_python_functions(shared: Path, tasks: Path, tmp_path: Path) -> None:
    entries = index(tasks)
    questions: list[dict[str, Any]] = []
    names = sorted(name for name in entries if re.fullmatch(r"mmlu_pro(_plus)?_(?!llama|plus)[a-z_]+", name))
    for name in [name for name in names if entries[name].kind == "task" and entries[name].path]:
        subject = re.sub(r"mmlu_pro_(plus_)?", "", name).replace("_", " ")
        files = {}
        for split, first in (("test", 0), ("validation", 100)):
            rows = [
                of_mmlu_pro(topic, first + number) for number in range(12) for topic in (subject, "another subject")
            ]
            pl.DataFrame(rows).write_parquet(tmp_path / f"{name}-{split}.parquet")
            files[split] = str(tmp_path / f"{name}-{split}.parquet")
        questions.append({"name": name, "files": files, "shots": None})
    folder = shared / "scenarios" / "hellaswag"
    files = {path.name.split("-")[0]: str(path) for path in folder.rglob("*.parquet")}
    questions += [{"name": "hellaswag", "files": files, "shots": shots} for shots in (0, 2)]
    for question in questions:
        question |= {
            "path": str(entries[question["name"]].path), "limit": 10, "completions": of_completions(10),
        }  # fmt: skip
    child = [peers_python(), "-m", "tests.acceptance.lm_eval_functions_child"]
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HELMFRAME_STORE": str(tmp_path / "store"),
        "HELMFRAME_PROGRESS": "0",
    }  # fmt: skip
    ended = subprocess.run(
        child, input="\n".join(map(json.dumps, questions)), capture_output=True, text=True, check=False,
        timeout=900, env=environment, cwd=ROOT,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3_000:]
    made = [json.loads(line) for line in ended.stdout.splitlines()]
    totals = [0, 0, 0, 0]
    for question, ours, theirs in zip(questions, made, answers(questions), strict=True):
        assert "error" not in theirs, theirs["error"]
        requests = [[args[0], args[1] if kind == "loglikelihood" else None] for kind, _, args in theirs["requests"]]
        equal = sum(one == other for one, other in zip(ours["requests"], requests, strict=True))
        scored = [0, 0]
        for name, values in theirs["scores"].items():
            metric, _, step = name.partition(",")
            mine = ours["scores"][OURS.get(metric) or f"lm_eval_exact_match(filter='{step}')"]
            scored[0] += sum(abs(one - float(other)) < 1e-9 for one, other in zip(mine, values, strict=True))
            scored[1] += len(values)
        totals = [one + other for one, other in zip(totals, [equal, len(requests), *scored], strict=True)]
        figure = f"requests {equal}/{len(requests)}, scores {scored[0]}/{scored[1]}"
        shown("3", f"{question['name']}, {question['shots']} shots", figure, "all")
    shown("3", "tasks with Python functions", len({question["name"] for question in questions}), "≥ 20")
    shown("3", "requests, and scores, equal to lm-eval's", f"{totals[0]}/{totals[1]}, {totals[2]}/{totals[3]}", "all")
    assert totals[0] == totals[1]
    assert totals[2] == totals[3]
    assert len({question["name"] for question in questions}) >= 20


@pytest.mark.shared
def test_4_a_groups_score_is_the_mean_of_all_its_documents(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "cais").mkdir()
    (tmp_path / "cais" / "mmlu").symlink_to(shared / "scenarios" / "mmlu")
    plan = hf.scenario("lm_eval:mmlu", data=tmp_path).adapt(shots=0)
    results = plan.generate({"replayed": Replayed({})}).score()
    by_task = results.table(by="lm_eval_subtask", metrics="option_accuracy")
    whole = results.value("option_accuracy")
    # lm-eval weights the tasks by their number of documents
    expected = sum(value * n for value, n in by_task.select("value", "n").iter_rows()) / by_task["n"].sum()
    shown("4", "MMLU of 57 tasks, weighted by size", f"{whole:.6f} over {by_task['n'].sum():,}", f"{expected:.6f}")
    assert by_task.height == 57
    assert whole == pytest.approx(expected, abs=1e-9)
