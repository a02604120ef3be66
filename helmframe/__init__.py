"""helmframe: HELM on the go.

A plan is a sentence; each stage is a function from a table to a longer table; only `generate` touches the world.

    import helmframe as hf
    hf.scenario("mmlu").where(subject="philosophy").perturb("typos").generate(model).score()
"""

from helmframe import engines, models, stats
from helmframe._run import Run, history, run, runs
from helmframe._schema import columns
from helmframe._suite import Suite, suite
from helmframe.adapters import adapter
from helmframe.config import configure
from helmframe.early_stopping.rules import decided, precise
from helmframe.engines.child_logs import child_logging
from helmframe.errors import HelmframeError
from helmframe.interop import read_helm, read_inspect, read_lm_eval
from helmframe.interop.helm import entry
from helmframe.judging.judge import judge
from helmframe.judging.templates import judges
from helmframe.metrics import metric, metrics, similarity
from helmframe.metrics.endpoint import endpoint
from helmframe.models.model import Model
from helmframe.models.protocol import from_any as model
from helmframe.perturbations import perturbation, perturbations
from helmframe.perturbations.calls import (
    contraction,
    contrast_sets,
    dialect,
    expansion,
    extra_space,
    filler_words,
    gender,
    lowercase,
    mild_mix,
    misspellings,
    person_name,
    rerun,
    space,
    synonym,
    translate,
    typos,
)
from helmframe.perturbations.noise_calls import (
    change_numbers,
    delete_letters,
    drop_words,
    homoglyphs,
    insert_letters,
    keyboard,
    leet,
    ocr,
    punctuation,
    random_case,
    repeat_letters,
    repeat_words,
    swap_letters,
    swap_words,
    titlecase,
    uppercase,
    zero_width,
)
from helmframe.perturbations.prompt_calls import (
    cue_space,
    example_order,
    instructions,
    option_labels,
    option_order,
)
from helmframe.plan import Plan, between, scenario
from helmframe.results import Results
from helmframe.results.sides import compare_results as compare
from helmframe.scenarios.catalogue import scenarios
from helmframe.stats import Leaderboard, Power, power
from helmframe.stats.published import leaderboard_of_means as leaderboard
from helmframe.views import charts
from helmframe.views.completion import load_ipython_extension

__version__ = "0.1.0"

load = Results.load

__all__ = [
    "HelmframeError",
    "Leaderboard",
    "Model",
    "Plan",
    "Power",
    "Results",
    "Run",
    "Suite",
    "adapter",
    "between",
    "change_numbers",
    "charts",
    "child_logging",
    "columns",
    "compare",
    "configure",
    "contraction",
    "contrast_sets",
    "cue_space",
    "decided",
    "delete_letters",
    "dialect",
    "drop_words",
    "endpoint",
    "engines",
    "entry",
    "example_order",
    "expansion",
    "extra_space",
    "filler_words",
    "gender",
    "history",
    "homoglyphs",
    "insert_letters",
    "instructions",
    "judge",
    "judges",
    "keyboard",
    "leaderboard",
    "leet",
    "load",
    "load_ipython_extension",
    "lowercase",
    "metric",
    "metrics",
    "mild_mix",
    "misspellings",
    "model",
    "models",
    "ocr",
    "option_labels",
    "option_order",
    "person_name",
    "perturbation",
    "perturbations",
    "power",
    "precise",
    "punctuation",
    "random_case",
    "read_helm",
    "read_inspect",
    "read_lm_eval",
    "repeat_letters",
    "repeat_words",
    "rerun",
    "run",
    "runs",
    "scenario",
    "scenarios",
    "similarity",
    "space",
    "stats",
    "suite",
    "swap_letters",
    "swap_words",
    "synonym",
    "titlecase",
    "translate",
    "typos",
    "uppercase",
    "zero_width",
]


def __dir__() -> list[str]:
    # what the Tab key offers: not the modules that the names come from
    return __all__
