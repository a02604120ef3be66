"""Every example of docs/charts.md runs as it stands; what it promises of images is there."""

import re
from typing import Any

from tests.demo import ROOT

DOCS = ROOT / "docs"
PAGE = (DOCS / "charts.md").read_text(encoding="utf-8")


def test_every_snippet_runs_in_turn() -> None:
    names: dict[str, Any] = {}
    snippets = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(snippets) == 6
    for snippet in snippets:
        exec(snippet, names)
    for call in re.findall(r"^\| `(results\.plot\.[^`]+)` \|", PAGE, re.MULTILINE):
        assert eval(call, names).to_dict()


def test_the_images_are_there_and_small() -> None:
    for name in set(re.findall(r"images/[\w-]+\.svg", PAGE)):
        assert (DOCS / name).stat().st_size < 60_000
