"""Judges whose bias and error rate are known, over 1,000 completions: what was planted is what comes out."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import helmframe as hf
from helmframe.stats import agreement, prediction_powered
from tests.acceptance.figures import shown

COMPLETIONS = 1_000
LABELS = 200
# The model is right so often; a judge passes so many of its good answers, and so many of its bad ones.
GOOD = 0.6
JUDGES = {"kind": (0.95, 0.30), "stern": (0.80, 0.05)}
QUESTIONS = pl.DataFrame(
    {"input": [f"question {place}" for place in range(COMPLETIONS)], "references": [["GOOD"]] * COMPLETIONS}
)


def chance(*said: str) -> float:
    """A number between 0 and 1, the same for the same words."""
    return int.from_bytes(hashlib.sha256("\0".join(said).encode()).digest()[:8], "big") / 2**64


def model(prompt: str) -> str:
    place = prompt.partition("question ")[2].partition("\n")[0]
    return f"{'GOOD' if chance('model', place) < GOOD else 'BAD'} answer to {place}"


def judge(name: str) -> hf.Model:
    def reply(prompt: str) -> str:
        completion = prompt.partition("<<<completion ")[2].partition("\n")[2].partition("\n")[0]
        right, wrong = JUDGES[name]
        passes = chance(name, completion) < (right if completion.startswith("GOOD") else wrong)
        return f"<reasoning>as I see it</reasoning>\n<score>{'TRUE' if passes else 'FALSE'}</score>"

    return hf.model(reply, name=name)


def planted() -> tuple[dict[str, float], float, float]:
    """Each judge's mean score, and the two judges' κ and α, as the rates imply."""
    means = {name: GOOD * right + (1 - GOOD) * wrong for name, (right, wrong) in JUDGES.items()}
    (a, c), (b, d) = JUDGES.values()
    same = GOOD * (a * b + (1 - a) * (1 - b)) + (1 - GOOD) * (c * d + (1 - c) * (1 - d))
    x, y = means.values()
    by_chance = x * y + (1 - x) * (1 - y)
    # to α the two are one pool of ratings
    pooled = (x + y) ** 2 / 4 + (2 - x - y) ** 2 / 4
    return means, (same - by_chance) / (1 - by_chance), (same - pooled) / (1 - pooled)


@pytest.mark.simulation
def test_5_a_biased_judge_is_measured_and_corrected() -> None:
    judges = [hf.judge(judge(name), "equivalence") for name in JUDGES]
    plan = hf.scenario(QUESTIONS, name="questions").generate(model).metrics(*judges)
    results = plan.score()
    means, kappa, alpha = planted()
    truth = results.completions.select(pl.col("completion").str.starts_with("GOOD").mean()).collect().item()
    table = results.table()
    for name, mean in means.items():
        metric = f"equivalence_by_{name}"
        row = table.filter(pl.col("metric") == metric).row(0, named=True)
        shown("5", f"{name}: judged mean", f"{row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]", mean)
        assert row["ci_low"] <= mean <= row["ci_high"]
        assert not row["ci_low"] <= truth <= row["ci_high"]  # it says nothing of the judge's own error
        sheet = results.to_label(LABELS)
        labels = sheet.with_columns(label=pl.col("completion").str.starts_with("GOOD").cast(pl.Float64))
        found = results.corrected(labels, metric).row(0, named=True)
        interval = f"{found['value']:.3f} [{found['ci_low']:.3f}, {found['ci_high']:.3f}]"
        shown("5", f"{name}: corrected with {LABELS} labels", interval, f"covers {truth:.3f}")
        assert found["ci_low"] <= truth <= found["ci_high"]
        shown("5", f"{name}: bias found", f"{found['bias']:.3f}", f"planted {mean - GOOD:.3f}")
        assert found["bias_low"] <= mean - GOOD <= found["bias_high"]
        assert found["ci_high"] - found["ci_low"] < found["labelled_high"] - found["labelled_low"]
    agreed = results.agreement(metric="equivalence_by_kind")
    for statistic, expected in {"cohen_kappa": kappa, "krippendorff_alpha": alpha}.items():
        row = agreed.filter(pl.col("statistic") == statistic).row(0, named=True)
        interval = f"{row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        shown("5", f"{statistic} of the two judges", interval, f"covers {expected:.3f}")
        assert row["ci_low"] <= expected <= row["ci_high"]


@pytest.mark.simulation
def test_5_intervals_over_many_draws_cover_as_often_as_they_say() -> None:
    runs = 300
    means, kappa, _ = planted()
    covered = dict.fromkeys(("corrected mean", "bias", "κ", "mean by the judge alone"), 0)
    for seed in range(runs):
        random = np.random.default_rng(seed)
        truth = random.random(COMPLETIONS) < GOOD
        said = [
            (random.random(COMPLETIONS) < np.where(truth, right, wrong)).astype(float)
            for right, wrong in JUDGES.values()
        ]
        seen = random.permutation(COMPLETIONS) < LABELS
        ids = {"scenario": "s", "subset": "", "cluster": None, "instance_id": [f"i{i:04}" for i in range(COMPLETIONS)]}
        base = pl.DataFrame(ids, schema_overrides={"cluster": pl.String})
        label = pl.Series(np.where(seen, truth, np.nan)).fill_nan(None)
        found = prediction_powered(base.with_columns(judged=pl.Series(said[0]), label=label)).row(0, named=True)
        covered["corrected mean"] += found["ci_low"] <= GOOD <= found["ci_high"]
        covered["bias"] += found["bias_low"] <= means["kind"] - GOOD <= found["bias_high"]
        half = 1.96 * (found["judged"] * (1 - found["judged"]) / COMPLETIONS) ** 0.5
        covered["mean by the judge alone"] += abs(found["judged"] - GOOD) <= half
        raters = [base.with_columns(item=pl.lit(""), rater=pl.lit(name), value=pl.Series(each))
                  for name, each in zip(JUDGES, said, strict=True)]  # fmt: skip
        table = agreement(pl.concat(raters), level="nominal").filter(pl.col("statistic") == "cohen_kappa")
        covered["κ"] += table["ci_low"][0] <= kappa <= table["ci_high"][0]
    for what, count in covered.items():
        limit = "0" if what == "mean by the judge alone" else "0.91 to 0.985: .95 ± 3 standard errors"
        shown("5", f"95 % intervals that cover, {what}", f"{count / runs:.3f}", limit)
    assert covered.pop("mean by the judge alone") == 0
    assert all(0.91 <= count / runs <= 0.985 for count in covered.values())


SCRIPT = """
import sys, time, pathlib
import polars as pl
import helmframe as hf
sys.path.insert(0, sys.argv[3])
from tests.acceptance.test_judge import QUESTIONS, JUDGES, model, chance

