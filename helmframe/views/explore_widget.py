"""The explorer as a notebook's widget."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget

from helmframe._core.registry import view
from helmframe.results import Results
from helmframe.views.display import html_table, number
from helmframe.views.explore import Explorer
from helmframe.views.explore_filters import Filters

_SHOWN = ("instance_id", "perturbation", "model", "score", "completion")


class ExplorerWidget(anywidget.AnyWidget):
    """What `results.explore()` shows: the browser asks for pages and instances, the kernel answers.

    Where no widget can be shown, the first page is there as HTML.
    """

    _esm = Path(__file__).with_name("explore.js")

    def __init__(self, explorer: Explorer) -> None:
        super().__init__()
        self._explorer = explorer
        self.on_msg(self._answer)

    def _answer(self, _: Any, said: dict[str, Any], __: list[bytes]) -> None:
        self.send({"id": said.get("id"), "answer": self._explorer.answer(said.get("question") or {})})

    def _repr_mimebundle_(self, **how: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        bundle = super()._repr_mimebundle_(**how)
        if bundle is None:
            return None
        data, about = bundle
        return {**data, "text/html": first_page_html(self._explorer)}, about


@view("Results.explore")
def explorer_widget(results: Results, filters: Mapping[str, Any]) -> ExplorerWidget:
    """The explorer of results, with the filters that it opens with."""
    return ExplorerWidget(Explorer(results, Filters.of(dict(filters))))


def first_page_html(explorer: Explorer) -> str:
    """The first rows, with nothing to run; every text escaped."""
    page = explorer.page(explorer.start, 0)
    rows = [[number(row[name]) if name == "score" else str(row[name] or "") for name in _SHOWN] for row in page["rows"]]
    return f"<div>{len(rows):,} of {page['total']:,} rows</div>{html_table(_SHOWN, rows)}"
