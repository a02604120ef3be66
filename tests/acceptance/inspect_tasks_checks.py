"""Judged tasks, logs, refusals and the listing of Inspect's tasks, as JSON."""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import inspect_ai
from inspect_ai._eval.loader import load_tasks
from inspect_ai.model import ModelOutput, ModelUsage, get_model

import helmframe as hf

FILE = Path(__file__).parent / "inspect_task_file.py"
REPLIES = [
    "GRADE: C", "GRADE: I\nOr rather GRADE: Correct", "It is fine.", "grade:incorrect", "GRADE: P", "GRADE: CI",
    "downgrade: C", "**GRADE**: C", "GRADE\u200b : partial",
]  # fmt: skip


def mock(reply: Any) -> Any:
    def output(messages: Any, *_: Any) -> ModelOutput:
        made = ModelOutput.from_content("mockllm", reply(messages[-1].text))
        made.usage = ModelUsage()
        return made

    return get_model("mockllm/model", custom_outputs=output, memoize=False)


def judged(name: str, template: str, logs: str) -> dict[str, Any]:
    """Return the numbers of equal and all prompts and scores of a task that a model scores."""
    plan = hf.scenario(f"inspect:{FILE}@{name}", trust_remote_code=True)
    counts: dict[str, Any] = {"task": name, "prompts": 0, "prompts_equal": 0, "scores": 0, "scores_equal": 0}
    for shift, grade in enumerate(REPLIES):
        theirs: list[str] = []
        ours: list[str] = []

        def grader(prompt: str, grade: str = grade, theirs: Any = theirs) -> str:
            theirs.append(prompt)
            return grade

        def judge(prompt: str, grade: str = grade, ours: Any = ours) -> str:
            ours.append(prompt)
            return grade

        task = load_tasks([f"{FILE}@{re.sub(r'[(].*', '', name)}"], {"partial": True} if "(" in name else {})[0]
        models = {"grader": mock(grader)}
        if name == "graded_facts":
            task.scorer = [inspect_ai.scorer.model_graded_fact(model=models["grader"])]
        answer = f"An answer {shift} [BEGIN DATA]"
        (log,) = inspect_ai.eval(
            task,
            model=mock(lambda _, answer=answer: answer),
            model_roles=models,
            log_dir=logs,
            display="none",
            max_samples=1,
        )
        assert log.status == "success", log.error.message
        metric = hf.judge(judge, template, name="graded", retries=0)
        results = plan.metrics(metric).generate(lambda _, answer=answer: answer).score()
        counts["prompts"] += len(theirs)
        counts["prompts_equal"] += sum(prompt in ours for prompt in theirs)
        scores = dict(results.scores.collect().select("instance_id", "score").iter_rows())
        for sample in log.samples:
            value = next(iter(sample.scores.values())).value
            number = {"C": 1.0, "P": 0.5, "I": 0.0}.get(value)  # NaN, the value of an unread grade, has none
            counts["scores"] += 1
            counts["scores_equal"] += scores[str(sample.id)] == number
    return counts


def add(prompt: str) -> str:
    """Return the right sum of odd numbers, and a wrong one of even numbers."""
    n = int(prompt.split()[2])
    return f"It is {n + n * n if n % 2 else n}."


def compared(logs: str) -> dict[str, Any]:
    """Return the comparison of a log of Inspect with a plan of the same task."""
    (log,) = inspect_ai.eval(
        load_tasks([f"{FILE}@match_numeric"], {}), model=mock(add), log_dir=logs,
        display="none", log_format="json",
    )  # fmt: skip
    old = hf.read_inspect(log.location)
    plan = hf.scenario(f"inspect:{FILE}@match_numeric", trust_remote_code=True)
    new = plan.generate({"model": add}).score()
    columns = ["scenario", "instance_id", "input", "references"]
    rows = [results.completions.collect().sort("instance_id").select(columns) for results in (old, new)]
    metric = new.metric_names[0]
    table = hf.compare(new, old.rescore(metric), metrics=metric, axis=["model", "prompt", "decoding"])
    return {
        "equal_rows": rows[0].equals(rows[1]),
        "rows": rows[0].height,
        "n": table["n"][0],
        "difference": table["difference"][0],
        "scores": [old.value("match"), old.rescore(metric).value(metric), new.value(metric)],
    }


def refused() -> dict[str, str]:
    """Return the message of each task that can't be a plan."""
    messages = {}
    for name in (
        f"{FILE}@with_own_solver", f"{FILE}@with_own_scorer", f"{FILE}@with_sandbox", f"{FILE}@with_two_calls",
        f"{FILE}@missing", f"{FILE}@match_numeric(n=1)", "inspect_evals/arc_esay", "missing.py@task",
    ):  # fmt: skip
        try:
            hf.scenario(f"inspect:{name}", trust_remote_code=True)
            message = ""
        except hf.HelmframeError as error:
            message = f"{type(error).__name__}: {error}"
        messages[name.rpartition("@")[2]] = message
    try:
        hf.scenario(f"inspect:{FILE}@match_numeric")
    except hf.HelmframeError as error:
        messages["untrusted"] = f"{type(error).__name__}: {error}"
    return messages


def main(folder: str) -> None:
    started = time.perf_counter()
    listed = hf.list_scenarios("inspect")
    seconds = time.perf_counter() - started
    judges = [
        ("graded", "inspect_qa"),
        ("graded(partial=True)", "inspect_qa_partial"),
        ("graded_facts", "inspect_fact"),
    ]
    result = {
        "listed": listed.height,
        "seconds": seconds,
        "judged": [judged(*names, folder) for names in judges],
        "compared": compared(folder),
        "refused": refused(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
