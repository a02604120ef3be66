"""The table of all metrics: `hf.list_metrics()`."""

import inspect
from typing import Any

import polars as pl

from helmframe.metrics.protocol import METRICS, Metric


def list_metrics() -> pl.DataFrame:
    """Return every metric: what it is called here, in HELM and in lm-eval, and what its values mean.

    Columns: name, level, unit, direction (which values are better: higher, lower, neither), low and high (the range),
    needs (columns), arguments, helm, lm_eval, source, what. Output metrics are also there as `name@k`.
    """
    return pl.DataFrame(
        [_row(METRICS[name]) for name in METRICS], schema_overrides={"low": pl.Float64, "high": pl.Float64}
    )


def _row(each: Metric) -> dict[str, Any]:
    direction = {True: "higher", False: "lower", None: "neither"}[each.higher_is_better]
    arguments = ", ".join(_argument(name, value) for name, value in each.parameters.items())
    what = " ".join((inspect.getdoc(each.function) or "").split("\n\n")[0].split())
    return {
        "name": each.name, "level": each.level, "unit": each.unit, "direction": direction, "low": each.low,
        "high": each.high, "needs": ", ".join(each.needs), "arguments": arguments, "helm": ", ".join(each.helm),
        "lm_eval": ", ".join(each.lm_eval), "source": each.source, "what": what,
    }  # fmt: skip


def _argument(name: str, value: Any) -> str:
    return name if value is inspect.Parameter.empty else f"{name}={value!r}"
