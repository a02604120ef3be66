"""Engines: where the shards of a plan are taken through the stages."""

from helmframe.engines import local

__all__ = ["local"]
