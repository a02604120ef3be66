"""Stopping rules: stop when an interval is narrow enough, or when two models differ significantly.

`plan.score(until=hf.precise(.03))` runs instances in a seeded random order, look by look. A cell is one model under one
setting and perturbation. After each look, cells that meet the rule stop, and the others continue.
"""

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

import polars as pl

from helmframe._core.checks import is_integer
from helmframe._core.specs import ScenarioSpec, literal_value, parse_expression
from helmframe.adapters.adapt import Setting
from helmframe.errors import ArgumentError, PlanError, UnknownNameError
from helmframe.metrics.protocol import Metric, is_binary, resolve_metrics
from helmframe.models.model import Model

Bounds: TypeAlias = tuple[float, float]
# As in helmframe.stats.sequential, which imports NumPy.
POPULATIONS = ("population", "benchmark")


@dataclass(frozen=True)
class Precise:
    """The rule that the interval of each cell is at most ± `half_width` wide; see `precise`."""

    half_width: float
    metric: str | None = None
    mean: str | None = None
    seed: int = 0
    ci: float = 0.95
    population: str = "population"

    cell: ClassVar[Sequence[str]] = ("model", "setting", "perturbation")

    def check(self, models: Sequence[str], where: str) -> None:
        """Accept any models; `where` is part of the error message of other rules."""

    def bounds(self, score_bounds: Bounds) -> Bounds:
        """Return the bounds of the monitored values, which are scores."""
        return score_bounds

    def select_values(self, means: pl.DataFrame) -> pl.DataFrame:
        """Return the monitored values of a look by cell: the `instance_means` themselves."""
        return means

    def needs(self, model: str, other: str) -> bool:
        """Return whether `model` must stop once `other` has stopped running."""
        return model == other

    def met(self, interval: Mapping[str, Any]) -> bool:
        """Return whether an interval meets the rule."""
        return bool(interval["ci_high"] - interval["ci_low"] <= 2 * self.half_width)

    def __str__(self) -> str:
        return f"precise({self.half_width!r}{_format_options(self)})"


@dataclass(frozen=True)
class Decided:
    """The rule that the interval of the difference of two models excludes 0; see `decided`."""

    a: str
    b: str
    metric: str | None = None
    mean: str | None = None
    seed: int = 0
    ci: float = 0.95
    population: str = "population"

    cell: ClassVar[Sequence[str]] = ("setting", "perturbation")

    def check(self, models: Sequence[str], where: str) -> None:
        """Check that both models are in the plan.

        Raises:
            UnknownNameError: A model isn't in the plan.
        """
        for name in (self.a, self.b):
            if name not in models:
                raise UnknownNameError.among(
                    f"model in {where}", name, models, hint="hf.decided('a', 'b') takes the names of two models."
                )

    def bounds(self, score_bounds: Bounds) -> Bounds:
        """Return the bounds of differences of scores."""
        return score_bounds[0] - score_bounds[1], score_bounds[1] - score_bounds[0]

    def select_values(self, means: pl.DataFrame) -> pl.DataFrame:
        """Return the differences a − b of the `instance_means` of a look, for instances that both models ran."""
        from helmframe.stats.sequential import differences  # late: with NumPy

        a, b = (means.filter(pl.col("model") == name) for name in (self.a, self.b))
        return differences(a, b, ["split", *self.cell])

    def needs(self, model: str, other: str) -> bool:
        """Return whether `model` must stop once `other` has stopped running."""
        return other in (model, self.a, self.b)

    def met(self, interval: Mapping[str, Any]) -> bool:
        """Return whether an interval meets the rule."""
        return bool(interval["ci_low"] > 0 or interval["ci_high"] < 0)

    def __str__(self) -> str:
        return f"decided({self.a!r}, {self.b!r}{_format_options(self)})"


Until: TypeAlias = Precise | Decided
U = TypeVar("U", Precise, Decided)


