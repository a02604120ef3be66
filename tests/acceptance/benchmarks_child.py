"""Benchmarks as lm-eval, Inspect and evalscope define them, in a process of their own: their prompts and scores.

usage: benchmarks_child.py FOLDER. FOLDER/cases.json is a list of cases. A case has the "tool" and the "name" of the
scenario. A case of lm-eval has "tasks", a list of {"name", "file", "data", "replies"}: the task's YAML below
lm_eval/tasks, and {split: path of JSON Lines}. Cases of the other tools have "rows" and "replies", one for each row.
Writes FOLDER/answers.json: for each case, in the order of the rows, "prompts" and "scores" ({name: values}), and for
options "options".
"""

import asyncio
import hashlib
import importlib
import json
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

Rows = Sequence[dict[str, Any]]


def main(folder: Path) -> None:
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    answers = [
        of_lm_eval(case["tasks"], folder)
        if case["tool"] == "lm-eval"
        else OTHERS[case["name"]](case["rows"], case["replies"])
        for case in cases
    ]
    (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    print("{}")


def module(name: str) -> Any:
    """A module that only the venv of the tools has."""
    return importlib.import_module(name)


# -- lm-eval ---------------------------------------------------------------------------------------------------------


def of_lm_eval(tasks: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Run lm-eval's own tasks on local files, with a model that replays the replies."""
    lm_eval = module("lm_eval")
    module("evaluate").load = lambda *_, **__: CodeEval()
    made = Path(tempfile.mkdtemp(dir=folder))
    root = Path(lm_eval.__file__).parent / "tasks"
    for task in tasks:
        lines = [
            f"include: {root / task['file']}", f"task: {task['name']}", "dataset_path: json", "dataset_name: null",
            f"dataset_kwargs: {json.dumps({'data_files': task['data']})}",
        ]  # fmt: skip
        (made / f"{task['name']}.yaml").write_text("\n".join(lines), encoding="utf-8")
    manager = module("lm_eval.tasks").TaskManager(include_path=str(made), include_defaults=False)
    results = lm_eval.simple_evaluate(
        replaying({task["name"]: task["replies"] for task in tasks}),
        tasks=[task["name"] for task in tasks],
        task_manager=manager,
        log_samples=True,
        bootstrap_iters=0,
        confirm_run_unsafe_code=True,
    )
    prompts: list[str] = []
    options: list[list[str]] = []
    scores: dict[str, list[float]] = {}
    for task in tasks:
        samples = sorted(results["samples"][task["name"]], key=lambda sample: sample["doc_id"])
        filters = list(dict.fromkeys(sample["filter"] for sample in samples))
        for sample in samples:
            if sample["filter"] == filters[0]:
                calls = (
                    list(sample["arguments"].values()) if isinstance(sample["arguments"], dict) else sample["arguments"]
                )
                texts = [list(call.values()) if isinstance(call, dict) else list(call) for call in calls]
                prompts.append(texts[0][0])
                options.append([text[1] for text in texts])
            for metric in sample["metrics"]:
                scores.setdefault(f"{metric},{sample['filter']}", []).append(float(value_of(sample[metric])))
    return {"prompts": prompts, "scores": scores, "options": options}


def value_of(score: Any) -> Any:
    """A score that is a number, or the number in it."""
    return next(iter(score.values())) if isinstance(score, dict) else score


def replaying(replies: dict[str, Any]) -> Any:
    """A model of lm-eval that generates the replies, and rates options by a hash."""
    base: Any = module("lm_eval.api.model").LM

    class Replaying(base):  # type: ignore[misc]
        def generate_until(self, requests: Any, **_: Any) -> list[str]:
            return [
                truncated(replies[each.task_name][each.doc_id], each.args[1].get("until") or []) for each in requests
            ]

        def loglikelihood(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
            return [(rated(each.task_name, each.doc_id, each.idx), False) for each in requests]

        def loglikelihood_rolling(self, requests: Any, **_: Any) -> list[float]:
            raise NotImplementedError

    return Replaying()


def rated(name: str, row: int, option: int) -> float:
    """A log-probability that depends on these only."""
    return -1 - int.from_bytes(hashlib.sha256(f"{name} {row} {option}".encode()).digest()[:4]) / 2**28


def truncated(text: str, until: Sequence[str]) -> str:
    for stop in until:
        text = text.partition(stop)[0]
    return text


class CodeEval:
    """What `evaluate.load("code_eval")` downloads: it runs each program with its tests in a process of its own."""

    def compute(self, references: list[str], predictions: list[list[str]], k: list[int]) -> Any:
        passed = [passes(f"{programs[0]}\n{test}") for programs, test in zip(predictions, references, strict=True)]
        return {f"pass@{k[0]}": sum(passed) / len(passed)}, {}


def passes(program: str) -> bool:
    with tempfile.NamedTemporaryFile("w", suffix=".py", encoding="utf-8") as file:
        file.write(program)
        file.flush()
        try:
            ended = subprocess.run([sys.executable, file.name], capture_output=True, check=False, timeout=10)
        except subprocess.TimeoutExpired:
            return False
    return ended.returncode == 0


# -- Inspect ---------------------------------------------------------------------------------------------------------


def aime(rows: Rows, replies: Sequence[str]) -> dict[str, Any]:
    common, inspect = module("inspect_evals.utils.aime_common"), module("inspect_ai.scorer")
    scorer = common.aime_scorer()
    scores = [
        asyncio.run(
            scorer(
                SimpleNamespace(output=SimpleNamespace(completion=reply)),
                inspect.Target(str(row.get("answer", row.get("Answer")))),
            )
        )
        for row, reply in zip(rows, replies, strict=True)
    ]
    return {
        "prompts": [common.USER_PROMPT_TEMPLATE.format(prompt=row.get("problem", row.get("Problem"))) for row in rows],
        "scores": {"aime_scorer": [float(score.value == inspect.CORRECT) for score in scores]},
    }


def bbeh(rows: Rows, replies: Sequence[str]) -> dict[str, Any]:
    record_to_sample = module("inspect_evals.bbeh.data").record_to_sample
    evaluate_correctness = module("inspect_evals.bbeh.utils").evaluate_correctness
    return {
        "prompts": [record_to_sample(row).input for row in rows],
        "scores": {
            "bbeh_scorer": [
                float(evaluate_correctness(reply, row["target"])) for row, reply in zip(rows, replies, strict=True)
            ]
        },
    }


def hle(rows: Rows, replies: Sequence[str]) -> dict[str, Any]:
    del replies
    record_to_sample = module("inspect_evals.hle.dataset").record_to_sample
    prompts = []
    for row in rows:
        messages = record_to_sample(row).input
        prompts.append("\n\n".join(message.text for message in messages))
    return {"prompts": prompts, "scores": {}}


# -- evalscope -------------------------------------------------------------------------------------------------------


def arc_agi_1(rows: Rows, replies: Sequence[str]) -> dict[str, Any]:
    system = module("evalscope.benchmarks.arc_agi_2.arc_agi_2_adapter").SYSTEM_PROMPT
    utils = module("evalscope.benchmarks.arc_agi_2.utils")
    prompts, scores = [], []
    grids = [(row, number) for row in rows for number in range(len(row["test"]))]
    for (row, number), reply in zip(grids, replies, strict=True):
        prompts.append(
            f"{system}\n\n{utils.build_task_prompt({'fewshots': row['train'], 'question': row['test']}, number)}"
        )
        scores.append(float(utils.parse_grid_from_response(reply) == row["test"][number]["output"]))
    return {"prompts": prompts, "scores": {"acc": scores}}


def super_gpqa(rows: Rows, replies: Sequence[str]) -> dict[str, Any]:
    utils, choices = module("evalscope.benchmarks.super_gpqa.utils"), module("evalscope.utils.multi_choices")
    template = choices.MultipleChoiceTemplate.SINGLE_ANSWER_COT
    prompts, scores = [], []
    for row, reply in zip(rows, replies, strict=True):
        prompts.append(choices.prompt(row["question"], row["options"], template))
        letter = utils.extract_option_labels(reply, "ABCDEFGHIJ")
        if letter is None:
            content = utils.extract_option_content(reply, row["options"])
            letter = chr(row["options"].index(content) + 65) if content else ""
        scores.append(float(letter == row["answer_letter"]))
    return {"prompts": prompts, "scores": {"acc": scores}}


def mbpp_plus(rows: Rows, replies: Sequence[str]) -> dict[str, Any]:
    adapter = module("evalscope.benchmarks.mbppplus.mbppplus_adapter")
    prompts, scores = [], []
    for row, reply in zip(rows, replies, strict=True):
        prompts.append(adapter.PROMPT.format(question=row["prompt"], tests="\n".join(row["test_list"])))
        code = adapter.MBPPplusAdapter.postprocess_completion(reply).partition("if __name__ ==")[0]
        program = "\n".join([code, *row["test_imports"], *row["test_list"], row["test"]])
        scores.append(float(passes(program)))
    return {"prompts": prompts, "scores": {"acc": scores}}


def live_code_bench(rows: Rows, replies: Sequence[str]) -> dict[str, Any]:
    extract = module("evalscope.benchmarks.live_code_bench.extract_utils").extract_code_generation
    transform = module("evalscope.benchmarks.live_code_bench.load_utils").transform
    constants = module("evalscope.benchmarks.live_code_bench.prompts").CodeGenerationPromptConstants
    system = constants.SYSTEM_MESSAGE_GENERIC
    prompts, scores = [], []
    for row, reply in zip(rows, replies, strict=True):
        item = transform(dict(row))
        # evalscope has one more space before the last line than the authors' lcb_runner
        last = "### Answer: (use the provided format with backticks)\n\n"
        prompts.append(f"{system}\n\n### Question:\n{item['question_content']}\n\n{item['format_prompt']}{last}")
        scores.append(float(solved(item["evaluation_sample"], extract(reply))))
    return {"prompts": prompts, "scores": {"pass@1": scores}}


def solved(sample: str, program: str) -> bool:
    """Run the tests in a process of their own, which the runner leaves unusable."""
    context: Any = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=run_tests, args=(sample, program, theirs))
    process.start()
    theirs.close()
    try:
        results = ours.recv() if ours.poll(60) else [-1]
    except EOFError:
        results = [-1]
    process.kill()
    process.join()
    return all(result is True or result > 0 for result in results)


def run_tests(sample: str, program: str, pipe: Any) -> None:
    results, _ = module("evalscope.benchmarks.live_code_bench.testing_util").run_test(
        {"input_output": sample}, test=program, timeout=6
    )
    pipe.send([bool(each) if not isinstance(each, int) else each for each in results])


OTHERS: dict[str, Callable[[Rows, Sequence[str]], dict[str, Any]]] = {
    **dict.fromkeys(("aime_2024", "aime_2025", "aime_2026"), aime),
    **{function.__name__: function for function in (bbeh, hle, arc_agi_1, super_gpqa, mbpp_plus, live_code_bench)},
}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
