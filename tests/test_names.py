"""Names are words for what they hold: budgets for filler words, and for the size of the package, over its syntax."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import helmframe as hf

PACKAGE = Path(__file__).parents[1] / "helmframe"
# Words that don't say what a value is: in no name, or in at most one of a thousand.
NEVER = {
    "said", "told", "asked", "asks", "asking", "kept", "place", "there", "about", "theirs", "gone", "beside", "able",
}  # fmt: skip
RARELY = {"each", "found", "given", "own", "known"}
MODULES, ENTRIES, TOP_LEVEL = 307, 26, 45
PLAN = {
    "where", "sample", "limit", "perturb", "adapt", "generate", "metrics", "explain", "instances", "overlap",
    "variants", "requests", "completions", "score", "results", "submit", "to_yaml", "from_yaml",
}  # fmt: skip


def bindings(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the names that a module binds, with their lines: functions, classes, arguments, variables, attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.arg(arg=name):
                yield name, node.lineno
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name, node.lineno
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, node.lineno


def words(name: str) -> set[str]:
    """Return the words of an identifier: of `kept_rows` and `KeptRows` kept and rows."""
    return set(re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().split("_")) - {""}


@cache
def counted() -> tuple[Counter[str], int, list[str]]:
    """Return the count of each filler word, the number of bindings, and where a word stands that should be nowhere."""
    counts: Counter[str] = Counter()
    total, places = 0, []
    for file in sorted(PACKAGE.rglob("*.py")):
        for name, line in bindings(ast.parse(file.read_text(encoding="utf-8"))):
            total += 1
            fillers = words(name) & (NEVER | RARELY)
            counts.update(fillers)
            if fillers & NEVER:
                places.append(f"{file.relative_to(PACKAGE.parent)}:{line}: {name}")
    return counts, total, places


def test_no_name_has_a_filler_word() -> None:
    assert counted()[2] == []


@pytest.mark.parametrize("word", sorted(RARELY))
def test_some_words_are_in_one_of_a_thousand_names_at_most(word: str) -> None:
    counts, total, _ = counted()
    assert counts[word] <= total / 1000


def test_no_module_has_a_filler_word_in_its_name() -> None:
    assert [str(file) for file in PACKAGE.rglob("*.py") if words(file.stem) & (NEVER | RARELY)] == []


def test_the_package_has_a_budget_of_modules() -> None:
    assert len(list(PACKAGE.rglob("*.py"))) <= MODULES
    # py.typed is a mark for type checkers, specs/ the folder that a wheel adds
    entries = {entry.name for entry in PACKAGE.iterdir()} - {"__pycache__", "py.typed", "specs"}
    assert len(entries) <= ENTRIES, sorted(entries)


def test_tab_completion_shows_a_budget_of_names() -> None:
    assert len(dir(hf)) <= TOP_LEVEL
    assert {name for name in dir(hf.Plan) if not name.startswith("_")} == PLAN
    assert {name for name in dir(hf.Suite) if not name.startswith("_")} >= PLAN


def test_words_are_read_in_both_cases() -> None:
    assert words("kept_rows") == words("KeptRows") == {"kept", "rows"}
    assert sorted(bindings(ast.parse("def said(each, *, given=1):\n    found = self.told = 1"))) == [
        ("each", 1), ("found", 2), ("given", 1), ("said", 1), ("told", 2),
    ]  # fmt: skip
