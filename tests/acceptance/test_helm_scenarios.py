"""Instances equal HELM's: its own scenarios, on real rows, beside a mirror of the same rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from helmframe.scenarios.find import find_scenario
from helmframe.scenarios.load import load
from helmframe.scenarios.mirror import mirror
from helmframe.specs import SPLITS, Equals
from tests.acceptance import helm_peer
from tests.acceptance.figures import shown
from tests.acceptance.helm_scenario_cases import CASES, Case

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[helm_peer.Peer]:
    """crfm-helm with what its scenarios read files with."""
    folder = tmp_path_factory.mktemp("helm")
    with helm_peer.running("helm_scenario_child.py", {}, folder, ["pandas~=2.0", "datasets"]) as peer:
        yield peer


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join([case.name, *map(str, case.where.values())]))
def test_2_instances_equal_helms(helm: helm_peer.Peer, case: Case, shared: Path, tmp_path: Path) -> None:
    files = case.make(shared, tmp_path)
    helms = helm.ask({"module": case.module, "class": case.scenario, "arguments": dict(case.arguments), **files})
    assert "error" not in helms, helms["error"]
    mirror(case.name, tmp_path / "root", source=tmp_path / "source", layout=case.layout, select=case.select)
    options = str(dict(find_scenario(case.name).adapter)["method"]).startswith("multiple_choice")
    ours = [told(each, options=options) for each in instances(case, tmp_path / "root")]
    theirs = [told(each, options=options) for each in helms["instances"]]
    equal = sum(one == other for one, other in zip(ours, theirs, strict=False))
    shown("2", f"{case.name} {dict(case.arguments)}: instances in HELM's order", f"{equal}/{len(theirs)}", "all")
    assert theirs
    assert ours == theirs


def instances(case: Case, root: Path) -> list[dict[str, Any]]:
    """Ours in the order of their ids, train first."""
    where = [Equals(name, (value,)) for name, value in case.where.items()]
    frames = pl.concat(load(find_scenario(case.name), where=where, splits=SPLITS, data=str(root)))
    return frames.sort("row_index").to_dicts()


def told(row: dict[str, Any], *, options: bool) -> tuple[Any, ...]:
    """What is asked: with all answers where one is chosen of them, else with those that are right."""
    answers = [tuple(each.values())[:2] if isinstance(each, dict) else tuple(each) for each in row["references"]]
    said = [(text, correct) for text, correct in answers if correct or options]
    return row["input"], row["split"], row["sub_split"], said
