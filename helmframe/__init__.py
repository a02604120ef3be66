"""helmframe: HELM on the go.

A plan is a sentence; each stage is a function from a table to a longer table; only `generate` touches the world.

    import helmframe as hf
    hf.scenario("mmlu").where(subject="philosophy").perturb("typos").generate(model).score()
"""

from functools import partial

from helmframe import models
from helmframe.adapters import adapter
from helmframe.columns import columns
from helmframe.errors import HelmframeError
from helmframe.metrics import metric, metrics
from helmframe.models.protocol import Model
from helmframe.models.protocol import from_any as model
from helmframe.perturbations import call, perturbation
from helmframe.plan import Plan, between, scenario
from helmframe.results import Results, compare_results
from helmframe.settings import configure
from helmframe.suite import Suite, suite

__version__ = "0.1.0"

again = partial(call, "again")
extra_space = partial(call, "extra_space")
compare = compare_results
load = Results.load
lowercase = partial(call, "lowercase")
space = partial(call, "space")
typos = partial(call, "typos")

__all__ = [
    "HelmframeError",
    "Model",
    "Plan",
    "Results",
    "Suite",
    "adapter",
    "again",
    "between",
    "columns",
    "compare",
    "configure",
    "extra_space",
    "load",
    "lowercase",
    "metric",
    "metrics",
    "model",
    "models",
    "perturbation",
    "scenario",
    "space",
    "suite",
    "typos",
]
