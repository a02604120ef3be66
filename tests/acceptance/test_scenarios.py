"""Every scenario runs: those whose rows are at hand from a real S3 bucket, the others on rows as their specs say."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe._core.specs import SPLITS, ScenarioSpec
from helmframe._plan import Plan
from helmframe.errors import SourceMissingError
from helmframe.metrics import expected_max_toxicity, max_toxicity_probability, toxic_frac
from helmframe.models.model import Completion
from helmframe.results import Results
from helmframe.scenarios.catalogue import find_scenario, scenario_names
from helmframe.scenarios.load import count
from helmframe.scenarios.validation import write_examples
from tests.acceptance.figures import shown
from tests.demo import ROOT
from tests.s3_server import BUCKET, S3Server, start_server

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def bucket(shared: Path) -> Iterator[S3Server]:
    """A real S3 server that holds all the shared rows, and is reached over the network only."""
    server = start_server()
    try:
        server.filesystem().put(f"{shared}/scenarios/", f"{BUCKET}/", recursive=True)
        yield server
    finally:
        server.stop()


@pytest.fixture
def rows(bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The root of the rows; what the metrics need besides is allowed and there."""
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HELMFRAME_ALLOW_CODE", "1")
    return f"s3://{BUCKET}"


@pytest.mark.parametrize("name", scenario_names())
def test_3_every_scenario_runs_end_to_end(name: str, rows: str, tmp_path: Path) -> None:
    spec = find_scenario(name)
    try:
        counted = count(spec, splits=SPLITS, data=rows)
        root, where = rows, "from S3"
    except SourceMissingError:
        write_examples(spec, tmp_path / "rows")
        root, where = str(tmp_path / "rows"), "on a schema-true frame"
        counted = count(spec, splits=SPLITS, data=root)
    if spec.generated or spec.scenario == "sampler":
        where = "generated" if spec.generated else "from the package"
    plan = two_of(spec, counted, root)
    results = asked(spec, plan)
    (main,) = (stat for stat in results.table().iter_rows(named=True) if stat["metric"] == spec.main.metric)
    outcome = f"{where}, {counted['n'].sum():,} instances, {spec.main.metric} {main['value']}"
    shown("3", name, f"ok, {outcome}, {results.manifest['counts']['failed']} failed", "2 instances, 0 failed")
    assert results.manifest["counts"]["failed"] == 0
    # each turn of a conversation is an instance
    assert main["n"] == (plan.instances().collect().height if spec.turns else 2)


def two_of(spec: ScenarioSpec, counted: pl.DataFrame, root: str) -> Plan:
    """Two instances of the first subset, of its main split where there are some."""
    there = set(counted["split"])
    split = spec.main.split if spec.main.split in there else "train"
    subset = counted.filter(pl.col("split") == split, pl.col("n") >= 2)["subset"][0]
    plan = hf.scenario(spec.scenario, data=root).where(subset=subset, split=split).limit(2)
    if not TOXICITY.keys() & set(spec.metrics):
        return plan
    return plan.metrics([TOXICITY[name](classifier=mild) if name in TOXICITY else name for name in spec.metrics])


TOXICITY = {
    "expected_max_toxicity": expected_max_toxicity,
    "max_toxicity_probability": max_toxicity_probability,
    "toxic_frac": toxic_frac,
}


def mild(texts: list[str]) -> list[float]:
    return [0.25] * len(texts)


def asked(spec: ScenarioSpec, plan: Plan) -> Results:
    """The oracle answers where something is right; else what comes back is the prompt.

    References that are ranked need answers with log-probabilities.
    """
    if dict(spec.adapter).get("method") == "ranking_binary":
        return plan.generate(yes).score()
    references = plan.instances().select(pl.col("references").explode(empty_as_null=True)).collect().to_series()
    right = bool(references.struct.field("correct").any())
    return plan.generate(hf.models.oracle() if right else hf.models.echo()).score()


def yes(prompt: str) -> Completion:
    return Completion("Yes", logprob=-1 / len(prompt))


def test_6_a_scenario_nobody_planned_for_is_one_yaml_file(rows: str, tmp_path: Path) -> None:
    """consumer_contracts_qa of LegalBench, which HELM leaves out; the file is on the cheat sheet."""
    page = (ROOT / "docs" / "cheat_sheet.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(scenario: contracts\n.*?)```", page, re.DOTALL)
    file = tmp_path / "contracts.yaml"
    file.write_text(text)
    start = time.perf_counter()
    results = hf.scenario(file, data=rows).sample(100).generate(hf.models.noisy(0.8, seed=1)).score()
    seconds = time.perf_counter() - start
    value = results.value("quasi_exact_match")
    shown("6", "consumer_contracts_qa, lines of YAML, lines of code", (len(text.splitlines()), 0), "one file, 0")
    shown("6", "its first 100 of 396 from S3, noisy(0.8), s", f"{value:.2f}, {seconds:.1f} s", "0.8 ± 0.1")
    assert results.table()["n"].to_list()[0] == 100
    assert value == pytest.approx(0.8, abs=0.1)
