"""Stopping rules: stop when a score is precise enough, or when two models are distinguished.

`plan.score(until=hf.precise(.03))`. Instances run in a seeded random order, look by look. After each look the
cells (a model under one setting and perturbation) that meet the rule stop, and the others continue.
"""

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

import polars as pl

from helmframe._core.checks import is_integer
from helmframe._core.specs import ScenarioSpec
from helmframe.adapters.adapt import Setting
from helmframe.errors import ArgumentError, PlanError, UnknownNameError
from helmframe.metrics.protocol import Metric, is_binary, resolve_metrics
from helmframe.models.model import Model

Bounds: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Precise:
    """The rule that each cell's interval is at most `half_width` to either side: see `precise`."""

    half_width: float
    metric: str | None = None
    mean: str | None = None
    seed: int = 0
    ci: float = 0.95

    cell: ClassVar[Sequence[str]] = ("model", "setting", "perturbation")

    def check(self, models: Sequence[str], where: str) -> None:
        """Accept any models."""

    def bounds(self, score_bounds: Bounds) -> Bounds:
        """Return the bounds of the monitored values, from the bounds of scores."""
        return score_bounds

    def select_values(self, means: pl.DataFrame) -> pl.DataFrame:
        """Return the monitored values of the `instance_means` of a look, by cell."""
        return means

    def needs(self, model: str, other: str) -> bool:
        """Return whether `model` can stop once `other` can't run any more."""
        return model == other

    def met(self, interval: Mapping[str, Any]) -> bool:
        """Return whether this interval meets the rule."""
        return bool(interval["ci_high"] - interval["ci_low"] <= 2 * self.half_width)

    def __str__(self) -> str:
        return f"precise({self.half_width!r}{_format_options(self)})"


@dataclass(frozen=True)
class Decided:
    """The rule that the interval of the difference of two models excludes 0: see `decided`."""

    a: str
    b: str
    metric: str | None = None
    mean: str | None = None
    seed: int = 0
    ci: float = 0.95

    cell: ClassVar[Sequence[str]] = ("setting", "perturbation")

    def check(self, models: Sequence[str], where: str) -> None:
        """Check that both models are in the plan.

        Raises:
            UnknownNameError: one is not; with near matches.
        """
        for name in (self.a, self.b):
            if name not in models:
                raise UnknownNameError.among(f"model in {where}", name, models, hint="decided('a', 'b') names two.")

    def bounds(self, score_bounds: Bounds) -> Bounds:
        """Return the bounds of differences, from the bounds of scores."""
        return score_bounds[0] - score_bounds[1], score_bounds[1] - score_bounds[0]

    def select_values(self, means: pl.DataFrame) -> pl.DataFrame:
        """Return the differences a − b of the `instance_means` of a look, over instances of both models."""
        from helmframe.stats.sequential import differences  # late: with NumPy

        a, b = (means.filter(pl.col("model") == name) for name in (self.a, self.b))
        return differences(a, b, ["split", *self.cell])

    def needs(self, model: str, other: str) -> bool:
        """Return whether `model` can stop once `other` can't run any more."""
        return other in (model, self.a, self.b)

    def met(self, interval: Mapping[str, Any]) -> bool:
        """Return whether this interval meets the rule."""
        return bool(interval["ci_low"] > 0 or interval["ci_high"] < 0)

    def __str__(self) -> str:
        return f"decided({self.a!r}, {self.b!r}{_format_options(self)})"


Until: TypeAlias = Precise | Decided
U = TypeVar("U", Precise, Decided)


def precise(
    half_width: float, *, metric: str | None = None, mean: str | None = None, seed: int = 0, ci: float = 0.95
) -> Precise:
    """Stop when the interval of the score is no wider than ± `half_width`, in `score(until=…)`.

    Instances (whole clusters, if there are any) run in a random order. After each look (50 of them, later a tenth of
    those run so far) every model, setting and perturbation stops by itself. The interval is valid at all
    looks together, about the mean over this benchmark's own instances; so it closes as they run out, and ±.01 of a few
    hundred instances runs nearly all. Tables show it, and how many of how many instances ran.

    >>> precise(0.03)
    Precise(half_width=0.03, metric=None, mean=None, seed=0, ci=0.95)

    Args:
        half_width: in the metric's unit: .03 are three points of a fraction.
        metric: which is watched; default each scenario's main one. It needs bounds, and a score of each instance.
        mean: over subsets ("macro", alike; its intervals are wider) or instances ("micro"); default the scenario's own.
        seed: of the order. The same one goes on where a run was stopped.
        ci: in how many orders no interval misses, at any look.

    Raises:
        ArgumentError: a half-width, mean or ci that can't be.

    Source: Waudby-Smith & Ramdas 2020, NeurIPS (right or wrong); the same 2024, JRSS-B 86:1 (other scores).
    """
    if isinstance(half_width, bool) or not isinstance(half_width, int | float) or not half_width > 0:
        raise ArgumentError(f"precise({half_width!r}): how far the interval may reach to either side, such as 0.03.")
    return _checked(Precise(float(half_width), metric, mean, seed, ci))


