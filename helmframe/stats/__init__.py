"""Statistics of scores: values with intervals, comparisons and rankings (`hf.stats`).

Each function takes a frame of the documented schema (`hf.schema("scores")`) from any source. The methods of `Results`
apply them to a run. NumPy and SciPy are imported on first use, not by `import helmframe`.
"""

from helmframe.stats.aggregate_set import aggregate_set
from helmframe.stats.agreement import agreement
from helmframe.stats.board import Leaderboard
from helmframe.stats.bradley_terry import BradleyTerry, bradley_terry
from helmframe.stats.calibration import calibration
from helmframe.stats.compare import compare, gap
from helmframe.stats.gate import Gate, gate
from helmframe.stats.leaderboard import leaderboard, leaderboard_of_means
from helmframe.stats.power import Power, power
from helmframe.stats.prediction_powered import prediction_powered
from helmframe.stats.robustness import consistency, helm_definition, robustness
from helmframe.stats.sequential import sequential
from helmframe.stats.subsets import choose_subset, full_scores, subset_errors
from helmframe.stats.table import aggregate, table
from helmframe.stats.variance import VarianceComponents, sensitivity, variance_components
from helmframe.stats.worst_case import worst_at_k, worst_case, worst_scores

__all__ = [
    "BradleyTerry",
    "Gate",
    "Leaderboard",
    "Power",
    "VarianceComponents",
    "aggregate",
    "aggregate_set",
    "agreement",
    "bradley_terry",
    "calibration",
    "choose_subset",
    "compare",
    "consistency",
    "full_scores",
    "gap",
    "gate",
    "helm_definition",
    "leaderboard",
    "leaderboard_of_means",
    "power",
    "prediction_powered",
    "robustness",
    "sensitivity",
    "sequential",
    "subset_errors",
    "table",
    "variance_components",
    "worst_at_k",
    "worst_case",
    "worst_scores",
]


def __dir__() -> list[str]:
    # for Tab completion: without the modules that define the names
    return __all__
