"""The finding of the README, the quickstart and the demo, run again with the real model."""

import json

import pytest

from tests.acceptance.figures import shown
from tests.demo import demo_model
from tools.finding import NUMBERS, numbers, plan


@pytest.mark.model
def test_6_the_model_repeats_the_recorded_finding() -> None:
    recorded = json.loads(NUMBERS.read_text(encoding="utf-8"))
    measured = numbers(plan(str(demo_model())).score(fresh=True))
    for row, expected in zip(measured["scores"], recorded["scores"], strict=True):
        shown("6", f"accuracy, {row['perturbation']}", f"{row['value']:.4f}", f"{expected['value']:.4f}")
        assert row == pytest.approx(expected, abs=1e-9)
        assert row["ci_low"] > row["chance"]
    for row, expected in zip(measured["changes"], recorded["changes"], strict=True):
        interval = f"{row['change']:.4f} [{row['change_low']:.4f}, {row['change_high']:.4f}]"
        shown("6", f"paired change, {row['perturbation']}", interval, f"{expected['change']:.4f}")
        assert row == pytest.approx(expected, abs=1e-9)
    assert any(row["change_high"] < 0 for row in measured["changes"])
