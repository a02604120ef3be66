"""Adapters: how an instance becomes a request."""

from helmframe.adapters import generation, multiple_choice
from helmframe.adapters.adapt import ADAPTERS, Setting, adapt, adapter, settings

__all__ = ["ADAPTERS", "Setting", "adapt", "adapter", "generation", "multiple_choice", "settings"]
