"""What is said of Ray: where it is, and how many replicas of each model with what."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.util import find_spec
from typing import Any

from helmframe._core.specs import Call
from helmframe.errors import ArgumentError, CapabilityError
from helmframe.models.model import Model


@dataclass(frozen=True)
class Ray:
    """The engine of a Ray cluster: `plan.score(engine=hf.engines.Ray(replicas=(1, 8), num_gpus=1))`.

    Every replica of a model is an actor that holds it; Ray places, restarts and counts them. Where no cluster is named,
    and RAY_ADDRESS names none either, one is started on this machine for the run.

    Args:
        address: of the cluster, as `ray.init` takes it: "auto", "host:6379".
        replicas: of each model, at least and at most; as many as the spans that wait can use. One number: so many.
        num_cpus: of each replica, as Ray counts them; a fraction lets several share one.
        num_gpus: of each replica; default as many as vLLM is told to spread the model over, of other models none.
        resources: of each replica, of those that the cluster's nodes were given names for: {"a100": 1}.
        weight: a model's share of a cluster that is too small for all: of two with as much to do, one with twice the
            weight has twice the replicas.
        models: where models differ: {"big": {"num_gpus": 4, "weight": 2}}, by their names in the plan.

    Raises:
        ArgumentError: a number that can't be, or a word that is none of these.
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
        if not all(isinstance(each, int) and not isinstance(each, bool) for each in (least, most)) or not (
            1 <= least <= most
        ):
            raise ArgumentError(f"Ray(replicas={self.replicas!r}): a number from 1 on, or (at least, at most).")
        amounts = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, **self.resources}
        for name, amount in amounts.items():
            if amount is not None and (
                isinstance(amount, bool) or not isinstance(amount, int | float) or not amount >= 0
            ):
                raise ArgumentError(f"Ray({name}={amount!r}): a number from 0 on.")
        if isinstance(self.weight, bool) or not isinstance(self.weight, int | float) or not self.weight > 0:
            raise ArgumentError(f"Ray(weight={self.weight!r}): a number above 0.")
        for name, said in self.models.items():
            for key in said:
                if key not in _OF_A_MODEL:
                    raise ArgumentError.unknown_argument(f"Ray(models={{{name!r}: …}})", str(key), _OF_A_MODEL)
            replace(self, models={}, **said)

    @property
    def least_and_most(self) -> tuple[int, int]:
        """Replicas of a model."""
        return self.replicas if isinstance(self.replicas, tuple) else (self.replicas, self.replicas)

    def of(self, model: Model) -> "Ray":
        """What holds for one model."""
        said = dict(self.models.get(model.name, {}))
        mine = replace(self, models={}, **said)
        if mine.num_gpus is not None:
            return mine
        return replace(mine, num_gpus=_spread(model))

    def check_installed(self) -> None:
        """That Ray is there.

        Raises:
            CapabilityError: it is not.
        """
        if find_spec("ray") is None:
            raise CapabilityError("engine='ray' needs the package ray: pip install 'helmframe[ray]'.")


_OF_A_MODEL = tuple(each.name for each in fields(Ray) if each.name not in ("address", "models"))


def _spread(model: Model) -> float:
    """GPUs that one replica takes as it was said."""
    if isinstance(model.source, str):
        return 1.0 if model.source.startswith("vllm:") else 0.0
    if isinstance(model.source, Call) and model.source.name == "vllm":
        return float(dict(model.source.arguments).get("tensor_parallel_size", 1))  # type: ignore[arg-type]
    return 0.0
