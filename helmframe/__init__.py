"""helmframe: HELM on the go.

A plan is a sentence; each stage is a function from a table to a longer table; only `generate` touches the world.

    import helmframe as hf
    hf.scenario("mmlu").where(subject="philosophy").perturb("typos").generate(model).score()
"""

from helmframe import models
from helmframe.adapters import adapter
from helmframe.columns import columns
from helmframe.engines.background import Run, history, run, runs
from helmframe.errors import HelmframeError
from helmframe.metrics import metric, metrics
from helmframe.models.model import Model
from helmframe.models.protocol import from_any as model
from helmframe.perturbations import perturbation
from helmframe.perturbations.calls import again, extra_space, lowercase, space, typos
from helmframe.plan import Plan, between, scenario
from helmframe.results import Results
from helmframe.results import compare_results as compare
from helmframe.settings import configure
from helmframe.suite import Suite, suite

__version__ = "0.1.0"

load = Results.load

__all__ = [
    "HelmframeError",
    "Model",
    "Plan",
    "Results",
    "Run",
    "Suite",
    "adapter",
    "again",
    "between",
    "columns",
    "compare",
    "configure",
    "extra_space",
    "history",
    "load",
    "lowercase",
    "metric",
    "metrics",
    "model",
    "models",
    "perturbation",
    "run",
    "runs",
    "scenario",
    "space",
    "suite",
    "typos",
]
