"""Every example of docs/reports.md runs as it stands; what it shows is there."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.demo import ROOT

DOCS = ROOT / "docs"
PAGE = (DOCS / "reports.md").read_text(encoding="utf-8")


def test_every_snippet_runs_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    snippets = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(snippets) == 5
    for snippet in snippets:
        exec(snippet, names)
    assert (tmp_path / "report.html").stat().st_size < 600_000
    for name in ("scores", "completions"):
        assert list(tmp_path.glob(f"runs/today/{name}/sampler@small@*.parquet"))


def test_the_images_are_there_and_small() -> None:
    images = re.findall(r"images/[\w-]+\.jpg", PAGE)
    assert len(images) == 2
    for name in images:
        assert (DOCS / name).stat().st_size < 80_000
