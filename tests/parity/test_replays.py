"""HELM's recorded completions, replayed through the sentence, give HELM's numbers."""

from pathlib import Path

import pytest

from tests.parity.replayed import MMLU_GPT2, MMLU_SMOLLM2, NARRATIVE_QA, plan, stat

pytestmark = [pytest.mark.shared, pytest.mark.slow]


@pytest.mark.parametrize(
    ("run", "metric", "split", "published"),
    [
        (MMLU_GPT2, "exact_match", "test", 0.111),
        (MMLU_GPT2, "exact_match", "valid", 0.0),
        (MMLU_SMOLLM2, "exact_match", "test", 0.28),
        (NARRATIVE_QA, "f1_score", "test", 0.1742),
        (NARRATIVE_QA, "f1_score", "valid", 0.0),
        (NARRATIVE_QA, "exact_match", "test", 0.0),
    ],
)
def test_replayed_scores_equal_helms(shared: Path, run: str, metric: str, split: str, published: float) -> None:
    folder = shared / "helm_runs" / run
    ours = plan(folder).where(split=split).score().value(metric)
    print(f"{run} {metric} {split}: {ours:.6f}, HELM {stat(folder, metric, split):.6f}")
    assert ours == pytest.approx(stat(folder, metric, split), abs=1e-9)
    assert ours == pytest.approx(published, abs=5e-4)
