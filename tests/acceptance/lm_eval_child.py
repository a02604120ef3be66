"""lm-eval on questions with options, by log-likelihood, in a process of its own.

usage: lm_eval_child.py FOLDER MODEL, where FOLDER/questions.jsonl has a line {"context", "options", "gold"} for each
question. Prints, as its last line, {"seconds": of the evaluation, once the model is loaded, "values": of each question,
the log-probability of each option}.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

TASK = """
task: questions
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{context}}}}"
doc_to_choice: "{{{{options}}}}"
doc_to_target: gold
target_delimiter: ""
metric_list:
  - metric: acc
"""


def main(folder: Path, model: str) -> None:
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    (folder / "questions.yaml").write_text(TASK.format(file=folder / "questions.jsonl"), encoding="utf-8")
    loaded = HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=1)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    started = time.perf_counter()
    found: Any = lm_eval.simple_evaluate(
        loaded, tasks=["questions"], task_manager=manager, log_samples=True, bootstrap_iters=0
    )
    seconds = time.perf_counter() - started
    samples = sorted(found["samples"]["questions"], key=lambda each: each["doc_id"])
    values = [[float(each[0]) for each in sample["filtered_resps"]] for sample in samples]
    print(json.dumps({"seconds": seconds, "values": values}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
