"""Power of paired comparisons: the number of instances, the detectable effect and the power."""

from dataclasses import dataclass
from math import ceil, inf, isfinite, sqrt
from typing import Protocol

import polars as pl

from helmframe.errors import ArgumentError, NotComparableError
from helmframe.stats.frames import list_names

POWER = 0.8


class Compared(Protocol):
    """A valid pilot: results of two models."""

    def compare(self, axis: str) -> pl.DataFrame:
        """Return the same as `helmframe.stats.compare`."""


@dataclass(frozen=True, repr=False)
class Power:
    """The result of `power`: effect, n, power and the assumptions.

    `effect` is a difference of means, `n` the number of instances, and `power` the probability of detecting the effect.
    `variance` is that of one instance's difference if the means are equal; for right-or-wrong scores it is the share of
    instances on which the sides differ.

    >>> result = power(0.05, p=0.7)
    >>> result.n, result.power
    (657, 0.8)
    """

    effect: float
    n: int
    power: float
    ci: float
    variance: float
    design_effect: float

    def __repr__(self) -> str:
        return (
            f"{self.n:,} instances detect a difference of {self.effect:.3g} with power {self.power:.0%} "
            f"(two-sided test at level {1 - self.ci:.3g}, variance of a difference {self.variance:.3g}, "
            f"design effect {self.design_effect:.3g})"
        )


def power(
    effect: float | None = None,
    n: int | None = None,
    *,
    power: float | None = None,
    p: float | None = None,
    correlation: float = 0.5,
    discordance: float | None = None,
    pilot: pl.DataFrame | Compared | None = None,
    cluster_size: float = 1.0,
    icc: float = 0.0,
    ci: float = 0.95,
) -> Power:
    """Solve for effect, n or power of a paired comparison, whichever is not set; power defaults to 0.8.

    >>> round(power(n=311, p=0.7).effect, 3)  # philosophy, one subject of MMLU
    0.073
    >>> power(0.02, discordance=0.1).n
    1960

    Args:
        effect: The true difference between the sides, such as 0.03.
        n: The number of instances, which both sides are run on.
        power: The probability of detecting the difference.
        p: The share that either side has right. With `correlation`, it determines on how many instances the sides
            differ.
        correlation: The correlation of the sides' scores over instances; the default 0.5 is an assumption.
        discordance: The share of instances that only one side has right, instead of `p`; at least the effect.
        pilot: A comparison with one row (`hf.compare(a, b)`), or results of two models, instead of `p`. Its standard
            error determines the variance of an instance's difference, for any metric and with its clusters.
        cluster_size: The number of instances per cluster, with `p` or `discordance`.
        icc: The intraclass correlation of the differences: 0 (independent) to 1.
        ci: The level of the comparison's interval; its test is two-sided at level 1 − ci.

    Raises:
        ArgumentError: If not exactly one of effect, n and power is open, not exactly one of p, discordance and pilot is
            set, or a number is impossible.
        NotComparableError: If a pilot does not have exactly one row, or has no standard error.

    Source: Connor 1987, Biometrics 43:207 (n = (z₁₋α/₂ √δ + z_power √(δ − d²))²/d², with discordance δ); Miller 2024,
        arXiv 2411.00640, §5; Kish 1965 (design effect 1 + (size − 1)·icc).
    """
    from scipy.special import ndtr, ndtri

    if power is None and (effect is None or n is None):
        power = POWER
    if sum(argument is None for argument in (effect, n, power)) != 1:
        raise ArgumentError(
            "power(): set effect, n or both. With one of them, power defaults to 0.8. With both, don't set power."
        )
    _check(effect, n, power, ci, cluster_size, icc)
    variance, binary = _variance(p, correlation, discordance, pilot, cluster_size, icc)
    design = 1 + (cluster_size - 1) * icc
    z, root = float(ndtri((1 + ci) / 2)), sqrt(variance)

    def spread(difference: float) -> float:
        # a difference of right-or-wrong scores reduces their variance
        return sqrt(max(variance - binary * difference**2, 0.0))

    if effect is None:
        assert n is not None
        assert power is not None
        effect = _effect(n / design, z, float(ndtri(power)), variance, binary)
        if binary and effect > variance:
            raise ArgumentError(
                f"power(n={n}): no difference is detectable if the sides differ on {variance:.3g} of the instances. "
                "Write a larger n or discordance, or a smaller correlation."
            )
    size = abs(effect)
    if binary and size > variance:
        raise ArgumentError(
            f"power(effect={effect:.3g}): impossible if the sides differ on {variance:.3g} of the instances. Write "
            "discordance=… of at least the effect, or another p or correlation."
        )
    if n is None:
        assert power is not None
        added = z * root + float(ndtri(power)) * spread(size)
        n = max(ceil(design * added**2 / size**2 - 1e-9), 2)
    if power is None:
        power = float(ndtr((size * sqrt(n / design) - z * root) / max(spread(size), 1e-12)))
    return Power(effect, n, power, ci, variance, design)


