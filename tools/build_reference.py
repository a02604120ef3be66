"""The reference pages that are made from the code: `python -m tools.build_reference` writes them below docs/.

With `--check` nothing is written: the exit status is 1 if a page or picture is out of date. Pictures are compared by
their texts and numbers, because their layout depends on the version of the renderer.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from tools.reference import charts
from tools.reference.columns import columns
from tools.reference.command_line import command_line
from tools.reference.errors import error_page
from tools.reference.metrics import metrics
from tools.reference.perturbations import perturbations
from tools.reference.scenarios import scenarios

DOCS = Path(__file__).parents[1] / "docs"
PAGES: dict[str, Callable[[], str]] = {
    "reference/scenarios.md": scenarios,
    "reference/perturbations.md": perturbations,
    "reference/metrics.md": metrics,
    "reference/chart_gallery.md": charts.gallery,
    "reference/columns.md": columns,
    "reference/command_line.md": command_line,
    "reference/errors.md": error_page,
}


def main(*arguments: str) -> int:
    """Write the pages, or check them, and return the exit status."""
    stale = []
    for path, text in files():
        file = DOCS / path
        before = file.read_text(encoding="utf-8") if file.is_file() else ""
        if not same(path, before, text):
            stale.append(path)
            if "--check" not in arguments:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
    verb = "out of date" if "--check" in arguments else "written"
    print(f"{len(stale)} of the reference pages and pictures {verb}{': ' if stale else '.'}{', '.join(stale)}")
    return int(bool(stale) and "--check" in arguments)


def files() -> Iterator[tuple[str, str]]:
    """Return the path below docs/ and the content of every page and picture, whatever the settings of the user."""
    logging.getLogger("helmframe").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="helmframe-") as folder:
        settings = {name: value for name, value in os.environ.items() if not name.startswith("HELMFRAME_")}
        settings |= {
            "HELMFRAME_DATA": f"{folder}/data",
            "HELMFRAME_STORE": f"{folder}/store",
            "HELMFRAME_PROGRESS": "0",
        }
        Path(folder, "data").mkdir()
        with mock.patch.dict(os.environ, settings, clear=True):
            for path, make in PAGES.items():
                yield path, make()
            yield from charts.pictures()


def same(path: str, before: str, after: str) -> bool:
    """Return whether a file is up to date."""
    if path.endswith(".svg"):
        return charts.texts_of(before) == charts.texts_of(after)
    return before == after


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
