"""Ten million score rows: seconds and peak memory of the four reading verbs, each in a process of its own.

The limit is on whichever is less, seconds or CPU seconds: the latter are what it takes at most on a machine that does
nothing else. Where it does much else, even those grow, so there are three attempts.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.figures import shown
from tests.acceptance.scale_child import METRICS, MODELS, SCENARIOS, VARIANTS, VERBS, made
from tests.demo import ROOT

pytestmark = pytest.mark.soak

INSTANCES = 125_000
SCORES = 10_000_000
MOST_SECONDS = 10
MOST_MB = 4 * 1024


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    assert made(folder, INSTANCES) == INSTANCES * len(MODELS) * len(VARIANTS) * len(METRICS) == SCORES
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_6_ten_million_scores(run: Path, verb: str) -> None:
    figures = asked(run, verb)
    for _ in range(2):
        if taken(figures) >= MOST_SECONDS:
            figures = min(figures, asked(run, verb), key=taken)
    shown(
        "6",
        f"{verb} of {SCORES:,} scores, seconds ({figures['cpu']:.1f} CPU)",
        f"{figures['seconds']:.1f}",
        MOST_SECONDS,
    )
    shown("6", f"{verb}: peak memory, MB", figures["peak_mb"], MOST_MB)
    rows = {
        "table": len(SCENARIOS) * len(MODELS) * len(VARIANTS) * len(METRICS),
        "robustness": len(SCENARIOS) * len(MODELS) * len(VARIANTS) * len(METRICS),
    }
    assert figures["rows"] == rows.get(verb, figures["rows"])
    assert figures["rows"] > 0
    assert taken(figures) < MOST_SECONDS
    assert figures["peak_mb"] < MOST_MB


def taken(figures: dict[str, Any]) -> float:
    return float(min(figures["seconds"], figures["cpu"]))


def asked(run: Path, verb: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.acceptance.scale_child", str(run), verb]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures
