"""The wheel in empty environments: the README's first snippet, the Hub, and each snippet of docs/install.md."""

import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.acceptance.figures import shown
from tests.demo import ROOT, demo_model
from tests.hub_server import hub_server
from tests.s3_server import S3Server
from tests.snippets import Snippet, snippets

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")

# Isolated, so that neither the checkout nor other packages of the machine are found.
RUN = """
import ast, json, sys
import helmframe
assert helmframe.__file__.startswith(sys.prefix), helmframe.__file__
names = {"hf": helmframe}
values = []
for code in json.loads(sys.argv[1]):
    *before, last = ast.parse(code).body
    exec(compile(ast.Module(before, []), "snippet", "exec"), names)
    value = last.value
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "print":
        (value,) = value.args
    values.append(str(eval(compile(ast.Expression(value), "snippet", "eval"), names)))
print(json.dumps(values))
"""
# What a fresh process has imported, and what the environment has installed.
PROBE = """
import sys
import helmframe as hf
from importlib.metadata import distributions
print("huggingface_hub" in sys.modules)
print(sorted({package.metadata["Name"].lower().replace("_", "-") for package in distributions()}))
"""
HEAVY = {"torch", "transformers", "jupyter", "jupyterlab", "pandas", "altair", "ray", "vllm", "spacy"}


class Section(NamedTuple):
    """A section of the page: its heading, the extra that it installs, its snippets."""

    heading: str
    extra: str | None
    snippets: list[Snippet]


def sections() -> Iterator[Section]:
    for heading, text in re.findall(r"^##? ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        if pieces := snippets(text):
            extra = re.search(r"^pip install 'helmframe\[(\w+)\]'$", text, re.MULTILINE)
            yield Section(heading, extra[1] if extra else None, pieces)


SECTIONS = {section.heading: section for section in sections()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def installed(requirement: str, folder: Path) -> Path:
    """Return the Python of a new environment with this requirement and nothing else."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return python


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with `pip install helmframe` alone."""
    return installed(str(wheel), tmp_path_factory.mktemp("core"))


@pytest.fixture
def mmlu_hub(shared: Path) -> Iterator[dict[str, str]]:
    """The environment variables of a local server that speaks the Hub's API and has MMLU."""
    with hub_server({"cais/mmlu": shared / "scenarios" / "mmlu"}) as hub:
        yield {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"}


def run(python: Path, code: list[str], folder: Path, variables: Mapping[str, str]) -> list[str]:
    """Return the value of each snippet's last line, as text; the snippets share one process."""
    plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    variables = {**plain, "HELMFRAME_STORE": str(folder / "store"), "HELMFRAME_PROGRESS": "0", **variables}
    command = [str(python), "-I", "-c", RUN, json.dumps(code)]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    values: list[str] = json.loads(done.stdout.splitlines()[-1])
    return values


def check(python: Path, pieces: list[Snippet], folder: Path, variables: Mapping[str, str]) -> None:
    """Run the snippets and compare what they show; below a table of scores are its metrics and its folder."""
    values = run(python, [piece.code for piece in pieces], folder, variables)
    for piece, value in zip(pieces, values, strict=True):
        assert piece.shown in (None, value.split("\nmetrics:")[0].strip())


def test_the_core_is_light_and_importing_it_does_not_import_the_hub(core: Path) -> None:
    done = subprocess.run([str(core), "-I", "-c", PROBE], capture_output=True, text=True, check=True)
    imported, packages = done.stdout.splitlines()
    assert imported == "False"
    names = set(json.loads(packages.replace("'", '"')))
    shown("2", "packages of `pip install helmframe`, pip and setuptools among them", len(names), "printed")
    assert {"helmframe", "huggingface-hub"} <= names
    assert names & HEAVY == set()


def test_the_first_snippet_of_the_readme_runs_from_the_wheel(core: Path, tmp_path: Path) -> None:
    check(core, snippets(README)[:1], tmp_path, {"HF_HUB_OFFLINE": "1"})


@pytest.mark.shared
@pytest.mark.parametrize("heading", [name for name, section in SECTIONS.items() if section.extra is None])
def test_snippets_of_the_install_page_that_need_no_extra(
    heading: str, core: Path, tmp_path: Path, mmlu_hub: dict[str, str], s3: S3Server
) -> None:
    variables = dict(s3.environment) if heading == "Buckets" else mmlu_hub
    check(core, SECTIONS[heading].snippets, tmp_path, {**variables, "HELMFRAME_DATA": ""})


@pytest.mark.model
@pytest.mark.parametrize("heading", [name for name, section in SECTIONS.items() if section.extra is not None])
def test_snippets_of_the_install_page_with_the_extra_they_name(heading: str, wheel: Path, tmp_path: Path) -> None:
    section = SECTIONS[heading]
    python = installed(f"{wheel}[{section.extra}]", tmp_path / "venv")
    if any("models/" in piece.code for piece in section.snippets):
        (tmp_path / "models").symlink_to(demo_model().parent)
    check(python, section.snippets, tmp_path, {"HF_HUB_OFFLINE": "1"})


def test_a_missing_extra_is_named_with_its_pip_line(core: Path, tmp_path: Path) -> None:
    pieces = SECTIONS["Servers"].snippets
    command = [str(core), "-I", "-c", RUN, json.dumps([piece.code for piece in pieces])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    message = done.stderr.strip().splitlines()[-1]  # above it the traceback quotes the line of code
    assert message.count("pip install 'helmframe[http]'") == 1


def test_everything_in_all_can_be_installed_together(core: Path, wheel: Path) -> None:
    command = [str(core), "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", f"{wheel}[all]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    names = {entry["metadata"]["name"].lower().replace("_", "-") for entry in json.loads(done.stdout)["install"]}
    shown("2", "further packages of helmframe[all]", len(names), "printed")
    assert {"torch", "transformers", "peft", "gguf", "spacy", "altair", "jupyter", "math-verify", "nltk"} <= names
    assert names & {"vllm", "ray", "mkdocs", "duckdb-extension-httpfs"} == set()
