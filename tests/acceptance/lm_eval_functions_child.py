"""Our plans of lm-eval's tasks with Python functions, in a process that has lm-eval.

Reads and prints JSON lines as `lm_eval_tasks_child.py` does. Scores have our names.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helmframe as hf
from tests.acceptance.lm_eval_tasks_child import log_probability


class Replayed:
    """A model with made log-probabilities, and the completion of each prompt."""

    def __init__(self, completions: Mapping[str, str]) -> None:
        self.completions = completions

    def generate(self, prompts: list[str], **decoding: Any) -> list[str]:
        """Return the completion of each prompt."""
        del decoding
        return [self.completions[prompt] for prompt in prompts]

    def loglikelihood(self, pairs: list[tuple[str, str]]) -> list[float]:
        """Return the made log-probability of each pair."""
        return [log_probability(*pair) for pair in pairs]


def run_task(question: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the requests of a task, and the scores by metric, in the order of the documents."""
    file = folder / f"{question['name'].replace('/', '_')}.yaml"
    data = f"dataset_kwargs: {{data_files: {json.dumps(question['files'])}}}"
    file.write_text(f"include: {question['path']}\ndataset_path: parquet\ndataset_name: null\n{data}\n")
    # the file includes one of lm-eval's own, whose functions are trusted without trust_remote_code
    plan = hf.scenario(f"lm_eval:{file}").limit(question["limit"])
    if question["shots"] is not None:
        plan = plan.adapt(shots=question["shots"])
    table = plan.requests().collect()
    table = table.sort("row_index", *(["reference_index"] if "reference_index" in table.columns else []))
    rows = list(table.iter_rows(named=True))
    completions = {row["prompt"]: question["completions"][str(row["row_index"])] for row in rows}
    results = plan.generate({"replayed": Replayed(completions)}).score()
    positions = results.completions.select("instance_id", "row_index").unique().collect()
    scores = {
        name: results.scores.filter(metric=name).collect().join(positions, on="instance_id").sort("row_index")["score"]
        for name in results.metric_names
    }
    return {
        "requests": [[row["prompt"], row.get("continuation")] for row in rows],
        "scores": {name: values.to_list() for name, values in scores.items()},
    }


def main() -> None:
    """Answer each line."""
    output, sys.stdout = sys.stdout, sys.stderr
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            question = json.loads(line)
            print(question["name"], file=sys.stderr)
            print(json.dumps(run_task(question, Path(folder))), file=output, flush=True)


if __name__ == "__main__":
    main()
