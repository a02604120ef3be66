"""`helm-run` on HELM's own scenarios, from files that are here, and our plan of the same entry with the same model."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import helmframe as hf
from helmframe._plan import Plan
from helmframe.models.model import Completion, Model
from helmframe.scenarios.catalogue import find_scenario
from tests.acceptance.eval_peers import made_venv
from tests.acceptance.helm_fresh_runs import METADATA, TOKENIZERS
from tests.acceptance.helm_run_peer import HELM_RUN

HERE = Path(__file__).parent
DEPLOYMENT = {
    "name": "hashed/one", "model_name": "hashed/one", "tokenizer_name": "hashed/pieces",
    "max_sequence_length": 100_000, "client_spec": {"class_name": "helm_sources_plugin.Chosen"},
}  # fmt: skip
PERTURBATION_FILES = {"SAE_to_AAVE": "SAE_to_AAVE_mapping.json", "person_name": "person_names.txt"}


def helm_run(entry: str, sources: Mapping[str, Any], words: Sequence[str], tables: Path, folder: Path) -> Path:
    """Run an entry by HELM and return the directory of the run.

    Args:
        entry: The run entry without a model.
        sources: What `helm_scenario_child.patched` takes.
        words: The completions of which the model chooses.
        tables: The folder of the tables that HELM's perturbations would download.
        folder: An existing folder to write to.
    """
    settings = folder / "env"
    settings.mkdir()
    # JSON is YAML
    (settings / "model_deployments.yaml").write_text(json.dumps({"model_deployments": [DEPLOYMENT]}), encoding="utf-8")
    (settings / "model_metadata.yaml").write_text(METADATA, encoding="utf-8")
    (settings / "tokenizer_configs.yaml").write_text(TOKENIZERS, encoding="utf-8")
    files = {part: str(tables / name) for part, name in PERTURBATION_FILES.items()}
    question = {"files": {}, "tables": {}, **sources, "words": list(words), "perturbation_files": files}
    (folder / "sources.json").write_text(json.dumps(question), encoding="utf-8")
    command = [
        str(Path(made_venv(HELM_RUN, ["crfm-helm==0.5.16"])).with_name("helm-run")),
        *("--plugins", "helm_sources_plugin", "--suite", "s", "-n", "1", "-m", "1000", "--disable-cache"),
        *("-o", str(folder / "out"), "--local-path", str(settings), "--exit-on-error"),
        *("--run-entries", f"{entry},model=hashed/one"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "HELM_SOURCES": str(folder / "sources.json")}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-1000:] + ended.stderr[-3000:]
    (run,) = (folder / "out" / "runs" / "s").glob("*/stats.json")
    return run.parent


def our_run(entry: str, scenario: str, run: Path, metrics: Sequence[str] = ()) -> hf.Results:
    """Return the results of our plan of the entry, with the completions that HELM's run has.

    Args:
        entry: The run entry without a model.
        scenario: The name of its scenario here.
        run: The directory of HELM's run.
        metrics: Metrics beside those of the entry.
    """
    plan = hf.entry(entry)
    assert isinstance(plan, Plan)
    if metrics:
        plan = plan.metrics(*find_scenario(scenario).metrics, *metrics)
    return plan.generate(replaying(run)).score()


def replaying(run: Path) -> Model:
    """Return a model with the completions and log-probabilities that a run of HELM has; another prompt raises."""
    state = json.loads((run / "scenario_state.json").read_text(encoding="utf-8"))
    completions = {each["request"]["prompt"]: each["result"]["completions"][0] for each in state["request_states"]}

    def generated(prompts: Sequence[Any], _: object) -> list[Completion]:
        return [_answer(completions[prompt]["text"], completions[prompt]["tokens"]) for prompt in prompts]

    def scored(pairs: Sequence[Any], _: object) -> list[Completion]:
        answers = []
        for pair in pairs:
            tokens = completions[pair.context + pair.continuation]["tokens"]
            first = next(
                index
                for index in range(len(tokens), -1, -1)
                if "".join(token["text"] for token in tokens[index:]) == pair.continuation
            )
            answers.append(_answer(pair.continuation, tokens[first:]))
        return answers

    return Model("hashed/one", "hashed/one", generated, str, durable=False, takes=None, loglikelihood=scored)


def _answer(text: str, tokens: Sequence[Mapping[str, Any]]) -> Completion:
    logprobs = [float(token["logprob"]) for token in tokens]
    return Completion(text, finish_reason="stop", output_tokens=len(tokens)).with_logprobs(logprobs)
