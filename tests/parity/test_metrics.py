"""Scores of 2,500 pairs equal those of HELM's own functions."""

from pathlib import Path

import polars as pl
import pytest

from helmframe.metrics.score import score
from tests.frames import completions, right

pytestmark = [pytest.mark.shared, pytest.mark.slow]

NAMES = ("exact_match", "quasi_exact_match", "prefix_exact_match", "quasi_prefix_exact_match", "f1_score")


@pytest.mark.smoke
@pytest.mark.parametrize("name", NAMES)
def test_scores_equal_helms(shared: Path, name: str) -> None:
    helm = pl.read_parquet(shared / "helm_metrics.parquet")
    asked = completions(helm["prediction"].to_list(), [right(each) for each in helm["reference"]])
    ours = score(asked.lazy(), [name]).collect()["score"]
    equal = ((ours - helm[name]).abs() <= 1e-9).sum()
    print(f"{name}: {equal}/{helm.height} scores equal HELM's")
    assert equal == helm.height == 2500
