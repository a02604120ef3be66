"""HELM's language and results: its run entries, its recorded runs, and mirrors of scenarios' rows."""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

import helmframe as hf
from helmframe.errors import HelmframeError, SourceBrokenError
from helmframe.interop.helm import parse_entry, read_conf
from helmframe.interop.helm.draft import Draft
from helmframe.interop.helm.entries import Entry
from helmframe.interop.helm.expanders import EXPANDERS
from helmframe.interop.helm.fields import IDLE, to_helm
from helmframe.interop.helm.metric_specs import metrics_of
from helmframe.interop.helm.plans import drafts_of, entry_states
from helmframe.interop.helm.scenario_lookup import ScenarioIndex, scenario_index
from helmframe.scenarios.mirror import mirror
from tests.acceptance import helm_peer
from tests.acceptance.figures import equal_to_helm, shown
from tests.demo import demo_model
from tests.s3_server import BUCKET, S3Server

pytestmark = pytest.mark.shared

CORE = ("", "_lite", "_lite_20240424", "_mmlu", "_safety", "_capabilities", "_long_context")
SMOLLM2 = "mmlu-subject=philosophy,method=multiple_choice_joint,model=huggingface_smollm2"
# Who answers, and which split and how many are asked, are no fields of ours but words of the sentence.
SAID_ELSEWHERE = ("model", "model_deployment", "random", "eval_splits", "max_eval_instances")
LONG = """\
scenario: long
version: 1
source: {rows: "{data}/long/{split}-*.parquet"}
columns: {q: VARCHAR}
splits: {test: test}
instances: |
  SELECT row_index, split, q AS input, [{'text': '', 'correct': true}] AS "references" FROM rows
metrics: [exact_match]
main: {metric: exact_match}
"""
MIRRORS = """\
import re, sys
from pathlib import Path
from helmframe.scenarios.mirror import mirror
done = mirror(sys.argv[1], sys.argv[2], source=sys.argv[3])
print(done.rows, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.fixture
def rooted(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One root for the rows and the word tables."""
    root = tmp_path / "root"
    root.mkdir()
    for folder in (*(shared / "scenarios").iterdir(), shared / "tables"):
        (root / folder.name).symlink_to(folder)
    monkeypatch.setenv("HELMFRAME_DATA", str(root))
    return root


# -- 1: run entries ----------------------------------------------------------------------------------------------------


def test_1_helms_entries_become_plans_that_equal_helms_adapter_and_metrics(shared: Path, rooted: Path) -> None:
    assert rooted.is_dir()
    rows = pl.read_parquet(shared / "helm_run_specs.parquet").filter(
        pl.col("conf").is_in([f"run_entries{each}.conf" for each in CORE]) & pl.col("run_spec").is_not_null()
    )
    assert rows.height == 873
    known = scenario_index()
    specs = rows.select("entry", "run_spec").iter_rows()
    outcomes = [outcome(entry, json.loads(spec), known) for entry, spec in specs]
    plans, equal = sum(each.plan for each in outcomes), sum(each.equal for each in outcomes)
    reasons = Counter(each.why for each in outcomes if each.why)
    first = {each.why: each.entry for each in reversed(outcomes)}
    print("\nentries that are not equal:")
    for why, count in reasons.most_common():
        print(f"{count:4} {first[why]}\n     {why}")
    shown("1", "entries that become plans", f"{plans}/873 = {plans / 873:.1%}", "95 %")
    shown("1", "of which adapter and metrics equal HELM's", f"{equal}/873 = {equal / 873:.1%}", "90 %")
    assert plans >= 0.95 * 873
    assert equal >= 0.90 * 873


class Outcome(NamedTuple):
    """What became of an entry: a plan, that equals HELM's run spec, and if not, why."""

    entry: str
    plan: bool
    equal: bool
    why: str


