"""Engines: where the shards of a plan are taken through the stages."""

from helmframe.engines.child_logs import child_logging
from helmframe.engines.ray import Ray

__all__ = ["Ray", "child_logging"]


def __dir__() -> list[str]:
    # what the Tab key offers: not the modules that the names come from
    return __all__
