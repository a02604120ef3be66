"""The table of models by name: `hf.list_models()`."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl

from helmframe.config import from_home
from helmframe.models.endpoint import http
from helmframe.models.local_files import WEIGHTS
from helmframe.models.local_model import local
from helmframe.models.mock import echo, noisy, oracle, replay
from helmframe.models.model import Model
from helmframe.models.vllm_model import vllm

_SCHEMA = {"name": pl.String, "kind": pl.String, "arguments": pl.String, "description": pl.String}
_FUNCTIONS: dict[str, tuple[Callable[..., Model], ...]] = {
    "mock": (echo, noisy, oracle, replay),
    "backend": (http, local, vllm),
}


def list_models() -> pl.DataFrame:
    """Return the models that `generate` knows by name: the functions of `hf.models`, then checkpoints on this machine.

    A function, an object, a name on the hub and the address of a server are models too: see `hf.model`.

    Returns:
        name; kind: "mock" (its completions are known beforehand), "backend" (runs a checkpoint, or calls a server),
        or "checkpoint" (a folder below $HELMFRAME_MODELS); arguments with their defaults; description.

    >>> list_models().filter(kind="mock")["name"].to_list()
    ['echo', 'noisy', 'oracle', 'replay']
    """
    rows = [_function(kind, function) for kind, functions in _FUNCTIONS.items() for function in functions]
    return pl.DataFrame([*rows, *map(_checkpoint, _checkpoints())], schema=_SCHEMA)


def _function(kind: str, function: Callable[..., Model]) -> dict[str, str]:
    signature = inspect.signature(function)
    arguments = ", ".join(
        name if parameter.default is parameter.empty else f"{name}={parameter.default!r}"
        for name, parameter in signature.parameters.items()
    )
    description = (inspect.getdoc(function) or "").partition("\n")[0]
    return {"name": function.__name__, "kind": kind, "arguments": arguments, "description": description}


def _checkpoint(folder: Path) -> dict[str, str]:
    return {"name": str(folder), "kind": "checkpoint", "arguments": "", "description": "a transformers checkpoint"}


def _checkpoints() -> list[Path]:
    """Return the folders of models below $HELMFRAME_MODELS: `name`, or `org/name`."""
    root = os.environ.get("HELMFRAME_MODELS")
    if not root:
        return []
    folder = from_home(root)
    configs = [config for pattern in ("*/config.json", "*/*/config.json") for config in folder.glob(pattern)]
    folders = sorted({config.parent for config in configs})
    return [folder for folder in folders if any(any(folder.glob(pattern)) for pattern in WEIGHTS)]
