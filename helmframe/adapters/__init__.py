"""Adapters: how an instance becomes a request."""

from helmframe.adapters import chat, generation, language_modeling, multiple_choice, ranking, separate
from helmframe.adapters.adapt import ADAPTERS, Setting, adapt, adapter, settings

__all__ = [
    "ADAPTERS",
    "Setting",
    "adapt",
    "adapter",
    "chat",
    "generation",
    "language_modeling",
    "multiple_choice",
    "ranking",
    "separate",
    "settings",
]
