"""Engines: where the shards of a plan are taken through the stages."""

from helmframe.engines.ray import Ray

__all__ = ["Ray"]