def outcome(text: str, spec: dict[str, Any], known: ScenarioIndex) -> Outcome:
    """Whether the entry becomes a plan, whether that equals HELM's run spec, and why not.

    HELM's specs are recorded as its run-spec functions give them, before expanders: they are compared so.
    """
    entry = parse_entry(text)
    own = tuple((key, value) for key, value in entry.arguments if key not in EXPANDERS or key == "method")
    try:
        for draft in drafts_of(entry, known):
            assert draft.setting
        (bare,) = drafts_of(Entry(entry.name, own), known)
    except HelmframeError as error:
        return Outcome(text, plan=False, equal=False, why=str(error).partition("\n")[0])
    differs = [*adapter_differences(bare, spec["adapter_spec"]), *metric_differences(bare, spec)]
    return Outcome(text, plan=True, equal=not differs, why="; ".join(differs))


def adapter_differences(draft: Draft, helms: dict[str, Any]) -> Iterator[str]:
    """The fields that differ, but for those that HELM's adapter of this method never reads."""
    columns = {name: str(value).replace("_", " ") for name, value in draft.where}
    ours = to_helm(draft.setting.adapter, draft.setting.decoding, draft.outputs or draft.spec.outputs, columns)
    for name, value in helms.items():
        if value is None or name in SAID_ELSEWHERE or name in IDLE[helms["method"]]:
            continue
        said = ours.get(name)
        # a text that names a column of the rows stands for whatever the rows say
        if isinstance(said, str) and re.fullmatch(re.sub(r"\\\{\w+\\\}", ".+", re.escape(said)), value, re.DOTALL):
            continue
        if said != value:
            yield f"{name}: {said!r}, in HELM {value!r}"


def metric_differences(draft: Draft, spec: dict[str, Any]) -> Iterator[str]:
    """Metrics that only one side has; HELM's books (tokens, runtime, counts) are columns of our tables."""
    adapter, ours = spec["adapter_spec"], set(draft.metrics or draft.spec.metrics)
    helms = set(metrics_of(spec["metric_specs"], adapter["method"]))
    # of several outputs HELM also scores the best, without being told
    best = {each for each in ours if each.endswith(f"@{adapter['num_outputs']}") and each.rpartition("@")[0] in helms}
    if helms - ours:
        yield f"without {', '.join(sorted(helms - ours))}"
    if ours - helms - best:
        yield f"also scores {', '.join(sorted(ours - helms - best))}"


def test_1_all_conf_files_parse(shared: Path) -> None:
    files = sorted((shared / "helm_conf").glob("*.conf"))
    entries = [entry for file in files for entry in read_conf(file)]
    shown("1", "conf files that parse, entries in them", f"{len(files)}, {len(entries)}", "70, 4297")
    assert (len(files), len(entries)) == (70, 4297)


def test_14_every_entry_of_the_conf_files_has_a_state(shared: Path, rooted: Path) -> None:
    assert rooted.is_dir()
    entries = {entry for file in sorted((shared / "helm_conf").glob("*.conf")) for entry in read_conf(file)}
    states = list(entry_states(entries))
    counts = Counter(each.state for each in states)
    print(f"\nstates: {dict(counts)}")
    equal_to_helm("14", "distinct entries that become plans", counts["plan"], len(entries), "800")
    assert {each.entry for each in states} == entries
    assert {*counts} <= {"plan", "rows missing", "unknown scenario", "unsupported"}
    assert all(each.reason for each in states if each.state != "plan")
    assert counts["plan"] >= 800


# -- 4: HELM's runs ----------------------------------------------------------------------------------------------------


def test_4_reading_writing_and_reading_again_changes_nothing(shared: Path, tmp_path: Path) -> None:
    first = hf.read_helm(shared / "helm_runs")
    assert first.manifest["skipped"] == []
    suite = tmp_path / "benchmark_output" / "runs" / "again"
    first.to_helm(suite)
    second = hf.read_helm(suite)
    for name in ("completions", "scores", "prefixes"):
        one, two = (getattr(each, name).collect() for each in (first, second))
        keys = [
            each for each in ("scenario", "instance_id", "model", "setting", "perturbation", "metric") if each in one
        ]
        assert_frame_equal(one.sort(keys), two.sort(keys))
        shown("4", f"{name}: rows read, and equal after writing and reading", two.height, one.height)
    assert {**first.manifest, "source": ""} == {**second.manifest, "source": ""}
    compared = sum(equal_statistics(run, suite) for run in (shared / "helm_runs").iterdir())
    shown("4", "statistics in stats.json equal to HELM's", compared, 557)
    assert compared == 557