def decided(
    a: str, b: str, *, metric: str | None = None, mean: str | None = None, seed: int = 0, ci: float = 0.95
) -> Decided:
    """Stop when one of two models is significantly better, in `score(until=…)`.

    As `precise`; watched is the difference of the two on the same instances, by setting and perturbation, until its
    interval excludes 0. Other models of the plan run the same instances.

    >>> decided("base", "tuned")
    Decided(a='base', b='tuned', metric=None, mean=None, seed=0, ci=0.95)

    Args:
        a: name of a model of the plan.
        b: name of another.
        metric: as for `precise`.
        mean: as for `precise`.
        seed: as for `precise`.
        ci: as for `precise`.

    Raises:
        ArgumentError: a model against itself; a mean or ci that can't be.

    Source: Waudby-Smith & Ramdas 2024, JRSS-B 86:1 (betting, on (d + 1)/2).
    """
    for name in (a, b):
        if not isinstance(name, str):
            raise ArgumentError(f"decided({a!r}, {b!r}): the names of two models, as tables show them.")
    if a == b:
        raise ArgumentError(f"decided({a!r}, {b!r}): two models, not one.")
    return _checked(Decided(a, b, metric, mean, seed, ci))


def parse_until(text: str) -> Until:
    """Parse a command line's rule: `precise(0.03)`, `decided(base, tuned)`, with `key=value` after it.

    >>> parse_until("decided(base, 'org/tuned', ci=0.9)")
    Decided(a='base', b='org/tuned', metric=None, mean=None, seed=0, ci=0.9)

    Raises:
        ArgumentError: it is neither.
    """
    factories: dict[str, Callable[..., Until]] = {"precise": precise, "decided": decided}
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in factories:
            raise ValueError(text)
        name, plain = node.func.id, [_literal(argument) for argument in node.args]
        named = {str(argument.arg): _literal(argument.value) for argument in node.keywords}
    except (SyntaxError, ValueError):
        raise ArgumentError(f"--until {text!r}: write \"precise(0.03)\" or \"decided('model', 'model')\".") from None
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
    """Return the metric that is monitored where these are scored.

    Raises:
        PlanError: the plan does not score it, or it can't be watched; says what to use.
    """
    scored = {metric.name: metric for metric in resolve_metrics(metrics)}
    name = until.metric or spec.main.metric
    if name not in scored:
        if until.metric:
            raise UnknownNameError.among(
                f"metric of scenario {spec.scenario!r} here", name, list(scored), hint=f"until={until}."
            )
        name = next(iter(scored))
    metric = scored[name]
    if not watchable(metric):
        others = [metric.name for metric in scored.values() if watchable(metric)]
        instead = f"Watch another: metric={others[0]!r}." if others else "Score another beside it, and say metric=."
        why = "one number of the whole set" if metric.level == "set" else "without bounds"
        raise PlanError(
            f"until={until}: {name!r} (scenario {spec.scenario!r}) is {why}, so no number of scores bounds the "
            f"others. {instead}"
        )
    return metric


def watchable(metric: Metric) -> bool:
    """Return whether the metric has an interval that is valid at all looks."""
    return metric.level != "set" and metric.low is not None and metric.high is not None


def _checked(until: U) -> U:
    if isinstance(until.ci, bool) or not isinstance(until.ci, int | float) or not 0 < until.ci < 1:
        raise ArgumentError(f"until: ci={until.ci!r} should lie between 0 and 1, such as 0.95.")
    if until.mean not in (None, "macro", "micro"):
        raise ArgumentError(f"until: mean={until.mean!r} is neither 'macro' (subsets alike) nor 'micro' (by size).")
    if not is_integer(until.seed):
        raise ArgumentError(f"until: seed={until.seed!r} should be a whole number.")
    return until


def _format_options(until: "Until") -> str:
    """Return the options that differ from their defaults, as text."""
    defaults = {field.name: field.default for field in fields(until)}
    names = [name for name in ("metric", "mean", "seed", "ci") if getattr(until, name) != defaults[name]]
    return "".join(f", {name}={getattr(until, name)!r}" for name in names)


def _literal(node: ast.expr) -> Any:
    """Return the value; a bare word is text."""
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


class MonitoredTask(Protocol):
    """The part of a task that the monitor needs; `stages.Task` has it."""

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
        PlanError, UnknownNameError: a task in which it can't be watched.
        ArgumentError: it is no `until`.
    """
    if not isinstance(until, Until):
        raise ArgumentError(f"until={until!r}: write until=hf.precise(.03), or until=hf.decided('a', 'b').")
    for task in tasks:
        until.check([model.name for model in task.models], f"the plan of {task.spec.scenario!r}")
        metric_of(until, task.spec, task.metrics)
    return {
        "rule": str(until),
        "ci": until.ci,
        "mean": until.mean,
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
    """Return the name of a task in a run, which may contain the same scenario twice."""
    names = (task.spec.scenario, *(model.name for model in task.models), *(setting.name for setting in task.settings))
    return " | ".join(names)
