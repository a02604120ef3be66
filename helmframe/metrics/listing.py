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


def _row(metric: Metric) -> dict[str, Any]:
    direction = {True: "higher", False: "lower", None: "neither"}[metric.higher_is_better]
    arguments = ", ".join(_argument(name, value) for name, value in metric.parameters.items())
    what = " ".join((inspect.getdoc(metric.function) or "").split("\n\n")[0].split())
    return {
        "name": metric.name, "level": metric.level, "unit": metric.unit, "direction": direction, "low": metric.low,
        "high": metric.high, "needs": ", ".join(metric.needs), "arguments": arguments, "helm": ", ".join(metric.helm),
        "lm_eval": ", ".join(metric.lm_eval), "source": metric.source, "what": what,
    }  # fmt: skip


def _argument(name: str, value: Any) -> str:
    return name if value is inspect.Parameter.empty else f"{name}={value!r}"