def equal_statistics(run: Path, suite: Path) -> int:
    """How many of HELM's statistics of a run are, to 1e-9, in what we wrote; with no other beside them."""
    name = json.loads((run / "run_spec.json").read_text())["name"]
    helms, ours = (
        {json.dumps(each["name"], sort_keys=True): each for each in json.loads((folder / "stats.json").read_text())}
        for folder in (run, suite / name)
    )
    assert set(ours) == set(helms)
    for key, each in helms.items():
        assert ours[key]["count"] == each["count"], key
        assert ours[key].get("mean", 0.0) == pytest.approx(each.get("mean", 0.0), abs=1e-9), key
    return len(helms)


def test_4_helm_summarize_accepts_what_we_wrote(shared: Path, rooted: Path, tmp_path: Path) -> None:
    assert rooted.is_dir()
    output = tmp_path / "benchmark_output"
    hf.read_helm(shared / "helm_runs" / SMOLLM2).to_helm(output / "runs" / "theirs")
    plan = hf.scenario("mmlu").where(subject=["anatomy", "philosophy"]).limit(20)
    ours = plan.perturb("typos").generate("noisy(accuracy=0.6)").score()
    ours.to_helm(output / "runs" / "ours")
    for suite, model, value in (
        ("theirs", "huggingface/smollm2_base", 0.28),
        ("ours", "noisy(accuracy=0.6)", ours.value()),
    ):
        summarize(output, suite)
        groups = json.loads((output / "runs" / suite / "groups" / "mmlu.json").read_text())
        (row,) = groups[0]["rows"]
        shown("4", f"helm-summarize, {suite}: mmlu of {row[0]['value']}", f"{row[1]['value']:.4f}", f"{value:.4f}")
        assert row[0]["value"] == model
        assert row[1]["value"] == pytest.approx(value, abs=1e-9)


def summarize(output: Path, suite: str) -> None:
    python = helm_peer.helm_python(["nltk", "pandas", "pillow"])
    script = Path(__file__).with_name("helm_summarize.py")
    registry = output / "runs" / suite / "prod_env"
    command = [python, script, "--suite", suite, "--output-path", output, "--local-path", registry]
    done = subprocess.run(list(map(str, command)), cwd=output, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]


def test_4_our_run_and_helms_pair_all_50_instances(shared: Path, rooted: Path) -> None:
    assert rooted.is_dir()
    ours = hf.scenario("mmlu").where(subject="philosophy").limit(50).generate(demo_model()).score()
    helms = hf.read_helm(shared / "helm_runs" / SMOLLM2)
    table = hf.compare(ours, helms)
    shown("4", "instances paired with HELM's", table["n"].item(), 50)
    shown("4", "exact_match of ours, of HELM's", table.select("value_a", "value_b").row(0), "both .28")
    assert table["n"].item() == 50
    assert table.row(0, named=True)["differs"] == "model"
    assert table["value_b"].item() == pytest.approx(0.28)


# -- 5: mirrors --------------------------------------------------------------------------------------------------------


