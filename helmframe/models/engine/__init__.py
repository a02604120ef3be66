"""The local engine: runs prompts with a loaded transformers model, and scores continuations."""

from helmframe.models.engine.engine import TAKES, Engine

__all__ = ["TAKES", "Engine"]
