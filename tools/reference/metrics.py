"""The reference page of metrics."""

import inspect
from collections.abc import Iterator
from typing import Any

import helmframe as hf
from helmframe.metrics.protocol import METRICS, Metric
from tools.reference.markdown import (
    anchor,
    arguments,
    bullets,
    code,
    first_sentence,
    page,
    paragraphs,
    prose,
    shortened,
    table,
)
from tools.reference.metric_examples import EXAMPLES

# Module or topic → heading, in the order of the page; other modules follow under their own names.
TOPICS = {
    "match": "Exact match and parsed answers",
    "overlap": "Overlap of words: F1, BLEU, ROUGE",
    "classification": "Classification",
    "sets": "Sets and labels",
    "math_equiv": "Mathematics",
    "math_symbolic": "Mathematics, compared symbolically",
    "code": "Programs",
    "ifeval.scoring": "Instruction following (IFEval)",
    "likelihood": "Log-probabilities, options and perplexity",
    "ranking": "Ranking",
    "repeats": "Several outputs",
    "calibration": "Calibration",
    "bias": "Bias",
    "bbq": "Bias: BBQ",
    "stereotypes": "Bias: stereotypes",
    "_toxicity": "Toxicity of completions",
    "copying": "Copying and summaries",
    "text": "Length, repetition and refusals",
    "efficiency": "Tokens, time and cost",
}
# Metric → topic, for metrics whose topic isn't their module.
OTHER_TOPICS = {
    "math_symbolic": "math_symbolic",
    **dict.fromkeys(("maj@k", "pass^k", "at_least@k"), "repeats"),
    **dict.fromkeys(("stereotype_preferred", "meaningful_preferred", "icat"), "stereotypes"),
}
# Headings of metrics whose names alone have the anchor of another metric.
HEADINGS = {"pass^k": "`pass^k`: all of k"}


def metrics() -> str:
    """Return the page."""
    rows = {row["name"]: row for row in hf.list_metrics().iter_rows(named=True)}
    rows = {name: row for name, row in rows.items() if METRICS[name].function.__module__.startswith("helmframe.")}
    both = [row for row in rows.values() if row["helm"] or row["lm_eval"]]
    cells = (
        [_link(row["name"]), *(", ".join(map(code, row[key].split(", "))) for key in ("helm", "lm_eval"))]
        for row in both
    )
    names = table(["helmframe", "HELM", "lm-eval"], cells)
    return page(
        "Metrics",
        '`plan.metrics("exact_match", "f1_score")` sets the metrics of a plan. `hf.list_metrics()` returns this list '
        "as a data frame. [Add a metric](../extend.md) shows how to write your own.",
        bullets(
            [
                "Metrics of level `output` score completions, those of level `instance` score instances.",
                "Metrics of level `set` have one value per group of instances.",
                "Every metric of level `output` also exists as `name@k`: the best of an instance's first k outputs.",
                "The scores in the examples are computed by the metric itself.",
            ]
        ),
        "## All metrics",
        table(
            ["metric", "level", "better", "score"],
            ([_link(name), row["level"], row["direction"], prose(_summary(name))] for name, row in rows.items()),
        ),
        *_topics(rows),
        "## The same metric elsewhere",
        "The names of the same metric in HELM and in lm-evaluation-harness.",
        names,
    )


def _topics(rows: dict[str, Any]) -> Iterator[str]:
    topics: dict[str, list[str]] = {topic: [] for topic in TOPICS}
    for name in rows:
        module = METRICS[name].function.__module__.removeprefix("helmframe.metrics.")
        topics.setdefault(OTHER_TOPICS.get(name, module), []).append(name)
    for topic, names in topics.items():
        if names:
            yield f"## {TOPICS.get(topic, topic)}"
            for name in names:
                yield from _section(METRICS[name], rows[name])


def _section(metric: Metric, row: dict[str, Any]) -> Iterator[str]:
    docstring = inspect.getdoc(metric.function) or ""
    yield f"### {HEADINGS.get(metric.name, code(metric.name))}"
    yield from paragraphs(docstring)
    yield bullets(_facts(metric, row, docstring))
    example = EXAMPLES.get(metric.name)
    if example is not None:
        yield example.markdown(metric.level)


def _facts(metric: Metric, row: dict[str, Any], docstring: str) -> Iterator[str]:
    better = {"higher": "higher is better", "lower": "lower is better"}.get(row["direction"], "no better direction")
    low = "−∞" if row["low"] is None else f"{row['low']:g}"
    high = "∞" if row["high"] is None else f"{row['high']:g}"
    yield f"Level: {row['level']}. Unit: {prose(row['unit'])}, from {low} to {high}; {better}."
    if row["needs"]:
        yield "Needs: " + ", ".join(code(name) for name in row["needs"].split(", ")) + "."
    texts = arguments(docstring)
    for name, default in metric.parameters.items():
        shown = "" if default is inspect.Parameter.empty else f", default {code(shortened(repr(default), 40))}"
        yield (
            f"Argument {code(name)}{shown}: {prose(texts[name])}" if name in texts else f"Argument {code(name)}{shown}."
        )
    if row["source"]:
        yield f"Source: {prose(row['source'])}."


def _summary(name: str) -> str:
    """Return what the metric returns, in a sentence."""
    return first_sentence((inspect.getdoc(METRICS[name].function) or "").partition("\n\n")[0]).removeprefix("Return ")


def _link(name: str) -> str:
    return f"[{code(name)}](#{anchor(HEADINGS.get(name, name))})"
