"""MLflow, W&B offline and Trackio have the numbers of `results.table()`."""

import os
import subprocess
import sys
from json import loads
from pathlib import Path

import pytest

import helmframe as hf
from tests.acceptance.eval_peers import made_venv
from tests.acceptance.figures import shown
from tests.demo import ROOT


def test_3_trackers_read_back_equal_to_the_table(tmp_path: Path) -> None:
    models = {"org/a b": hf.models.noisy(0.8), "c": hf.models.noisy(0.5)}
    results = hf.scenario("sampler").where(subject="music").perturb("typos").generate(models).score()
    python = made_venv(Path(sys.prefix) / ".trackers", ["mlflow>=3", "wandb>=0.20", "trackio>=0.2"])
    script = Path(__file__).with_name("trackers_child.py")
    folder = tmp_path / "trackers"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HELMFRAME_PROGRESS": "0"}
    command = [python, str(script), str(results.path), str(folder)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=600, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3000:]
    logged = loads(done.stdout.splitlines()[-1])
    assert sorted(logged["mlflow"]["files"]) == ["manifest.json", "report.html", "scores.parquet"]
    rows = list(results.table().iter_rows(named=True))
    for tracker in ("mlflow", "wandb", "trackio"):
        numbers = logged[tracker]["numbers"]
        equal = 0
        for row in rows:
            name = f"{row['metric']}/sampler/{row['model']}/{row['perturbation']}"
            pairs = (("", "value"), ("/low", "ci_low"), ("/high", "ci_high"), ("/n", "n"))
            equal += all(numbers[name + end] == pytest.approx(row[column], abs=1e-12) for end, column in pairs)
        shown("3", f"{tracker}: scores with interval equal to the table", f"{equal}/{len(rows)}", "all")
        assert equal == len(rows)
        assert any(name.endswith("/change") for name in numbers)
