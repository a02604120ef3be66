"""The options of Ray: the address of a cluster, and the number and resources of each model's replicas."""

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
    """The engine that runs a plan on a Ray cluster: `plan.score(engine=hf.engines.Ray(replicas=(1, 8), num_gpus=1))`.

    Every replica of a model is a Ray actor that loads the model once. Without an address and without RAY_ADDRESS, a
    cluster is started on this machine for the run.

    >>> Ray(replicas=(1, 8), num_gpus=1).num_gpus
    1

    Args:
        address: The address of the cluster, as in `ray.init`: "auto" or "host:6379".
        replicas: The minimum and maximum number of replicas of each model, or one number. Replicas are started while
            spans of instances wait for one.
        num_cpus: The number of CPUs of each replica, as Ray counts them. With a fraction, several replicas share a CPU.
        num_gpus: The number of GPUs of each replica. By default the `tensor_parallel_size` of vLLM models, and 0 for
            other models.
        resources: The custom resources of each replica, by the names that the cluster's nodes define: {"a100": 1}.
        weight: The model's share of a cluster that is too small for all models. With equal work, a model of twice the
            weight has twice the replicas.
        models: Options by model name, which replace the options for all: {"big": {"num_gpus": 4, "weight": 2}}.

    Raises:
        ArgumentError: A number is invalid, or an option is unknown.
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
        """Return the minimum and maximum number of replicas of a model."""
        return self.replicas if isinstance(self.replicas, tuple) else (self.replicas, self.replicas)

    def of(self, model: Model) -> "Ray":
        """Return the options of one model.

        >>> import helmframe as hf
        >>> options = hf.engines.Ray(replicas=2, models={"oracle": {"replicas": 8}})
        >>> options.of(hf.models.oracle()).replicas
        8
        """
        overrides = dict(self.models.get(model.name, {}))
        options = replace(self, models={}, **overrides)
        return options if options.num_gpus is not None else replace(options, num_gpus=_default_gpus(model))

    def check_installed(self) -> None:
        """Check that Ray is installed.

        Raises:
            CapabilityError: Ray is not installed.

        >>> Ray().check_installed()
        """
        if find_spec("ray") is None:
            raise CapabilityError("engine='ray' needs the package ray: pip install 'helmframe[ray]'.")


_MODEL_OPTIONS = tuple(field.name for field in fields(Ray) if field.name not in ("address", "models"))


def _default_gpus(model: Model) -> float:
    """Return the number of GPUs of one replica, from the model's own options."""
    if isinstance(model.source, str):
        return 1.0 if model.source.startswith("vllm:") else 0.0
    if isinstance(model.source, Call) and model.source.name == "vllm":
        return float(dict(model.source.arguments).get("tensor_parallel_size", 1))  # type: ignore[arg-type]
    return 0.0
