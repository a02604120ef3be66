"""HELM's definitions where ours differ, against real runs of `helm-run` with a deterministic model."""

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import helmframe as hf
from tests.acceptance.eval_peers import made_venv
from tests.acceptance.figures import equal_to_helm
from tests.acceptance.helm_run_peer import HELM_RUN

MODEL = "helmframe/hashed"
HERE = Path(__file__).parent
CALIBRATION = ["ece_10_bin", "ece_1_bin", "selective_acc@10", "selective_cov_acc_area"]


def helm_run(folder: Path, entry: str) -> Path:
    """Return the directory of a finished run of HELM."""
    settings = folder / "env"
    settings.mkdir()
    deployment = {
        "name": MODEL, "model_name": MODEL, "tokenizer_name": "simple/tokenizer1", "max_sequence_length": 100_000,
        "client_spec": {"class_name": "helm_definition_plugin.Hashed"},
    }  # fmt: skip
    metadata = {
        "name": MODEL, "display_name": "Hashed", "description": "A mock model.", "access": "open",
        "creator_organization_name": "helmframe", "tags": ["TEXT_MODEL_TAG"],
    }  # fmt: skip
    # JSON is YAML
    (settings / "model_deployments.yaml").write_text(json.dumps({"model_deployments": [deployment]}))
    (settings / "model_metadata.yaml").write_text(json.dumps({"models": [metadata]}))
    command = [
        str(Path(made_venv(HELM_RUN, ["crfm-helm==0.5.16"])).with_name("helm-run")),
        *("--plugins", "helm_definition_plugin", "--run-entries", entry, "--suite", "s", "-n", "1"),
        *("--max-eval-instances", "1000", "-o", "out", "--local-path", "env", "--exit-on-error"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    (run,) = (folder / "out" / "runs" / "s").glob("*/stats.json")
    return run.parent


def means(run: Path) -> dict[str, float]:
    """Return HELM's mean of each statistic on the test split."""
    stats: list[dict[str, Any]] = json.loads((run / "stats.json").read_text(encoding="utf-8"))
    return {
        each["name"]["name"]: each["mean"] for each in stats if each["count"] and each["name"].get("split") == "test"
    }


def compare(item: str, ours: dict[str, float], theirs: dict[str, float]) -> None:
    equal = sum(math.isclose(value, theirs[name], rel_tol=1e-4, abs_tol=1e-6) for name, value in ours.items())
    equal_to_helm(item, f"statistics {', '.join(ours)}", equal, len(ours))
    assert equal == len(ours), {name: (value, theirs[name]) for name, value in ours.items()}


def test_9_of_several_outputs_the_likeliest_is_scored(tmp_path: Path) -> None:
    run = helm_run(tmp_path, f"labels:outputs=3,trials=2,model={MODEL}")
    theirs = means(run)
    names = ["exact_match", "f1_score", "max_prob", "logprob", "exact_match@3", *CALIBRATION]
    results = hf.read_helm(run).rescore(*names)
    compare("9", {name: results.value(name, definition="helm") for name in names}, theirs)
    assert results.value("exact_match") != pytest.approx(theirs["exact_match"], abs=1e-3)  # the mean over outputs


def test_8_metrics_of_sets_are_averaged_over_trials(tmp_path: Path) -> None:
    run = helm_run(tmp_path, f"labels:outputs=1,trials=3,model={MODEL}")
    theirs = means(run)
    names = ["exact_match", "classification_macro_f1", "classification_micro_f1", "perplexity", *CALIBRATION]
    results = hf.read_helm(run).rescore(*names)
    compare("8", {name: results.value(name, definition="helm") for name in names}, theirs)
    for name in ("ece_10_bin", "classification_macro_f1"):  # all trials as one set
        assert results.value(name) != pytest.approx(theirs[name], abs=1e-4)


def test_7_grade_1_counts_in_ndcg_alone(tmp_path: Path) -> None:
    run = helm_run(tmp_path, f"passages:model={MODEL}")
    rows = json.loads((run / "per_instance_stats.json").read_text(encoding="utf-8"))
    theirs = {(row["instance_id"], each["name"]["name"]): each["mean"] for row in rows for each in row["stats"]}
    names = {
        "RR@5": "RR@5", "success@1": "Success@1", "success@3": "Success@3", "recall@3": "Recall@3", "NDCG@5": "NDCG@5",
    }  # fmt: skip
    scores = hf.read_helm(run).rescore(*names).scores.select("instance_id", "metric", "score").collect()
    for name, helms in names.items():
        ours = scores.filter(metric=name)
        equal = sum(
            math.isclose(score, theirs[instance_id, helms], abs_tol=1e-9) for instance_id, _, score in ours.iter_rows()
        )
        equal_to_helm("7", f"{name}, values", equal, ours.height)
        assert equal == ours.height == 80
