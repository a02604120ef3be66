"""HELM's boards of other languages: prompts of synthetic rows equal crfm-helm's, and entries become plans."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._core.specs import SPLITS, Equals, ScenarioSpec
from helmframe._plan import Plan
from helmframe.interop.helm import parse_entry, read_conf
from helmframe.interop.helm.expanders import EXPANDERS
from helmframe.interop.helm.plans import drafts_of
from helmframe.interop.helm.scenario_lookup import find_scenario, scenario_index
from helmframe.scenarios.load import load
from helmframe.scenarios.mirror import mirror
from tests.acceptance import eval_peers, helm_peer, helm_run_peer
from tests.acceptance.figures import shown
from tests.acceptance.helm_language_cases import CASES, Case
from tests.acceptance.test_helm_entries import requests
from tests.acceptance.test_helm_language import adapter_differences, metric_differences

pytestmark = pytest.mark.shared
WINDOW = 1_000_000
CONFS = (
    "arabic", "arabic_enterprise", "mmlu_winogrande_afr", "mmlu_winogrande_afr_instruct", "seahelm",
    "seahelm_zero_shot", "melt", "lmkt",
)  # fmt: skip
# Entries of HELM that no .conf file has.
WITHOUT_CONF = (
    *("bluex", "enem_challenge", "healthqa_br", "imdb_ptbr", "oab_exams", "tweetsentbr"),
    *(f"thai_exam:exam={exam}" for exam in ("onet", "ic", "tgat", "tpat1", "a_level")),
    *("exams_multilingual:language=Polish,subject=Biology", "exams_multilingual:language=all,subject=all"),
)
# HELM's metrics that need a judge, a classifier, a sentence encoder or word lists that are HELM's.
LACKING = {
    *("ALRAGEMetric", "ArabicContentGenerationMetric", "ArabicFinanceCalculationMetric", "ArabicLegalMetric"),
    *("SemanticSimilarityMetric", "VietnameseBiasMetric", "VietnameseToxicityMetric"),
}


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[helm_peer.Peer]:
    """crfm-helm with all that its run specs import."""
    python = eval_peers.made_venv(helm_run_peer.HELM_RUN, ["crfm-helm==0.5.16"])
    with helm_peer.running("helm_scenario_child.py", {}, tmp_path_factory.mktemp("helm"), python=python) as peer:
        yield peer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.entry)
def test_prompts_of_synthetic_rows_equal_helms(
    helm: helm_peer.Peer, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = parse_entry(case.entry.removesuffix(":"))
    spec, _ = find_scenario(entry, scenario_index())
    files = case.make(spec, tmp_path)
    helms = helm.ask({"entry": case.entry.removesuffix(":"), "module": case.module, **files})
    assert "error" not in helms, helms["error"]
    root = tmp_path / "root"
    if (tmp_path / "source").exists():
        mirror(spec.scenario, root, source=tmp_path / "source")
    monkeypatch.setenv("HELMFRAME_DATA", str(root))
    plan = hf.entry(case.entry.removesuffix(":"))
    assert isinstance(plan, Plan)
    ours = [row[:3] for row in requests(plan, WINDOW)]
    theirs = [tuple(row[:3]) for row in helms["requests"]]
    if not case.numbered:
        ours, theirs = ([row[1:] for row in rows] for rows in (ours, theirs))
    equal = (Counter(ours) & Counter(theirs)).total()
    shown("4", f"{case.entry}: prompts equal to HELM's", f"{equal}/{len(theirs)}", "all")
    assert theirs
    assert sorted(ours) == sorted(theirs)
    our_instances, helms_instances = instances(spec, case, root), [as_tuple(row) for row in helms["instances"]]
    assert our_instances == helms_instances if case.ordered else sorted(our_instances) == sorted(helms_instances)


def instances(spec: ScenarioSpec, case: Case, root: Path) -> list[tuple[Any, ...]]:
    """Return input, split and references of our instances, in the order of HELM's."""
    (draft,) = drafts_of(parse_entry(case.entry.removesuffix(":")), scenario_index())
    values: dict[str, Any] = {**dict(spec.default), **dict(draft.where)}
    where = [Equals(name, (value,)) for name, value in values.items()]
    frames = load(spec, where=where, splits=SPLITS, data=str(root), compat="helm")
    columns = ["input", "split", "references"]
    rows = pl.concat(frames).sort("row_index").select(columns).rows()
    return sorted((as_tuple(row) for row in rows), key=lambda row: SPLITS.index(row[1]))


def as_tuple(row: Any) -> tuple[Any, ...]:
    references = [tuple(each.values())[:2] if isinstance(each, dict) else tuple(each) for each in row[2]]
    return row[0], row[1], references


def test_entries_of_the_conf_files_become_plans(
    helm: helm_peer.Peer, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tables").symlink_to(shared / "tables")  # for perturbations
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    index = scenario_index()
    texts = {
        name: list(dict.fromkeys(map(str, read_conf(shared / f"helm_conf/run_entries_{name}.conf")))) for name in CONFS
    }
    texts["without a file"] = list(WITHOUT_CONF)
    ignored = sorted({*EXPANDERS} - {"method"})
    print(f"\n{'entries':32} {'plans':>9} {'adapters':>9}  metrics that only one side has")
    for name, entries in texts.items():
        plans, adapters, metrics = 0, 0, Counter[str]()
        for text in entries:
            entry = parse_entry(text)
            plans += bool([draft.without_models().plan() for draft in drafts_of(entry, index)])
            own = tuple((key, value) for key, value in entry.arguments if key not in ignored)
            (draft,) = drafts_of(replace(entry, arguments=own), index)
            spec = helm.ask({"bare": text, "ignored": ignored})
            assert "error" not in spec, spec["error"]
            differences = [*adapter_differences(draft, spec["adapter_spec"])]
            assert not differences, (text, differences)
            adapters += 1
            metrics.update(metric_differences(draft, spec))
        total = len(entries)
        print(f"{name:32} {plans:>4}/{total:<4} {adapters:>4}/{total:<4}  {'; '.join(sorted(metrics))}")
        assert plans == adapters == total
        only_helms = {
            metric
            for difference in metrics
            if difference.startswith("without ")
            for metric in difference.removeprefix("without ").split(", ")
        }
        assert only_helms <= LACKING
    shown("4", "entries that become plans", sum(map(len, texts.values())), "all")


def test_seahelm_metrics_equal_helms(helm: helm_peer.Peer) -> None:
    helm_peer.install(helm_run_peer.HELM_RUN / "bin" / "python", ["pythainlp>=5"])
    texts = [
        *("กรุงเทพมหานคร เป็นเมืองหลวง", "เมืองหลวงของประเทศไทย", "กรุงเทพ", "ภาษาไทย 2020", "ไทย!"),
        *("the cat", "The Cat.", "a cat sat", "Hà Nội là thủ đô", "hà nội", "தமிழ் மொழி", "", "..."),
    ]
    scores = helm.ask({"texts": texts, "languages": ["th", "vi", "id", "ta", "en"]})
    assert "error" not in scores, scores["error"]
    rows = scores["scores"]
    equal = sum(ours == pytest.approx(helms, abs=1e-12) for _, helms, ours in rows)
    shown("4", "scores of SEA-HELM's metrics equal to HELM's", f"{equal}/{len(rows)}", "all")
    assert rows
    assert equal == len(rows)
