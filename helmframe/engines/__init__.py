"""Engines, which run the shards of a plan through the stages: this process, or a Ray cluster."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from helmframe.engines import local
from helmframe.engines.logs import child_logging
from helmframe.engines.ray import Ray
from helmframe.errors import ArgumentError
from helmframe.store import RunFolder

__all__ = ["Ray", "child_logging"]

ENGINES = ("local", "ray")

Engine: TypeAlias = str | Ray


def resolve_engine(engine: Engine) -> Callable[..., RunFolder]:
    """Return the function that runs plans on an engine; its arguments are those of `local.run`.

    Raises:
        ArgumentError: The engine is unknown.
        CapabilityError: The engine's package is not installed.
    """
    if engine == "local":
        return local.run
    if engine == "ray":
        engine = Ray()
    if not isinstance(engine, Ray):
        hint = "For options of Ray, write engine=hf.engines.Ray(address=…, num_gpus=1)."
        raise ArgumentError.unknown_value(f"engine={engine!r}", engine, ENGINES, hint=hint)
    engine.check_installed()
    from helmframe.engines.ray import execution

    return partial(execution.run, engine)


def __dir__() -> list[str]:
    # Tab completion offers the public names only, not modules
    return __all__
