"""The local engine, which generates and scores with a loaded transformers model."""

from helmframe.models.engine.engine import TAKES, Engine

__all__ = ["TAKES", "Engine"]
