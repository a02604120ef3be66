"""The gate: how often it fails a run that is as good as its baseline, or lies on the line; and power kept."""

import numpy as np
import polars as pl
import pytest

import helmframe as hf
from helmframe.stats import compare, gate
from tests.acceptance.figures import shown

pytestmark = pytest.mark.simulation

RUNS, N = 2_000, 500
HIGHER = {"exact_match": True}


def verdicts(right: list[np.typing.NDArray[np.bool_]], margin: float, cluster: int = 1) -> pl.Series:
    """Of side 0 against side 1; a run per row of each matrix, and each run a family of its own."""
    runs, n = right[0].shape
    sides = [
        pl.DataFrame(
            {
                "run": np.repeat(np.arange(runs), n),
                "model": str(side),
                "place": np.tile(np.arange(n), runs),
                "metric": "exact_match",
                "score": answers.ravel(),
            }
        )
        for side, answers in enumerate(right)
    ]
    frame = pl.concat(sides).with_columns(
        instance_id=pl.format("{}/{}", "run", "place"), cluster=pl.format("{}/{}", "run", pl.col("place") // cluster)
    )
    table = compare(frame, "model", ["run"], higher_is_better=HIGHER, base="1")
    return gate(table.with_columns(joint_low="ci_low", joint_high="ci_high"), margin=margin).table["verdict"]


def share(found: pl.Series, verdict: str) -> float:
    return float((found == verdict).mean())  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "cluster"), [(N, 1), (N, 5)])
def test_5_a_run_as_good_as_its_baseline_hardly_ever_fails(n: int, cluster: int) -> None:
    random = np.random.default_rng(cluster)
    easy = random.beta(2, 1, (RUNS, n // cluster)).repeat(cluster, 1)
    right = [random.random((RUNS, n)) < easy for _ in range(2)]
    for margin in (0.0, 0.02):
        found = verdicts(right, margin, cluster)
        failed, passed = share(found, "fail"), share(found, "pass")
        limit = 0.025 + 3 * (0.025 * 0.975 / RUNS) ** 0.5
        what = f"{RUNS:,} A/A runs of {n} in clusters of {cluster}, margin {margin}"
        shown("5", f"{what}: the gate fails", f"{failed:.1%}", f"2.5 % + Monte Carlo error = {limit:.1%}")
        shown("5", f"{what}: passes, undecided", f"{passed:.1%}, {1 - passed - failed:.1%}", "printed")
        assert failed <= limit


def test_5_n_needed_decides_four_times_in_five() -> None:
    margin, discordance = 0.05, 0.3
    n = hf.stats.power(margin, discordance=discordance).n
    random = np.random.default_rng(5)
    draw = random.random((RUNS, n))
    right = [draw < 0.5, (draw < 0.5 - discordance / 2) | (draw > 1 - discordance / 2)]
    passed = share(verdicts(right, margin), "pass")
    shown("5", f"alike sides, margin {margin}, n={n} of hf.stats.power: the gate passes", f"{passed:.1%}", "77–83 %")
    assert 0.77 <= passed <= 0.83
