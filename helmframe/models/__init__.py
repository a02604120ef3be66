"""Models: whatever generates text, servers among them, and mock models whose completions are known beforehand."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from helmframe.models.mock import echo, noisy, oracle, replay
from helmframe.models.model import Completion, Model

if TYPE_CHECKING:
    from helmframe.models.endpoint import http
    from helmframe.models.local_model import local
    from helmframe.models.vllm_model import vllm

__all__ = ["Completion", "Model", "echo", "http", "local", "noisy", "oracle", "replay", "vllm"]

# name → module, imported when the name is first used
_MODULES = {"http": "endpoint", "local": "local_model", "vllm": "vllm_model"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    # what the Tab key offers: not the modules that the names come from
    return __all__
