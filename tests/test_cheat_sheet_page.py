"""docs/cheat_sheet.md names everything that plans, results, runs and the command line have, and its snippet runs."""

import re
from typing import Any

import pytest

import helmframe as hf
from helmframe.adapters.adapt import ADAPTERS
from helmframe.cli.command import COMMANDS
from helmframe.results import Results
from tests.demo import ROOT
from tests.snippets import packaged_names, snippets

PAGE = (ROOT / "docs" / "cheat_sheet.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PROSE, re.MULTILINE | re.DOTALL))


def names_in(*headings: str) -> set[str]:
    """Return the names in backticks in these sections, without arguments and without `run.` and the like."""
    texts = re.findall(r"`([^`]+)`", "".join(SECTIONS[heading] for heading in headings))
    return {re.sub(r"^(?:run|plot)\.(?=\w)", "", text.partition("(")[0]) for text in texts}


def public(owner: type) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


def test_the_snippet_runs() -> None:
    ((code, _),) = snippets(PAGE)
    *before, last = code.rstrip().split("\n")
    names: dict[str, Any] = {}
    exec("\n".join(before), names)
    assert isinstance(eval(last, names), Results)


def test_every_method_of_a_plan_is_named() -> None:
    named = names_in("Builder methods", "Terminal methods") | {"from_yaml"}
    assert "hf.Plan.from_yaml" in names_in("Start a plan")
    assert public(hf.Plan) - named == set()


def test_every_method_of_results_and_runs_is_named() -> None:
    tables = {"completions", "instances", "variants", "scores", "verdicts", "prefixes", "heads", "fitted", "logs"}
    tables |= {"progress", "read", "helm_stats"}
    named = names_in("Results") | {"plot"}
    assert {name for name in public(hf.Results) if callable(getattr(hf.Results, name))} - named - tables == set()
    assert public(hf.Run) - names_in("Runs") - {"id", "name", "plan", "plans"} == set()


@pytest.mark.parametrize(("heading", "listing"), [("Perturbations", "list_perturbations"), ("Metrics", "list_metrics")])
def test_every_listed_name_is_named_and_no_other(heading: str, listing: str) -> None:
    listed = set(packaged_names(f"hf.{listing}()['name'].to_list()"))
    named = names_in(heading)
    assert listed - named == set()
    assert named - listed - {"hf.perturbations.typos", 'compat="helm"', '"typos', "name@k"} == set()


def test_every_adapter_and_listing_is_named() -> None:
    assert {f"hf.{name}" for name in hf.__all__ if name.startswith("list_")} - names_in("Listings") == set()
    # the adapters of other tools' tasks are selected by the task
    own = {name for name in ADAPTERS if not name.startswith(("lm_eval_", "inspect_"))}
    assert own - names_in("Builder methods") == set()


def test_every_command_is_named() -> None:
    assert set(COMMANDS) - names_in("Command line") == set()
