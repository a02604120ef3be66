"""Adapters: how an instance becomes a request."""

from helmframe.adapters.adapt import ADAPTERS, Setting, adapt, adapter, settings

__all__ = [
    "ADAPTERS",
    "Setting",
    "adapt",
    "adapter",
    "settings",
]
