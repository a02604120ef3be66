"""Without a root the rows come from the hub; where it can't be reached, the error says what to do."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helmframe._core.specs import ScenarioSpec, placeholders
from helmframe.errors import SourceError
from helmframe.scenarios import remote
from helmframe.scenarios.catalogue import find_scenario, scenario_names
from helmframe.scenarios.load import load
from tests.scenarios.hub_server import COMMIT, hub
from tests.scenarios.readers import READERS

READS = """\
import sys
from helmframe.scenarios import remote
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.load import count, load
from helmframe.scenarios.mirror import mirror
from helmframe._core.specs import SPLITS, Equals
remote.httpfs_file = lambda: None  # DuckDB's own reader knows one hub only
where = [Equals("subject", ("philosophy",))]
print(count(find_scenario("mmlu"), where=where, splits=SPLITS)["n"].to_list())
print(next(load(find_scenario("mmlu"), where=where))["input"][0])
print(count(find_scenario("ifeval"), splits=SPLITS)["n"].to_list())
print(mirror("ifeval", sys.argv[1]).rows)
"""
ON_THE_HUB = [spec for spec in map(find_scenario, scenario_names()) if dict(spec.hub).get("rows")]
named = pytest.mark.parametrize("spec", ON_THE_HUB, ids=lambda spec: spec.scenario)


def address(spec: ScenarioSpec) -> re.Match[str]:
    """owner/name, the branch, and the path in the data set."""
    said = str(dict(spec.hub)["rows"])
    found = re.fullmatch(r"hf://datasets/([\w.\-]+/[\w.\-]+)(@~parquet|@[0-9a-f]{40})?/([\w.\-{}*/]+\.parquet)", said)
    assert found is not None, said
    return found


@named
def test_an_address_is_parquet_of_a_data_set_and_says_what_the_root_says(spec: ScenarioSpec) -> None:
    path = address(spec)[3]
    assert set(placeholders(path)) == set(placeholders(str(dict(spec.source)["rows"])))


@named
def test_a_mirror_has_the_hubs_own_layout(spec: ScenarioSpec) -> None:
    """Below the scenario's folder its paths are those of the data set; of a set that the hub made into Parquet,
    which has a folder for each split and bare numbers, they are as of one that was not."""
    if spec.scenario == "big_bench":
        return  # its own files hold whole what the hub has split
    path = address(spec)[3]
    ours = str(dict(spec.source)["rows"]).removeprefix("{data}/").partition("/")[2]
    if address(spec)[2] == "@~parquet":
        path = re.sub(r"^([^/]+)/([^/]+)/\*\.parquet$", r"\1/\2-*.parquet", path)
    assert re.sub(r"-\*", "*", path).endswith(re.sub(r"-\*", "*", ours.rpartition("/")[2]))


@pytest.fixture(params=[*(each for each in READERS if each == "httpfs"), "huggingface_hub"])
def nowhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and one of the two ways to the hub."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    if request.param == "huggingface_hub":
        monkeypatch.setattr(remote, "httpfs_file", lambda: None)


@pytest.mark.usefixtures("nowhere")
def test_a_hub_that_cannot_be_reached_says_to_set_the_root() -> None:
    with pytest.raises(SourceError, match=r"scenario 'gsm8k': hf://datasets/openai/gsm8k/.*(\n.*)*HELMFRAME_DATA"):
        next(load(find_scenario("gsm8k")))


@pytest.mark.shared
def test_rows_are_read_and_mirrored_from_a_hub(shared: Path, tmp_path: Path) -> None:
    """Another server than the hub, that answers as it does: main branches, and the branch of its own Parquet files."""
    made = tmp_path / "ifeval" / "default" / "train" / "0000.parquet"
    made.parent.mkdir(parents=True)
    shutil.copy(next((shared / "scenarios" / "ifeval").rglob("*.parquet")), made)
    sets = {"cais/mmlu": shared / "scenarios" / "mmlu", "google/IFEval@refs/convert/parquet": tmp_path / "ifeval"}
    plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    plain.pop("HELMFRAME_DATA", None)
    with hub(sets) as endpoint:
        done = subprocess.run(
            [sys.executable, "-c", READS, tmp_path / "to"],
            env={**plain, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    asked = "Aesthetics deals with objects that are_____."
    assert done.stdout.splitlines() == ["[5, 34, 311]", asked, "[541]", "541"]
    said = json.loads((tmp_path / "to" / "manifests" / "ifeval.json").read_text())
    assert (said["revision"], said["rows"]) == (COMMIT, 541)
