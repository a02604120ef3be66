"""Score a model on the questions of a CSV file. Support: built in."""

import csv
import sys
from pathlib import Path
from typing import ClassVar

from helm.benchmark.adaptation.common_adapter_specs import get_generation_adapter_spec
from helm.benchmark.metrics.common_metric_specs import get_exact_match_metric_specs
from helm.benchmark.run import main
from helm.benchmark.run_spec import RunSpec, run_spec_function
from helm.benchmark.scenarios import scenario


class Questions(scenario.Scenario):
    """The rows of questions.csv."""

    name = "questions"
    description = "Sums of two numbers."
    tags: ClassVar[list[str]] = []

    def get_instances(self, output_path: str) -> list[scenario.Instance]:
        """Return an instance per row."""
        with Path("questions.csv").open(encoding="utf-8") as file:
            return [self._instance(**row) for row in csv.DictReader(file)]

    def _instance(self, question: str, answer: str) -> scenario.Instance:
        correct = scenario.Reference(scenario.Output(answer), [scenario.CORRECT_TAG])
        return scenario.Instance(scenario.Input(question), [correct], scenario.TEST_SPLIT)


@run_spec_function("questions")
def questions() -> RunSpec:
    """Return the run of these questions."""
    return RunSpec(
        name="questions",
        scenario_spec=scenario.ScenarioSpec(f"{__name__}.Questions"),
        adapter_spec=get_generation_adapter_spec(max_train_instances=0, max_tokens=10),
        metric_specs=get_exact_match_metric_specs(),
        groups=["questions"],
    )


def run(*models: str, entry: str = "questions") -> None:
    """Run the questions with models, as `helm-run` does."""
    entries = [f"{entry}:model={model}" for model in models]
    sys.argv = ["helm-run", "--run-entries", *entries, "--suite", "v1", "--max-eval-instances", "1000"]
    main()


if __name__ == "__main__":
    import own_function  # noqa: F401 registers the model

    run("user/answer")
