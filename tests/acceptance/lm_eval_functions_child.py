"""Our plans of lm-eval's tasks with Python functions, in a process that has lm-eval.

Reads a JSON line for each task: as `lm_eval_tasks_child.py`, and its "responses". Prints a line for each: {"requests",
"scores": our metric → values in the order of the documents, "aggregates": our metric → value}.
"""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

import helmframe as hf
from tests.acceptance.lm_eval_tasks_child import is_greedy, log_probability


class Replayed:
    """A model with made log-probabilities, and the completions of each prompt, one after the other."""

    def __init__(self, responses: Mapping[str, Sequence[str]]) -> None:
        self.responses = responses
        self.counts: Counter[str] = Counter()

    def generate(self, prompts: list[str], **decoding: Any) -> list[str]:
        """Return the next completion of each prompt."""
        del decoding
        texts = []
        for prompt in prompts:
            texts.append(self.responses[prompt][self.counts[prompt] % len(self.responses[prompt])])
            self.counts[prompt] += 1
        return texts

    def loglikelihood(self, pairs: list[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Return the made log-probability of each pair, and whether it is greedy."""
        return [(log_probability(*pair), is_greedy(*pair)) for pair in pairs]


def in_order(requests: pl.DataFrame) -> pl.DataFrame:
    """Return requests in lm-eval's order: by document; those without a question are the last of their document."""
    columns = requests.columns
    without = pl.col("request_mode").eq_missing("calibration") if "request_mode" in columns else pl.lit(value=False)
    return requests.sort("row_index", without, "reference_index" if "reference_index" in columns else pl.lit(0))


def run_task(question: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the requests of a task, and its scores and aggregates by our metrics."""
    file = folder / f"{question['name'].replace('/', '_')}.yaml"
    data = f"dataset_kwargs: {{data_files: {json.dumps(question['files'])}}}"
    file.write_text(f"include: {question['path']}\ndataset_path: parquet\ndataset_name: null\n{data}\n")
    # the file includes one of lm-eval's own, whose functions are trusted without trust_remote_code
    plan = hf.scenario(f"lm_eval:{file}").limit(question["limit"])
    if question["shots"] is not None:
        plan = plan.adapt(shots=question["shots"])
    table = in_order(plan.requests().collect())
    results = plan.generate({"replayed": Replayed(question["responses"])}).score()
    positions = results.completions.select("instance_id", "row_index").unique().collect()
    scores, aggregates = {}, {}
    for name in results.metric_names:
        values = results.scores.filter(metric=name).collect().join(positions, on="instance_id").sort("row_index")
        if values.height:
            scores[name] = values["score"].to_list()
        aggregates[name] = results.table(metrics=name)["value"][0]
    return {
        "requests": [[row["prompt"], row.get("continuation")] for row in table.iter_rows(named=True)],
        "scores": scores,
        "aggregates": aggregates,
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
