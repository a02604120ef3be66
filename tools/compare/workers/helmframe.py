"""Cases of helmframe: `python -m tools.compare.workers.helmframe CASE`."""

import os
import sys
import time
from functools import partial

import polars as pl

import helmframe as hf
from tools.compare.workers.protocol import mark_request, rate, read_lines, report, settings

PERTURBATIONS: dict[str, dict[str, object]] = {
    "mild_mix": {},
    "misspellings": {"prob": 0.1},
    "typos": {"prob": 0.05},
    "contraction": {},
    "space": {"max_spaces": 3},
    "filler_words": {"insert_prob": 0.1, "speaker_ph": False},
    "lowercase": {},
    "gender": {"mode": "terms", "prob": 1.0},
}
METRICS = ("exact_match", "quasi_exact_match", "f1_score", "rouge_1", "rouge_l", "bleu_4_unsplit")


def mmlu() -> None:
    """Score the demo model on MMLU, 5-shot."""
    plan = hf.scenario(settings().rows / "mmlu" / "rows.yaml", data=settings().rows / "mmlu")
    report(score=float(_score(plan.generate(str(settings().model)), "exact_match")))


def hellaswag() -> None:
    """Score the demo model on HellaSwag by likelihood."""
    plan = hf.scenario("hellaswag", data=settings().rows / "hellaswag" / "data")
    report(score=float(_score(plan.generate(str(settings().model)), "option_accuracy")))


def overhead() -> None:
    """Run an instant model."""

    def instant(prompts: list[str]) -> list[str]:
        mark_request()
        return ["A"] * len(prompts)

    folder = settings().rows / f"overhead_{settings().n}"
    plan = hf.scenario(folder / "rows.yaml", data=folder)
    model = hf.model(instant, name="instant", version="1", batch=512)
    report(score=float(_score(plan.generate(model), "exact_match")))


def perturbations() -> None:
    """Perturb texts: texts per second."""
    hf.configure(data=settings().rows)
    texts = [row["text"] for row in read_lines(settings().rows / "texts.jsonl")]
    frame = pl.DataFrame({"id": [f"id{number}" for number in range(len(texts))], "text": texts})
    for name, arguments in PERTURBATIONS.items():
        call = getattr(hf.perturbations, name)(**arguments).on(pl.col("text"), id="id")
        frame.head(50).select(call)
        start = time.perf_counter()
        frame.select(call)
        report(**{name: len(texts) / (time.perf_counter() - start)})


def metrics() -> None:
    """Score pairs of texts: pairs per second."""
    from helmframe.metrics.protocol import resolve_metrics
    from helmframe.metrics.shared import score_pairs

    pairs = pl.DataFrame(read_lines(settings().rows / "pairs.jsonl"))
    for name in METRICS:
        (metric,) = resolve_metrics([name])
        report(**{name: rate(pairs.height, partial(score_pairs, pairs, {name: metric.expression()}))})


def make_table() -> None:
    """Write a run with n results."""
    frame = pl.select(question=pl.format("What is {} + 1?", pl.int_range(settings().n)), answer=pl.lit("B"))
    model = hf.model(lambda prompts: ["AB"[len(prompt) % 2] for prompt in prompts], name="m", version="1", batch=512)
    plan = hf.scenario(frame, input="question", references="answer", metrics=["exact_match"])
    plan.generate(model).score().to_parquet("table")


def table() -> None:
    """Read all results of a run into one frame, and aggregate them."""
    start = time.perf_counter()
    results = hf.load(os.environ["COMPARE_TABLE"])
    rows = results.to_frame().height
    read = time.perf_counter()
    results.table()
    report(n=rows, rows_per_s=rows / (read - start), aggregate_s=time.perf_counter() - read)


def bucket() -> None:
    """Read one subject of a table in a bucket."""
    start = time.perf_counter()
    plan = hf.scenario(settings().rows / "all.yaml", data="s3://evals").where(subject="philosophy")
    rows = plan.instances().collect().height
    report(n=rows, read_s=time.perf_counter() - start)


def _score(plan: hf.Plan, metric: str) -> float:
    results = plan.score()
    print(results.table())
    return float(results.value(metric))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
