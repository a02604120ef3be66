"""lm-eval's tasks: plans (1), requests and scores (2), functions (3), groups (4), hostile files and killed runs (6)."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any
from uuid import uuid4

import polars as pl
import pytest
from jinja2 import Environment, TemplateError, meta

import helmframe as hf
from helmframe.errors import HelmframeError
from helmframe.interop.lm_eval.config import TaskConfig, index, read_task_file, scoring_functions, task_config
from helmframe.interop.lm_eval.tasks import task_scenario
from helmframe.models.model import Tokens
from helmframe.models.windows import windows
from tests.acceptance.eval_peers import peers_python
from tests.acceptance.figures import shown
from tests.acceptance.lm_eval_functions_child import run_task
from tests.acceptance.lm_eval_tasks_child import is_greedy, log_probability
from tests.demo import ROOT
from tests.s3_server import BUCKET, S3Server

CHILD = Path(__file__).with_name("lm_eval_tasks_child.py")
EVALUATE = Path(__file__).with_name("lm_eval_evaluate_child.py")
CHECKPOINT = ROOT / "models" / "SmolLM2-135M-Instruct"
DOCUMENTS = 30
SAMPLED, SEED = 90, 25  # tasks over made documents, besides those of each kind
OF_EACH_KIND = 8
# lm-eval's metric → ours with the same values; other metrics are lm_eval_…(metric=…, filter=…)
OURS = {
    "acc": "option_accuracy", "acc_norm": "option_accuracy_per_character", "acc_bytes": "option_accuracy_per_byte",
    "acc_mutual_info": "option_accuracy_calibrated", "brier_score": "option_brier", "perplexity": "text_perplexity",
    "bleu": "corpus_bleu", "chrf": "corpus_chrf", "ter": "corpus_ter",
}  # fmt: skip
UNREAD = {"doc_to_decontamination_query"}  # the only key with a function that isn't needed
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


def listing() -> tuple[int, float]:
    """Return the number of names that a new process lists, and its seconds after the imports."""
    code = """if True:
        import time
        import helmframe as hf
        start = time.perf_counter()
        print(hf.list_scenarios("lm_eval").height, time.perf_counter() - start)"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    number, seconds = ended.stdout.split()
    return int(number), float(seconds)


def pure_tasks(tasks: Path) -> list[TaskConfig]:
    """Return the tasks that have no Python function."""
    entries = [entry for entry in index(tasks).values() if entry.kind == "task" and entry.path is not None]
    configs = [task_config(read_task_file(entry.path), entry.path) for entry in entries if entry.path]
    return [config for config in configs if not [key for key, _ in config.functions() if key not in UNREAD]]


def test_1_pure_tasks_become_plans(tasks: Path) -> None:
    listed, cold = listing()
    listed, warm = listing()
    name = f"seconds to list {listed:,} tasks, groups and tags"
    shown("1", f"{name}, first process", f"{cold:.2f}", "printed")
    shown("1", f"{name}, second process", f"{warm:.2f}", "< 2")
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
    assert warm < 2


def peer(script: Path, text: str) -> str:
    """Return what a script prints in lm-eval's venv."""
    environment = {
        "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",  # threads that wait for each other are slow on a busy machine
    }  # fmt: skip
    ended = subprocess.run(
        [peers_python(), str(script)], input=text, capture_output=True, text=True, check=False, timeout=2_000,
        env=environment,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3_000:]
    return ended.stdout


