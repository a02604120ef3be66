"""Inspect's tasks by name: without Inspect, by listing, and from files. Prompts and scores are acceptance tests."""

import sys
from pathlib import Path

import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, CapabilityError, SourceMissingError, UnknownNameError

# A package that stands for Inspect: it has its loader's functions, and objects with its attributes.
_LOADER = """
from types import SimpleNamespace as N
from inspect_ai._util.registry import made

def load_tasks(specs, arguments):
    (spec,) = specs
    if spec.endswith("@missing"):
        return []
    samples = [
        N(id=None, input="1 + 1?", target="2", choices=None, metadata={"level": 1, "mixed": [1]}),
        N(id="b", input=[N(role="user", content="2 + 2?", text="2 + 2?")], target=["4"], choices=None, metadata=None),
    ]
    solver = [made("inspect_ai/prompt_template", template="Q {level}: {prompt}"), made("inspect_ai/generate")]
    if "tools" in spec:
        solver.insert(0, made("toys/use_tools"))
    config = N(max_tokens=arguments.get("tokens"), temperature=None, stop_seqs=["!"])
    return [N(
        name="toys/" + spec.rpartition("@")[2], sandbox="docker" if "sandbox" in spec else None, setup=None,
        solver=N(_solvers=solver), scorer=[made("inspect_ai/match", numeric=True)], epochs=None, epochs_reducer=None,
        config=config, dataset=samples,
    )]
"""
_FILES = {
    "inspect_ai/__init__.py": "",
    "inspect_ai/_eval/__init__.py": "",
    "inspect_ai/_eval/loader.py": _LOADER,
    "inspect_ai/_util/__init__.py": "",
    "inspect_ai/_util/error.py": "class PrerequisiteError(Exception):\n    pass\n",
    "inspect_ai/_util/registry.py": """
from types import SimpleNamespace as N
def made(name, **params):
    return N(info=N(name=name), params=params)
def is_registry_object(thing): return hasattr(thing, "info")
def registry_info(thing): return thing.info
def registry_params(thing): return thing.params
def registry_lookup(kind, name): return name if name in ("toys/sums", "toys/tools", "toys/sandbox") else None
""",
    "inspect_ai/util.py": "def resource(text): return text\n",
    "inspect_ai/scorer/__init__.py": "",
    "inspect_ai/scorer/_reducer/__init__.py": "",
    "inspect_ai/scorer/_reducer/registry.py": "def reducer_log_name(reducer): return reducer\n",
    "toys/__init__.py": "",
    "toys/tasks.py": "@task\ndef sums():\n    pass\n\n\n@task(name='other_name')\ndef second():\n    pass\n",
    "toys-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n",
    "toys-1.0.dist-info/entry_points.txt": "[inspect_ai]\ntoys = toys.tasks\n",
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "packages"
    for name, text in _FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("inspect_ai", "toys"):
            del sys.modules[name]


@pytest.mark.usefixtures("packages")
def test_tasks_of_installed_packages_are_listed_without_importing_them() -> None:
    assert hf.list_scenarios("inspect")["name"].to_list() == ["inspect:toys/other_name", "inspect:toys/sums"]
    assert "toys.tasks" not in sys.modules
