"""The local engine: a loaded transformers model that answers prompts and says how likely texts are."""

from helmframe.models.engine.engine import TAKES, Engine

__all__ = ["TAKES", "Engine"]