def answers(questions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return lm-eval's requests and scores of each task."""
    lines = [json.loads(line) for line in peer(CHILD, "\n".join(map(json.dumps, questions))).splitlines()]
    assert len(lines) == len(questions)
    return lines


def our_name(metric: str, step: str, names: Iterable[str]) -> str | None:
    """Return our name of a metric and filter of lm-eval; None if the plan has no such metric."""
    if metric in OURS and OURS[metric] in names:
        return OURS[metric]
    for name in names:
        of_filter = f"filter='{step}'" in name
        is_match = metric == "exact_match" and name.startswith("lm_eval_exact_match(")
        if of_filter and (is_match or f"name='{metric}'" in name):
            return name
    return None


def is_close(one: Any, other: Any) -> bool:
    """Return whether two values are equal to 1e-9, or both are missing."""
    if one is None or other is None or math.isnan(float(other)):
        return one is None and (other is None or math.isnan(float(other)))
    return abs(float(one) - float(other)) <= 1e-9 * max(1.0, abs(float(one)))


def equal_counts(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[int]:
    """Return [equal, total] of the requests, of the scores of documents, and of the aggregated scores of one task."""
    requests = [[prompt, continuation] for _, prompt, continuation in theirs["requests"]]
    same = sum(one == other for one, other in zip(ours["requests"], requests, strict=False))
    counts = [same, max(len(requests), len(ours["requests"])), 0, 0, 0, 0]
    for key, values in theirs["scores"].items():
        metric, _, step = key.partition(",")
        name = our_name(metric, step, ours["aggregates"])
        if name is None:  # a value that the task file doesn't list
            continue
        mine = ours["scores"].get(name)
        if mine is not None:
            counts[2] += sum(map(is_close, mine, values))
            counts[3] += max(len(mine), len(values))
        counts[4] += is_close(ours["aggregates"][name], theirs["aggregates"][key])
        counts[5] += 1
    return counts


@pytest.mark.shared
def test_2_requests_and_scores_over_real_rows(shared: Path, tasks: Path, tmp_path: Path) -> None:
    entries, questions = index(tasks), []
    for name, folder in REAL.items():
        files = {path.name.split("-")[0]: str(path) for path in (shared / "scenarios" / folder).glob("*.parquet")}
        questions += [
            {"name": name, "path": str(entries[name].path), "files": files, "shots": shots, "limit": DOCUMENTS}
            for shots in (0, 3)
        ]
    compared("2", questions, answers(questions), tmp_path, "real rows")


LISTS = {"choices", "options", "endings", "candidates", "answers", "distractors", "possible_answers"}
INDICES = {"label", "gold", "answer_index", "cop", "answer_idx", "target_idx", "correct", "gold_index", "idx"}
LETTERS = {"answer", "target", "answerKey", "correct_answer", "gold", "label"}
FORMS = ("binary", "index", "letter", "text")


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
    labels = 2 if form == "binary" else 4
    for name in sorted(names):
        if name in LISTS:
            made[name] = [f"{name} {number} {letter}" for letter in "abcd"]
        elif (name in INDICES and form != "text") or (form in ("index", "binary") and name in ("answer", "target")):
            made[name] = number * 7 // 2 % labels if choice else number
        elif form == "letter" and name in LETTERS:
            made[name] = "ABCD"[number % 4]
        else:
            made[name] = f" {name} text {number}: is it so? "
    return made


def kinds(config: TaskConfig) -> set[str]:
    """Return the output type, filters and metrics of a task, and whether it has several outputs."""
    steps = {str(step["function"]) for entry in config.filter_list or () for step in entry["filter"]}
    metrics = {str(entry["metric"]) for entry in config.metric_list or ()}
    return {config.output_type, *steps, *metrics, *(["repeats"] if config.repeats > 1 else [])}


def of_each_kind(configs: Sequence[TaskConfig]) -> list[TaskConfig]:
    """Return some tasks of each output type, filter and metric."""
    counts: Counter[str] = Counter()
    chosen = []
    for config in configs:
        if min(counts[kind] for kind in kinds(config)) < OF_EACH_KIND:
            counts.update(kinds(config))
            chosen.append(config)
    return chosen


def test_2_requests_and_scores_over_made_documents(tasks: Path, tmp_path: Path) -> None:
    configs = pure_tasks(tasks)
    Random(SEED).shuffle(configs)
    chosen = {config.task: config for config in [*of_each_kind(configs), *configs[:SAMPLED]]}
    questions: list[dict[str, Any]] = []
    for config in chosen.values():
        for form in FORMS:
            names, choice = variables(config), config.doc_to_choice is not None

            def rows(first: int, names: set[str] = names, form: str = form, choice: bool = choice) -> list[Any]:
                return [document(names, number, form, choice=choice) for number in range(first, first + 8)]

            questions.append(question_of(config, rows, tmp_path, form, shots=len(questions) // len(FORMS) % 2 * 2))
    pairs: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for question, answer in zip(questions, answers(questions), strict=True):
        if "error" not in answer and question["name"] not in pairs:
            pairs[question["name"]] = (question, answer)
    shown("2", "tasks that lm-eval itself runs on made documents", f"{len(pairs)}/{len(chosen)}", "printed")
    assert len(pairs) >= 60
    equal = compared(
        "2", [one for one, _ in pairs.values()], [other for _, other in pairs.values()], tmp_path, "made documents"
    )
    counts: Counter[str] = Counter(kind for name in equal for kind in kinds(chosen[name]))
    shown("2", "tasks by output type, filter and metric", dict(counts.most_common()), "printed")
    for kind in ("multiple_choice", "loglikelihood", "loglikelihood_rolling", "generate_until", "repeats", "regex"):
        assert counts[kind], kind


def question_of(
    config: TaskConfig, rows: Callable[[int], list[Any]], folder: Path, form: str = "", shots: int | None = None
) -> dict[str, Any]:
    """Return the question about a task whose splits have made rows; each split starts at another number."""
    splits = {config.training_split, config.validation_split, config.test_split, config.fewshot.split} - {None}
    splits = splits or {"validation"}  # a Python class names its splits in code
    files = {}
    for offset, split in enumerate(sorted(map(str, splits))):
        file = folder / f"{config.task.replace('/', '_')}-{form}-{offset}.parquet"
        pl.DataFrame(rows(10 * offset)).write_parquet(file)
        files[split] = str(file)
    return {"name": config.task, "path": str(config.path), "files": files, "limit": 6, "shots": shots}


def compared(
    number: str,
    questions: Sequence[Mapping[str, Any]],
    made: Sequence[Mapping[str, Any]],
    folder: Path,
    what: str,
    ours: Sequence[Mapping[str, Any]] | None = None,
) -> list[str]:
    """Print task × equal/total, and require that all are equal; return the names of the tasks."""
    totals, names = [0] * 6, []
    for position, (question, answer) in enumerate(zip(questions, made, strict=True)):
        assert "error" not in answer, (question["name"], answer["error"])
        try:
            mine = ours[position] if ours is not None else run_task({**question, **answer}, folder)
        except HelmframeError as error:
            shown(number, f"{question['name']} is refused", str(error).partition("\n")[0], "printed")
            continue
        counts = equal_counts(mine, answer)
        totals = [one + other for one, other in zip(totals, counts, strict=True)]
        figure = "requests {}/{}, scores of documents {}/{}, aggregates {}/{}".format(*counts)
        shown(number, f"{question['name']}, {question['shots']} shots", figure, "all")
        assert counts[0] == counts[1] > 0
        assert counts[2] == counts[3]
        assert counts[4] == counts[5] > 0
        names.append(str(question["name"]))
    shown(number, f"{what}: requests equal to lm-eval's", f"{totals[0]:,}/{totals[1]:,}", "all")
    shown(number, f"{what}: scores of documents equal to 1e-9", f"{totals[2]:,}/{totals[3]:,}", "all")
    shown(number, f"{what}: aggregated scores equal to 1e-9", f"{totals[4]:,}/{totals[5]:,}", "all")
    return names


# -- the demo model ----------------------------------------------------------------------------------------------------

TEXTS = [
    f"Chapter {number}. The harbour was quiet, and {name} counted the boats; there were {number + 3} of them.\n" * 2
    for number, name in enumerate(("Ada", "Boris", "Chen", "Dora", "Émile", "Farid", "Gina", "Hugo", "Ines", "Jörg"))
]
MODEL_TASKS = {
    "choice": """
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: ["four", "seven", "nine hundred"]
doc_to_target: "{{label}}"
metric_list: [{metric: acc}, {metric: acc_norm}, {metric: brier_score}]
""",
    "word": """
output_type: loglikelihood
doc_to_text: "{{text.split(' ')[:12]|join(' ')}}"
doc_to_target: "{{' ' + text.split(' ')[12]}}"
metric_list: [{metric: perplexity, aggregation: perplexity}, {metric: acc, aggregation: mean}]
""",
    "rolling": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
""",
    "generated": """
output_type: generate_until
doc_to_text: "{{text}}How many boats were there? There were"
doc_to_target: "{{boats}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 12}
filter_list: [{name: number, filter: [{function: regex, regex_pattern: "([0-9]+)"}, {function: take_first}]}]
metric_list: [{metric: exact_match}]
""",
}


@pytest.mark.model
def test_2_real_log_probabilities_of_the_demo_model(tmp_path: Path) -> None:
    documents = [
        {"text": text, "question": f"How many are {number} and 3?", "label": number % 3, "boats": number + 3}
        for number, text in enumerate(TEXTS)
    ]
    file = tmp_path / "documents.parquet"
    pl.DataFrame(documents).write_parquet(file)
    for name, text in MODEL_TASKS.items():
        data = f"dataset_path: parquet\ndataset_kwargs: {{data_files: {{test: {file}}}}}\ntest_split: test\n"
        (tmp_path / f"{name}.yaml").write_text(f"task: demo_{name}\n{data}{text}")
    theirs = json.loads(
        peer(EVALUATE, json.dumps({
            "include": str(tmp_path), "tasks": [f"demo_{name}" for name in MODEL_TASKS], "model": str(CHECKPOINT),
            "limit": None, "shots": 0, "data": {},
        }))
    )  # fmt: skip
    worst, totals = 0.0, [0, 0]
    for name in MODEL_TASKS:
        results = hf.scenario(tmp_path / f"{name}.yaml").generate(str(CHECKPOINT)).score()
        rows = results.completions.sort("row_index", "reference_index", "window_index").collect()
        samples = theirs["samples"][f"demo_{name}"]
        pairs = [pair for one in samples for pair in zip(one["arguments"], one["responses"], strict=True)]
        assert rows["window_index"].drop_nulls().max() in (None, 0)
        assert len(pairs) == rows.height
        for row, (arguments, responses) in zip(rows.iter_rows(named=True), pairs, strict=True):
            parts = {"rolling": ["continuation"], "generated": ["suffix"]}.get(name, ["suffix", "continuation"])
            totals[0] += [row[part] for part in parts] == arguments[: len(parts)]
            totals[1] += 1
            if name == "generated":
                assert row["completion"] == responses[0]
                continue
            logprob = responses[0][0] if isinstance(responses[0], list) else responses[0]
            worst = max(worst, abs(row["logprob"] - logprob))
            if name in ("choice", "word"):
                assert row["is_greedy"] == responses[0][1]
        for metric in results.metric_names:
            key = next(
                key for key in theirs["results"][f"demo_{name}"]
                if our_name(key.partition(",")[0], key.partition(",")[2], [metric]) == metric
            )  # fmt: skip
            value, expected = results.value(metric), theirs["results"][f"demo_{name}"][key]
            shown("2", f"demo model, {name}: {key}", f"{value:.8g}", f"{expected:.8g} ± 1e-4 of it")
            assert value == pytest.approx(expected, rel=1e-4)
    shown("2", "demo model: requests equal to lm-eval's", f"{totals[0]}/{totals[1]}", "all")
    shown("2", "demo model: largest difference of a log-probability in nats", f"{worst:.1e}", 1e-3)
    assert totals[0] == totals[1]
    assert worst < 1e-3


WINDOWS = """
import json, sys
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
for line in sys.stdin:
    tokens, window = json.loads(line)
    pairs = map(make_disjoint_window, get_rolling_token_windows(tokens, 0, window, 1))
    print(json.dumps([[list(context), list(predicted)] for context, predicted in pairs]))
"""


def test_2_the_windows_of_long_texts(tmp_path: Path) -> None:
    """A token is a character here, and the first token of every text is the character 0."""
    script = tmp_path / "windows.py"
    script.write_text(WINDOWS)
    cases = [(list(range(1, n + 1)), window) for n in (1, 7, 8, 9, 16, 17, 40, 200) for window in (1, 2, 8, 64)]
    lines = peer(script, "\n".join(map(json.dumps, cases))).splitlines()
    tokens = Tokens(lambda text: list(map(ord, text)), lambda ids: "".join(map(chr, ids)), lambda: "\0")
    equal = 0
    for (ids, window), line in zip(cases, lines, strict=True):
        ours = windows("".join(map(chr, ids)), tokens, window)
        mine = [[list(map(ord, one.context)), list(map(ord, one.continuation))] for one in ours]
        equal += mine == json.loads(line)
    shown("2", "windows of whole texts equal to lm-eval's", f"{equal}/{len(cases)}", "all")
    assert equal == len(cases)


# -- Python functions --------------------------------------------------------------------------------------------------


def of_mmlu_pro(subject: str, number: int) -> dict[str, Any]:
    """Return a made document in the columns of MMLU-Pro."""
    letter = "ABCDEFGHIJ"[number % 10]
    return {
        "question_id": number, "question": f"Question {number} about {subject}?", "category": subject,
        "options": [f"{subject} option {number}.{option}" for option in range(10)], "answer": letter,
        "answer_index": number % 10, "src": "made",
        "cot_content": f"A: Let's think step by step. It is so. The answer is ({letter}).",
    }  # fmt: skip


def of_pairs(number: int) -> dict[str, Any]:
    """Return a made document in the columns of CrowS-Pairs."""
    types = (
        "race-color", "socioeconomic", "gender", "age", "religion", "disability", "sexual-orientation", "nationality",
        "physical-appearance", "autre",
    )  # fmt: skip
    return {
        "sent_more": f"Sentence {number} is one.", "sent_less": f"Sentence {number} is another.",
        "bias_type": types[number % len(types)],
    }  # fmt: skip


def of_drop(number: int) -> dict[str, Any]:
    """Return a made document in the columns of DROP."""
    empty = {"day": "", "month": "", "year": ""}
    answer = {"number": str(number), "date": empty, "spans": [f"span {number}"], "worker_id": "", "hit_id": ""}
    return {
        "section_id": "1", "query_id": str(number), "passage": f"Passage {number}.", "question": "How many?",
        "answer": answer,
        "validated_answers": {"number": ["", "18"], "date": [empty, empty], "spans": [[f"so {number}"], ["B"]]},
    }  # fmt: skip


def of_bbq(number: int) -> dict[str, Any]:
    """Return a made document in the columns of BBQ."""
    return {
        "example_id": number, "question_index": str(number), "question_polarity": ("neg", "nonneg")[number % 2],
        "context_condition": ("ambig", "disambig")[number // 2 % 2], "category": ("Age", "Religion")[number % 2],
        "answer_info": {
            "ans0": [f"person {number}", "old"], "ans1": ["another person", "nonOld"], "ans2": ["unknown", "unknown"],
        },
        "answer_type": "text", "context": f"Context {number}.", "question": "Who?",
        "ans0": f"The person {number}", "ans1": "The other person", "ans2": "Unknown", "label": number % 3,
        "answer_label": number % 3, "additional_metadata": {"stereotyped_groups": ["old"], "subcategory": "None"},
    }  # fmt: skip


def of_truthfulqa(number: int) -> dict[str, Any]:
    """Return a made document in the columns of TruthfulQA."""
    choices = [f"choice {number}.{option}" for option in range(5)]
    return {
        "question": f"Is it {number}?", "mc1_targets": {"choices": choices, "labels": [1, 0, 0, 0, 0]},
        "mc2_targets": {"choices": choices, "labels": [1, 1, 0, 0, 0]},
    }  # fmt: skip


def of_answers(number: int) -> dict[str, Any]:
    """Return a made document in the columns of MLQA."""
    return {
        "context": f"The context of {number}.", "question": f"What is {number}?", "id": f"english-{number}",
        "answers": {"answer_start": [0], "text": [f"the answer {number}"]}, "title": "a title",
    }  # fmt: skip


# Pattern of tasks → a made document in their columns, and the number of tasks at most.
FAMILIES: dict[str, tuple[Callable[[int], dict[str, Any]], int]] = {
    r"crows_pairs_(english|french)(_\w+)?": (of_pairs, 8),
    r"wikitext": (lambda number: {"page": f" = Page {number} = \n It is @-@ so , the {number}th . "}, 1),
    r"paloma_\w+": (lambda number: {"text": f"Text {number}\nof some words. "}, 3),
    r"cb": (lambda number: {"premise": f"It is {number}.", "hypothesis": "it is", "label": number % 3}, 1),
    r"winogrande": (
        lambda number: {
            "sentence": f"The _ {number} ran home.", "option1": "dog", "option2": "cat", "answer": "12"[number % 2],
        }, 1,
    ),
    r"truthfulqa_mc2": (of_truthfulqa, 1),
    r"mlqa_(en|de|es)_\w+": (of_answers, 4),
    r"aime24|aime": (
        lambda number: {"Problem": f"What is {number}?", "Question": f"What is {number}?", "Answer": str(number)}, 2,
    ),
    r"simple_cooccurrence_bias(_gen)?": (lambda number: {"sentence": f"The {number}th was a"}, 2),
    r"drop": (of_drop, 1),
    r"bbq(_generate)?": (of_bbq, 2),
    r"fda|swde|squad_completion": (lambda number: {"text": f" Fact {number} is", "value": f"so {number}"}, 3),
    r"arithmetic_\w+": (lambda number: {"context": f"What is {number}?", "completion": f" {number}"}, 2),
}  # fmt: skip
SUBJECTS = {"num_theory": "number_theory", "counting_and_prob": "counting_and_probability"}


def function_questions(shared: Path, tasks: Path, folder: Path) -> list[dict[str, Any]]:
    """Return the questions about tasks with Python functions, over real and made rows."""
    entries, wanted = index(tasks), "|".join([*FAMILIES, "hendrycks_math_.*"])
    configs = {
        name: task_config(read_task_file(entry.path), entry.path)
        for name, entry in entries.items()
        if entry.kind in ("task", "class") and entry.path and re.fullmatch(wanted, name)
    }
    questions: list[dict[str, Any]] = []
    names = sorted(name for name in entries if re.fullmatch(r"mmlu_pro(_plus)?_(?!llama|plus)[a-z_]+", name))
    for name in [name for name in names if entries[name].kind == "task" and entries[name].path][:12]:
        subject = re.sub(r"mmlu_pro_(plus_)?", "", name).replace("_", " ")
        config = task_config(read_task_file(Path(str(entries[name].path))), entries[name].path)

        def rows(first: int, subject: str = subject) -> list[Any]:
            pairs = [(topic, 100 + first + number) for number in range(12) for topic in (subject, "another subject")]
            return [of_mmlu_pro(*pair) for pair in pairs]

        questions.append(question_of(config, rows, folder))
    hellaswag = {path.name.split("-")[0]: str(path) for path in (shared / "scenarios" / "hellaswag").rglob("*.parquet")}
    path = str(entries["hellaswag"].path)
    questions += [{"name": "hellaswag", "path": path, "files": hellaswag, "shots": n, "limit": 10} for n in (0, 2)]
    for pattern, (make, most) in FAMILIES.items():
        for name in sorted(name for name in configs if re.fullmatch(pattern, name))[:most]:

            def made(first: int, make: Callable[[int], dict[str, Any]] = make) -> list[Any]:
                return [make(first + number) for number in range(24)]

            questions.append(question_of(configs[name], made, folder))
    for name in sorted(name for name in configs if name.startswith("hendrycks_math_")):
        subject = name.removeprefix("hendrycks_math_")
        rows_of = shared / "scenarios" / "hendrycks_math" / SUBJECTS.get(subject, subject)
        files = {path.name.split("-")[0]: str(path) for path in rows_of.glob("*.parquet")}
        if files:  # the examples come from the train split, which the folder lacks
            files = {"train": files["test"], **files}
            questions.append({"name": name, "path": str(configs[name].path), "files": files, "shots": 1, "limit": 10})
    return questions


@pytest.mark.shared
def test_3_tasks_with_python_functions(shared: Path, tasks: Path, tmp_path: Path) -> None:
    asked = function_questions(shared, tasks, tmp_path)
    pairs = list(zip(asked, answers(asked), strict=True))
    for question, answer in pairs:
        if "error" in answer:
            shown("3", f"{question['name']} fails in lm-eval", answer["error"].strip().splitlines()[-1], "printed")
    pairs = [(question, answer) for question, answer in pairs if "error" not in answer]
    questions = [{**question, "responses": answer["responses"]} for question, answer in pairs]
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HELMFRAME_STORE": str(tmp_path / "store"),
        "HELMFRAME_PROGRESS": "0",
    }  # fmt: skip
    ended = subprocess.run(
        [peers_python(), "-m", "tests.acceptance.lm_eval_functions_child"], input="\n".join(map(json.dumps, questions)),
        capture_output=True, text=True, check=False, timeout=1_500, env=environment, cwd=ROOT,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3_000:]
    ours = [json.loads(line) for line in ended.stdout.splitlines()]
    names = compared("3", questions, [answer for _, answer in pairs], tmp_path, "Python functions", ours)
    entries = index(tasks)
    scored = {
        name for name in names
        if scoring_functions(task_config(read_task_file(Path(str(entries[name].path))), entries[name].path))
    }  # fmt: skip
    shown("3", "tasks with Python functions", len(set(names)), "≥ 20")
    shown("3", "tasks whose functions make scores", len(scored), "≥ 20")
    assert len(set(names)) >= 20
    assert len(scored) >= 20


def test_3_without_lm_eval_the_error_names_the_function(tasks: Path) -> None:
    path = index(tasks)["wikitext"].path
    code = f"import helmframe as hf; hf.scenario('lm_eval:{path}')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    shown("3", "without lm-eval", ended.stderr.strip().splitlines()[-1], "the function, and pip install lm-eval")
    assert "preprocess_wikitext" in ended.stderr
    assert "pip install lm-eval" in ended.stderr


@pytest.mark.shared
def test_4_the_score_of_a_group_is_that_of_lm_eval(shared: Path, tasks: Path, tmp_path: Path) -> None:
    (tmp_path / "cais").mkdir()
    (tmp_path / "cais" / "mmlu").symlink_to(shared / "scenarios" / "mmlu")
    question = {
        "include": None, "tasks": ["mmlu"], "model": None, "limit": None, "shots": 0,
        "data": {"cais/mmlu": str(shared / "scenarios" / "mmlu")},
    }  # fmt: skip
    theirs = json.loads(peer(EVALUATE, json.dumps(question)))["results"]
    plan = hf.scenario("lm_eval:mmlu", data=tmp_path).adapt(shots=0)
    results = plan.generate({"hashed": Hashed()}).score()
    by_task = results.table(by="lm_eval_subtask", metrics="option_accuracy")
    equal = sum(
        is_close(value, theirs[name]["acc,none"])
        for name, value in by_task.select("lm_eval_subtask", "value").iter_rows()
    )
    whole, expected = results.value("option_accuracy"), theirs["mmlu"]["acc,none"]
    shown("4", "MMLU: tasks equal to lm-eval's", f"{equal}/{by_task.height}", "all")
    shown("4", "MMLU: the group's score", f"{whole:.12f} over {by_task['n'].sum():,}", f"{expected:.12f} ± 1e-9")
    assert equal == by_task.height == 57
    assert whole == pytest.approx(expected, abs=1e-9)


class Hashed:
    """A model with made log-probabilities."""

    def loglikelihood(self, pairs: list[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Return the made log-probability of each pair."""
        return [(log_probability(*pair), is_greedy(*pair)) for pair in pairs]


# -- hostile task files, and killed runs -------------------------------------------------------------------------------


def test_6_hostile_task_files_are_refused_or_bounded(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["a" * 5_000 + "!"], "target": ["b"]}).write_parquet(tmp_path / "rows.parquet")
    base = f"""
task: hostile
dataset_path: parquet
dataset_kwargs: {{data_files: {{test: {tmp_path / "rows.parquet"}}}}}
test_split: test
doc_to_target: target
"""
    templates = (
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 10**9 }}",
        "{{ text|regex_replace('(a+)+b', '') }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
    )
    for text in templates:
        (tmp_path / "hostile.yaml").write_text(base + f"doc_to_text: {json.dumps(text)}\n")
        start = time.process_time()
        with pytest.raises(HelmframeError) as raised:
            hf.scenario(tmp_path / "hostile.yaml").requests().collect()
        seconds = time.process_time() - start
        shown("6", f"template {text[:40]}", f"{str(raised.value)[-90:]!r} in {seconds:.2f} s of CPU", "< 5 s")
        assert seconds < 5
    (tmp_path / "hostile.yaml").write_text(
        base + "doc_to_text: text\nfilter_list: [{name: f, filter: [{function: regex, regex_pattern: '(a+)+$'}, "
        "{function: take_first}]}]\nmetric_list: [{metric: exact_match}]\n"
    )
    start = time.process_time()
    scored = hf.scenario(tmp_path / "hostile.yaml").generate(lambda prompt: prompt).score().scores.collect()
    seconds = time.process_time() - start
    shown("6", "a filter with a hostile pattern", f"{scored['reason'][0]!r} in {seconds:.2f} s of CPU", "< 5 s")
    assert "takes more than" in scored["reason"][0]
    assert seconds < 5


SCRIPT = """
import hashlib, sys, time
import helmframe as hf

def slow(prompts):
    with open(sys.argv[1], "a") as log:
        log.write("".join(hashlib.sha256(prompt.encode()).hexdigest() + chr(10) for prompt in prompts))
    time.sleep(float(sys.argv[2]))
    return [f"It is {len(prompt)} #### {len(prompt) % 50}" for prompt in prompts]

model = hf.model(slow, name="slow", version="1", batch=4)
results = hf.scenario("lm_eval:gsm8k").adapt(shots=2).limit(120).perturb("typos").generate(model).score()
print(results.table().write_csv())
"""


@pytest.mark.shared
def test_6_a_killed_run_in_a_bucket_resumes(s3: S3Server, tasks: Path, shared: Path, tmp_path: Path) -> None:
    path = index(tasks)["gsm8k"].path
    assert path is not None
    config = task_config(read_task_file(path), path)
    folder = f"{BUCKET}/killed/{config.dataset_path}/{config.dataset_name}/"
    s3.filesystem().put(f"{shared}/scenarios/gsm8k/main/", folder, recursive=True)

    def start(log: Path, seconds: float, store: str) -> "subprocess.Popen[str]":
        environment = {
            **os.environ, "HELMFRAME_STORE": store, "HELMFRAME_PROGRESS": "0", "HELMFRAME_DATA": f"s3://{BUCKET}/killed",
        }  # fmt: skip
        command = [sys.executable, "-c", SCRIPT, str(log), str(seconds)]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    log, store = tmp_path / "log", f"s3://{BUCKET}/stores/{uuid4().hex}"
    killed = start(log, 0.15, store)
    deadline = time.monotonic() + 400
    while not log.exists() or log.read_text().count("\n") < 120:
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = log.read_text().split()
    resumed, _ = start(log, 0, store).communicate(timeout=400)
    requested = log.read_text().split()
    other = tmp_path / "other"
    undisturbed, _ = start(other, 0, f"s3://{BUCKET}/stores/{uuid4().hex}").communicate(timeout=400)
    distinct, twice = len(set(other.read_text().split())), len(requested) - len(set(requested))
    shown("6", f"killed after {len(before)} of {distinct} requests: requested again", twice, "the last flush interval")
    assert resumed == undisturbed
    assert "typos" in resumed
    assert set(requested) == set(other.read_text().split())
    assert len(before) < distinct
    assert twice <= 4 * (2.5 / 0.15 + 2)
