"""Tasks and results of other tools: HELM, lm-eval, Inspect and Every Eval Ever."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helmframe.interop.every_eval_ever import read_every_eval_ever
    from helmframe.interop.helm.read import read_helm
    from helmframe.interop.inspect.logs import read_inspect
    from helmframe.interop.lm_eval.logs import read_lm_eval

__all__ = ["read_every_eval_ever", "read_helm", "read_inspect", "read_lm_eval"]

# name → module, imported when the name is first used
_MODULES = {
    "read_every_eval_ever": "every_eval_ever",
    "read_helm": "helm.read",
    "read_inspect": "inspect.logs",
    "read_lm_eval": "lm_eval.logs",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    # for Tab completion: without the modules that define the names
    return __all__
