"""The options of a Ray cluster: its address, and the number and resources of each model's replicas."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.util import find_spec
from typing import Any

from helmframe._core.checks import is_integer
from helmframe._core.specs import Call
from helmframe.errors import ArgumentError, CapabilityError
from helmframe.models.model import Model


@dataclass(frozen=True)
class Ray:
    """The engine of a Ray cluster: `plan.score(engine=hf.engines.Ray(replicas=(1, 8), num_gpus=1))`.

    Every replica of a model is an actor that holds it; Ray places, restarts and counts them. Without an address, and
    without RAY_ADDRESS, a cluster is started on this machine for the run.

    Args:
        address: The cluster, as in `ray.init`: "auto", "host:6379".
        replicas: The minimum and maximum of each model's replicas, as many as waiting spans can use; or one number.
        num_cpus: CPUs of each replica, as Ray counts them; with a fraction several share one.
        num_gpus: GPUs of each replica; default: as many as vLLM spreads the model over, for other models none.
        resources: Resources of each replica, by the names that the cluster's nodes define: {"a100": 1}.
        weight: A model's share of a cluster that is too small for all: of two models with equal work, one with twice
            the weight has twice the replicas.
        models: Options that differ by model name in the plan: {"big": {"num_gpus": 4, "weight": 2}}.

    Raises:
        ArgumentError: An invalid number, or an unknown option.
    """

    address: str | None = None
    replicas: int | tuple[int, int] = (1, 4)
    num_cpus: float = 1.0
    num_gpus: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    weight: float = 1.0
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        least, most = self.least_and_most
        if not is_integer(least) or not is_integer(most) or not 1 <= least <= most:
            raise ArgumentError(
                f"Ray(replicas={self.replicas!r}): replicas must be an integer ≥ 1, or a pair (minimum, maximum)."
            )
        amounts = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, **self.resources}
        for name, amount in amounts.items():
            if amount is not None and (
                isinstance(amount, bool) or not isinstance(amount, int | float) or not amount >= 0
            ):
                raise ArgumentError(f"Ray({name}={amount!r}): {name} must be a number ≥ 0.")
        if isinstance(self.weight, bool) or not isinstance(self.weight, int | float) or not self.weight > 0:
            raise ArgumentError(f"Ray(weight={self.weight!r}): weight must be a number > 0.")
        for name, overrides in self.models.items():
            for key in overrides:
                if key not in _MODEL_OPTIONS:
                    raise ArgumentError.unknown_argument(f"Ray(models={{{name!r}: …}})", str(key), _MODEL_OPTIONS)
            replace(self, models={}, **overrides)

    @property
    def least_and_most(self) -> tuple[int, int]:
        """Return the minimum and maximum of a model's replicas."""
        return self.replicas if isinstance(self.replicas, tuple) else (self.replicas, self.replicas)

    def of(self, model: Model) -> "Ray":
        """Return the options of one model."""
        overrides = dict(self.models.get(model.name, {}))
        mine = replace(self, models={}, **overrides)
        if mine.num_gpus is not None:
            return mine
        return replace(mine, num_gpus=_default_gpus(model))

    def check_installed(self) -> None:
        """Check that Ray is installed.

        Raises:
            CapabilityError: It is not.
        """
        if find_spec("ray") is None:
            raise CapabilityError("engine='ray' needs the package ray: pip install 'helmframe[ray]'.")


_MODEL_OPTIONS = tuple(field.name for field in fields(Ray) if field.name not in ("address", "models"))


def _default_gpus(model: Model) -> float:
    """Return the GPUs of one replica by the model's own options."""
    if isinstance(model.source, str):
        return 1.0 if model.source.startswith("vllm:") else 0.0
    if isinstance(model.source, Call) and model.source.name == "vllm":
        return float(dict(model.source.arguments).get("tensor_parallel_size", 1))  # type: ignore[arg-type]
    return 0.0
