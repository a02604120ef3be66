"""lm-eval's own run of tasks and groups over local Parquet, in a process of its own that has lm-eval.

Reads JSON: {"include": a folder of task files or null, "tasks": names, "model": a checkpoint or null, "limit", "shots",
"data": data set → folder of its rows}. Prints {"results": task or group → metrics, "samples": task → [{"arguments",
"responses"}]}. Without a model, log-probabilities are made from a hash, and there are no samples.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tests.acceptance.lm_eval_tasks_child import is_greedy, log_probability, plain


def main() -> None:
    """Run lm-eval once."""
    question = json.load(sys.stdin)
    output, sys.stdout = sys.stdout, sys.stderr
    import datasets
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    original = datasets.load_dataset

    def load(path: str, name: str | None = None, **arguments: Any) -> Any:
        folder = question["data"].get(path)
        if folder is None:
            return original(path, name, **arguments)
        files = sorted((Path(folder) / str(name)).glob("*.parquet"))
        return original("parquet", data_files={file.name.split("-")[0]: str(file) for file in files})

    datasets.load_dataset = load

    class Hashed(LM):  # type: ignore[misc, unused-ignore]
        """A model whose log-probabilities depend on the texts alone."""

        def loglikelihood(self, requests: Any) -> list[tuple[float, bool]]:
            return [(log_probability(*one.args), is_greedy(*one.args)) for one in requests]

        def loglikelihood_rolling(self, requests: Any) -> list[float]:
            return [log_probability("", one.args[0]) for one in requests]

        def generate_until(self, requests: Any) -> list[str]:
            return ["" for _ in requests]

    model: Any = Hashed()
    if question["model"]:
        from lm_eval.models.huggingface import HFLM

        model = HFLM(pretrained=question["model"], dtype="float32", device="cpu", batch_size=1)
    run: Any = lm_eval.simple_evaluate(
        model, tasks=question["tasks"], task_manager=TaskManager(include_path=question["include"]),
        num_fewshot=question["shots"], limit=question["limit"], bootstrap_iters=0,
        log_samples=bool(question["model"]),
    )  # fmt: skip
    samples = {
        task: [
            {"arguments": one["arguments"], "responses": one["resps"]}
            for one in sorted(rows, key=lambda one: one["doc_id"])
        ]
        for task, rows in run.get("samples", {}).items()
    }
    wanted = {"results": {**run["results"], **(run.get("groups") or {})}, "samples": samples}
    print(json.dumps(wanted, default=plain), file=output)


if __name__ == "__main__":
    main()
