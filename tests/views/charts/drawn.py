"""What a chart holds: its rows, its marks, its image; and small frames to draw."""

import io
from typing import Any

import polars as pl

HOSTILE = "</script><script>alert(1)</script>"


def rows(chart: Any) -> list[dict[str, Any]]:
    """Every row of data that the chart carries."""
    spec = chart.to_dict()
    inline = [each for view in _views(spec) for each in view.get("data", {}).get("values", [])]
    return [row for data in spec.get("datasets", {}).values() for row in data] + inline


def marks(chart: Any) -> list[str]:
    """What its layers are drawn with, in order."""
    return [view["mark"]["type"] for view in _views(chart.to_dict()) if "mark" in view]


def layer(chart: Any, mark: str) -> list[dict[str, Any]]:
    """The data of the first layer of this mark."""
    spec = chart.to_dict()
    (view, *_) = [view for view in _views(spec) if view.get("mark", {}).get("type") == mark]
    found: list[dict[str, Any]] = spec["datasets"][view["data"]["name"]]
    return found


def encoding(chart: Any, mark: str, channel: str) -> dict[str, Any]:
    """How the first layer of this mark encodes a channel."""
    (view, *_) = [view for view in _views(chart.to_dict()) if view.get("mark", {}).get("type") == mark]
    found: dict[str, Any] = view["encoding"][channel]
    return found


def words(chart: Any) -> str:
    """Title and notes."""
    return str(chart.to_dict()["description"])


def png(chart: Any) -> bytes:
    """The chart as an image."""
    out = io.BytesIO()
    chart.save(out, format="png")
    return out.getvalue()


def scores(models: dict[str, float], n: int = 40, **columns: Any) -> pl.DataFrame:
    """`SCORES` of models that have the first share of n instances right."""
    made = [
        {"model": model, "instance_id": f"i{place}", "metric": "exact_match", "score": float(place < share * n)}
        for model, share in models.items()
        for place in range(n)
    ]
    return pl.DataFrame(made).with_columns(
        **{name: pl.lit(value) if isinstance(value, str | int) else value for name, value in columns.items()}
    )


def perturbed(models: dict[str, float], *names: str) -> pl.DataFrame:
    """The same, and under each perturbation with the first quarter wrong."""
    original = scores(models, perturbation="original", changed=pl.lit(value=False))
    worse = pl.when(pl.col("instance_id").is_in([f"i{place}" for place in range(10)])).then(0.0).otherwise("score")
    variants = [
        original.with_columns(perturbation=pl.lit(name), changed=pl.lit(value=True), score=worse) for name in names
    ]
    return pl.concat([original, *variants])


def _views(spec: dict[str, Any]) -> list[dict[str, Any]]:
    inner = [*spec.get("layer", []), *spec.get("concat", []), *([spec["spec"]] if "spec" in spec else [])]
    return [spec, *(view for each in inner for view in _views(each))]
