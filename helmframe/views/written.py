"""Tables of scores as files: CSV and JSON with every number, Markdown and LaTeX as people read them."""

from pathlib import PurePosixPath

import polars as pl

from helmframe._core.registry import view
from helmframe.errors import ArgumentError, CapabilityError
from helmframe.views.characters import seen
from helmframe.views.comparison import markdown_table
from helmframe.views.display import table_cells

SUFFIXES = (".csv", ".json", ".md", ".tex")


@view("Results.table")
def results_table_as(results: object, table: pl.DataFrame, path: str) -> str:  # noqa: ARG001
    """A table of results as the text of a file."""
    return table_as(table, path)


def table_as(table: pl.DataFrame, path: str) -> str:
    """The table as the text of a file of this name.

    Raises:
        ArgumentError: another kind of file.
        CapabilityError: tabulate is not there, and LaTeX is wanted.
    """
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".csv":
        return table.write_csv()
    if suffix == ".json":
        return table.write_json() + "\n"
    if suffix == ".md":
        return markdown_table(*table_cells(table)) + "\n"
    if suffix == ".tex":
        return _latex(table) + "\n"
    raise ArgumentError(f"write_table: {path!r} should end in one of {', '.join(SUFFIXES)}.")


def _latex(table: pl.DataFrame) -> str:
    try:
        from tabulate import tabulate
    except ImportError:
        raise CapabilityError("LaTeX needs the package tabulate: pip install 'helmframe[report]'.") from None
    cells, rows = table_cells(table)
    heads, *lines = [[seen(cell).replace("\n", " ") for cell in row] for row in (cells, *rows)]
    return str(tabulate(lines, heads, tablefmt="latex_booktabs", disable_numparse=True))
