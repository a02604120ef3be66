"""Run notebooks in place, so that their outputs are up to date.

usage: python -m tools.notebooks [NOTEBOOK ...]

Without names it runs all of notebooks/. Cells get stable ids, and no times are recorded.
"""

import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat as package
from nbclient import NotebookClient

nbformat: Any = package  # its functions have no types

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main(names: Sequence[str]) -> None:
    """Run the named notebooks, or all."""
    os.environ["HELMFRAME_PROGRESS"] = "0"
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for path in [Path(name).resolve() for name in names] or sorted(FOLDER.glob("*.ipynb")):
        print(path.name)
        run(path)


def run(path: Path) -> None:
    """Run a notebook in its folder and write it back."""
    notebook = nbformat.read(path, as_version=4)
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:02d}"
    NotebookClient(
        notebook, timeout=600, record_timing=False, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    notebook.metadata = METADATA
    text: str = nbformat.writes(notebook)
    # paths of temporary folders differ in every run
    temporary = re.escape(str(Path(tempfile.gettempdir(), "tmp"))) + r"\w+/"
    path.write_text(re.sub(temporary, "", text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
