"""Plain names: how many filler words there were and are, and that a plug-in of each kind is one file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import helmframe as hf
from helmframe.results import Results
from tests.acceptance.figures import shown
from tests.test_layers import imports
from tests.test_names import ENTRIES, MODULES, NEVER, PACKAGE, RARELY, TOP_LEVEL, counted

# Recorded before the names were changed: bindings of each word, and sizes. Those of `Plan` and of modules with a single
# importer are from an earlier commit.
BEFORE = {
    "each": 727, "said": 447, "place": 264, "found": 228, "given": 141, "known": 129, "asked": 111, "own": 108,
    "there": 103, "about": 66, "kept": 60, "told": 50, "theirs": 35, "gone": 21, "beside": 20, "able": 8, "asks": 5,
    "asking": 3,
}  # fmt: skip
MODULES_BEFORE, ENTRIES_BEFORE, NAMES_BEFORE, PLAN_BEFORE = 405, 47, 82, 41

PLUG_INS = {
    "perturbations/shouts.py": """
import polars as pl

from helmframe.perturbations.factory import perturbation


@perturbation("shouted")
def shouted(text: pl.Expr, marks: int = 1) -> pl.Expr:
    return text.str.to_uppercase() + "!" * marks
""",
    "metrics/shouting.py": """
import polars as pl

from helmframe.metrics.protocol import metric


@metric("is_shouted")
def is_shouted() -> pl.Expr:
    return pl.col("output").str.ends_with("!")
""",
    "adapters/whispers.py": """
import polars as pl

from helmframe.adapters.adapt import adapter


@adapter("whispered")
def whispered(variants: pl.LazyFrame, adapter: object) -> pl.LazyFrame:
    choices = pl.lit(None, dtype=pl.List(pl.String))
    return variants.with_columns(question="psst: " + pl.col("perturbed_input"), answer=pl.lit("a"), choices=choices)
""",
    "views/charts/_counts.py": """
from helmframe.results.charts import chart


@chart("counts")
def counts_of_results(results, factor=1):
    return results.completions.collect().height * factor
""",
    "cli/hello.py": """
import argparse

from helmframe.cli.command import command


@command("hello", help="Print a greeting")
def add_hello(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=lambda arguments: print("Hello"))
""",
}
SCENARIO = """
scenario: echoes
version: 1
source: {rows: "{data}/echoes/{split}-*.parquet"}
columns: {text: VARCHAR}
splits: {test: test}
instances: |
  SELECT row_index, split, text AS input, [{'text': text, 'correct': true}] AS "references" FROM rows
metrics: [exact_match]
main: {metric: exact_match, split: test}
"""
USES = """
import polars as pl

import helmframe as hf

pl.DataFrame({"text": ["a", "b"]}).write_parquet("data/echoes/test-00000-of-00001.parquet")
plan = hf.scenario("echoes").perturb(hf.perturbations.shouted(marks=2)).adapt(method="whispered", shots=0)
results = plan.generate(lambda prompt: "hey!").metrics("is_shouted").score()
print(sorted(results.rows()["prompt"]), results.value("is_shouted"), results.plot.counts(factor=2))
"""


def test_1_filler_words_before_and_after() -> None:
    counts, total, names = counted()
    for word in sorted(NEVER | RARELY, key=lambda word: -BEFORE[word]):
        limit = "0" if word in NEVER else f"{total / 1000:.0f}"
        shown("names 1", f"bindings with {word!r}, before and after", f"{BEFORE[word]} → {counts[word]}", limit)
    assert names == []
    assert all(counts[word] <= total / 1000 for word in RARELY)


def test_1_sizes_before_and_after() -> None:
    modules = list(PACKAGE.rglob("*.py"))
    entries = {entry.name for entry in PACKAGE.iterdir()} - {"__pycache__", "py.typed", "specs"}
    importers: dict[str, set[str]] = {}
    for one in imports(PACKAGE):
        importers.setdefault(one.imported, set()).add(one.importer)
    single = [name for name, by in importers.items() if len(by) == 1]
    public = [name for name in dir(Results) if not name.startswith("_")]
    plan = [name for name in dir(hf.Plan) if not name.startswith("_")]
    shown("names 1", "modules", f"{MODULES_BEFORE} → {len(modules)}", MODULES)
    shown("names 1", "entries at the top of the package", f"{ENTRIES_BEFORE} → {len(entries)}", ENTRIES)
    shown("names 1", "modules with a single importer", f"77 of 60 lines or fewer → {len(single)} of any size", "none")
    shown("names 1", "dir(hf)", f"{NAMES_BEFORE} → {len(dir(hf))}", TOP_LEVEL)
    shown("names 1", "dir(Plan)", f"{PLAN_BEFORE} → {len(plan)}", 17)
    shown("names 1", "dir(Results)", len(public), "none")
    assert len(modules) <= MODULES
    assert len(entries) <= ENTRIES
    assert len(dir(hf)) <= TOP_LEVEL
    assert len(plan) <= 17


def test_2_a_plug_in_of_each_kind_is_one_file(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "helmframe", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PACKAGE.parent / "specs", tmp_path / "specs")
    for name, text in PLUG_INS.items():
        (tmp_path / "helmframe" / name).write_text(text.lstrip(), encoding="utf-8")
    (tmp_path / "specs" / "scenarios" / "echoes.yaml").write_text(SCENARIO.lstrip(), encoding="utf-8")
    (tmp_path / "data" / "echoes").mkdir(parents=True)
    settings = {"DATA": str(tmp_path / "data"), "STORE": str(tmp_path / "store"), "PROGRESS": "0"}
    environment = os.environ | {f"HELMFRAME_{key}": value for key, value in settings.items()}
    environment["PYTHONPATH"] = str(tmp_path)

    def run(*arguments: str) -> str:
        line = [sys.executable, *arguments]
        done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert run("-c", USES).splitlines()[-1] == "['psst: A!!', 'psst: B!!', 'psst: a', 'psst: b'] 1.0 8"
    assert run("-m", "helmframe", "hello") == "Hello"
    shown("names 2", "kinds of plug-ins that are one file", f"{len(PLUG_INS) + 1}/6", "all")