log = pathlib.Path(sys.argv[1])

def slow(prompts: list[str]) -> list[str]:
    replies = []
    for prompt in prompts:
        completion = prompt.partition("<<<completion ")[2].partition("\\n")[2].partition("\\n")[0]
        says = "TRUE" if chance("kind", completion) < 0.7 else "FALSE"
        # some replies can't be read the first time, and a few never
        hard = chance("form", completion)
        again = "could not be read" in prompt
        bad = hard < 0.01 or (hard < 0.05 and not again)
        replies.append(says if bad else f"<score>{says}</score>")
    with log.open("a") as handle:
        handle.write("".join(f"{hash(prompt)}\\n" for prompt in prompts))
    time.sleep(float(sys.argv[2]))
    return replies

first = hf.model(model, name="model", version="1")
judge = hf.model(slow, name="slow", version="1", batch=10)
metric = hf.judge(judge, "equivalence")
results = hf.scenario(QUESTIONS, name="questions").generate(first).metrics("prefix_exact_match", metric).score()
columns = ["instance_id", "verdict", "value", "attempts", "error"]
print(results.table().write_csv())
print(results.verdicts.select(columns).sort("instance_id").collect().write_csv())
"""


def start(script: Path, log: Path, seconds: float, store: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "HELMFRAME_STORE": str(store), "HELMFRAME_PROGRESS": "0", "PYTHONHASHSEED": "1"}
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, str(script), str(log), str(seconds), root],
        env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.soak
@pytest.mark.parametrize("verdicts", [100, 600])
def test_5_killed_in_the_middle_and_resumed_it_is_the_same(tmp_path: Path, verdicts: int) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    log, other = tmp_path / "asked", tmp_path / "other"
    killed = start(script, log, 0.04, tmp_path / "store")
    deadline = time.monotonic() + 60
    while (log.read_text().count("\n") if log.exists() else 0) < verdicts:
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = log.read_text().split()
    resumed, _ = start(script, log, 0, tmp_path / "store").communicate(timeout=60)
    undisturbed, _ = start(script, other, 0, tmp_path / "other_store").communicate(timeout=60)
    asked, once = log.read_text().split(), other.read_text().split()
    twice = len(asked) - len(set(asked))
    lines = sum(a == b for a, b in zip(resumed.splitlines(), undisturbed.splitlines(), strict=True))
    shown("5", f"killed after {len(before)} verdicts: equal lines of table and verdicts", lines, len(once) and "all")
    shown("5", "requests asked twice", twice, "those of the last 2.5 s: 650")
    assert resumed == undisturbed
    assert resumed.count("\n") > COMPLETIONS
    assert "no verdict on the scale" in resumed
    assert set(asked) == set(once)
    assert twice <= min(len(before), 10 * (2.5 / 0.04 + 2))
