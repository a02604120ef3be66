"""Record the finding of the README: SmolLM2-135M on `everyday`, as it is and perturbed.

usage: python -m tools.finding

It writes the numbers to tests/acceptance/finding.json, the log-probability of every ending to
tests/acceptance/finding.parquet, and the chart of the README to docs/images.
"""

import json
from typing import Any

import polars as pl

import helmframe as hf
from helmframe.results import Results
from tools.build_sampler import ROOT
from tools.demo_model import demo_model

MODEL = ROOT / "models" / "SmolLM2-135M-Instruct"
METRIC = "option_accuracy"
NUMBERS = ROOT / "tests" / "acceptance" / "finding.json"
LOGPROBS = ROOT / "tests" / "acceptance" / "finding.parquet"
IMAGES = ROOT / "docs" / "images"


def plan(model: object) -> hf.Plan:
    """Return the plan of the finding for a model."""
    perturbations = ["lowercase", "typos", "uppercase"]
    return hf.scenario("everyday").perturb(perturbations).generate({"SmolLM2-135M": model})


def numbers(results: Results) -> dict[str, list[dict[str, Any]]]:
    """Return the scores, and the paired changes of the perturbations, as rows."""
    scores = results.table("perturbation", metrics=METRIC)
    changes = results.robustness(metrics=METRIC).filter(pl.col("perturbation") != "all")
    return {
        "scores": scores.select("perturbation", "value", "ci_low", "ci_high", "n", "chance").to_dicts(),
        "changes": changes.select("perturbation", "change", "change_low", "change_high", "n_changed").to_dicts(),
    }


def main() -> None:
    """Run the plan and write its numbers, log-probabilities and charts."""
    results = plan(str(demo_model(MODEL))).score()
    NUMBERS.write_text(json.dumps(numbers(results), indent=2) + "\n", encoding="utf-8")
    rows = results.completions.select(prompt="suffix", continuation="continuation", logprob="logprob").unique()
    rows.sort("prompt", "continuation").collect().write_parquet(LOGPROBS, compression="zstd", statistics=False)
    for mode in ("light", "dark"):
        results.plot.scores(mode=mode).save(IMAGES / f"finding-{mode}.svg")
    print(results)


if __name__ == "__main__":
    main()
