"""The images of docs/charts.md, made anew: python -m tools.chart_images."""

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Run the page's first snippet, and draw what the page shows of it."""
    page = (DOCS / "charts.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0], names)  # noqa: S102 our own page
    (DOCS / "images").mkdir(exist_ok=True)
    for name, mode in re.findall(r"images/(\w+)-(light|dark)\.svg", page):
        chart = getattr(names["results"].plot, name)(mode=mode)
        chart.save(DOCS / "images" / f"{name}-{mode}.svg")


if __name__ == "__main__":
    main()
