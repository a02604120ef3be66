"""The explorer as a notebook widget."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget

from helmframe._core.registry import view
from helmframe.results import Results
from helmframe.views.display import html_table, number
from helmframe.views.explore import Explorer, Filters

_SHOWN = ("instance_id", "perturbation", "model", "score", "completion")


class ExplorerWidget(anywidget.AnyWidget):
    """The widget of `results.explore()`: the browser requests pages and instances from the kernel.

    Frontends without widgets show the first page as HTML.
    """

    _esm = Path(__file__).with_name("explore.js")

    def __init__(self, explorer: Explorer) -> None:
        super().__init__()
        self._explorer = explorer
        self.on_msg(self._respond)

    def _respond(self, _: Any, message: dict[str, Any], __: list[bytes]) -> None:
        self.send({"id": message.get("id"), "response": self._explorer.respond(message.get("request") or {})})

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        bundle = super()._repr_mimebundle_(**options)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, "text/html": first_page_html(self._explorer)}, metadata


@view("Results.explore")
def explorer_widget(results: Results, filters: Mapping[str, Any]) -> ExplorerWidget:
    """Return the explorer of results, opened with these filters."""
    return ExplorerWidget(Explorer(results, Filters.of(dict(filters))))


def first_page_html(explorer: Explorer) -> str:
    """Return the first page as HTML without scripts, escaped."""
    page = explorer.page(explorer.start, 0)
    rows = [[number(row[name]) if name == "score" else str(row[name] or "") for name in _SHOWN] for row in page["rows"]]
    return f"<div>{len(rows):,} of {page['total']:,} rows</div>{html_table(_SHOWN, rows)}"
