"""docs/install.md: its table is what pyproject.toml has, and errors about a missing extra name its `pip install` once.

tests/acceptance/test_install.py runs its snippets in empty environments.
"""

import ast
import re
import tomllib
from collections.abc import Iterator

import pytest

from tests.demo import ROOT
from tests.snippets import snippets

PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
FOR_DEVELOPERS = {"dev", "docs", "demo"}
# They need a GPU or a cluster, pin DuckDB, or require boto3.
SPECIAL = {"vllm", "ray", "httpfs", "litellm"}


def in_the_table() -> list[str]:
    table = PAGE.split("## Extras")[1].split("\n## ")[0]
    return re.findall(r"^\| [^|]+ \| `(\w+)` \|", table, re.MULTILINE)


def included(extra: str) -> set[str]:
    """Return the extras that an extra includes, itself among them."""
    names = {extra}
    for requirement in EXTRAS[extra]:
        if inner := re.fullmatch(r"helmframe\[([\w,]+)\]", requirement):
            names |= set().union(*map(included, inner[1].split(",")))
    return names


def messages() -> Iterator[tuple[str, str]]:
    """Yield every text of the package that names an extra, docstrings left out, with its file."""
    for file in sorted((ROOT / "helmframe").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        inner -= {id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in documented | inner:
                text = node.value if isinstance(node, ast.Constant) else ast.unparse(node)
                if isinstance(text, str) and re.search(r"helmframe\[|pip install", text):
                    yield file.name, text


def test_the_table_has_every_extra_that_users_install() -> None:
    assert sorted(in_the_table()) == sorted(set(EXTRAS) - FOR_DEVELOPERS)


def test_all_includes_everything_that_runs_without_a_gpu_or_a_cluster() -> None:
    assert included("all") - {"all"} == set(EXTRAS) - FOR_DEVELOPERS - SPECIAL - {"all"}


@pytest.mark.parametrize("name", ["peft", "gguf", "report", "demo"])
def test_an_extra_of_the_page_includes_the_one_it_names(name: str) -> None:
    assert len(included(name)) > 1


def test_a_message_names_the_pip_install_line_of_its_extra_once() -> None:
    texts = list(messages())
    assert len(texts) > 10
    wrong = [
        f"{file}: {text}"
        for file, text in texts
        if text.count("pip install") != 1
        or ("helmframe[" in text and len(re.findall(r"pip install \\?'helmframe\[\w+\]\\?'", text)) != 1)
    ]
    assert wrong == []


def test_a_missing_extra_is_one_class_of_error() -> None:
    wrong = []
    for file in sorted((ROOT / "helmframe").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            text = ast.unparse(node) if isinstance(node, ast.Raise) else ""
            if re.search(r"helmframe\[|\bINSTALL\b|pip install accelerate", text):
                wrong += [f"{file.name}: {text}"] * (not text.startswith("raise CapabilityError("))
    assert wrong == []


def test_every_extra_in_a_message_exists() -> None:
    assert {name for _, text in messages() for name in re.findall(r"helmframe\[(\w+)\]", text)} <= set(EXTRAS)


def test_every_snippet_is_python() -> None:
    for code, _ in snippets(PAGE):
        compile(code, "docs/install.md", "exec")
