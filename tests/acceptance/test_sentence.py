"""The sentence on real input: real rows from a real S3 server, a real model, HELM's own records beside it."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import helmframe as hf
from helmframe._pipeline import fit_requests, load_instances, plan_tasks, train_pool
from helmframe._plan import spec_of
from helmframe._schema import SCORES
from helmframe.adapters.adapt import adapt
from helmframe.metrics.score import score
from helmframe.models.completion_cache import completions_of, store_root
from helmframe.models.generate import generate
from helmframe.perturbations.perturb import perturb
from tests.acceptance.figures import peak_mb, shown
from tests.cli.test_run import sum_of_n
from tests.demo import demo_model
from tests.models.tiny import gpt2_folder
from tests.parity import replayed, test_prompts
from tests.s3_server import S3Server

pytestmark = pytest.mark.shared


def test_1_prompts_equal_helms_byte_for_byte(shared: Path, tmp_path: Path) -> None:
    # each prints equal/total and fails below all of them
    test_prompts.test_ten_mmlu_prompts_of_gpt2(shared)
    test_prompts.test_fifty_mmlu_prompts_of_smollm2(shared, tmp_path)
    test_prompts.test_narrative_qa_prompts_whose_examples_did_not_fit(shared)


@pytest.mark.parametrize(
    ("run", "metric", "split", "published"),
    [
        (replayed.MMLU_GPT2, "exact_match", "test", 0.111),
        (replayed.MMLU_GPT2, "exact_match", "valid", 0.0),
        (replayed.NARRATIVE_QA, "f1_score", "test", 0.1742),
        (replayed.MMLU_SMOLLM2, "exact_match", "test", 0.28),
    ],
)
def test_2_recorded_completions_give_helms_numbers(
    shared: Path, run: str, metric: str, split: str, published: float
) -> None:
    value = replayed.plan(shared / "helm_runs" / run).where(split=split).score().value(metric)
    shown("2", f"{run.partition('-')[0]} {run.rpartition('model=')[2]} {metric} {split}", f"{value:.4f}", published)
    assert value == pytest.approx(published, abs=0.0005)


def test_3_the_users_command_ends_with_a_table_of_ten_instances(shared: Path, tmp_path: Path) -> None:
    gpt2_folder(tmp_path / "gpt2_local")
    (tmp_path / "run_specs.conf").write_text(
        'entries: [{description: "mmlu:subject=philosophy,model=geclm/gpt2_local", priority: 1}]\n'
    )
    command = ["run", "--conf-paths", "run_specs.conf", "--local", "--suite", "v1"]
    done = subprocess.run(
        [sys.executable, "-m", "helmframe", *command, "--max-eval-instances", "10", "-n", "1"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin", "HOME": str(tmp_path), "HELMFRAME_DATA": str(shared / "scenarios"),
             "HELMFRAME_STORE": str(tmp_path / "store")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    instances = sum_of_n(done.stdout)
    shown("3", "exit status and instances in the table", f"{done.returncode}, {instances}", "0, 10")
    assert done.returncode == 0, done.stderr
    assert instances == 10
    assert "Traceback" not in done.stderr


def test_4_mmlu_from_s3_through_smollm2(s3: S3Server, shared: Path) -> None:
    filesystem = s3.filesystem()
    filesystem.put(f"{shared}/scenarios/mmlu/", "evals/mmlu/", recursive=True)
    files = filesystem.ls("evals/mmlu/philosophy", detail=True)
    size = sum(int(each["size"]) for each in files)

    model = hf.model(str(demo_model()))
    plan = hf.scenario("mmlu").where(subject="philosophy").limit(50).perturb("typos").generate(model)
    seconds: dict[str, float] = {}
    before = s3.traffic()
    (task,) = plan_tasks(spec_of(plan))
    train = timed(seconds, "load", lambda: train_pool(spec_of(plan), task))
    (shard,) = timed(seconds, "load", lambda: list(load_instances(spec_of(plan), task.spec)))
    traffic = s3.traffic() - before
    variants = timed(seconds, "perturb", lambda: perturb(shard.lazy(), task.variants).collect())
    lazy, heads = timed(seconds, "adapt", lambda: adapt(variants.lazy(), train, task.settings[0], task.spec.subsets))
    requests = timed(seconds, "adapt", lambda: lazy.collect())
    fingerprint = timed(seconds, "fingerprint", model.fingerprint)
    fitted, prefixes = timed(seconds, "fit", lambda: fit_requests(requests, heads, task, model, fingerprint))
    kept = completions_of(store_root(), model, fingerprint, "mmlu")
    completions = timed(seconds, "generate", lambda: generate(fitted, prefixes, model, kept, fingerprint))
    timed(seconds, "score", lambda: score(completions.lazy(), task.metrics).collect())
    results = plan.score()
    table = timed(seconds, "aggregate", lambda: results.table(metrics="exact_match"))

    print(f"\n{results}")
    for row in table.iter_rows(named=True):
        interval = f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        shown("4", f"exact_match, {row['perturbation']}", f"{row['value']:.3f} {interval}", "printed")
    shown("4", "seconds per stage", {name: round(value, 2) for name, value in seconds.items()}, "printed")
    shown("4", "peak memory, MB", peak_mb(), "printed")
    shown("4", "requests at the server, one of 57 subjects", traffic.requests, "listing + 3 files × (footer, data)")
    shown("4", "bytes sent by the server", traffic.sent, f"{size} of the subject's files + the listing")
    assert table["n"].to_list() == [50, 50]
    assert results.manifest["counts"]["generated"] == 0  # the second walk read everything from the store
    assert traffic.sent <= size + LISTING_BYTES


# A listing of one folder of three objects, as XML.
LISTING_BYTES = 4096


def timed(seconds: dict[str, float], stage: str, work: Any) -> Any:
    start = time.perf_counter()
    result = work()
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
    return result


def test_5_results_depend_on_nothing_but_the_sentence(shared: Path) -> None:
    data = shared / "scenarios"
    mmlu = hf.scenario("mmlu", data=data).perturb("typos")
    noisy = hf.models.noisy(0.5)
    both = mmlu.where(subject=["philosophy", "anatomy"]).generate(noisy).score()
    single = [mmlu.where(subject=each).generate(noisy).score() for each in ("philosophy", "anatomy")]
    key = list(SCORES.key)
    one, two = both.scores.collect().sort(key), pl.concat([each.scores.collect() for each in single]).sort(key)
    assert_frame_equal(one, two)
    shown("5", "rows of two subjects in one plan that equal the two single plans", f"{one.height}/{two.height}", "all")

    def answers(prompts: list[str]) -> list[str]:
        return ["ABCD"[len(prompt) % 4] for prompt in prompts]

    plan = mmlu.where(subject=["philosophy", "anatomy"])
    tables = {
        "batches of 1": plan.generate(hf.model(answers, batch=1)).score().table(),
        "batches of 7": plan.generate(hf.model(answers, batch=7)).score().table(),
        "batches of 512, 3 workers": plan.generate(hf.model(answers, batch=512, workers=3)).score().table(),
        "other filter": mmlu.where("subject IN ('anatomy', 'philosophy')").generate(answers).score().table(),
    }
    base = tables["batches of 1"]
    rows = pl.concat([pl.read_parquet(data / f"mmlu/philosophy/{split}-*.parquet").with_columns(split=pl.lit(ours))
                      for split, ours in (("dev", "train"), ("test", "test"))]).with_row_index("row_index")  # fmt: skip
    frames = [rows, rows.sample(fraction=1.0, shuffle=True, seed=7)]
    shuffled = [
        hf.scenario(each, name="philosophy", input="question", choices="choices", answer="answer", split="split")
        .perturb("typos").adapt(shots=5).generate(answers).score().table()
        for each in frames
    ]  # fmt: skip
    assert_frame_equal(shuffled[0], shuffled[1])
    equal = sum(table.equals(base) for table in tables.values())
    shown("5", "equal tables over batch sizes and filters; over row orders", f"{equal}/{len(tables)}; 1/1", "all")
    assert equal == len(tables)


def test_6_ten_thousand_requests_to_a_model_that_answers_at_once(shared: Path) -> None:
    def instant(prompt: str) -> str:
        return "A"

    model = hf.model(instant, name="instant", version="1")
    plan = hf.scenario("mmlu", data=shared / "scenarios").limit(240).generate(model)
    start = time.perf_counter()
    results = plan.score()
    table = results.table()
    seconds = time.perf_counter() - start
    n = table.select(pl.col("n").max()).item()
    shown("6", f"instances/s over {n} instances, {table.height} metrics", round(n / seconds), "at least 5,000")
    shown("6", "peak memory of the whole test process, MB", peak_mb(), "printed")
    assert n >= 10_000
    assert results.manifest["counts"]["generated"] >= 9_900
    assert table.height == 4
    assert n / seconds >= 5_000
