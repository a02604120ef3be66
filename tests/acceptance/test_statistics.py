"""Tables under simulation: what their intervals cover, and what the naive way covers beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, norm

import helmframe as hf
from helmframe._core.bins import binned, debiased_error, enough, equal_masses, plain_error
from helmframe.metrics.protocol import METRICS, resolve_metrics
from helmframe.metrics.score import prepare_set_metric
from helmframe.stats import aggregate_set, calibration, table
from helmframe.stats.intervals import wilson
from tests.acceptance.figures import shown
from tests.frames import completions, right

pytestmark = pytest.mark.simulation

Floats: TypeAlias = NDArray[np.float64]

RUNS = 2_000
ICC = 0.3


def covers(found: pl.DataFrame, truth: float) -> float:
    """The share of intervals that hold the truth."""
    assert found["ci_low"].null_count() == 0
    return float(found.select(((pl.col("ci_low") <= truth) & (pl.col("ci_high") >= truth)).mean()).item())


# -- 1: intervals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.5, 0.9])
@pytest.mark.parametrize(
    ("clusters", "sizes", "least", "most"),
    [
        pytest.param(40, "equal", 0.93, 0.97, id="40 clusters of 8"),
        pytest.param(100, "equal", 0.93, 0.97, id="100 clusters of 8"),
        pytest.param(40, "geometric", 0.90, 1.0, id="40 clusters, geometric sizes"),
        pytest.param(100, "geometric", 0.90, 1.0, id="100 clusters, geometric sizes"),
        # marked "few clusters" in the table
        pytest.param(10, "equal", 0.0, 1.0, id="10 clusters of 8"),
        pytest.param(10, "geometric", 0.0, 1.0, id="10 clusters, geometric sizes"),
    ],
)
def test_1_modified_wilson_covers_clusters(clusters: int, sizes: str, least: float, most: float, p: float) -> None:
    frame = clustered(clusters, sizes, p)
    ours = covers(table(frame, "run"), p)
    naive = covers(table(frame.drop("cluster"), "run"), p)
    limit = f"{least}–{most}" if least else "shown"
    shown("1", f"{clusters} clusters, {sizes} sizes, p = {p}: ours covers", ours, limit)
    shown("1", f"{clusters} clusters, {sizes} sizes, p = {p}: Wilson of independent answers covers", naive, "< 0.80")
    assert least <= ours <= most
    assert naive < 0.80


def test_1_wilson_of_independent_answers_by_exact_sums() -> None:
    p = np.linspace(0.02, 0.98, 193)[:, None]
    for n in (50, 100, 311, 1000):
        low, high = wilson(np.arange(n + 1.0), np.full(n + 1, float(n)))
        coverage = (binom.pmf(np.arange(n + 1), n, p) * ((low <= p) & (p <= high))).sum(axis=1)
        shown("1", f"Wilson at n = {n}: mean coverage over p; least", f"{coverage.mean():.4f}; {coverage.min():.4f}",
              "0.945–0.955; 0.91")  # fmt: skip
        assert 0.945 <= coverage.mean() <= 0.955
        assert coverage.min() >= 0.91


@pytest.mark.shared
def test_1_subjects_are_strata(shared: Path) -> None:
    instances = hf.scenario("mmlu", data=shared / "scenarios").instances().collect()
    random = np.random.default_rng(1)
    subjects = instances["subset"].unique().sort()
    # of normal quantiles with an sd of .156: drawn anew, the mean over 57 subjects would vary by .0207
    quantiles = norm.ppf((np.arange(len(subjects)) + 0.5) / len(subjects))
    mean = pl.Series(0.62 + 0.156 * random.permutation(quantiles / quantiles.std(ddof=1)))
    p = instances["subset"].replace_strict(subjects, mean, return_dtype=pl.Float64).to_numpy()
    scores = instances.with_columns(score=pl.Series(random.random(len(p)) < p).cast(pl.Float64))
    micro = table(scores, "scenario", mean="micro").row(0, named=True)
    macro = table(scores, "scenario").row(0, named=True)
    together = table(scores.with_columns(subset=pl.lit("")), "scenario").row(0, named=True)
    by_subject = table(scores, "subset")["value"].std()
    assert isinstance(by_subject, float)
    subjects_drawn = by_subject / len(subjects) ** 0.5
    philosophy = table(scores.filter(subset="philosophy"), "subset").row(0, named=True)
    shown("1", f"MMLU ({micro['n']:,} in {len(subjects)} subsets): SE, micro", f"{micro['stderr']:.4f}", "0.0039")
    shown("1", "the same, macro", f"{macro['stderr']:.4f}", "shown")
    shown("1", "the same without subsets; subjects taken for drawn", f"{together['stderr']:.4f}; {subjects_drawn:.4f}",
          "0.0041; 0.0207")  # fmt: skip
    spread = f"{philosophy['stderr']:.4f} [{philosophy['ci_low']:.3f}, {philosophy['ci_high']:.3f}]"
    shown("1", f"philosophy alone ({philosophy['n']}): {philosophy['interval']}", spread, "Wilson, finite")
    assert micro["stderr"] == pytest.approx(0.0039, abs=0.00005)
    assert together["stderr"] == pytest.approx(0.0041, abs=0.00005)
    assert subjects_drawn == pytest.approx(0.0207, abs=0.003)
    assert philosophy["interval"] == "Wilson"
    assert philosophy["n"] == 311
    assert 0 < philosophy["ci_low"] < philosophy["ci_high"] < 1


# -- 2: trials -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["normal", "binary"])
@pytest.mark.parametrize("trials", [3, 5])
def test_2_trials_are_crossed_with_instances(trials: int, kind: str) -> None:
    ours, naive, over_trials = [], [], []
    truth = 0.6
    for frame in crossed(trials, kind, truth):
        ours.append(covers(table(frame, "run", fractions=()), truth))
        naive.append(covers(table(frame.drop("trial"), "run", fractions=()), truth))
        each = frame.group_by("run", "trial").agg(pl.col("score").mean())
        alone = table(each.with_columns(instance_id="trial"), "run", fractions=())
        over_trials.append(covers(alone, truth))
    share = float(np.mean(ours))
    shown("2", f"{trials} trials of 500 {kind} scores: crossed covers", share, "0.92–0.97")
    shown("2", f"{trials} trials: instances alone; t over trials", f"{np.mean(naive):.3f}; {np.mean(over_trials):.3f}",
          "< 0.90; shown")  # fmt: skip
    assert 0.92 <= share <= 0.97
    assert np.mean(naive) < 0.90


# -- 5: set-level metrics and calibration ----------------------------------------------------------------------------


SETS = {
    "a ratio of sums (nats per token)": "ratio",
    "macro-F1 of three classes": "classification_macro_f1",
    "plain calibration error": "ece_10_bin",
    "corpus BLEU": "corpus_bleu",
}


@pytest.mark.parametrize("what", SETS)
def test_5_the_jackknife_is_the_bootstrap(what: str) -> None:
    rows, value = documents(SETS[what])
    smooth = METRICS[SETS[what]].smooth if SETS[what] in METRICS else True
    row = aggregate_set(rows, value, [], metric="m", smooth=smooth).row(0, named=True)
    jackknife = row["stderr"]
    random = np.random.default_rng(5)
    draws = random.integers(rows.height, size=(2_000, rows.height))
    bootstrap = float(np.std([rows[draw].select(value).item() for draw in draws], ddof=1))
    shown(
        "5",
        f"{what}, 500 documents: SE of {row['interval']} / of 2,000 bootstraps",
        f"{jackknife / bootstrap:.3f}",
        "0.9–1.1",
    )
    assert jackknife == pytest.approx(bootstrap, rel=0.1)


@pytest.mark.parametrize("n", [100, 300])
def test_5_calibration_is_debiased(n: int) -> None:
    random = np.random.default_rng(n)
    debiased, plain, recovered = [], [], []
    for _ in range(10_000):
        sure = np.sort(random.uniform(0.25, 1, n))
        edges = equal_masses(sure, enough(n, 15))
        hit = (random.random(n) < sure).astype(float)
        debiased.append(float(debiased_error(*binned(sure, hit, edges))))
        plain.append(plain_error(sure, hit, equal_masses(sure, 10)))
        recovered.append(float(debiased_error(*binned(sure, (random.random(n) < sure**1.5).astype(float), edges))))
    p = np.linspace(0.25, 1, 100_001)
    truth = float(np.mean((p - p**1.5) ** 2))
    shown("5", f"calibrated, n = {n}: mean debiased error of 10,000", f"{np.mean(debiased):.5f}", "0 ± 0.0005")
    shown("5", f"calibrated, n = {n}: plain error", f"{np.mean(plain):.3f}", "shown: .108 at 100, .062 at 300")
    shown("5", f"p → p^1.5, n = {n}: debiased error / truth", f"{np.mean(recovered) / truth:.3f}", "0.9–1.1")
    assert abs(np.mean(debiased)) < 0.0005
    assert np.mean(recovered) == pytest.approx(truth, rel=0.1)


def test_5_the_calibration_table_covers() -> None:
    n, runs = 300, 400
    random = np.random.default_rng(55)
    sure = random.uniform(0.25, 1, runs * n)
    run = pl.Series("run", np.repeat(np.arange(runs), n))
    p = np.linspace(0.25, 1, 100_001)
    for name, power in (("calibrated", 1.0), ("p → p^1.5", 1.5)):
        frame = pl.DataFrame({"run": run, "confidence": sure, "right": random.random(len(sure)) < sure**power})
        found = calibration(frame, "run")
        truth = float(np.mean((p - p**power) ** 2))
        inside = float(found.select(pl.col("ece").is_between("null_low", "null_high").mean()).item())
        shown("5", f"{name}, n = {n}: interval of the debiased error covers", covers(found, truth), "≥ 0.93")
        shown("5", f"{name}, n = {n}: plain error inside the null band", inside, "0.93–0.97 if calibrated")
        assert covers(found, truth) >= 0.93
        assert 0.93 <= inside <= 0.97 if power == 1.0 else inside < 0.5


# -- designs ---------------------------------------------------------------------------------------------------------


def clustered(clusters: int, sizes: str, p: float) -> pl.DataFrame:
    """Beta-binomial answers in clusters of 8, or of 8 on average."""
    random = np.random.default_rng([clusters, int(10 * p)])
    count = RUNS * clusters
    size = np.full(count, 8) if sizes == "equal" else random.geometric(1 / 8, count)
    both = (1 - ICC) / ICC
    difficulty = np.repeat(random.beta(p * both, (1 - p) * both, count), size)
    answers = (random.random(len(difficulty)) < difficulty).astype(float)
    cluster = np.repeat(np.arange(count), size)
    return pl.DataFrame({"run": cluster // clusters, "cluster": cluster, "score": answers}).with_columns(
        instance_id=pl.int_range(pl.len()).cast(pl.String), metric=pl.lit("right")
    )


def crossed(trials: int, kind: str, mean: float) -> Iterator[pl.DataFrame]:
    """Runs of 500 instances in some trials, each of which shifts all of them (sd .03); 100 runs at a time."""
    random = np.random.default_rng([trials, 1 if kind == "normal" else 2])
    at_once, n = 100, 500
    for start in range(0, RUNS, at_once):
        shift = random.normal(0, 0.03, (at_once, trials, 1))
        if kind == "normal":
            instance = random.normal(0, 0.4, (at_once, 1, n))
            score = mean + shift + instance + random.normal(0, 0.2, (at_once, trials, n))
        else:
            # so far from 0 and 1 that a shift is not cut
            instance = np.where(random.random((at_once, 1, n)) < 0.5, mean - 0.28, mean + 0.28)
            score = (random.random((at_once, trials, n)) < instance + shift).astype(float)
        run, trial, place = np.indices(score.shape)
        yield pl.DataFrame(
            {"run": run.ravel() + start, "trial": trial.ravel(), "instance_id": place.ravel(), "score": score.ravel()}
        ).with_columns(pl.col("instance_id").cast(pl.String))


def documents(metric: str) -> tuple[pl.DataFrame, pl.Expr]:
    """Five hundred documents with what the metric reads, and the metric as an expression."""
    random = np.random.default_rng(500)
    n = 500
    if metric == "ratio":
        tokens = random.integers(20, 400, n)
        columns = {"tokens": tokens, "nats": tokens * random.gamma(20, 0.1, n)}
        told: dict[str, Any] = {"scenario": "s", "subset": "", "cluster": None, "score": 0.0}
        frame = pl.DataFrame(columns).with_columns(
            *(pl.lit(each).alias(name) for name, each in told.items()),
            instance_id=pl.int_range(pl.len()).cast(pl.String),
        )
        return frame.with_columns(pl.col("cluster").cast(pl.String)), pl.col("nats").sum() / pl.col("tokens").sum()
    (said,) = resolve_metrics([metric])
    if metric == "corpus_bleu":
        words = np.array(
            ["the", "cat", "sat", "on", "a", "mat", "and", "dog", "ran", "home", "to", "eat", "fish", "with", "me"]
        )
        texts = [random.choice(words, random.integers(8, 25)).tolist() for _ in range(n)]
        outputs = [" ".join(word if random.random() < 0.8 else random.choice(words) for word in text) for text in texts]
        rows = completions(outputs, [right(" ".join(text)) for text in texts])
    elif metric == "ece_10_bin":
        sure = random.uniform(0.25, 1, n)
        hits = np.where(random.random(n) < sure**1.5, "yes", "no").tolist()
        rows = completions(hits, [right("yes")] * n, logprob=pl.Series(np.log(sure)))
    else:
        classes = np.array(["rain", "snow", "sun"])
        truth = random.choice(classes, n, p=[0.2, 0.3, 0.5])
        said_so = np.where(random.random(n) < 0.7, truth, random.choice(classes, n))
        rows = completions(said_so.tolist(), [right(each) for each in truth.tolist()])
    lazy, value = prepare_set_metric(rows.lazy(), said)
    return lazy.collect(), value
