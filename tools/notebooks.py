"""Run notebooks in place, so that their outputs are up to date.

usage: python -m tools.notebooks [NOTEBOOK ...]

Without names it runs all of notebooks/. Cells get stable ids, and no times are recorded.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

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
    nbformat.write(notebook, path)


if __name__ == "__main__":
    main(sys.argv[1:])
