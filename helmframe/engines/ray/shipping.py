"""What a replica gets: plans, settings and one model, pickled here and now, so that what can't travel is told at once.

Models that are named (folders, hub names, addresses) travel as their names; functions and objects by cloudpickle: what
a module holds by its import path, what a notebook or script holds by value. Credentials never travel.
"""

import io
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from helmframe import config
from helmframe._core.registry import Registry
from helmframe._core.safe_text import error_text
from helmframe._core.specs import Call
from helmframe._pipeline import PlanSpec, Task
from helmframe.adapters.adapt import ADAPTERS
from helmframe.errors import HelmframeError, PlanError
from helmframe.metrics.protocol import METRICS
from helmframe.models.completion_cache import StoredRun
from helmframe.models.model import Model
from helmframe.models.protocol import from_any, is_local_name
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.store import Address

_BACKENDS = ("local", "http", "vllm")
_REGISTRIES: tuple[Registry[Any], ...] = (PERTURBATIONS, ADAPTERS, METRICS)


@dataclass(frozen=True)
class Parcel:
    """What a replica of one model has to know.

    Args:
        work: plan and task of each thing to do, asking this model alone.
        model: who answers.
        fingerprint: its fingerprint, as the one who sends it knows it.
        root: the store's address.
        run: the address of the run's folder.
        fresh: whether to ask what the store has.
        prices: as `Budget` takes them.
        priority: as `Budget` takes it.
        resumed: The runs to reuse completions of unpinned models from.
    """

    work: Sequence[tuple[PlanSpec, Task]]
    model: Model
    fingerprint: str
    root: Address
    run: Address
    fresh: bool
    prices: Mapping[str, tuple[float, float]]
    priority: int
    resumed: Sequence[StoredRun] = ()


def check_credentials(addresses: Sequence[object]) -> None:
    """That workers can reach these addresses with credentials of their own.

    Raises:
        PlanError: this process alone was told some.
    """
    if config.has_credentials() and any(str(each).startswith("s3://") for each in addresses):
        raise PlanError(
            "hf.configure(s3_key=…, s3_secret=…) holds for this process alone, and credentials are not sent to "
            "workers. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE, or a role of the instances) on "
            "the cluster's machines, and here."
        )


def packed(parcel: Parcel) -> bytes:
    """The parcel with the settings of this process, for `unpacked` elsewhere.

    Raises:
        PlanError: something in it can't be pickled, or a credential is in it; says which model or what else.
    """
    root = config.data_root()
    roots = {"data": None if root is None else _absolute(root), "store": _absolute(str(config.store_root()))}
    said = config.settings_without_credentials() | roots
    variables = config.variables_without_credentials()
    added = [registry.added() for registry in _REGISTRIES]
    work = [(_settled(plan), task) for plan, task in parcel.work]
    # the model alone first, so that the message can name it
    _pickled(parcel.model, f"model {parcel.model.name!r}")
    resumed = [replace(each, path=_address(each.path)) for each in parcel.resumed]
    sent = replace(parcel, work=work, root=_address(parcel.root), run=_address(parcel.run), resumed=resumed)
    # in two layers: where models are looked for must be known there before they are made again
    inner = _pickled((added, sent), "the plan")
    data = pickle.dumps((said, variables, inner))
    if any(secret.encode() in data for secret in config.secret_texts()):
        raise PlanError(
            "the plan holds a credential (a value of an environment variable such as OPENAI_API_KEY), and credentials "
            "are not sent to workers. Read it from the environment inside the function that needs it."
        )
    return data


def unpacked(data: bytes) -> Parcel:
    """What was packed, with its settings made those of this process."""
    said, variables, inner = pickle.loads(data)  # noqa: S301 - from the process that started this one
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    config.configure(**said)
    added, parcel = pickle.loads(inner)  # noqa: S301
    for registry, entries in zip(_REGISTRIES, added, strict=True):
        for name, entry in entries.items():
            registry.add(name, entry)
    assert isinstance(parcel, Parcel)
    return parcel


def _settled(plan: PlanSpec) -> PlanSpec:
    """The plan with its root as others see it."""
    return plan if plan.data is None else replace(plan, data=_absolute(plan.data))


def _absolute(said: str) -> str:
    return said if "://" in said else str(config.from_home(said).resolve())


def _address(said: Address) -> Address:
    return said.resolve() if isinstance(said, Path) else said


def _pickled(thing: object, what: str) -> bytes:
    from ray import cloudpickle

    class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # untyped
        def reducer_override(self, found: Any) -> Any:
            return _as_named(found) if _is_named(found) else super().reducer_override(found)

    buffer = io.BytesIO()
    try:
        Pickler(buffer, protocol=5).dump(thing)
    except HelmframeError as error:
        raise PlanError(f"{what} can't be sent to workers: {error}") from None
    except Exception as error:  # noqa: BLE001 - whatever the user's objects say against it
        reason = " ".join(config.redacted(error_text(error)).split())[:300]
        raise PlanError(
            f"{what} can't be sent to workers: {reason}.\nPut it in a module that the workers can import too, as a "
            "function that makes what it needs when it is first called: then its import path is all that is sent."
        ) from None
    return buffer.getvalue()


def _is_named(found: object) -> bool:
    if not isinstance(found, Model):
        return False
    # mock models are calls too, but hold nothing that can't be pickled
    return isinstance(found.source, str) or (isinstance(found.source, Call) and found.source.name in _BACKENDS)


def _as_named(model: Model) -> tuple[Any, ...]:
    """How a model that has a name is pickled: its name, and what was said of it besides."""
    said = str(model.source)
    if is_local_name(said) and Path(said).exists():
        said = _absolute(said)
    how = {name: getattr(model, name) for name in ("name", "version", "batch", "workers", "adaptive", "timeout")}
    return _named, (said, how)


def _named(said: str, how: Mapping[str, Any]) -> Model:
    return replace(from_any(said), **how)
