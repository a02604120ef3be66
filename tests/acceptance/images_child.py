"""Runs POPE from a bucket on a model, and prints its figures as JSON: the scores, the errors and the peak of memory."""

import json
import re
import sys
from pathlib import Path

import helmframe as hf


def peak() -> float:
    """The most megabytes that this process has had in memory."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1000


def main(data: str, kind: str, address: str, first: str) -> None:
    model = hf.models.http(address, "m") if kind == "http" else hf.models.local(address, device="cpu")
    plan = hf.scenario("pope", data=data).perturb("image_jpeg").generate(model)
    plan.limit(int(first)).score()  # fills the caches, so that the rest shows whether memory grows with the data
    before = peak()
    results = plan.score()
    rows = results.completions.collect()
    figures = {
        "megabytes": round(peak() - before),
        "peak": round(peak()),
        "completions": rows.height,
        "errors": results.errors().height,
        "distinct": rows["request_id"].n_unique(),
        "changed": rows.filter(perturbation="image_jpeg")["changed"].sum(),
        "accuracy": results.value("exact_match", perturbation="original"),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
