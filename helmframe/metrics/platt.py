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
STEPS = 100


@dataclass(frozen=True)
class Platt:
    """The regression: the logit of being right is slope · logit + intercept."""

    slope: float
    intercept: float

    def scaled(self, probabilities: "Floats") -> "Floats":
        """The probabilities it gives for these."""
        return _logistic(self.slope * _logit(probabilities) + self.intercept)


def platt(probabilities: "Floats", right: "Floats") -> Platt:
    """The regression that makes the answers likeliest, by Newton's steps; `right` is 0 or 1 and has both.

    Args:
        probabilities: what was claimed.
        right: what came.

    Source: Platt 1999; scikit-learn's LogisticRegression(C=1e10), which stops a little earlier.
    """
    import numpy as np

    logits = _logit(probabilities)
    scale = float(np.abs(logits).max()) or 1.0
    inputs = np.column_stack([logits / scale, np.ones_like(logits)])
    penalty = np.array([PENALTY / scale**2, 0.0])
    weights = np.zeros(2)
    best = _loss(weights, inputs, right, penalty)
    for _ in range(STEPS):
        claimed = _logistic(inputs @ weights)
        gradient = inputs.T @ (claimed - right) + penalty * weights
        curvature = (inputs * (claimed * (1 - claimed))[:, None]).T @ inputs + np.diag(penalty)
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        shorter = (weights - step * 0.5**halved for halved in range(30))
        weights, loss = next(
            ((each, loss) for each in shorter if (loss := _loss(each, inputs, right, penalty)) < best), (weights, best)
        )
        if best - loss <= 1e-14 * abs(best):
            break
        best = loss
    return Platt(float(weights[0] / scale), float(weights[1]))


def _loss(weights: "Floats", inputs: "Floats", right: "Floats", penalty: "Floats") -> float:
    import numpy as np

    logits = inputs @ weights
    return float((np.logaddexp(0.0, logits) - right * logits).sum() + (penalty * weights**2).sum() / 2)


def _logit(probabilities: "Floats") -> "Floats":
    import numpy as np

    inside = np.clip(probabilities, EPSILON, 1 - EPSILON)
    return np.log(inside / (1 - inside))


def _logistic(logits: "Floats") -> "Floats":
    import numpy as np

    # no exponent of a large number, so no overflow
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
