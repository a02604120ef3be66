"""helmframe: HELM on the go.

A plan specifies an evaluation; `score()` runs it and returns `Results`. The namespaces `adapters`, `charts`, `engines`,
`interop`, `metrics`, `models`, `perturbations` and `stats` have further names. `hf.list_…()` functions list plug-ins.

    import helmframe as hf
    hf.scenario("mmlu").where(subject="philosophy").perturb("typos").generate(model).score()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from helmframe import adapters, engines, interop, metrics, models, perturbations
from helmframe._plan import Plan, between, scenario
from helmframe._run import Run, active_runs, run, runs
from helmframe._schema import schema
from helmframe._suite import Suite
from helmframe.adapters.adapt import adapter
from helmframe.config import configure
from helmframe.early_stopping.rules import decided, precise
from helmframe.errors import HelmframeError
from helmframe.judging.judge import judge
from helmframe.judging.templates import list_judges
from helmframe.metrics.protocol import list_metrics, metric
from helmframe.models.model import Model
from helmframe.models.protocol import from_any as model
from helmframe.models.protocol import list_models
from helmframe.perturbations.catalogue import list_perturbations
from helmframe.perturbations.factory import perturbation
from helmframe.scenarios.catalogue import list_scenarios

if TYPE_CHECKING:
    from helmframe import stats
    from helmframe.interop import read_every_eval_ever, read_helm, read_inspect, read_lm_eval
    from helmframe.interop.helm.plans import entry
    from helmframe.interop.suites import list_suites, suite
    from helmframe.results import Results
    from helmframe.results import compare_results as compare
    from helmframe.views import charts
    from helmframe.views.completion import load_ipython_extension
    from helmframe.views.viewer import view

    load = Results.load

__version__ = "0.1.0"

__all__ = [
    "HelmframeError",
    "Model",
    "Plan",
    "Results",
    "Run",
    "Suite",
    "active_runs",
    "adapter",
    "adapters",
    "between",
    "charts",
    "compare",
    "configure",
    "decided",
    "engines",
    "entry",
    "interop",
    "judge",
    "list_judges",
    "list_metrics",
    "list_models",
    "list_perturbations",
    "list_scenarios",
    "list_suites",
    "load",
    "load_ipython_extension",
    "metric",
    "metrics",
    "model",
    "models",
    "perturbation",
    "perturbations",
    "precise",
    "read_every_eval_ever",
    "read_helm",
    "read_inspect",
    "read_lm_eval",
    "run",
    "runs",
    "scenario",
    "schema",
    "stats",
    "suite",
    "view",
]

# name → module and attribute, imported on first use: functions of results, and formats of other tools
_LAZY = {
    "Results": "results:Results",
    "charts": "views.charts",
    "compare": "results:compare_results",
    "entry": "interop.helm.plans:entry",
    "list_suites": "interop.suites:list_suites",
    "load": "results:Results.load",
    "load_ipython_extension": "views.completion:load_ipython_extension",
    "read_helm": "interop.helm.read:read_helm",
    "read_every_eval_ever": "interop.every_eval_ever:read_every_eval_ever",
    "read_inspect": "interop.inspect.logs:read_inspect",
    "read_lm_eval": "interop.lm_eval.logs:read_lm_eval",
    "stats": "stats",
    "suite": "interop.suites:suite",
    "view": "views.viewer:view",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    value: Any = import_module(f"{__name__}.{module}")
    for part in filter(None, attribute.split(".")):
        value = getattr(value, part)
    return value


def __dir__() -> list[str]:
    # for Tab completion: without the modules that define the names
    return __all__
