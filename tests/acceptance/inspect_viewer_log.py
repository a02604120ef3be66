"""Write logs of Inspect with the rows of a run: an evaluation per model, with the same prompts and completions.

Arguments: a Parquet file of rows, the prices of each model as JSON, the folder of the logs. Prints the costs as JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import inspect_ai
import polars as pl
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelCost, ModelInfo, ModelOutput, ModelUsage, get_model, set_model_info
from inspect_ai.scorer import CORRECT, INCORRECT, Score, accuracy, grouped, scorer, stderr


@scorer(metrics=[accuracy(), stderr(), grouped(accuracy(), "perturbation", all=False)])
def exact_match() -> Any:
    """Compare the text of the chosen option with the target."""

    async def score(state: Any, target: Any) -> Score:
        completion = state.output.completion.strip()
        output = state.metadata["options"].get(completion, completion)
        return Score(value=CORRECT if output == target.text else INCORRECT, answer=output, explanation=completion)

    return score


def mock_model(name: str, completions: dict[str, tuple[str, str | None]]) -> Any:
    """Return a model that generates the stored completion of each prompt, or raises its error."""

    def output(messages: Any, *_: Any) -> ModelOutput:
        prompt = messages[-1].text
        completion, error = completions[prompt]
        if error:
            raise RuntimeError(error.removeprefix("RuntimeError: "))
        made = ModelOutput.from_content(f"mockllm/{name}", completion)
        n_tokens = len(prompt) // 4
        made.usage = ModelUsage(input_tokens=n_tokens, output_tokens=1, total_tokens=n_tokens + 1)
        return made

    return get_model(f"mockllm/{name}", custom_outputs=output, memoize=False)


def main(rows: pl.DataFrame, prices: dict[str, tuple[float, float]], folder: str) -> None:
    """Run an evaluation per model, and print the cost of each."""
    costs = {}
    for name, (read, written) in prices.items():
        part = rows.filter(model=name).sort("instance_id", "perturbation")
        cost = ModelCost(input=read, output=written, input_cache_read=0, input_cache_write=0)
        set_model_info(f"mockllm/{name}", ModelInfo(cost=cost))
        samples, completions = [], {}
        for row in part.iter_rows(named=True):
            names = ["instance_id", "perturbation", "subset", "input", "perturbed_input"]
            metadata = {**{key: row[key] for key in names}, "options": json.loads(row["options"])}
            samples.append(
                Sample(
                    id=f"{row['instance_id']} {row['perturbation']}",
                    input=row["prompt"],
                    target=row["correct"][0],
                    metadata=metadata,
                )
            )
            completions[row["prompt"]] = (row["completion"], row["error"])
        task = inspect_ai.Task(dataset=MemoryDataset(samples, name="sampler"), scorer=exact_match(), name="sampler")
        (log,) = inspect_ai.eval(
            task,
            model=mock_model(name, completions),
            log_dir=folder,
            display="none",
            fail_on_error=False,
            log_realtime=False,
        )
        costs[name] = log.stats.model_usage[f"mockllm/{name}"].total_cost
    print(json.dumps(costs))


if __name__ == "__main__":
    main(pl.read_parquet(Path(sys.argv[1])), json.loads(sys.argv[2]), sys.argv[3])
