"""The main job in one minute: the embedded sample, two perturbations, five-shot prompts, a real small model.

usage: python tools/demo.py models/SmolLM2-135M-Instruct
"""

import sys
import time
from pathlib import Path

import helmframe as hf
from helmframe.views.display import robustness_text

started = time.monotonic()
folder = Path(sys.argv[1])
plan = (
    hf.scenario("sampler")
    .sample(5)  # of each of the 8 subjects: 40 instances
    .perturb(["typos", "lowercase"])
    .adapt(shots=5)
    .generate({folder.name: str(folder)})
)

print("The plan\n")
print(plan.explain())
results = plan.score()
print("\nThe scores\n")
print(results)
print("\nRobustness: what a perturbation does to the same instances\n")
main = results.robustness().filter(metric=results.main_metrics[0]).drop("scenario", "metric")
print(robustness_text(main))
print(
    f"""
A model of 135 million parameters is near chance on such questions: read the intervals, not the digits.
{results.manifest["counts"]["generated"]} completions asked, {results.manifest["counts"]["cached"]} read from the store.
Parquet: {results.path}
Done in {time.monotonic() - started:.0f} s."""
)
