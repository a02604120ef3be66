"""Registries find the names of a package's modules without importing them."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helmframe._core.registry import Registry
from helmframe.errors import ArgumentError, UnknownNameError


@dataclass(frozen=True)
class Entry:
    function: Any


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of two modules, each of which registers a name."""
    root = tmp_path / "made_package"
    (root / "below").mkdir(parents=True)
    (root / "__init__.py").write_text(
        "from helmframe._core.registry import Registry\n"
        "from tests._core.test_registry import Entry\n"
        "THINGS = Registry('thing', packages=[__name__])\n"
        "def thing(name):\n"
        "    def register(function):\n"
        "        THINGS.add(name, Entry(function))\n"
        "        return function\n"
        "    return register\n"
    )
    (root / "below" / "__init__.py").write_text("")
    for path, names in (("one.py", ("first",)), ("below/two.py", ("second", "third"))):
        lines = "".join(f'@thing(\n    "{name}"\n)\ndef {name}(): pass\n\n' for name in names)
        (root / path).write_text(f"from made_package import thing\n\n{lines}")
    monkeypatch.syspath_prepend(tmp_path)
    yield "made_package"
    for name in [name for name in sys.modules if name.split(".")[0] == "made_package"]:
        del sys.modules[name]


def test_names_are_listed_without_imports(package: str) -> None:
    things = __import__(package).THINGS
    assert list(things) == ["first", "second", "third"]
    assert "second" in things
    assert "fourth" not in things
    assert "made_package.below.two" not in sys.modules


def test_an_entry_is_imported_on_first_use(package: str) -> None:
    things = __import__(package).THINGS
    assert things["second"].function.__name__ == "second"
    assert "made_package.below.two" in sys.modules
    assert "made_package.one" not in sys.modules
    assert set(things.added()) == {"second", "third"}


def test_a_taken_name_is_refused_before_and_after_its_import(package: str) -> None:
    things = __import__(package).THINGS
    for _ in range(2):
        with pytest.raises(ArgumentError, match="The thing 'first' is already registered"):
            things.add("first", Entry(test_names_are_listed_without_imports))
        things["first"]


def test_an_unknown_name_lists_those_that_are_not_imported(package: str) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'second'"):
        __import__(package).THINGS["secnd"]


def test_a_registry_without_a_package_has_what_was_added() -> None:
    things: Registry[Entry] = Registry("thing")
    entry = Entry(test_an_unknown_name_lists_those_that_are_not_imported)
    things.add("one", entry)
    things.add("one", entry)
    assert (list(things), things["one"]) == (["one"], entry)


def test_no_metric_is_imported_with_helmframe() -> None:
    code = (
        "import sys, helmframe\n"
        "from helmframe.metrics.protocol import METRICS\n"
        "assert 'rouge_l' in METRICS\n"
        "print('helmframe.metrics.overlap' in sys.modules, METRICS['rouge_l'].name, "
        "'helmframe.metrics.overlap' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "rouge_l", "True"]
