"""Models: checkpoints, servers, and mock models with predictable completions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from helmframe.models.mock import echo, noisy, oracle, replay
from helmframe.models.model import Completion, Model

if TYPE_CHECKING:
    from helmframe.models.batch_api import batch
    from helmframe.models.endpoint import http
    from helmframe.models.local_model import local
    from helmframe.models.vllm_model import vllm

__all__ = ["Completion", "Model", "batch", "echo", "http", "local", "noisy", "oracle", "replay", "vllm"]

# name → module, which is imported on the first use of the name
_MODULES = {"batch": "batch_api", "http": "endpoint", "local": "local_model", "vllm": "vllm_model"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    # Tab completion offers the public names only, not modules
    return __all__
