"""Cases of Inspect: `python -m tools.compare.workers.inspect CASE`."""

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from inspect_ai import Task, eval, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import match
from inspect_ai.solver import generate

from tools.compare.workers.protocol import mark_request, read_lines, report, settings

HEADER = "The following are multiple choice questions (with answers) about philosophy.\n\n"
LETTERS = "ABCD"


@task
def questions(folder: str) -> Task:
    """Return MMLU's questions with five examples, in HELM's format."""
    rows: Any = {split: read_lines(Path(folder) / f"{split}.jsonl") for split in ("dev", "test")}
    examples = HEADER + "".join(f"{_prompt(row)} {LETTERS[row['answer']]}\n\n" for row in rows["dev"])
    samples = [Sample(input=examples + _prompt(row), target=LETTERS[row["answer"]]) for row in rows["test"]]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=match(location="begin"))


def mmlu() -> None:
    """Score the demo model on MMLU, 5-shot."""
    # without this template, the provider adds "user: " to the prompt
    template = "{{ messages[0].content }}"
    model = get_model(
        "hf/local", model_path=str(settings().model), device="cpu", do_sample=False, chat_template=template
    )
    _run(str(settings().rows / "mmlu"), model, max_tokens=1, max_connections=8)


def overhead() -> None:
    """Run an instant model."""

    def instant(*_: Any) -> ModelOutput:
        mark_request()
        output = ModelOutput.from_content(model="instant", content=" A")
        # without usage, the mock model downloads a tokenizer to count tokens
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    _run(str(settings().rows / f"overhead_{settings().n}"), get_model("mockllm/model", custom_outputs=instant))


def make_table() -> None:
    """Write a log with at most 10,000 samples, and copies of it up to n samples."""
    n = min(settings().n, 10_000)

    def instant(*_: Any) -> ModelOutput:
        output = ModelOutput.from_content(model="instant", content="A")
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    samples = [Sample(input=f"What is {number} + 1?", target="AB"[number % 2]) for number in range(n)]
    run = Task(dataset=MemoryDataset(samples), solver=generate(), scorer=match())
    (log,) = eval(run, model=get_model("mockllm/model", custom_outputs=instant), log_dir="table", display="none")
    file = Path(log.location.removeprefix("file://"))
    for number in range(1, settings().n // n):
        shutil.copy(file, file.with_name(f"2026-01-01T00-00-00-00-00_task_copy{number:04}.eval"))


def table() -> None:
    """Read all samples of the logs into one frame."""
    from inspect_ai.analysis import samples_df

    start = time.perf_counter()
    rows = len(samples_df(os.environ["COMPARE_TABLE"], quiet=True))
    report(n=rows, rows_per_s=rows / (time.perf_counter() - start))


def _prompt(row: dict[str, Any]) -> str:
    options = "".join(f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, row["choices"], strict=True))
    return f"Question: {row['question'].strip()}\n{options}Answer:"


def _run(folder: str, model: Any, **options: Any) -> None:
    (log,) = eval(questions(folder), model=model, log_dir="logs", display="none", **options)
    if log.status != "success" or log.results is None:
        raise SystemExit(str(log.error))
    report(score=float(log.results.scores[0].metrics["accuracy"].value))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
