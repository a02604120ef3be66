"""The data that a replica receives: plans, settings and one model. It is pickled before the run, so errors come early.

Models with a name (folders, Hub names, addresses) are sent by name. Functions and objects are sent by cloudpickle:
those of a module by import path, those of a notebook or script by value. Credentials are never sent.
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
from helmframe.models.budget import Price
from helmframe.models.completion_cache import StoredRun
from helmframe.models.model import Model
from helmframe.models.protocol import from_any, is_local_name
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.store import Address

_BACKENDS = ("local", "http", "vllm")
_REGISTRIES: tuple[Registry[Any], ...] = (PERTURBATIONS, ADAPTERS, METRICS)


@dataclass(frozen=True)
class Parcel:
    """The data that a replica of one model receives.

    Args:
        work: (plan, task) pairs that run this model alone.
        model: The model.
        fingerprint: The model's fingerprint on the sender.
        root: The address of the store.
        run: The address of the run's folder.
        fresh: Whether cached completions are generated again.
        prices: The known prices by model name.
        priority: The priority, as in `Budget`.
        resumed: The runs whose completions of unpinned models are reused.
    """

    work: Sequence[tuple[PlanSpec, Task]]
    model: Model
    fingerprint: str
    root: Address
    run: Address
    fresh: bool
    prices: Mapping[str, Price]
    priority: int
    resumed: Sequence[StoredRun] = ()


def check_credentials(addresses: Sequence[object]) -> None:
    """Check that workers can reach these addresses with their own credentials.

    Raises:
        PlanError: Only this process has the credentials.
    """
    if config.has_credentials() and any(str(address).startswith("s3://") for address in addresses):
        raise PlanError(
            "hf.configure(s3_key=…, s3_secret=…) applies to this process only, because credentials are never sent to "
            "workers. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE, or an instance role) here and "
            "on the machines of the cluster."
        )


def pack(parcel: Parcel) -> bytes:
    """Return the parcel with the settings of this process, for `unpack` elsewhere.

    Raises:
        PlanError: The model or the plan isn't picklable, or contains a credential.
    """
    root = config.data_root()
    roots = {"data": None if root is None else _absolute(root), "store": _absolute(str(config.store_root()))}
    settings = config.settings_without_credentials() | roots
    variables = config.variables_without_credentials()
    added = [registry.added() for registry in _REGISTRIES]
    work = [(_settled(plan), task) for plan, task in parcel.work]
    # the model first, so that the message can name it
    _pickled(parcel.model, f"model {parcel.model.name!r}")
    resumed = [replace(stored, path=_address(stored.path)) for stored in parcel.resumed]
    sent = replace(parcel, work=work, root=_address(parcel.root), run=_address(parcel.run), resumed=resumed)
    # pickled twice, because the settings must apply before the models are built again
    inner = _pickled((added, sent), "the plan")
    data = pickle.dumps((settings, variables, inner))
    if any(secret.encode() in data for secret in config.secret_texts()):
        raise PlanError(
            "The plan contains a credential (the value of an environment variable such as OPENAI_API_KEY). Credentials "
            "are never sent to workers. Read it from the environment inside the function that needs it."
        )
    return data


def unpack(data: bytes) -> Parcel:
    """Apply the settings of a packed parcel, and return the parcel."""
    settings, variables, inner = pickle.loads(data)  # noqa: S301 - from the process that started this one
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    config.configure(**settings)
    added, parcel = pickle.loads(inner)  # noqa: S301
    for registry, entries in zip(_REGISTRIES, added, strict=True):
        for name, entry in entries.items():
            registry.add(name, entry)
    assert isinstance(parcel, Parcel)
    return parcel


def _settled(plan: PlanSpec) -> PlanSpec:
    """Return the plan with an absolute data root, for other working directories."""
    return plan if plan.data is None else replace(plan, data=_absolute(plan.data))


def _absolute(path: str) -> str:
    return path if "://" in path else str(config.from_home(path).resolve())


def _address(address: Address) -> Address:
    return address.resolve() if isinstance(address, Path) else address


def _pickled(value: object, subject: str) -> bytes:
    from ray import cloudpickle

    class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # untyped
        def reducer_override(self, value: Any) -> Any:
            return _as_named(value) if _is_named(value) else super().reducer_override(value)

    buffer = io.BytesIO()
    try:
        Pickler(buffer, protocol=5).dump(value)
    except HelmframeError as error:
        raise PlanError(f"Can't send {subject} to workers: {error}") from None
    except Exception as error:  # noqa: BLE001 - users' objects may raise anything
        reason = " ".join(config.redacted(error_text(error)).split())[:300]
        raise PlanError(
            f"Can't send {subject} to workers: {reason}.\nMove it to a module that the workers can import, as a "
            "function that creates what it needs on its first call. Then only its import path is sent."
        ) from None
    return buffer.getvalue()


def _is_named(value: object) -> bool:
    if not isinstance(value, Model):
        return False
    # mock models are calls too, but can be pickled
    return isinstance(value.source, str) or (isinstance(value.source, Call) and value.source.name in _BACKENDS)


def _as_named(model: Model) -> tuple[Any, ...]:
    """Return the pickled form of a named model: its name, and options that were set later."""
    name = str(model.source)
    if is_local_name(name) and Path(name).exists():
        name = _absolute(name)
    options = {
        option: getattr(model, option) for option in ("name", "version", "batch", "workers", "adaptive", "timeout")
    }
    return _from_name, (name, options)


def _from_name(name: str, options: Mapping[str, Any]) -> Model:
    return replace(from_any(name), **options)
