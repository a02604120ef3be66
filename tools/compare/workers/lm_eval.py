"""Cases of lm-eval: `python -m tools.compare.workers.lm_eval CASE`."""

import json
import sys
from pathlib import Path
from typing import Any

import lm_eval.models  # noqa: F401 registers the built-in models
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from tools.compare.workers.protocol import mark_request, report, settings

QUESTION = "{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:"


@register_model("instant")
class InstantModel(LM):
    """A model that returns at once."""

    def __init__(self, **_: Any) -> None:
        super().__init__()

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Return the same log-probability for each request."""
        mark_request()
        return [(-1.0, False)] * len(requests)

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """Return the same log-probability for each request."""
        return [-1.0] * len(requests)

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Return the same text for each request."""
        return ["A"] * len(requests)


def mmlu() -> None:
    """Score the demo model on MMLU, 5-shot."""
    _run(_mmlu_task(settings().rows / "mmlu"), *_demo_model())


def hellaswag() -> None:
    """Score the demo model on HellaSwag by likelihood."""
    task = {
        "task": "local",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"validation": str(settings().rows / "hellaswag" / "validation.jsonl")}},
        "validation_split": "validation",
        "output_type": "multiple_choice",
        "doc_to_text": "{{context}}",
        "doc_to_choice": "{{endings}}",
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    _run(task, *_demo_model())


def overhead() -> None:
    """Run an instant model."""
    _run(_mmlu_task(settings().rows / f"overhead_{settings().n}"), "--model", "instant")


def _demo_model() -> list[str]:
    return ["--model", "hf", "--model_args", f"pretrained={settings().model},dtype=float32", "--device", "cpu"]


def _mmlu_task(folder: Path) -> dict[str, Any]:
    return {
        "task": "local",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {split: str(folder / f"{split}.jsonl") for split in ("test", "dev")}},
        "test_split": "test",
        "fewshot_split": "dev",
        "fewshot_config": {"sampler": "first_n"},
        "num_fewshot": 5,
        "output_type": "multiple_choice",
        "description": "The following are multiple choice questions (with answers) about philosophy.\n\n",
        "doc_to_text": QUESTION,
        "doc_to_choice": ["A", "B", "C", "D"],
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}],
    }


def _run(task: dict[str, Any], *options: str) -> None:
    from lm_eval.__main__ import cli_evaluate

    Path("tasks").mkdir()
    Path("tasks/local.yaml").write_text(json.dumps(task), encoding="utf-8")  # JSON is YAML
    command = ["lm_eval", "run", "--tasks", "local", "--include_path", "tasks", "--batch_size", "1"]
    sys.argv = [*command, "--output_path", "results", "--log_samples", *options]
    cli_evaluate()
    (file,) = Path("results").rglob("results_*.json")
    results = json.loads(file.read_text(encoding="utf-8"))["results"]["local"]
    report(score=float(results["acc,none"]))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
