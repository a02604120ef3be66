"""The connection to Ray: to the cluster that is named, or to one on this machine for as long as it is needed."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from helmframe.errors import PlanError

_TRIES = 3
# Nothing but plans goes through the object store (bytes).
_ON_THIS_MACHINE: dict[str, Any] = {"address": "local", "include_dashboard": False, "object_store_memory": 256 << 20}


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected; what was connected before is used, whatever the address, and nothing else is left behind.

    Ray sends nothing home, unless the user has set RAY_USAGE_STATS_ENABLED.

    Raises:
        PlanError: there is no cluster at this address.
    """
    global _users, _ours
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    with _lock:
        if not ray.is_initialized():
            said = address or os.environ.get("RAY_ADDRESS")
            _connect(ray, said) if said else _start(ray)
            _ours = True
        _users += 1
    try:
        yield ray
    finally:
        with _lock:
            _users -= 1
            if _ours and not _users:
                ray.shutdown()
                _ours = False


# One connection for all runs of a process: Ray has no more. The last one ends it, if it is ours.
_lock = threading.Lock()
_users = 0
_ours = False


def _start(ray: Any) -> None:
    # Ray's patience with its own processes is 15 s, which is short on a machine that is busy
    for left in reversed(range(_TRIES)):
        try:
            _init(ray, **_ON_THIS_MACHINE)
        except RuntimeError as error:
            if not left:
                raise PlanError(
                    f"Ray can't be started on this machine: {error}\nOr start it yourself: ray start --head; then say "
                    "address='auto'."
                ) from None
        else:
            return


def _connect(ray: Any, address: str) -> None:
    try:
        _init(ray, address=address)
    except RuntimeError as error:
        raise PlanError(
            f"there is no Ray cluster at {address}: {error}\nLeave out the address, and one is started here."
        ) from None


def _init(ray: Any, **how: Any) -> None:
    """Raises RuntimeError, whatever Ray raises."""
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **how)
    except Exception as error:  # noqa: BLE001 - it raises plain ones too
        ray.shutdown()
        raise RuntimeError(" ".join(str(error).split())[:300]) from None
