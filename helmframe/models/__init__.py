"""Models: whatever generates text, servers among them, and mock models whose completions are known beforehand."""

from helmframe.models.endpoint import http
from helmframe.models.local_model import local
from helmframe.models.mock import echo, noisy, oracle, replay
from helmframe.models.model import Completion, Model
from helmframe.models.vllm_model import vllm

__all__ = ["Completion", "Model", "echo", "http", "local", "noisy", "oracle", "replay", "vllm"]


def __dir__() -> list[str]:
    # what the Tab key offers: not the modules that the names come from
    return __all__
