"""crfm-helm's helm-summarize, run by the Python of a venv that has crfm-helm; arguments as helm-summarize takes them.

It imports all of HELM, and with it what only models and perturbations need: absent packages are empty here.
"""

import importlib.util
import sys
import types
from typing import Any

NOT_NEEDED = ("spacy", "transformers")


class Absent(types.ModuleType):
    """A module in name only."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return object


def main() -> None:
    for name in NOT_NEEDED:
        if importlib.util.find_spec(name) is None:
            sys.modules[name] = Absent(name)
    importlib.import_module("helm.benchmark.presentation.summarize").main()


if __name__ == "__main__":
    main()
