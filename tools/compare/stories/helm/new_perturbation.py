"""Add a perturbation and measure its effect. Support: built in."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import own_csv
import own_function  # noqa: F401 registers the model
from helm.benchmark.augmentations.data_augmenter import DataAugmenterSpec
from helm.benchmark.augmentations.perturbation import PerturbationSpec, TextPerturbation
from helm.benchmark.augmentations.perturbation_description import PerturbationDescription
from helm.benchmark.run_spec import RunSpec, run_spec_function


class Shouting(TextPerturbation):
    """Convert to capitals."""

    name = "shouting"

    @property
    def description(self) -> PerturbationDescription:
        """Return the name, and that it counts as robustness."""
        return PerturbationDescription(name=self.name, robustness=True)

    def perturb(self, text: str, rng: Random) -> str:
        """Return the text in capitals."""
        return text.upper()


@run_spec_function("shouted")
def shouted() -> RunSpec:
    """Return the run of the questions, as they are and in capitals."""
    augmenter = DataAugmenterSpec(
        [PerturbationSpec(f"{__name__}.Shouting")],
        should_augment_eval_instances=True,
        should_include_original_eval=True,
    )
    return replace(own_csv.questions(), name="shouted", data_augmenter_spec=augmenter)


own_csv.run("user/answer", entry="shouted")
stats = json.loads(Path("benchmark_output/runs/v1/shouted:model=user_answer/stats.json").read_text(encoding="utf-8"))
for stat in stats:
    name = stat["name"]
    if (name["name"], name.get("split")) == ("exact_match", "test") and name.get("perturbation", {}).get(
        "name"
    ) == "shouting":
        print(name["perturbation"]["computed_on"], stat["mean"])
