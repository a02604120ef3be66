"""The documentation site: it builds without a warning, its links lead somewhere, and nothing comes from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import helmframe as hf
from helmframe.metrics.protocol import METRICS
from helmframe.perturbations.registry import PERTURBATIONS
from tests.demo import ROOT
from tests.links import crawl_site

pytestmark = pytest.mark.slow

# What a browser fetches by itself.
FETCHED = re.compile(r'<(?:script|img|source|iframe)\b[^>]*?\s(?:src|srcset)="([^"]+)"|<link\b[^>]*?\shref="([^"]+)"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    made = subprocess.run(
        # not quiet: warnings that are not shown are not counted either
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return folder


def test_every_link_leads_to_a_page_or_heading_of_the_site(site: Path) -> None:
    found = crawl_site(site)
    assert found.pages > 25
    assert found.broken == []


@pytest.mark.parametrize("name", ["plan", "models", "stats"])
def test_docstrings_show_examples_as_code_and_sources_as_text(site: Path, name: str) -> None:
    page = (site / "reference" / f"{name}.html").read_text(encoding="utf-8")
    assert 'class="gp">' in page  # a prompt
    assert "<blockquote>" not in page
    assert 'class="source"' not in page


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    fetched = {
        link
        for page in site.rglob("*.html")
        for pair in FETCHED.findall(page.read_text(encoding="utf-8"))
        for link in pair
        if link.startswith(("http:", "https:", "//"))
    }
    assert fetched == set()


def test_the_pages_say_what_the_package_knows(site: Path) -> None:
    metrics = (site / "reference" / "metrics.html").read_text(encoding="utf-8")
    names = hf.list_metrics()["name"]
    own = [name for name in names if str(METRICS[name].function.__module__).startswith("helmframe.")]
    assert [name for name in own if f"<code>{name}</code>" not in metrics] == []
    columns = (site / "reference" / "columns.html").read_text(encoding="utf-8")
    assert all(f"<code>{name}</code>" in columns for name in hf.schema()["column"])
    commands = (site / "reference" / "command_line.html").read_text(encoding="utf-8")
    assert "usage: helmframe gate" in commands


def test_the_reference_names_everything_public(site: Path) -> None:
    reference = " ".join(page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html"))
    headings = set(re.findall(r'\sid="(?:\w+\.)*(\w+)"', reference)) | set(re.findall(r"<code>hf\.(\w+)", reference))
    assert [name for name in hf.__all__ if name not in headings] == []
    for namespace in (hf.adapters, hf.engines, hf.models, hf.stats):
        paths = {name: f"{getattr(namespace, name).__module__}.{name}" for name in namespace.__all__}
        assert [name for name, path in paths.items() if f'id="{path}"' not in reference] == []
    perturbations = (site / "reference" / "perturbations.html").read_text(encoding="utf-8")
    functions = [name for name in PERTURBATIONS if PERTURBATIONS[name].function.__module__.startswith("helmframe.")]
    assert [name for name in functions if f"<code>{name}</code>" not in perturbations] == []


def test_notebooks_are_pages_with_their_outputs(site: Path) -> None:
    names = [notebook.stem for notebook in (ROOT / "notebooks").glob("*.ipynb")]
    assert len(names) == 8
    for name in names:
        assert "<code>" in (site / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    quickstart = (site / "notebooks" / "00_quickstart.html").read_text(encoding="utf-8")
    assert 'class="dataframe"' in quickstart
    assert re.search(r'<img[^>]+src="00_quickstart-\d+-0\.png"', quickstart)
