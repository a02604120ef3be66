"""Posterior intervals for small n: their coverage of shares, paired differences and clustered shares.

A 95 % posterior interval covers in 95 % of the runs on average over its prior. For one true value, the share of runs
varies around 95 %, as it does for every interval of so few outcomes.
"""

import numpy as np
import polars as pl
import pytest

from helmframe.stats import aggregate, compare
from tests.acceptance.figures import shown
from tests.acceptance.test_verdicts import covered, frame, least, most

pytestmark = pytest.mark.simulation

RUNS = 4_000
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


@pytest.mark.parametrize("n", [5, 10, 20, 30, 100])
def test_7_posteriors_of_shares_cover(n: int) -> None:
    random = np.random.default_rng(n)
    shares = {}
    for p in SHARES:
        table = aggregate(frame(random.random((RUNS, n)) < p), ["run"], fractions=["score"], interval="bayes")
        shares[p] = covered(table, p)
    mean = float(np.mean(list(shares.values())))
    shown("7", f"n={n}, {RUNS:,} runs each: coverage at p = {SHARES}; mean",
          f"{', '.join(f'{share:.3f}' for share in shares.values())}; {mean:.3f}", "mean 0.94 to 0.975")  # fmt: skip
    assert 0.94 <= mean <= 0.975
    assert min(shares.values()) >= 0.90


@pytest.mark.parametrize("n", [10, 30])
def test_7_posteriors_cover_over_their_prior(n: int) -> None:
    random = np.random.default_rng(100 + n)
    p = random.beta(0.5, 0.5, RUNS)
    table = aggregate(frame(random.random((RUNS, n)) < p[:, None]), ["run"], fractions=["score"], interval="bayes")
    table = table.sort("run")
    share = float(np.mean((table["ci_low"].to_numpy() <= p) & (p <= table["ci_high"].to_numpy())))
    shown("7", f"n={n}, p from Beta(½, ½), {RUNS:,} runs: coverage", f"{share:.3f}", "0.95 to 0.97 (ends at 0 and 1)")
    assert least(0.95, RUNS) <= share <= most(0.97, RUNS)


@pytest.mark.parametrize(("clusters", "icc"), [(10, 0.2), (20, 0.2), (20, 0.4), (40, 0.4)])
def test_7_posteriors_of_clustered_shares_cover(clusters: int, icc: float) -> None:
    random = np.random.default_rng(clusters)
    shares = {}
    for p in (0.5, 0.8, 0.9, 0.95):
        of_cluster = np.repeat(np.arange(clusters), random.integers(2, 9, clusters))
        level = random.beta(p * (1 / icc - 1), (1 - p) * (1 / icc - 1), (RUNS, clusters))
        rows = frame(random.random((RUNS, len(of_cluster))) < level[:, of_cluster], cluster=of_cluster.astype(str))
        shares[p] = covered(aggregate(rows, ["run"], fractions=["score"], interval="bayes"), p)
    shown("7", f"{clusters} clusters of 2 to 8, ICC {icc}, {RUNS:,} runs each: coverage at p = .5, .8, .9, .95",
          ", ".join(f"{share:.3f}" for share in shares.values()), "≥ 0.93 each")  # fmt: skip
    assert min(shares.values()) >= 0.93


@pytest.mark.parametrize("n", [10, 20, 50])
def test_7_posteriors_of_paired_differences_cover(n: int) -> None:
    random = np.random.default_rng(200 + n)
    shares = {}
    for wins, losses in ((0.1, 0.1), (0.2, 0.1), (0.3, 0.05), (0.05, 0.02)):
        sampled = random.random((RUNS, n))
        gain = np.where(sampled < wins, 1, np.where(sampled < wins + losses, -1, 0))
        base = np.where(gain == 0, random.random((RUNS, n)) < 0.6, gain < 0).astype(float)
        rows = pl.concat([frame(base, model=np.array("old")), frame(base + gain, model=np.array("new"))])
        rows = rows.with_columns(instance_id=pl.format("{}/{}", "run", "instance_id"))
        table = compare(rows, "model", ["run"], base="old", higher_is_better={"score": True},
                        fractions=["score"], interval="bayes")  # fmt: skip
        shares[wins, losses] = covered(table, wins - losses)
    mean = float(np.mean(list(shares.values())))
    shown("7", f"{n} pairs, {RUNS:,} runs each: coverage for shares of wins and losses {list(shares)}; mean",
          f"{', '.join(f'{share:.3f}' for share in shares.values())}; {mean:.3f}", "mean ≥ 0.94")  # fmt: skip
    assert mean >= 0.94
    assert min(shares.values()) >= 0.90
