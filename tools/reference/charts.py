"""The page of charts: every chart over a small fixed frame, with its code and its pictures in both modes."""

import ast
import inspect
import re
from collections.abc import Iterator
from typing import Any

from helmframe.results.charts import CHARTS
from tools.reference.markdown import block, code, page, paragraphs

FOLDER = "images/charts"
MODES = ("light", "dark")
SETUP = """\
import numpy as np
import polars as pl
import helmframe as hf

accuracy = {"large": 0.8, "medium": 0.74, "small": 0.45}
price = {"large": 4.0, "medium": 1.0, "small": 0.3}
loss = {"original": 0, "lowercase": 0.02, "typos(prob=0.05)": 0.05}
loss |= {"typos(prob=0.2)": 0.15, "typos(prob=0.4)": 0.3}
subjects = ["biology", "geography", "history", "music"]
random = np.random.default_rng(0)
chance = {model: random.random(200) for model in accuracy}
scores = pl.DataFrame(
    {
        "model": model,
        "subset": subjects[index % 4],
        "instance_id": f"id{index}",
        "perturbation": perturbation,
        "changed": perturbation != "original",
        "metric": "exact_match",
        "score": float(chance[model][index] < accuracy[model] - drop + 0.05 * (index % 4)),
    }
    for model in accuracy
    for perturbation, drop in loss.items()
    for index in range(200)
)"""
ORIGINAL = """\
original = scores.filter(perturbation="original")
"""
PARETO = """\
cost = original.with_columns(metric=pl.lit("cost"), score=pl.col("model").replace_strict(price) / 1000)
both = pl.concat([original, cost])
hf.charts.pareto(both, "cost", "exact_match", mode=MODE)"""
SENSITIVITY = """\
harder = {"shots=0": 0.1, "shots=2": 0.04, "shots=5": 0.0}
settings = pl.concat(
    original.with_columns(setting=pl.lit(name), score=pl.col("score") * (pl.int_range(pl.len()) % 100 >= 100 * lost))
    for name, lost in harder.items()
)
hf.charts.sensitivity(settings, mode=MODE)"""
CONFUSION = """\
classes = ["negative", "neutral", "positive"]
counts = pl.DataFrame(
    {"gold": gold, "output": output, "n": 40 if gold == output else 5 + 3 * classes.index(output)}
    for gold in classes
    for output in classes
)
hf.charts.confusion(counts, mode=MODE)"""
CALIBRATION = """\
confidence = np.random.default_rng(1).beta(4, 1.5, 600)
right = np.random.default_rng(2).random(600) < confidence**1.5
claims = pl.DataFrame({"confidence": confidence, "right": right, "model": "overconfident"})
hf.charts.calibration(claims, mode=MODE)"""
# Chart → the code over `scores`, and a description of the picture.
EXAMPLES: dict[str, tuple[str, str]] = {
    "scores": (
        "hf.charts.scores(scores, mode=MODE)",
        "The accuracy of three models, original and under four perturbations, with intervals",
    ),
    "heatmap": (
        'hf.charts.heatmap(scores, "subset", "model", mode=MODE)',
        "The accuracy of three models in four subjects, as a grid of colors",
    ),
    "robustness": (
        "hf.charts.robustness(scores, mode=MODE)",
        "Original, mean and worst accuracy of three models, with the paired change",
    ),
    "sensitivity": (
        ORIGINAL + SENSITIVITY,
        "The lowest, mean and highest accuracy of three models over three prompt settings",
    ),
    "perturbations": (
        "hf.charts.perturbations(scores, mode=MODE)",
        "The paired change of three models under four perturbations, with intervals",
    ),
    "forest": (
        ORIGINAL + 'hf.charts.forest(original, base="small", mode=MODE)',
        "The paired differences of two models from the model small, with intervals",
    ),
    "leaderboard": (
        ORIGINAL + "hf.charts.leaderboard(original, mode=MODE)",
        "The ranks of three models with intervals",
    ),
    "pareto": (ORIGINAL + PARETO, "The accuracy of three models over their cost, with the Pareto frontier"),
    "confusion": (CONFUSION, "Three outputs by three correct classes, as a grid of shares"),
    "calibration": (
        CALIBRATION,
        "The accuracy of a model over its confidence, below the diagonal of a calibrated model",
    ),
}


def gallery() -> str:
    """Return the page.

    Raises:
        KeyError: A chart has no example; add one to `EXAMPLES`.
    """
    sections = [part for name in sorted(CHARTS, key=list(EXAMPLES).index) for part in _section(name)]
    return page(
        "All charts",
        "`results.plot.NAME()` draws the results of a run, and `hf.charts.NAME(frame)` draws any frame of the "
        "documented schema. [Charts](../charts.md) shows how to use and save charts. [The API](charts.md) lists all "
        "arguments.",
        "The pictures on this page are made from these scores of three simulated models:",
        block(SETUP, "python"),
        *sections,
    )


def _section(name: str) -> Iterator[str]:
    text, alternative = EXAMPLES[name]
    yield f"## {code(name)}"
    yield from paragraphs(inspect.getdoc(CHARTS[name].function) or "")[:1]
    yield block(text.replace(", mode=MODE", ""), "python")
    light, dark = (f"../{FOLDER}/{name}-{mode}.svg" for mode in MODES)
    yield (
        f'<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="{dark}">\n'
        f'  <img alt="{alternative}" src="{light}" width="560">\n</picture>'
    )


def pictures() -> Iterator[tuple[str, str]]:
    """Return the path within docs/ and the content of every picture."""
    import vl_convert

    names: dict[str, Any] = {}
    exec(SETUP, names)  # noqa: S102 - our own lines
    for name, (text, _) in EXAMPLES.items():
        *before, last = ast.parse(text).body
        assert isinstance(last, ast.Expr)
        for mode in MODES:
            names["MODE"] = mode
            exec(compile(ast.Module(before, []), name, "exec"), names)  # noqa: S102
            chart = eval(compile(ast.Expression(last.value), name, "eval"), names)  # noqa: S307
            svg = vl_convert.vegalite_to_svg(chart.to_dict())
            yield f"{FOLDER}/{name}-{mode}.svg", svg.rstrip() + "\n"


def texts_of(picture: str) -> list[tuple[str, str]]:
    """Return the texts of a picture, and the numbers that it draws, without its layout."""
    return re.findall(r'aria-label="([^"]*)"|>([^<>]+)</text>', picture)
