"""Models: anything that answers, servers among them, and toys whose answers are known beforehand."""

from helmframe.models.endpoint import http
from helmframe.models.model import Answer, Model
from helmframe.models.toy import echo, noisy, oracle, replay

__all__ = ["Answer", "Model", "echo", "http", "noisy", "oracle", "replay"]
