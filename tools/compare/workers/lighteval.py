"""Cases of lighteval: `python -m tools.compare.workers.lighteval CASE`.

lighteval loads this file by its path too: as the file of the tasks, and as the file of the instant model.
"""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from lighteval.metrics.metrics import Metrics
from lighteval.models.abstract_model import LightevalModel
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc, SamplingMethod
from lighteval.utils.cache_management import SampleCache, cached

from tools.compare.workers.protocol import mark_request, report, settings

# Every command imports the modules of all tasks. The first one downloads a file when it is imported. The others pass an
# argument to a function of huggingface_hub that its recent releases lack.
FAILING = ("tiny_benchmarks", "mt_bench.main", "mix_eval.main")
LETTERS = "ABCD"
HEADER = "The following are multiple choice questions (with answers) about philosophy."


class InstantModel(LightevalModel):
    """A model that returns at once."""

    def __init__(self, config: Any) -> None:
        self.config = config
        config.cache_dir = "cache"
        self._cache = SampleCache(config)

    @property
    def tokenizer(self) -> Any:
        """Raise: this model has no tokenizer."""
        raise NotImplementedError

    @property
    def add_special_tokens(self) -> bool:
        """Return whether the tokenizer adds special tokens."""
        return False

    @property
    def max_length(self) -> int:
        """Return the number of tokens of the window."""
        return 8192

    @cached(SamplingMethod.LOGPROBS)
    def loglikelihood(self, docs: list[Any]) -> list[Any]:
        """Return the same log-probabilities for each request."""
        mark_request()
        same = {"logprobs": [-1.0] * len(LETTERS), "argmax_logits_eq_gold": [False] * len(LETTERS)}
        return [ModelResponse(**same) for _ in docs]

    def loglikelihood_rolling(self, docs: list[Any]) -> list[Any]:
        """Raise: no task has this kind of request."""
        raise NotImplementedError

    def greedy_until(self, docs: list[Any]) -> list[Any]:
        """Raise: no task has this kind of request."""
        raise NotImplementedError


def mmlu() -> None:
    """Score the demo model on MMLU, 5-shot."""
    _run("accelerate", _demo_model(), "local_mmlu|5")


def hellaswag() -> None:
    """Score the demo model on HellaSwag by likelihood."""
    _run("accelerate", _demo_model(), "local_hellaswag|0")


def overhead() -> None:
    """Run an instant model."""
    _run("custom", "instant", __file__, f"local_overhead_{settings().n}|5")


def listing() -> None:
    """List all tasks."""
    _command("tasks", "list")


def _demo_model() -> str:
    # lighteval reuses the completions that it finds in cache_dir/model_name: by default those of an earlier process. An
    # absolute model_name would be the folder of the cache.
    Path("model").symlink_to(settings().model)
    parameters = {"model_name": "model", "dtype": "float32", "batch_size": 1, "cache_dir": "cache"}
    Path("model.yaml").write_text(json.dumps({"model_parameters": parameters}), encoding="utf-8")  # JSON is YAML
    return "model.yaml"


def _question(row: dict[str, Any], task_name: str) -> Any:
    options = "".join(f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, row["choices"], strict=True))
    return Doc(
        task_name=task_name,
        instruction=HEADER,
        query=f"{row['question'].strip()}\n{options}Answer:",  # the prompt of lm-eval
        choices=[f" {letter}" for letter in LETTERS],
        gold_index=row["answer"],
    )


def _context(row: dict[str, Any], task_name: str) -> Any:
    endings = [f" {ending}" for ending in row["endings"]]
    return Doc(task_name=task_name, query=row["context"], choices=endings, gold_index=row["label"])


def _task(name: str, prompt: Any, split: str) -> Any:
    return LightevalTaskConfig(
        name=f"local_{name}",
        prompt_function=prompt,
        hf_repo=str(settings().rows / name),
        hf_subset="default",
        hf_avail_splits=["dev", "test"],
        evaluation_splits=[split],
        few_shots_split="dev",
        few_shots_select="sequential",
        metrics=[Metrics.loglikelihood_acc],
    )


TASKS_TABLE = [
    _task("mmlu", _question, "test"),
    _task("hellaswag", _context, "validation"),
    _task(f"overhead_{settings().n}", _question, "test"),
]


def _run(*arguments: str) -> None:
    _command(*arguments, "--custom-tasks", __file__, "--output-dir", "results", "--save-details")
    (file,) = Path("results").rglob("results_*.json")
    results = json.loads(file.read_text(encoding="utf-8"))["results"]
    report(score=float(results["all"]["acc"]))


def _command(*arguments: str) -> None:
    from lighteval.__main__ import app

    for name in FAILING:
        sys.modules[f"lighteval.tasks.tasks.{name}"] = ModuleType(name)
    app(arguments, standalone_mode=False)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
