"""Imports go downwards only: the layers of the house as data, read against every import in the package."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up; the stages of one layer never import each other.
LAYERS: list[set[str]] = [
    {"errors", "_schema", "config"},
    {"_core"},
    {"sandbox", "store"},
    {"scenarios", "perturbations", "adapters", "models", "metrics", "stats"},
    {"judging", "early_stopping"},
    {"_pipeline", "_plan_yaml"},
    {"engines"},
    {"results"},
    {"_plan", "_suite", "_run"},
    {"interop"},
    {"views"},
    {"cli", "__init__", "__main__"},
]
STAGES = LAYERS[3]


class Import(NamedTuple):
    """One import of a module of ours by another; `late`: inside a function, or `typed`: for type checkers alone."""

    importer: str
    imported: str
    late: bool
    line: int
    typed: bool = False

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def place(module: str) -> str:
    """The folder or file of the house that a module belongs to: `helmframe.models.local` → models."""
    return module.split(".")[1] if "." in module else "__init__"


def layer(module: str) -> int:
    (found,) = [number for number, names in enumerate(LAYERS) if place(module) in names]
    return found


def imports(package: Path) -> list[Import]:
    files = {name_of(file, package): file for file in sorted(package.rglob("*.py"))}
    return [each for name, file in files.items() for each in imports_of(name, file.read_text(encoding="utf-8"), files)]


def name_of(file: Path, package: Path) -> str:
    return ".".join(file.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")


def imports_of(importer: str, text: str, modules: dict[str, Path]) -> Iterator[Import]:
    tree = ast.parse(text)
    top = set(map(id, tree.body))
    for_types = {id(each) for node in tree.body if _type_checking(node) for each in ast.walk(node)}
    for node in ast.walk(tree):
        late, typed = id(node) not in top, id(node) in for_types
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "helmframe":
            assert node.level == 0
            for each in node.names:
                submodule = f"{node.module}.{each.name}"
                yield Import(importer, submodule if submodule in modules else node.module, late, node.lineno, typed)
        elif isinstance(node, ast.Import):
            for each in node.names:
                if each.name.split(".")[0] == "helmframe":
                    yield Import(importer, each.name, late, node.lineno, typed)


def _type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def rings(edges: list[tuple[str, str]]) -> list[str]:
    """The modules of one ring of imports, in order; none where there is none."""
    graph: dict[str, set[str]] = {}
    for importer, imported in edges:
        graph.setdefault(importer, set()).add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        ring: list[str] = error.args[1]
        return ring
    return []


@pytest.fixture(scope="module")
def ours() -> list[Import]:
    return imports(ROOT / "helmframe")


def test_every_file_has_a_layer() -> None:
    names = {file.stem if file.is_file() else file.name for file in (ROOT / "helmframe").iterdir()}
    assert names - {"__pycache__", "py", "specs"} <= set().union(*LAYERS)


def test_the_map_for_contributors_names_every_layer() -> None:
    told = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    names = {name for name in set().union(*LAYERS) if not name.startswith("cli_")}
    assert {name for name in names if f"`{name}`" not in told} == set()


def test_imports_go_downwards_only(ours: list[Import]) -> None:
    upwards = [each for each in ours if layer(each.imported) > layer(each.importer)]
    assert list(map(str, upwards)) == []


def test_stages_never_import_each_other(ours: list[Import]) -> None:
    across = [
        each
        for each in ours
        if {place(each.importer), place(each.imported)} <= STAGES and place(each.importer) != place(each.imported)
    ]
    assert list(map(str, across)) == []


def test_no_ring_of_modules_late_imports_among_them(ours: list[Import]) -> None:
    assert rings([(each.importer, each.imported) for each in ours]) == []


def test_no_ring_of_folders(ours: list[Import]) -> None:
    # plan, suite, sentence and their like are one layer of single files, each a folder of its own here
    pairs = [(place(each.importer), place(each.imported)) for each in ours]
    assert rings([pair for pair in pairs if pair[0] != pair[1]]) == []


def test_the_reader_sees_imports_inside_functions_and_submodules() -> None:
    modules = {"helmframe.a": Path(), "helmframe.a.b": Path(), "helmframe.c": Path()}
    text = "from helmframe.a import b, name\ndef f():\n    import helmframe.c\n"
    text += "if TYPE_CHECKING:\n    import helmframe.c\n"
    assert list(imports_of("helmframe.x", text, modules)) == [
        Import("helmframe.x", "helmframe.a.b", late=False, line=1),
        Import("helmframe.x", "helmframe.a", late=False, line=1),
        Import("helmframe.x", "helmframe.c", late=True, line=3),
        Import("helmframe.x", "helmframe.c", late=True, line=5, typed=True),
    ]


def test_a_ring_is_found() -> None:
    assert sorted(set(rings([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")]))) == ["a", "b", "c"]
