"""The reference pages that are made from the code: they are up to date, and have an example for every name."""

import re
from pathlib import Path
from typing import Any

import pytest

import helmframe as hf
from helmframe._core.registry import Registry
from helmframe.cli.command import COMMANDS
from helmframe.metrics.protocol import METRICS
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.results.charts import CHARTS
from tests.demo import ROOT
from tools import build_reference
from tools.reference import markdown
from tools.reference import scenarios as scenario_page
from tools.reference.metric_examples import EXAMPLES

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return dict(build_reference.files())


@pytest.mark.slow
def test_every_page_and_picture_is_up_to_date(made: dict[str, str]) -> None:
    assert len(made) == len(build_reference.PAGES) + 2 * len(list(CHARTS))
    texts = {path: (DOCS / path).read_text(encoding="utf-8") for path in made}
    stale = [path for path, text in made.items() if not build_reference.same(path, texts[path], text)]
    assert stale == [], "run python -m tools.build_reference"


def test_a_page_that_differs_is_reported_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"reference/a.md": "# A\n", "images/b.svg": '<svg><text x="1">b</text></svg>\n'}
    monkeypatch.setattr(build_reference, "DOCS", tmp_path)
    monkeypatch.setattr(build_reference, "files", lambda: iter(files.items()))
    assert build_reference.main("--check") == 1
    assert build_reference.main() == 0
    assert {path: (tmp_path / path).read_text() for path in files} == files
    assert build_reference.main("--check") == 0
    (tmp_path / "images/b.svg").write_text('<svg><text x="2">b</text></svg>\n')  # another layout
    assert build_reference.main("--check") == 0
    (tmp_path / "images/b.svg").write_text('<svg><text x="1">c</text></svg>\n')
    assert build_reference.main("--check") == 1


def test_the_table_of_sources_has_every_scenario() -> None:
    rows = list(scenario_page._sources())
    names = [re.findall(r"`(\w+)`", row[0])[0] for row in rows]
    assert names == hf.list_scenarios()["name"].to_list()
    assert all(all(cell for cell in row) for row in rows)


def test_a_source_has_its_page_its_revision_its_terms_and_its_check() -> None:
    rows = {re.findall(r"`(\w+)`", row[0])[0]: row[1:] for row in scenario_page._sources()}
    source, revision, _, access, checked = rows["openai_mrcr"]
    assert (source, revision, access) == (
        "[openai/mrcr](https://huggingface.co/datasets/openai/mrcr)", "`204b0d4e8d9c`", "open"
    )  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\d: .*crfm-helm [\d.]+.*", checked)
    assert rows["gpqa"][3] == "[gated](https://huggingface.co/datasets/Idavidrein/gpqa)"
    assert (rows["sampler"][0], rows["sampler"][4]) == ("part of the package", "–")


def test_a_source_without_evidence_is_not_checked() -> None:
    assert scenario_page._checked(None) == "not checked"
    missing = {"checked": "2026-12-01", "by": ["lm-eval 0.4.13"], "not_named": ["split dev"]}
    assert scenario_page._checked(missing) == "2026-12-01: lm-eval 0.4.13; not named: split dev"


