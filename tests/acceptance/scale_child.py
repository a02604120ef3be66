"""One reading verb of a run of ten million scores, in a process of its own.

`python -m tests.acceptance.scale_child FOLDER VERB`: the run that `made` wrote into the folder, loaded and asked.
Prints a line of JSON: seconds and CPU seconds (of loading and the verb), peak_mb, rows of what came out.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

import helmframe as hf
from helmframe._schema import COMPLETIONS, SCORES, Table
from helmframe.store import RunFolder
from tests.acceptance.figures import peak_mb
from tests.frames import completions

MODELS = [f"model-{place}" for place in range(5)]
VARIANTS = ("original", "typos", "lowercase", "extra_space")
METRICS = ("exact_match", "quasi_exact_match", "prefix_exact_match", "f1_score")
SCENARIOS = ("arithmetic", "geography")
SHARD = 20_000
OPTIONS = [("yes", True), ("no", False), ("maybe", False), ("never", False)]

VERBS: dict[str, Callable[[hf.Results], pl.DataFrame]] = {
    "table": lambda results: results.table(),
    "robustness": lambda results: results.robustness(),
    "compare": lambda results: results.compare("model"),
    "leaderboard": lambda results: results.leaderboard().table,
}


def made(folder: Path, instances: int) -> int:
    """A run of two scenarios with so many instances in all, and how many scores it has.

    Each instance is asked of five models, as it is and in three variants, one answer each, under four metrics.
    """
    run, total = RunFolder(folder), 0
    each = instances // len(SCENARIOS)
    for place, scenario in enumerate(SCENARIOS):
        for shard, start in enumerate(range(0, each, SHARD)):
            random = np.random.default_rng([place, shard])
            places = pl.int_range(start, min(start + SHARD, each), eager=True)
            # subsets come one after the other, as subjects do
            for answers, scores in asked(scenario, places, places * 3 // each, random):
                run.add("completions", scenario, answers, shard)
                run.add("scores", scenario, scores, shard)
                total += scores.height
    run.add("prefixes", "all", pl.DataFrame({"prefix_id": ["p"], "prefix": ["Question: "]}))
    run.write_manifest(manifest())
    return total


def asked(
    scenario: str, places: pl.Series, subset: pl.Series, random: np.random.Generator
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Of each model the completions of some instances, and their scores, in the order in which a run writes them."""
    difficulty = pl.Series(random.beta(2, 1, len(places)))
    ids = pl.select(subset=pl.format("subset{}", subset), difficulty=difficulty).with_columns(
        instance_id=pl.format("{}/id{}", "subset", places)
    )
    variants = ids.join(pl.DataFrame({"perturbation": VARIANTS}), how="cross", maintain_order="left_right")
    for skill, model in enumerate(MODELS):
        harder = skill / 10 + (pl.col("perturbation") != "original") / 5
        rows = variants.with_columns(
            scenario=pl.lit(scenario),
            cluster="instance_id",
            changed=pl.col("perturbation") != "original",
            model=pl.lit(model),
            suffix=pl.format("{}: yes, no, maybe or never?", "instance_id"),
            right=pl.Series(random.random(variants.height)) < pl.col("difficulty") ** (1 + harder),
            f1=pl.Series(random.random(variants.height).round(3)),
        )
        said = rows.with_columns(completion=pl.when("right").then(pl.lit("A")).otherwise(pl.lit("B")))
        output = pl.when("right").then(pl.lit("yes")).otherwise(pl.lit("no"))
        read = rows.with_columns(output=output, parsed=True, truncated=False)
        right = pl.col("right").cast(pl.Float64)
        scored = [
            read.with_columns(
                metric=pl.lit(metric),
                score=right if metric != "f1_score" else pl.when("right").then(1.0).otherwise("f1"),
            )
            for metric in METRICS
        ]
        yield filled(said, COMPLETIONS), filled(pl.concat(scored), SCORES)


def filled(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The rows with all columns of the table: theirs, else those of one made-up completion."""
    one = completions([""], [OPTIONS], choices=pl.Series([["A", "B", "C", "D"]]))
    others = [one[name].to_list()[0] if name in one.columns else None for name in table.schema]
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(pl.Series([other], dtype=dtype)).first().alias(name)).cast(
            dtype
        )
        for (name, dtype), other in zip(table.schema.items(), others, strict=True)
    )


def manifest() -> dict[str, object]:
    main = {"metric": "exact_match", "split": "test", "mean": "macro"}
    metric = {"level": "output", "unit": "fraction", "higher_is_better": True}
    return {
        "format": 1,
        "status": "done",
        "scenarios": {
            name: {"version": "1", "main": main, "subsets": ["subset"], "description": "", "whole_shards": True}
            for name in SCENARIOS
        },
        "perturbations": {name: {"kind": "robustness", "repeats": False} for name in VARIANTS[1:]},
        "models": {name: {"fingerprint": name, "durable": True, "note": ""} for name in MODELS},
        "adapters": {},
        "metrics": dict.fromkeys(METRICS, metric),
        "counts": {},
        "skipped": [],
    }


def main(folder: Path, verb: str) -> dict[str, object]:
    start = time.perf_counter(), time.process_time()
    table = VERBS[verb](hf.load(folder))
    seconds, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    return {"seconds": seconds, "cpu": cpu, "peak_mb": peak_mb(), "rows": table.height}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