def precise(
    half_width: float,
    *,
    metric: str | None = None,
    mean: str | None = None,
    seed: int = 0,
    ci: float = 0.95,
    population: str = "population",
) -> Precise:
    """Return the rule `until=` that stops once the score's interval is at most ± `half_width` wide.

    Instances run in a seeded random order, whole clusters together. A look has 50 instances, or 10 % of the instances
    that ran before if that is more. After each look, every model, setting and perturbation that meets the rule stops.
    Tables show the interval, and the number of instances that ran.

    The interval is valid at all looks together. It is about the population that the instances stand for, as every
    other interval. A benchmark of N instances can therefore be too small for a narrow interval; then all of them run.
    With `population="benchmark"`, it is about the mean of these N instances alone, and narrows to 0 as they run out.
    Such an interval doesn't show how the model would do on other instances.

    >>> precise(0.03)
    Precise(half_width=0.03, metric=None, mean=None, seed=0, ci=0.95, population='population')

    Args:
        half_width: The half-width of the interval, in the metric's unit: .03 is three percentage points of a fraction.
        metric: The monitored metric; by default each scenario's main metric. It needs bounds, and a score for each
            instance.
        mean: The mean over subsets ("macro") or over instances ("micro"); by default the scenario's own. Intervals of
            "macro" are wider.
        seed: The seed of the order. A resumed run with the same seed continues the order.
        ci: The confidence level: the share of runs in which no interval misses the mean at any look.
        population: "population" (that the instances are sampled from) or "benchmark" (its own instances alone).

    Raises:
        ArgumentError: `half_width`, `mean`, `seed`, `ci` or `population` is invalid.

    Source: Waudby-Smith & Ramdas 2020, NeurIPS (binary scores); Waudby-Smith & Ramdas 2024, JRSS-B 86:1 (other scores).
    """
    if isinstance(half_width, bool) or not isinstance(half_width, int | float) or not half_width > 0:
        raise ArgumentError(f"precise({half_width!r}): half_width must be a number > 0, such as 0.03.")
    return _checked(Precise(float(half_width), metric, mean, seed, ci, population))


def decided(
    a: str,
    b: str,
    *,
    metric: str | None = None,
    mean: str | None = None,
    seed: int = 0,
    ci: float = 0.95,
    population: str = "population",
) -> Decided:
    """Return the rule `until=` that stops once one of two models is significantly better.

    The looks are those of `precise`. The rule monitors the paired difference of the two models, by setting and
    perturbation, and stops once its interval excludes 0. Other models of the plan run the same instances. Two models
    that are equally good are decided in at most 5 % of runs. With `population="benchmark"` the difference is that on
    the benchmark's own instances, which is rarely exactly 0: then nearly all pairs of models are decided.

    >>> decided("base", "tuned")
    Decided(a='base', b='tuned', metric=None, mean=None, seed=0, ci=0.95, population='population')

    Args:
        a: The name of a model of the plan.
        b: The name of another model of the plan.
        metric: The monitored metric, as in `precise`.
        mean: The mean over subsets or instances, as in `precise`.
        seed: The seed of the order, as in `precise`.
        ci: The confidence level, as in `precise`.
        population: "population" or "benchmark", as in `precise`.

    Raises:
        ArgumentError: `a` and `b` are the same, or an argument is invalid.

    Source: Waudby-Smith & Ramdas 2024, JRSS-B 86:1 (betting, on (d + 1)/2).
    """
    for name in (a, b):
        if not isinstance(name, str):
            raise ArgumentError(f"decided({a!r}, {b!r}): a and b must be names of models, as tables show them.")
    if a == b:
        raise ArgumentError(f"decided({a!r}, {b!r}): a and b must be different models.")
    return _checked(Decided(a, b, metric, mean, seed, ci, population))


def parse_until(text: str) -> Until:
    """Return the rule of a command line: `precise(0.03)` or `decided(base, tuned)`, with optional `key=value`.

    >>> parse_until("decided(base, 'org/tuned', ci=0.9)")
    Decided(a='base', b='org/tuned', metric=None, mean=None, seed=0, ci=0.9, population='population')

    Raises:
        ArgumentError: The text isn't a rule, or an argument is invalid.
    """
    factories: dict[str, Callable[..., Until]] = {"precise": precise, "decided": decided}
    try:
        node = parse_expression(text)
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in factories:
            raise ValueError(text)
        name, plain = node.func.id, [_literal(argument) for argument in node.args]
        named = {str(argument.arg): _literal(argument.value) for argument in node.keywords}
    except ValueError:
        raise ArgumentError(f"--until {text!r}: the rule must be \"precise(0.03)\" or \"decided('a', 'b')\".") from None
    takes = inspect.signature(factories[name])
    for key in named:
        if key not in takes.parameters:
            raise ArgumentError.unknown_argument(f"--until {name}()", key, takes.parameters)
    try:
        bound = takes.bind(*plain, **named)
    except TypeError as error:
        raise ArgumentError(f"--until {text!r}: {error}.") from None
    return factories[name](*bound.args, **bound.kwargs)


