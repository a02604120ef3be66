"""Every Python snippet of the README, pasted as it stands."""

import re
from pathlib import Path
from typing import Any

import pytest

from helmframe.results import Results
from tests.demo import ROOT, demo_model
from tests.s3_server import S3Server

README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL))


def pasted(heading: str) -> tuple[dict[str, Any], Any]:
    """Run a snippet; its names, and the value of its last line, as a notebook cell would show it."""
    names: dict[str, Any] = {}
    lines = SNIPPETS[heading].rstrip().split("\n")
    exec("\n".join(lines[:-1]), names)
    return names, eval(lines[-1], names)


def test_every_snippet_is_pasted_below() -> None:
    said = ["The sentence", "Your bucket", "Your scenario", "Your model", "Perturbed, robust, fair"]
    assert list(SNIPPETS) == [*said, "Another prompt, compared", "Many at once, nothing lost"]


@pytest.mark.shared
def test_the_sentence_prints_the_table_shown(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    _, results = pasted("The sentence")
    table = README.split("## The sentence")[1].split("```")[3].strip()
    assert repr(results).splitlines()[:3] == table.splitlines()


@pytest.mark.shared
def test_your_bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HELMFRAME_DATA")
    _, instances = pasted("Your bucket")
    assert instances["data_subject"].unique().sort().to_list() == ["anatomy", "philosophy"]


@pytest.mark.model
def test_your_model(monkeypatch: pytest.MonkeyPatch) -> None:
    demo_model()
    monkeypatch.chdir(ROOT)
    _, results = pasted("Your model")
    assert isinstance(results, Results)
    assert results.table(metrics="exact_match")["n"].to_list() == [8, 8]


def test_your_scenario() -> None:
    _, results = pasted("Your scenario")
    assert results.value("exact_match") == 0.5


def test_perturbed() -> None:
    names, flips = pasted("Perturbed, robust, fair")
    assert names["results"].robustness()["perturbation"].unique().len() == 5  # four variants, and all of them
    assert "diff" in flips.columns


def test_many_at_once() -> None:
    _, values = pasted("Many at once, nothing lost")
    assert len(values) == 2
    assert all(0 < value < 1 for value in values)


def test_another_prompt_compared() -> None:
    _, table = pasted("Another prompt, compared")
    assert table["differs"].to_list() == ["prompt"]
    assert {"difference", "ci_low", "ci_high", "p"} <= set(table.columns)
