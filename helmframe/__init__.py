"""helmframe: HELM on the go.

A plan says what to evaluate; `score()` runs it, and `Results` has the tables. Names by topic are in the namespaces
`adapters`, `charts`, `engines`, `metrics`, `models`, `perturbations` and `stats`; `hf.list_…()` lists what has a name.

    import helmframe as hf
    hf.scenario("mmlu").where(subject="philosophy").perturb("typos").generate(model).score()
"""

from helmframe import adapters, engines, metrics, models, perturbations, stats
from helmframe.adapters.adapt import adapter
from helmframe.columns import schema
from helmframe.engines.background import Run, active_runs, run, runs
from helmframe.errors import HelmframeError
from helmframe.helm import entry, read_helm, read_inspect, read_lm_eval
from helmframe.judge_templates import list_judges
from helmframe.judging import judge
from helmframe.metrics.listing import list_metrics
from helmframe.metrics.protocol import metric
from helmframe.metrics.toxicity import use_classifier
from helmframe.models.listing import list_models
from helmframe.models.model import Model
from helmframe.models.protocol import from_any as model
from helmframe.perturbations.known import list_perturbations
from helmframe.perturbations.registered import perturbation
from helmframe.plan import Plan, between, scenario
from helmframe.results import Results
from helmframe.results.sides import compare_results as compare
from helmframe.scenarios.catalogue import list_scenarios
from helmframe.settings import configure
from helmframe.suite import Suite, list_suites, suite
from helmframe.until import decided, precise
from helmframe.views import charts
from helmframe.views.completion import load_ipython_extension

__version__ = "0.1.0"

load = Results.load

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
    "read_helm",
    "read_inspect",
    "read_lm_eval",
    "run",
    "runs",
    "scenario",
    "schema",
    "stats",
    "suite",
    "use_classifier",
]


def __dir__() -> list[str]:
    # what the Tab key offers: not the modules that the names come from
    return __all__