def _effect(n: float, z: float, z_power: float, variance: float, binary: bool) -> float:
    """Return the d at which d√n = z √δ + z_power √(δ − d²); without d² if the variance does not fall with it."""
    under = n + binary * (z_power**2 - z**2)
    if under < 0:
        return inf
    return sqrt(variance) * (z * sqrt(n) + z_power * sqrt(under)) / (n + binary * z_power**2)


def _variance(
    p: float | None,
    correlation: float,
    discordance: float | None,
    pilot: pl.DataFrame | Compared | None,
    cluster_size: float,
    icc: float,
) -> tuple[float, bool]:
    """Return the variance of an instance's difference, and whether it is specified by right-or-wrong answers."""
    if sum(argument is not None for argument in (p, discordance, pilot)) != 1:
        raise ArgumentError(
            "power(): exactly one of p, discordance and pilot must be set. Write p=0.7, discordance=0.2, or "
            "pilot=results."
        )
    if pilot is not None:
        if cluster_size != 1 or icc:
            raise ArgumentError(
                "power(pilot=…): cluster_size and icc must not be set, because the pilot's clusters are used."
            )
        return _pilot_variance(pilot), False
    if discordance is not None:
        if not 0 < discordance <= 1:
            raise ArgumentError(f"power(discordance={discordance!r}): discordance must be in (0, 1].")
        return discordance, True
    assert p is not None
    if not 0 < p < 1:
        raise ArgumentError(f"power(p={p!r}): p must be between 0 and 1.")
    if not -1 <= correlation < 1 or 2 * p * (1 - p) * (1 - correlation) > 2 * min(p, 1 - p):
        raise ArgumentError(
            f"power(correlation={correlation!r}): impossible if each side has {p:.3g} right. Write a value nearer to "
            "0.5."
        )
    return 2 * p * (1 - p) * (1 - correlation), True


def _pilot_variance(pilot: pl.DataFrame | Compared) -> float:
    table = pilot if isinstance(pilot, pl.DataFrame) else pilot.compare("model")
    missing = {"n", "stderr"} - set(table.columns)
    if missing or table.height != 1:
        raise NotComparableError(
            f"power(pilot=…): the pilot must be one row of a comparison, not {table.height} rows with the columns "
            f"{list_names(table.columns)}. Write results.compare('model', metrics=…).filter(…)."
        )
    n, stderr = table["n"].item(), table["stderr"].item()
    if not stderr:
        raise NotComparableError(
            "power(pilot=…): the pilot's standard error is unknown or 0. Use a pilot with more instances."
        )
    return float(n * stderr**2)


def _check(
    effect: float | None, n: int | None, power: float | None, ci: float, cluster_size: float, icc: float
) -> None:
    arguments = {"effect": effect, "n": n, "power": power, "ci": ci, "cluster_size": cluster_size, "icc": icc}
    for name, value in arguments.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ArgumentError(f"power({name}={value!r}): {name} must be a number.")
    if effect is not None and not (isfinite(effect) and effect):
        raise ArgumentError(f"power(effect={effect!r}): effect must be a difference other than 0, such as 0.03.")
    if n is not None and n < 2:
        raise ArgumentError(f"power(n={n!r}): n must be at least 2.")
    for name, value in (("power", power), ("ci", ci)):
        if value is not None and not 0 < value < 1:
            raise ArgumentError(f"power({name}={value!r}): {name} must be between 0 and 1.")
    if cluster_size < 1:
        raise ArgumentError(f"power(cluster_size={cluster_size!r}): cluster_size must be at least 1.")
    if not 0 <= icc <= 1:
        raise ArgumentError(f"power(icc={icc!r}): icc must be in [0, 1].")