def test_5_a_mirror_killed_in_the_middle_and_resumed_equals_one_that_was_not(
    shared: Path, s3: S3Server, tmp_path: Path
) -> None:
    source = str(shared / "scenarios")
    whole = mirror("mmlu", tmp_path / "whole", source=source)
    files = s3.filesystem()
    command = [sys.executable, "-m", "helmframe", "mirror", "mmlu", "--to", f"s3://{BUCKET}/killed", "--from", source]
    kills = 0
    for wanted in (20, 60, 110):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            # a file that no manifest lists is mirrored again
            while process.poll() is None and (
                there(files, "killed") < wanted or not files.exists(f"{BUCKET}/killed/manifests/mmlu.json")
            ):
                time.sleep(0.05)
            kills += process.poll() is None
            process.kill()
    killed = there(files, "killed")
    resumed = mirror("mmlu", f"s3://{BUCKET}/killed", source=source)
    again = mirror("mmlu", f"s3://{BUCKET}/killed", source=source)
    figures = (kills, killed, resumed.unchanged, resumed.written)
    shown("5", "kills; of 171 files there after them; kept, written by the resumed mirror", figures, "equal")
    assert kills == 3
    assert (resumed.unchanged + resumed.written, resumed.rows, whole.rows) == (171, 15_858, 15_858)
    assert resumed.unchanged > 0
    assert (again.unchanged, again.written) == (171, 0)
    one = json.loads((tmp_path / "whole" / "manifests" / "mmlu.json").read_text())
    two = json.loads(files.cat(f"{BUCKET}/killed/manifests/mmlu.json"))
    assert one == two
    assert two["status"] == "whole"
    assert_frame_equal(*(philosophy(root) for root in (source, f"s3://{BUCKET}/killed")))


def there(files: Any, prefix: str) -> int:
    return sum(each.endswith(".parquet") for each in files.find(f"{BUCKET}/{prefix}/mmlu"))


def philosophy(root: str) -> pl.DataFrame:
    plan = hf.scenario("mmlu", data=root).where(subject="philosophy", split=["train", "valid", "test"])
    return plan.instances().collect()


def test_5_a_flipped_byte_is_found(shared: Path, s3: S3Server) -> None:
    target = f"s3://{BUCKET}/flipped"
    mirror("boolq", target, source=shared / "scenarios")
    files, path = s3.filesystem(), f"{BUCKET}/flipped/boolq/data/validation-00000-of-00001.parquet"
    data = bytearray(files.cat(path))
    data[len(data) // 2] ^= 1
    files.pipe_file(path, bytes(data))
    with pytest.raises(
        SourceBrokenError, match=r"validation-00000-of-00001\.parquet has changed since it was mirrored"
    ) as error:
        mirror("boolq", target, source=shared / "scenarios")
    shown("5", "a byte of a million flipped", str(error.value).partition("\n")[0][-90:], "found")


def test_5_two_gigabytes_are_mirrored_in_less_than_one_of_memory(tmp_path: Path) -> None:
    texts = write_long(tmp_path / "source", 2_000)
    command = [
        sys.executable,
        "-c",
        MIRRORS,
        tmp_path / "source" / "long.yaml",
        tmp_path / "mirror",
        tmp_path / "source",
    ]
    said = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
    rows, kilobytes = map(int, said.split())
    shown("5", f"peak memory of mirroring {texts / 1e9:.2f} GB of text, MB", kilobytes // 1024, 1024)
    assert rows == 2_000_000
    assert kilobytes < 1 << 20
    groups = pq.ParquetFile(next((tmp_path / "mirror").rglob("*.parquet"))).metadata
    assert max(groups.row_group(each).total_byte_size for each in range(groups.num_row_groups)) < 34 << 20


def write_long(folder: Path, megabytes: int) -> int:
    """Texts of 1,000 letters, no two alike; gives their bytes."""
    (folder / "long").mkdir(parents=True)
    (folder / "long.yaml").write_text(LONG)
    schema = pa.schema({"q": pa.string()})
    with pq.ParquetWriter(
        folder / "long" / "test-0.parquet", schema, compression="zstd", use_dictionary=False
    ) as writer:
        for start in range(0, megabytes * 1_000, 20_000):
            texts = pa.array([f"{each:010}" * 100 for each in range(start, start + 20_000)])
            writer.write_table(pa.table({"q": texts}), row_group_size=20_000)
    return megabytes * 1_000_000
