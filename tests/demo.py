"""The real demo model for tests marked `model`: `demo_model()` finds it in ./models, or makes it from its package."""

import functools
import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "models" / "SmolLM2-135M-Instruct"


@functools.cache
def demo_model() -> Path:
    """The folder of SmolLM2-135M-Instruct; a missing package is a failure that says how to install it."""
    folder: Path = tool("demo_model").demo_model(FOLDER)
    return folder


def tool(name: str) -> ModuleType:
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
