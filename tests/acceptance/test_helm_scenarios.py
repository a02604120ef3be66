"""Instances equal HELM's: its own scenarios, on real rows, beside a mirror of the same rows."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._core.specs import SPLITS, Equals
from helmframe.interop.helm import parse_entry
from helmframe.interop.helm.fields import ADAPTER, DECODING
from helmframe.interop.helm.scenario_lookup import scenario_index
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.load import load
from helmframe.scenarios.mirror import mirror
from tests.acceptance import helm_peer
from tests.acceptance.figures import shown
from tests.acceptance.helm_raw_files import kept, shard
from tests.acceptance.helm_scenario_cases import CASES, Case
from tests.acceptance.test_helm_language import SAID_ELSEWHERE, outcome

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[helm_peer.Peer]:
    """crfm-helm with what its scenarios read files with."""
    folder = tmp_path_factory.mktemp("helm")
    with helm_peer.running("helm_scenario_child.py", {}, folder, ["pandas~=2.0", "datasets", "tiktoken"]) as peer:
        yield peer


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join([case.name, *map(str, case.where.values())]))
def test_2_instances_equal_helms(helm: helm_peer.Peer, case: Case, shared: Path, tmp_path: Path) -> None:
    files = case.make(shared, tmp_path)
    helms = helm.ask({"module": case.module, "class": case.scenario, "arguments": dict(case.arguments), **files})
    assert "error" not in helms, helms["error"]
    mirror(case.name, tmp_path / "root", source=tmp_path / "source", layout=case.layout, select=case.select)
    digests = bool(files.get("digests"))
    # helmframe has the names of single labels in LEXTREME, but not the numbers that order them on the Hub
    ordered = case.name != "lextreme"
    ours = [told(each, ordered=ordered) for each in instances(case, tmp_path / "root", digests=digests)]
    theirs = [told(each, ordered=ordered) for each in helms["instances"]]
    equal = sum(one == other for one, other in zip(ours, theirs, strict=False))
    shown("2", f"{case.name} {dict(case.arguments)}: instances in HELM's order", f"{equal}/{len(theirs)}", "all")
    assert theirs
    assert ours == theirs


def instances(case: Case, root: Path, *, digests: bool) -> list[dict[str, Any]]:
    """Ours in the order of their ids, train first; of long inputs the sha256."""
    where = [Equals(name, (value,)) for name, value in case.where.items()]
    rows: list[dict[str, Any]] = []
    for frame in load(find_scenario(case.name), where=where, splits=SPLITS, data=str(root), compat="helm"):
        rows += frame.with_columns(pl.col("input").map_elements(digest, pl.String) if digests else "input").to_dicts()
    return sorted(rows, key=lambda row: int(row["row_index"]))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def told(row: dict[str, Any], *, ordered: bool) -> tuple[Any, ...]:
    """What is asked, with all references."""
    references = [tuple(each.values())[:2] if isinstance(each, dict) else tuple(each) for each in row["references"]]
    references = references if ordered else sorted(references)
    return row.get("data_messages") or row["input"], row["split"], row["sub_split"], references


def test_1_entries_that_need_data_sets_to_become_run_specs_equal_helms(
    helm: helm_peer.Peer, shared: Path, tmp_path: Path
) -> None:
    rows = pl.read_parquet(shared / "helm_run_specs.parquet").filter(
        (pl.col("conf") == "run_entries.conf") & pl.col("entry").str.contains("^(lex_glue|lextreme):")
    )
    known = scenario_index()
    equal = 0
    for text in rows["entry"]:
        entry = parse_entry(text)
        subset = str(dict(entry.arguments)["subset"])
        spec = helm.ask({"run_spec": f"get_{entry.name}_spec", "arguments": {"subset": subset}})
        assert "error" not in spec, spec["error"]
        said = outcome(text, spec, known)
        # of these HELM scores no answers
        unscored = "ner" in subset.split("_") or subset in (
            "case_hold",
            "legalnero",
            "mapa_coarse",
            "mapa_fine",
            "lener_br",
        )
        assert said.why == ("also scores classification_macro_f1, classification_micro_f1" if unscored else "")
        assert prompt(entry.name, subset, tmp_path).startswith(spec["adapter_spec"]["instructions"])
        equal += 1
    shown("1", "entries of lex_glue and lextreme whose adapter and instructions equal HELM's", f"{equal}/25", "25/25")
    assert equal == 25


def test_1_every_field_of_helms_adapter_has_a_word_here(helm: helm_peer.Peer) -> None:
    fields = set(helm.ask({"run_spec": "get_lex_glue_spec", "arguments": {"subset": "scotus"}})["adapter_spec"])
    left = fields - {*ADAPTER, *DECODING, *SAID_ELSEWHERE, "num_outputs"}
    shown(
        "1", "fields of HELM's AdapterSpec, and those without a word here", f"{len(fields)}, {sorted(left)}", "no text"
    )
    # pictures, and an adaptive choice of instances that is no part of the prompt
    assert left <= {"image_generation_parameters", "reeval_parameters"}


def prompt(name: str, subset: str, root: Path) -> str:
    """The prompt of one made-up text of a task."""
    labels = [1] if name == "lex_glue" else ["1"]
    text = {"text": "A text.", "labels": labels} if name == "lex_glue" else {"input": "A text.", "labels": labels}
    kept(pl.DataFrame([text]), root / name / subset / shard("test"))
    requests = hf.scenario(name, data=root).where(subset=subset).requests().collect()
    return str(requests["prompt"].item())
