"""Cases of evalscope: `python -m tools.compare.workers.evalscope CASE`."""

import sys
from typing import Any

from evalscope import TaskConfig, run_task
from evalscope.api.benchmark import BenchmarkMeta, DefaultDataAdapter
from evalscope.api.dataset import Sample
from evalscope.api.model import ModelAPI, ModelOutput
from evalscope.api.registry import register_benchmark

from tools.compare.workers.protocol import mark_request, report, settings

HEADER = "The following are multiple choice questions (with answers) about philosophy.\n\n"
LETTERS = "ABCD"


@register_benchmark(
    BenchmarkMeta(
        name="local",
        dataset_id="",
        pretty_name="MMLU",
        description="MMLU's questions of one subject.",
        metric_list=["acc"],
        few_shot_num=5,
        train_split="dev",
        eval_split="test",
        few_shot_prompt_template=HEADER + "{fewshot}\n\n{question}",
    )
)
class Questions(DefaultDataAdapter):
    """MMLU's questions with five examples, in HELM's format."""

    def record_to_sample(self, record: dict[str, Any]) -> Any:
        """Return the prompt of a row without examples, and the letter of its correct option."""
        options = "".join(f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, record["choices"], strict=True))
        prompt = f"Question: {record['question'].strip()}\n{options}Answer:"
        return Sample(input=prompt, target=LETTERS[record["answer"]])

    def sample_to_fewshot(self, sample: Any) -> str:
        """Return an example of the prompt."""
        return f"{sample.input} {sample.target}"

    def extract_answer(self, prediction: str, task_state: Any) -> str:
        """Return the letter that the model generated."""
        return prediction.strip()


class InstantModel(ModelAPI):
    """A model that returns at once."""

    def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> Any:
        """Return the same letter for each request."""
        mark_request()
        return ModelOutput.from_content(model="instant", content=" A")


def mmlu() -> None:
    """Score the demo model on MMLU, 5-shot."""
    model = {
        "precision": "float32",
        "device_map": "cpu",
        # without this template, evalscope adds "user: " to the prompt
        "chat_template": "{{ messages[0].content }}",
    }
    generation = {"max_tokens": 1, "do_sample": False}
    _run("mmlu", model=str(settings().model), model_args=model, generation_config=generation)


def overhead() -> None:
    """Run an instant model."""
    _run(f"overhead_{settings().n}", model=InstantModel("instant"))


def _run(name: str, **options: Any) -> None:
    folder = {"local": {"dataset_id": str(settings().rows / name)}}
    results = run_task(TaskConfig(datasets=["local"], dataset_args=folder, work_dir="outputs", **options))
    report(score=float(results["local"].score))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
