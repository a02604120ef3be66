"""Metrics: functions that score completions. `hf.list_metrics()` lists all; most are used by name."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from helmframe.metrics.protocol import Metric

if TYPE_CHECKING:
    from helmframe.metrics._toxicity import (
        endpoint,
        expected_max_toxicity,
        max_toxicity_probability,
        toxic_frac,
        toxicity,
    )
    from helmframe.metrics.text import similarity

__all__ = [
    "Metric",
    "endpoint",
    "expected_max_toxicity",
    "max_toxicity_probability",
    "similarity",
    "toxic_frac",
    "toxicity",
]

# name → module, imported when the name is first used
_MODULES = {
    "endpoint": "_toxicity",
    "expected_max_toxicity": "_toxicity",
    "max_toxicity_probability": "_toxicity",
    "similarity": "text",
    "toxic_frac": "_toxicity",
    "toxicity": "_toxicity",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    # Tab completion shows these names only, not the modules that define them
    return __all__
