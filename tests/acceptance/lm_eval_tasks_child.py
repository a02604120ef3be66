"""lm-eval's requests and scores of tasks over local Parquet, in a process of its own that has lm-eval.

Reads a JSON line for each task: {"path": its file, "files": split → Parquet file, "shots", "limit", "completions":
document → text}. Prints a line for each: {"requests": [[type, document, arguments]], "scores": "metric,filter" →
values}, or {"error"}. The log-probability of a text is made from a hash, so that both tools have the same.
"""

import hashlib
import json
import sys
import traceback
from typing import Any


def log_probability(context: str, continuation: str) -> float:
    """Return a number that depends on the texts alone."""
    digest = hashlib.sha256(f"{context}\0{continuation}".encode()).hexdigest()
    return -int(digest[:8], 16) / 2**28


def main() -> None:
    """Answer each line."""
    output, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = run_task(question)
        except Exception:  # the caller shows it
            answer = {"error": traceback.format_exc()[-800:]}
        print(json.dumps(answer, default=str), file=output, flush=True)


def run_task(question: dict[str, Any]) -> dict[str, Any]:
    """Return the requests of a task, and its scores under the made log-probabilities and completions."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(question["path"])
    for key in ("tag", "group", "task_list"):
        config.pop(key, None)
    config |= {
        "dataset_path": "parquet", "dataset_name": None, "dataset_kwargs": {"data_files": question["files"]},
    }  # fmt: skip
    task = ConfigurableTask(config=config)
    task.set_fewshot_seed(1234)
    if question["shots"] is not None:
        task.config.num_fewshot = question["shots"]
    task.build_all_requests(limit=question["limit"])
    requests: list[list[Any]] = []
    documents: dict[int, list[Any]] = {}
    for instance in task.instances:
        requests.append([instance.request_type, instance.doc_id, list(instance.arguments)])
        scored = instance.request_type == "loglikelihood"
        completion = question["completions"].get(str(instance.doc_id), "")
        instance.resps = [(log_probability(*instance.arguments), False)] if scored else [completion]
        documents.setdefault(instance.doc_id, []).append(instance)
    task.apply_filters()
    scores: dict[str, list[Any]] = {}
    for name in task.instances[0].filtered_resps:
        for instances in documents.values():
            instances.sort(key=lambda instance: instance.idx)
            filtered = [instance.filtered_resps[name] for instance in instances]
            for metric, value in task.process_results(instances[0].doc, filtered).items():
                scores.setdefault(f"{metric},{name}", []).append(value)
    return {"requests": requests, "scores": scores}


if __name__ == "__main__":
    main()