def page(name: str) -> dict[str, str]:
    """Return the sections of a page by heading."""
    text = (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^###? `?([^`\n]+?)`?(?:: [^\n]+)?\n(.*?)(?=^###? |\Z)", text, re.MULTILINE | re.DOTALL))


def ours(registry: Registry[Any]) -> list[str]:
    """Return the names that the package itself registers; tests register some too."""
    return [name for name in registry if registry[name].function.__module__.startswith("helmframe.")]


def test_every_scenario_has_a_call_and_a_prompt() -> None:
    sections = page("scenarios")
    for name in hf.list_scenarios()["name"]:
        assert sections[name].count("```python\n") == 1
        assert sections[name].count("```text\n") == 1


def test_every_perturbation_has_a_text_before_and_after() -> None:
    sections = page("perturbations")
    for name in ours(PERTURBATIONS):
        blocks = re.findall(r"^```text\n(.*?)\n```$", sections[name], re.MULTILINE | re.DOTALL)
        before, after = blocks if len(blocks) == 2 else re.split(r"\n(?=after )", blocks[0])
        before, after = before.removeprefix("before  "), after.removeprefix("after   ")
        changes_text = name != "rerun" and PERTURBATIONS[name].takes != "image"
        assert (before != after) == changes_text, name


def test_every_metric_has_a_computed_example() -> None:
    sections = page("metrics")
    # these run programs, read a database, or need Inspect or a judge: their example is in the text
    in_text = {"live_code_bench_pass", "pass", "pass@k", "strict_acc", "test_avg"}
    in_text |= {"ehr_sql_execution_accuracy", "inspect_math", "inspect_model_graded"}
    names = ours(METRICS)
    assert {name for name in names if name not in EXAMPLES} == in_text
    for name in set(names) - in_text:
        assert re.search(r"\| score: `|^`[^\n]+` = -?\d", sections[name], re.MULTILINE), name


def test_every_column_has_an_example() -> None:
    sections = page("columns")
    for table, name in hf.schema().select("table", "column").iter_rows():
        rows = [row for section in sections.values() for row in section.splitlines() if row.startswith(f"| `{name}`")]
        assert rows, (table, name)
        assert all(row.split(" | ")[-1].removesuffix("|").strip() for row in rows), (table, name)


def test_every_chart_has_code_and_pictures_that_are_small() -> None:
    sections = page("chart_gallery")
    for name in CHARTS:
        assert f"hf.charts.{name}(" in sections[name]
        assert re.findall(r"\.\./(images/charts/[\w-]+\.svg)", sections[name]) == [
            f"images/charts/{name}-dark.svg", f"images/charts/{name}-light.svg",
        ]  # fmt: skip
    assert sum(file.stat().st_size for file in (DOCS / "images" / "charts").iterdir()) < 600_000


def test_every_command_and_action_has_its_help() -> None:
    sections = page("command_line")
    assert all(f"usage: helmframe {name}" in sections[f"helmframe {name}"] for name in COMMANDS)
    assert "usage: helmframe store compact" in sections["helmframe store compact"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a *b* c* [d] `e|*f*` $5", r"a *b* c\* \[d\] `e|*f*` \$5"),
        ("x < y & z", "x &lt; y &amp; z"),
        ("two\nlines", "two lines"),
    ],
)
def test_text_of_docstrings_is_escaped_and_code_is_not(text: str, expected: str) -> None:
    assert markdown.prose(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a|b", "`a|b`"), ("a`b", "`` a`b ``"), (" a", "``  a ``"), ("a\nb", r"`a\nb`"), ("", "")],
)
def test_code_is_one_line(text: str, expected: str) -> None:
    assert markdown.code(text) == expected


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (2 / 3, "0.667"),
        (1.0, "1"),
        (0.0007, "0.0007"),
        (-5e-05, "0"),
        (3, "3"),
        (None, "null"),
        ("a", "`a`"),
        ("", '`""`'),
    ],
)
def test_values_of_examples(item: object, expected: str) -> None:
    assert markdown.value(item) == expected


def test_paragraphs_and_arguments_of_a_docstring() -> None:
    docstring = (
        "Return a.\n\nMore\nof it.\n\n>>> a()\n1\n\nArgs:\n    b: The b,\n        of two lines.\n    c: The c.\n"
    )
    assert markdown.paragraphs(docstring) == ["Return a.", "More of it.", "```pycon\n>>> a()\n1\n```"]
    assert markdown.arguments(docstring) == {"b": "The b, of two lines.", "c": "The c."}


def test_headings_with_the_same_anchor_are_refused() -> None:
    with pytest.raises(ValueError, match="several headings have the anchor passk"):
        markdown.page("Metrics", "## `pass@k`", "## `pass^k`")


def test_pipes_of_cells_are_escaped() -> None:
    assert markdown.table(["a"], [["`b|c`"], [r"d\|e"]]) == "| a |\n|---|\n| `b\\|c` |\n| d\\|e |"
