"""lm-eval's requests and scores of tasks over local Parquet, in a process of its own that has lm-eval.

Reads a JSON line for each task: {"path": its file, "files": split → Parquet file, "shots", "limit"}. Prints a line for
each: {"requests": [[type, prompt, continuation]], "responses": prompt → texts, "scores": "metric,filter" → values,
"aggregates": "metric,filter" → value}, or {"error"}. Log-probabilities are made from a hash, and completions are made
from a hash and the target, so that both tools have the same.
"""

import hashlib
import json
import sys
import traceback
from typing import Any

COMPLETIONS = (
    "#### 18", "The answer is 18.", "so the answer is (B).", "B", "  ", " A", "C.", "yes", "$70,000",
    "The answer is $1,234.00.",
)  # fmt: skip


def number_of(*texts: object) -> int:
    """Return a number that depends on the texts alone."""
    return int(hashlib.sha256("\0".join(map(str, texts)).encode()).hexdigest()[:8], 16)


def log_probability(context: str, continuation: str) -> float:
    """Return a negative number that depends on the texts alone."""
    return -number_of(context, continuation) / 2**28


def is_greedy(context: str, continuation: str) -> bool:
    """Return true for about a half of all pairs."""
    return number_of(context, continuation, "greedy") % 2 == 0


def main() -> None:
    """Answer each line."""
    output, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = run_task(question)
        except Exception:  # the caller shows it
            answer = {"error": traceback.format_exc()[-800:]}
        print(json.dumps(answer, default=plain), file=output, flush=True)


def plain(value: Any) -> Any:
    """Return a value of NumPy as JSON has it."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def run_task(question: dict[str, Any]) -> dict[str, Any]:
    """Return the requests of a task, and its scores under the made log-probabilities and completions."""
    task = make_task(question)
    task.set_fewshot_seed(1234)
    if question["shots"] is not None:
        task.config.num_fewshot = question["shots"]
    task.build_all_requests(limit=question["limit"])
    requests: list[list[Any]] = []
    documents: dict[int, list[Any]] = {}
    responses: dict[str, list[str]] = {}
    for instance in task.instances:
        kind, arguments = instance.request_type, list(instance.arguments)
        if kind == "loglikelihood":
            requests.append([kind, *arguments])
            instance.resps = [(log_probability(*arguments), is_greedy(*arguments))]
        elif kind == "loglikelihood_rolling":
            requests.append([kind, "", arguments[0]])
            instance.resps = [log_probability("", arguments[0])]
        else:
            requests.append([kind, arguments[0], None])
            made = [completion(task, instance.doc, arguments[0], n) for n in range(instance.repeats)]
            instance.resps = list(responses.setdefault(arguments[0], made))
        documents.setdefault(instance.doc_id, []).append(instance)
    task.apply_filters()
    scores: dict[str, list[Any]] = {}
    for name in task.instances[0].filtered_resps:
        for instances in documents.values():
            instances.sort(key=lambda instance: instance.idx)
            filtered = [instance.filtered_resps[name] for instance in instances]
            for metric, value in task.process_results(instances[0].doc, filtered).items():
                scores.setdefault(f"{metric},{name}", []).append(value)
    aggregates = {name: aggregate(task, name.partition(",")[0], values) for name, values in scores.items()}
    return {"requests": requests, "responses": responses, "scores": scores, "aggregates": aggregates}


def make_task(question: dict[str, Any]) -> Any:
    """Return lm-eval's task over the given files."""
    import datasets
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(question["path"])
    for key in ("tag", "group", "task_list"):
        config.pop(key, None)
    if "class" in config:

        def download(self: Any, *_: Any, **__: Any) -> None:
            self.dataset = datasets.load_dataset("parquet", data_files=question["files"])

        return type("Local", (config["class"],), {"download": download})()
    config |= {
        "dataset_path": "parquet", "dataset_name": None, "dataset_kwargs": {"data_files": question["files"]},
    }  # fmt: skip
    return ConfigurableTask(config=config)


def completion(task: Any, document: Any, prompt: str, number: int) -> str:
    """Return a made completion: the target in one of three cases, else one of a list."""
    pick = number_of(prompt, number)
    try:
        target = task.doc_to_target(document)
        target = task.doc_to_choice(document)[target] if task.config.doc_to_choice else target
        target = target[0] if isinstance(target, list) and target else target
    except Exception:  # a target that isn't a text or an option
        target = ""
    texts = (f" {target}", f"The answer is {target}.", f"so #### {target}")
    return texts[pick // 3 % len(texts)] if pick % 3 == 0 and target else COMPLETIONS[pick % len(COMPLETIONS)]


def aggregate(task: Any, metric: str, values: list[Any]) -> float | None:
    """Return lm-eval's aggregation, the mean if the task has none for the metric; None if it fails."""
    try:
        function = task.aggregation().get(metric)
        return float(sum(values) / len(values) if function is None else function(values))
    except Exception:  # such as F1 of three labels
        return None


if __name__ == "__main__":
    main()
