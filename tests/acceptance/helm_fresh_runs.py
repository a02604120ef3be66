"""Fresh runs of crfm-helm: `helm-run` on the scenario and the deterministic model of helm_plugin.py."""

import os
import subprocess
from pathlib import Path

from tests.acceptance.eval_peers import made_venv
from tests.acceptance.helm_run_peer import HELM_RUN

DEPLOYMENTS = """\
model_deployments:
- name: hashed/one
  model_name: hashed/one
  tokenizer_name: hashed/pieces
  max_sequence_length: 60
  max_request_length: 61
  client_spec: {class_name: helm_plugin.Hashed}
"""
METADATA = """\
models:
- name: hashed/one
  display_name: Hashed
  description: Hashes of the prompt.
  creator_organization_name: Hashed
  access: open
  release_date: 2024-01-01
  tags: [TEXT_MODEL_TAG, FULL_FUNCTIONALITY_TEXT_MODEL_TAG]
"""
TOKENIZERS = """\
tokenizer_configs:
- name: hashed/pieces
  tokenizer_spec: {class_name: helm_plugin.Pieces}
  end_of_text_token: "</s>"
  prefix_token: "<s>"
"""
METHODS = ("language_modeling", "multiple_choice_separate_original", "multiple_choice_separate_calibrated")


def fresh_runs(folder: Path, names: Path) -> Path:
    """Run 20 entries of helm_plugin.py and return the folder of the run directories.

    Args:
        folder: An empty folder.
        names: HELM's table of person names, which it would download.
    """
    settings = folder / "prod_env"
    settings.mkdir(parents=True)
    for name, text in (
        ("model_deployments", DEPLOYMENTS),
        ("model_metadata", METADATA),
        ("tokenizer_configs", TOKENIZERS),
    ):
        (settings / f"{name}.yaml").write_text(text, encoding="utf-8")
    entries = [f"method={method}" for method in METHODS]
    entries += [f"method={method},names={names}" for method in METHODS]
    for method in ("generation", "multiple_choice_joint"):
        entries += [f"method={method},shots={shots},trials={trials}" for shots, trials in ((0, 1), (2, 1), (3, 3))]
        entries += [f"method={method},trials={trials},names={names}" for trials in (1, 2)]
    entries += [f"outputs={outputs},shots={shots}" for outputs in (2, 5) for shots in (0, 2)]
    assert len(set(entries)) == 20
    helm_run = str(Path(made_venv(HELM_RUN, ["crfm-helm==0.5.16"])).with_name("helm-run"))
    command = [helm_run, "--plugins", "helm_plugin", "--suite", "v1", "-n", "1", "-m", "100", "--disable-cache"]
    command += ["-o", str(folder), "--local-path", str(settings), "--exit-on-error"]
    command += ["--run-entries", *(f"colours:{each},model=hashed/one" for each in entries)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder / "runs" / "v1"
