"""The README: its snippets run and show what it shows, its links lead to files, and it is short."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import helmframe as hf
from helmframe.results import Results
from tests.demo import ROOT
from tests.snippets import Snippet, packaged_names, snippets
from tests.test_finding import Recorded

README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST, *FINDING = snippets(README)
MOST_WORDS = 600


def pasted(code: str, names: dict[str, Any]) -> Any:
    """Run a snippet; return the value of its last line, which a notebook shows or the snippet prints."""
    *before, last = code.rstrip().split("\n")
    exec("\n".join(before), names)
    return eval(re.sub(r"^print\((\w+)\).*", r"\1", last), names)


def check(piece: Snippet, value: Any) -> None:
    # below a table of scores are its metrics and its folder
    assert piece.shown in (None, str(value).split("\nmetrics:")[0].strip())


def test_the_first_snippet_prints_a_table_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path / "empty"))
    exec(FIRST.code, {})
    assert re.search(r"^sampler +model +typos +0\.250 ", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.shared
def test_the_line_for_mmlu_runs(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    (line,) = re.findall(r"^`(hf\.scenario\(\"mmlu\"\).*)`\.$", README, re.MULTILINE)
    results = eval(line, {"hf": hf, "model": lambda prompt: "A"})
    assert isinstance(results, Results)
    assert results.table(metrics="exact_match")["n"].to_list() == [311, 311]


def test_the_finding_shows_what_the_stored_log_probabilities_give() -> None:
    names: dict[str, Any] = {"hf": hf, "model": Recorded()}
    assert [piece.shown is None for piece in FINDING] == [False, False]
    assert FINDING[0].code.count('"models/SmolLM2-135M-Instruct"') == 1
    for piece in FINDING:
        check(piece, pasted(piece.code.replace('"models/SmolLM2-135M-Instruct"', "model"), names))


def test_the_conclusion_states_the_numbers_shown() -> None:
    (conclusion,) = re.findall(r"^The model completes.*$", README, re.MULTILINE)
    assert FINDING[0].shown is not None
    assert FINDING[1].shown is not None
    original, chance = re.findall(r"original +(\S+) .* (\S+)$", FINDING[0].shown, re.MULTILINE)[0]
    changes = dict(re.findall(r"│ (\w+) +┆ \d+ +┆ (-\d\.\d+)", FINDING[1].shown))
    points = [round(-100 * float(changes[name])) for name in ("typos", "uppercase")]
    assert list(map(int, re.findall(r"\d+", conclusion))) == [
        round(100 * float(original)), round(100 * float(chance)), *points,
    ]  # fmt: skip


def test_the_comparison_has_the_counts_of_the_package() -> None:
    counted = {name for name in packaged_names("hf.perturbations.__all__") if name.islower()}
    assert f"| perturbations | {len(counted)} |" in README
    assert f"{len(counted)} perturbations" in README
    assert f"| tasks | {hf.list_scenarios().height} |" in README


def test_every_link_leads_to_a_file() -> None:
    links = re.findall(r"^\[[\w-]+\]: (\S+)$|\]\((\S+?)\)|(?:src|srcset)=\"(\S+?)\"", README, re.MULTILINE)
    targets = [target for link in links for target in link if target]
    assert len(targets) > 8
    assert [target for target in targets if not urlsplit(target).scheme and not (ROOT / target).exists()] == []
    labels = set(re.findall(r"\]\[([\w-]+)\]", README))
    assert labels == set(re.findall(r"^\[([\w-]+)\]: ", README, re.MULTILINE))


def test_it_is_short() -> None:
    body = README.split("\n[install]: ")[0]
    assert len(body.split()) <= MOST_WORDS
