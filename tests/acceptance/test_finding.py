"""The finding of the README, the quickstart and the demo, run again with the real model."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.figures import shown
from tests.demo import ROOT, demo_model
from tools.finding import NUMBERS, numbers, plan

pytestmark = pytest.mark.model


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


def test_6_the_demo_prints_the_finding_within_a_minute(tmp_path: Path) -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "demo.py"), str(demo_model())],
        env={**os.environ, "HELMFRAME_STORE": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds = time.monotonic() - started
    shown("6", "make demo after set-up, seconds", f"{seconds:.0f}", 60)
    assert "Conclusion: the model is above chance (92% correct, chance 25%)" in done.stdout
    assert "loses accuracy under 'uppercase' (-38 points)" in done.stdout
    assert seconds <= 60
