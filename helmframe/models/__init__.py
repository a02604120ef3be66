"""Models: anything that answers, and toys whose answers are known beforehand."""

from helmframe.models.model import Answer, Model
from helmframe.models.toy import echo, noisy, oracle, replay

__all__ = ["Answer", "Model", "echo", "noisy", "oracle", "replay"]
