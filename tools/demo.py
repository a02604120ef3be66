"""Evaluate a small model in one minute: does it complete everyday sentences, and do typing errors matter?

usage: python tools/demo.py models/SmolLM2-135M-Instruct
"""

import sys
import time
from pathlib import Path

import polars as pl

import helmframe as hf
from helmframe.views.display import robustness_text

started = time.monotonic()
folder = Path(sys.argv[1])
plan = hf.scenario("everyday").perturb(["lowercase", "typos", "uppercase"]).generate({"SmolLM2-135M": str(folder)})

print("The plan\n")
print(plan.explain())
results = plan.score()
print("\nThe scores\n")
print(results)
print("\nThe change under each perturbation, on the sentences that it changes\n")
changes = results.robustness(metrics="option_accuracy").filter(pl.col("perturbation") != "all")
print(robustness_text(changes.drop("scenario", "model", "metric")))

score = results.table("perturbation", metrics="option_accuracy").row(0, named=True)
worst = changes.sort("change").row(0, named=True)
above = "above chance" if score["ci_low"] > score["chance"] else "not above chance"
loses = "loses accuracy" if worst["change_high"] < 0 else "loses no significant accuracy"
counts = results.manifest["counts"]
print(
    f"""
Conclusion: the model is {above} ({score["value"]:.0%} correct, chance {score["chance"]:.0%}), \
and it {loses} under {worst["perturbation"]!r} ({100 * worst["change"]:+.0f} points).

Completions: {counts["generated"]:,} generated, {counts["cached"]:,} cached
Results: {results.path}
Done in {time.monotonic() - started:.0f} s."""
)
