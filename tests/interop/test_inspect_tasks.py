"""Inspect's tasks without Inspect: the listing, and errors. Prompts, scores and refusals are acceptance tests."""

import sys
from pathlib import Path

import pytest

import helmframe as hf
from helmframe.errors import CapabilityError

_FILES = {
    "toys/__init__.py": "raise RuntimeError('imported')\n",
    "toys/tasks.py": """
@task
def sums(n: int = 2) -> Task: ...

@task(name="other_name", version=2)
@other
async def second(): ...

def task_of_another_kind(): ...
""",
    "toys-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n",
    "toys-1.0.dist-info/entry_points.txt": "[inspect_ai]\ntoys = toys._registry\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package with tasks for Inspect."""
    for name, text in _FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_tasks_of_installed_packages_are_listed_without_importing_them(package: Path) -> None:
    listed = hf.list_scenarios("inspect")
    names = [name for name in listed["name"].to_list() if name.startswith("inspect:toys/")]
    assert names == ["inspect:toys/other_name", "inspect:toys/sums"]
    assert str(package / "toys" / "tasks.py") in listed["file"].to_list()
    assert "toys" not in sys.modules


def test_a_task_needs_inspect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    with pytest.raises(CapabilityError, match="pip install inspect-ai inspect-evals"):
        hf.scenario("inspect:inspect_evals/arc_easy")
