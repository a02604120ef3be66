"""Record what HELM asks in each case of `tests/acceptance/helm_cases.py`: ids and sha256 of the prompts.

    python tools/record_helm_prompts.py DATA HELM_RUN

DATA is the folder of test data, HELM_RUN the program `helm-run` of a venv that has crfm-helm 0.5.16. Every case is one
real run, on a mock model; its prompts go no further than their hashes in `tests/acceptance/helm_prompts.json`.
"""

import json
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.acceptance.byte_tokens import PREFIX  # noqa: E402
from tests.acceptance.helm_cases import CASES, Case  # noqa: E402

GOLDEN = ROOT / "tests" / "acceptance" / "helm_prompts.json"
# tokens; where a case says no window
WIDE = 1_000_000


def main(data: Path, helm_run: str) -> None:
    """Run all cases and write the golden file."""
    found = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            found[case.name] = _rows(_run(case, data, helm_run, Path(folder)))
        print(f"{case.name}: {len(found[case.name])} prompts")
    lines = [
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]" for name, rows in found.items()
    ]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _run(case: Case, data: Path, helm_run: str, folder: Path) -> Any:
    """The run's scenario state."""
    said = {"max_train_instances": 5, **case.helm, **case.decoding}
    expanders = "".join(f",{name}={value}" for name, value in said.pop("expanders", {}).items())
    (folder / f"{case.name}.json").write_text(
        json.dumps({"helm": said, "instances": case.rows(data).to_dicts()}), encoding="utf-8"
    )
    _configure(folder, case.window or WIDE, language=said["method"] == "language_modeling")
    plugin = Path(__file__).with_name("helm_prompt_plugin.py")
    entry = f"recorded:case={case.name},model=helmframe/bytes{expanders}"
    command = [
        helm_run, "--plugins", str(plugin), "--run-entries", entry, "--suite", "s", "--max-eval-instances", "1000",
        "-o", "out", "--local-path", "env", "-n", "1", "--exit-on-error",
    ]  # fmt: skip
    environment = {**os.environ, "HELMFRAME_CASES": str(folder), "PYTHONPATH": str(plugin.parent)}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    states = list((folder / "out" / "runs" / "s").glob("*/scenario_state.json"))
    if len(states) != 1:
        sys.exit(f"helm-run failed in case {case.name}:\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}")
    return json.loads(states[0].read_text(encoding="utf-8"))


def _configure(folder: Path, window: int, *, language: bool) -> None:
    """A mock model and its tokenizer, as HELM reads them. Its requests may hold one token more than it reads."""
    environment = folder / "env"
    environment.mkdir()
    deployment = {
        "name": "helmframe/bytes", "model_name": "helmframe/bytes", "tokenizer_name": "helmframe/bytes",
        "max_sequence_length": window, "max_request_length": window + language,
        "client_spec": {"class_name": "helm.clients.simple_client.SimpleClient"},
    }  # fmt: skip
    metadata = {
        "name": "helmframe/bytes", "display_name": "Bytes", "description": "A toy.", "access": "open",
        "creator_organization_name": "helmframe", "tags": ["TEXT_MODEL_TAG"],
    }  # fmt: skip
    tokenizer = {
        "name": "helmframe/bytes", "tokenizer_spec": {"class_name": "helm_prompt_plugin.Bytes"},
        "end_of_text_token": PREFIX, "prefix_token": PREFIX,
    }  # fmt: skip
    for file, key, said in (
        ("model_deployments", "model_deployments", deployment),
        ("model_metadata", "models", metadata),
        ("tokenizer_configs", "tokenizer_configs", tokenizer),
    ):
        # JSON is YAML
        (environment / f"{file}.yaml").write_text(json.dumps({key: [said]}), encoding="utf-8")


def _rows(state: Any) -> list[list[Any]]:
    """Of each request: instance, trial, reference, mode, examples, conditioning tokens, sha256 of the prompt."""
    return [
        [
            each["instance"]["id"],
            each["train_trial_index"],
            each.get("reference_index"),
            each.get("request_mode"),
            each["num_train_instances"],
            each["num_conditioning_tokens"],
            sha256(_prompt(each["request"]).encode("utf-8", "surrogatepass")).hexdigest(),
        ]
        for each in state["request_states"]
    ]


def _prompt(request: Any) -> str:
    """The prompt; of a conversation its messages as JSON."""
    if request.get("messages") is None:
        return str(request["prompt"])
    return json.dumps(request["messages"], ensure_ascii=False, sort_keys=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
