"""Engines, which run the shards of a plan through the stages."""

from helmframe.engines.logs import child_logging
from helmframe.engines.ray import Ray

__all__ = ["Ray", "child_logging"]


def __dir__() -> list[str]:
    # Tab completion offers the public names only, not modules
    return __all__
