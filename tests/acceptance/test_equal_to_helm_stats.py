"""Statistics of our own plans against real runs of `helm-run`: HELM's run specs and scenarios on real rows."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from helmframe.scenarios.mirror import mirror
from tests.acceptance import helm_drawn_sources, helm_scenario_cases, test_helm_entries
from tests.acceptance.figures import equal_to_helm
from tests.acceptance.helm_source_runs import helm_run, our_run
from tests.acceptance.test_equal_to_helm_runs import BASIC, CALIBRATION, LANGUAGE, equal, of_sets

pytestmark = pytest.mark.shared

SEPARATE = ("multiple_choice_separate_original", "multiple_choice_separate_calibrated")
# not the same in two runs, or counted by the tokenizer of HELM's server
UNCOMPARED = {"inference_runtime", "num_prompt_tokens", "num_completion_tokens"}
PASSAGES = ",data_augmentation=canonical,max_eval_instances=60"


class Case(NamedTuple):
    """An entry, our scenario, HELM's module, what writes the rows, and the completions that the model chooses from."""

    entry: str
    scenario: str
    module: str
    make: Callable[[Path, Path], dict[str, Any]]
    words: Sequence[str]
    layout: str | None = None
    select: str | None = None


CASES = [
    Case(
        f"boolq:{PASSAGES[1:]}", "boolq", "boolq_scenario", helm_scenario_cases.boolq, ["Yes", " No", "yes."],
    ),
    Case(
        f"civil_comments:demographic=female{PASSAGES}", "civil_comments", "civil_comments_scenario",
        helm_scenario_cases.civil_comments, ["True", " False", "true."],
    ),
    Case(f"babi_qa:task=15{PASSAGES}", "babi_qa", "babi_qa_scenario", test_helm_entries.babi, ["cat", " wolf"]),
    Case(
        f"narrative_qa:{PASSAGES[1:]}", "narrative_qa", "narrativeqa_scenario", helm_drawn_sources.narrative_qa,
        ["The king dies.", "He is a man.", " she"],
    ),
    Case(
        f"natural_qa:mode=openbook_longans{PASSAGES}", "natural_qa_openbook_longans", "natural_qa_scenario",
        helm_drawn_sources.natural_qa, ["The United States", "in 1990", " she"],
        layout="nq-dev-{number}.jsonl", select="SELECT question, short_answers, long_answers FROM rows",
    ),
    Case(f"lsat_qa:task=all{PASSAGES}", "lsat_qa", "lsat_qa_scenario", test_helm_entries.lsat, ["A", " B", "C", "E"]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.scenario)
def test_5_statistics_of_passages_and_questions_equal_helms(
    case: Case, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = ("max_prob", *LANGUAGE, *CALIBRATION)
    totals = compared(case, metrics, shared, tmp_path, monkeypatch)
    report("5", case, totals)
    assert {*BASIC[:2], "max_prob", *LANGUAGE, "ece_10_bin", "num_output_tokens", "num_instances"} <= {*totals}


@pytest.mark.parametrize("method", [*SEPARATE, "multiple_choice_joint"])
def test_2_statistics_of_bbq_equal_helms(
    method: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = f"bbq:subject=Religion,method={method}{PASSAGES}"
    case = Case(entry, "bbq", "bbq_scenario", helm_drawn_sources.bbq, ["A", "B", " C", ""])
    totals = compared(case, (), shared, tmp_path, monkeypatch)
    report("2", case, totals)
    assert {"bbq_accuracy", "bbq_metric_ambiguous_bias", "bbq_metric_unambiguous_bias", "exact_match"} <= {*totals}


def compared(
    case: Case, metrics: Sequence[str], shared: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[int, int]]:
    """Run an entry by HELM and by our plan and return, by statistic, the number of equal rows and of HELM's rows.

    Args:
        case: The entry.
        metrics: Metrics beside those of the entry.
        shared: The folder of the shared test data.
        folder: An empty folder.
        monkeypatch: It sets the data root.
    """
    tables, root = shared / "tables", folder / "root"
    root.mkdir()
    (root / "tables").symlink_to(tables)
    monkeypatch.setenv("HELMFRAME_DATA", str(root))
    sources = {"module": case.module, **case.make(shared, folder)}
    run = helm_run(case.entry, sources, case.words, tables, folder)
    mirror(case.scenario, root, source=folder / "source", layout=case.layout, select=case.select)
    our_run(case.entry, case.scenario, run, metrics).to_helm(folder / "suite")
    (written,) = [each for each in (folder / "suite").iterdir() if each.name != "prod_env"]
    helms, ours = by_name(run), by_name(written)
    names = {json.loads(key)["name"] for key in ours} - UNCOMPARED
    assert {key for key in ours if json.loads(key)["name"] in names} <= {*helms}
    total: Counter[str] = Counter()
    same: Counter[str] = Counter()
    for key, row in helms.items():
        name = json.loads(key)["name"]
        total[name] += 1
        same[name] += key in ours and equal(row, ours[key])
    return {name: (same[name], total[name]) for name in sorted(names)}


def by_name(run: Path) -> dict[str, dict[str, Any]]:
    """Return a run's statistics by their names, without the paths of tables on HELM's machine."""
    rows = {}
    for key, row in of_sets(run / "stats.json").items():
        name = json.loads(key)
        perturbation = name.get("perturbation", {})
        for path in [each for each in perturbation if each.endswith("_file_path")]:
            del perturbation[path]
        rows[json.dumps(name, sort_keys=True)] = row
    return rows


def report(item: str, case: Case, totals: dict[str, tuple[int, int]]) -> None:
    unequal = {name: counts for name, counts in totals.items() if counts[0] < counts[1]}
    same, total = (sum(counts[place] for counts in totals.values()) for place in (0, 1))
    equal_to_helm(item, f"{case.entry}: rows of stats.json, {len(totals)} statistics", same, total)
    assert unequal == {}