def metric_of(until: Until, spec: ScenarioSpec, metrics: Sequence[str | Metric]) -> Metric:
    """Return the metric that a rule monitors in a scenario.

    Args:
        until: The rule.
        spec: The scenario.
        metrics: The metrics that the plan scores.

    Raises:
        UnknownNameError: The plan does not score the rule's metric.
        PlanError: The rule doesn't support the metric; the message names a metric that it supports.
    """
    scored = {metric.name: metric for metric in resolve_metrics(metrics)}
    name = until.metric or spec.main.metric
    if name not in scored:
        if until.metric:
            raise UnknownNameError.among(
                f"metric of scenario {spec.scenario!r}", name, list(scored), hint=f"until={until} needs it."
            )
        name = next(iter(scored))
    metric = scored[name]
    if not watchable(metric):
        usable = [metric.name for metric in scored.values() if watchable(metric)]
        instead = (
            f"Use another metric: metric={usable[0]!r}." if usable else "Add a metric with bounds, and set metric=…."
        )
        why = "is computed over the whole set" if metric.level == "set" else "has no bounds"
        raise PlanError(
            f"until={until}: metric {name!r} of scenario {spec.scenario!r} {why}, so it has no interval that is valid "
            f"after each look. {instead}"
        )
    return metric


def watchable(metric: Metric) -> bool:
    """Return whether a metric has intervals that are valid at all looks: it needs bounds and scores per instance."""
    return metric.level != "set" and metric.low is not None and metric.high is not None


def _checked(until: U) -> U:
    rule = type(until).__name__.lower()
    if isinstance(until.ci, bool) or not isinstance(until.ci, int | float) or not 0 < until.ci < 1:
        raise ArgumentError(f"{rule}(ci={until.ci!r}): ci must be between 0 and 1, such as 0.95.")
    if until.mean not in (None, "macro", "micro"):
        raise ArgumentError(
            f"{rule}(mean={until.mean!r}): mean must be 'macro' (over subsets) or 'micro' (over instances)."
        )
    if until.population not in POPULATIONS:
        raise ArgumentError.unknown_value(f"{rule}(population={until.population!r})", until.population, POPULATIONS)
    if not is_integer(until.seed):
        raise ArgumentError(f"{rule}(seed={until.seed!r}): seed must be an integer.")
    return until


def _format_options(until: "Until") -> str:
    """Return the options that differ from their defaults, as text."""
    defaults = {field.name: field.default for field in fields(until)}
    names = [name for name in ("metric", "mean", "seed", "ci", "population") if getattr(until, name) != defaults[name]]
    return "".join(f", {name}={getattr(until, name)!r}" for name in names)


def _literal(node: ast.expr) -> Any:
    """Return the value of a literal; a bare word is text."""
    return node.id if isinstance(node, ast.Name) else literal_value(node)


class MonitoredTask(Protocol):
    """The fields of a task that the monitor needs."""

    @property
    def spec(self) -> ScenarioSpec: ...

    @property
    def models(self) -> Sequence[Model]: ...

    @property
    def settings(self) -> Sequence[Setting]: ...

    @property
    def metrics(self) -> Sequence[str | Metric]: ...


def until_entry(until: Until, tasks: Sequence[MonitoredTask]) -> dict[str, Any]:
    """Return the manifest's entry for `until`, before any request is sent.

    Raises:
        PlanError, UnknownNameError: A task doesn't support the rule.
        ArgumentError: The value isn't a rule.
    """
    if not isinstance(until, Until):
        raise ArgumentError(f"until={until!r}: until must be a stopping rule: hf.precise(.03) or hf.decided('a', 'b').")
    for task in tasks:
        if task.spec.turns:
            raise PlanError(
                f"until={until}: scenario {task.spec.scenario!r} has conversations of several turns, and stopping "
                "rules don't support them. Remove until=, or add .sample(n)."
            )
        until.check([model.name for model in task.models], f"the plan of {task.spec.scenario!r}")
        metric_of(until, task.spec, task.metrics)
    return {
        "rule": str(until),
        "ci": until.ci,
        "mean": until.mean,
        "population": until.population,
        "metrics": bounded_metrics([metric for task in tasks for metric in resolve_metrics(task.metrics)]),
        "looks": {task_name(task): {} for task in tasks},
    }


def bounded_metrics(metrics: Sequence[Metric]) -> dict[str, dict[str, Any]]:
    """Return the manifest's entries of the metrics that have intervals valid at all looks."""
    return {
        metric.name: {"low": metric.low, "high": metric.high, "binary": is_binary(metric)}
        for metric in metrics
        if watchable(metric)
    }


def task_name(task: MonitoredTask) -> str:
    """Return the unique name of a task in a run, which may contain the same scenario twice."""
    names = (task.spec.scenario, *(model.name for model in task.models), *(setting.name for setting in task.settings))
    return " | ".join(names)
