"""Platt scaling: one logistic regression on the logit of a probability."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# As in uncertainty-calibration: probabilities are kept so far from 0 and 1, and the slope is all but free.
EPSILON = 1e-12
PENALTY = 1e-10
# scikit-learn's defaults for its solver "lbfgs". The slope depends on them where the likelihood is flat.
SOLVER = {"maxiter": 100, "maxls": 50, "gtol": 1e-4, "ftol": 64 * 2.0**-52}


@dataclass(frozen=True)
class Platt:
    """The regression: the logit of being right is slope · logit + intercept."""

    slope: float
    intercept: float

    def scaled(self, probabilities: "Floats") -> "Floats":
        """The probabilities it gives for these."""
        return _logistic(self.slope * _logit(probabilities) + self.intercept)


def platt(probabilities: "Floats", right: "Floats") -> Platt:
    """Return the regression that makes the outcomes likeliest, as far as HELM's optimiser goes.

    Args:
        probabilities: what was claimed.
        right: what came, 0 or 1; it has both.

    Source: Platt 1999; scikit-learn's LogisticRegression(C=1e10), which stops at a gradient of 1e-4.
    """
    import numpy as np
    from scipy.optimize import minimize

    logits = _logit(probabilities)
    penalty = PENALTY / len(right)

    def loss(weights: "Floats") -> tuple[float, "Floats"]:
        slope, intercept = weights
        linear = slope * logits + intercept
        errors = (_logistic(linear) - right) / len(right)
        value = (np.logaddexp(0.0, linear) - right * linear).mean() + penalty * slope**2 / 2
        return float(value), np.array([errors @ logits + penalty * slope, errors.sum()])

    fitted = minimize(loss, np.zeros(2), method="L-BFGS-B", jac=True, options=SOLVER)
    return Platt(float(fitted.x[0]), float(fitted.x[1]))


def _logit(probabilities: "Floats") -> "Floats":
    import numpy as np

    inside = np.clip(probabilities, EPSILON, 1 - EPSILON)
    return np.log(inside / (1 - inside))


def _logistic(logits: "Floats") -> "Floats":
    import numpy as np

    # no exponent of a large number, so no overflow
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
