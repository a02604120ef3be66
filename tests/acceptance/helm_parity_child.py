"""Real `helm-run`s in one process, run by the Python of a venv that has crfm-helm, on files that it gets.

Reads one JSON line per question and answers with one. {"tables"} names the folder of the perturbations' word
tables; the answer has the names of HELM's text models. {"entry", "model", "window", "instances", "output"} and what
`helm_scenario_child.patched` takes run an entry with the model and tokenizer of hashed_model.py under HELM's name
`model`; `window` is the deployment's [max_sequence_length, max_request_length]. The answer is {"run": the run
directory, "skipped": the classes of metrics that need a server or a package that is missing}.
"""

import functools
import importlib
import json
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

# files beside this one, which is run on its own
helm_metrics_child: Any = importlib.import_module("helm_metrics_child")
helm_scenario_child: Any = importlib.import_module("helm_scenario_child")
# these need Perspective's server and the package summ_eval
SERVED = ("ToxicityMetric", "SummarizationMetric")
TOKENIZER = {
    "name": "hashed/pieces",
    "tokenizer_spec": {"class_name": "helm_plugin.HashedPieces"},
    "end_of_text_token": "</s>",
    "prefix_token": "<s>",
}


def main() -> None:
    # HELM prints its own lines on standard output
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        question = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if "entry" in question:
                answer = run(question)
            elif "tables" in question:
                answer = {"models": prepare(question["tables"])}
        except Exception:  # the caller shows it
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


def prepare(tables: str) -> list[str]:
    """Read HELM's configuration once, replace its downloads and return the names of its text models."""
    nltk: Any = importlib.import_module("nltk")
    nltk.download = lambda *_, **__: True
    helm_metrics_child.write_sentence_model()
    runs = module("run")
    runs.register_builtin_configs_from_helm_package = functools.cache(runs.register_builtin_configs_from_helm_package)
    runs.register_builtin_configs_from_helm_package()
    files = {"dialect": "SAE_to_AAVE_mapping.json", "person_name": "person_names.txt"}
    for name, file in files.items():
        path = Path(tables, file)
        module(f"augmentations.{name}_perturbation").ensure_file_downloaded = functools.partial(copied, path)
    registry = module("model_metadata_registry")
    tags = registry.TEXT_MODEL_TAG, registry.VISION_LANGUAGE_MODEL_TAG
    return [model.name for model in registry.ALL_MODELS_METADATA if tags[0] in model.tags and tags[1] not in model.tags]


def copied(path: Path, source_url: str, target_path: str, **_: Any) -> None:
    Path(target_path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target_path)


def run(question: dict[str, Any]) -> dict[str, Any]:
    """Run one entry and return its run directory."""
    runs = module("run")
    helm_scenario_child.patched(question)
    output = Path(question["output"])
    settings = output / "prod_env"
    settings.mkdir(parents=True)
    deployment = {
        "name": f"hashed/{output.name}",
        "model_name": question["model"],
        "tokenizer_name": TOKENIZER["name"],
        "max_sequence_length": question["window"][0],
        "max_request_length": question["window"][1],
        "client_spec": {"class_name": "helm_plugin.HashedCompletions"},
    }
    # JSON is YAML
    (settings / "model_deployments.yaml").write_text(json.dumps({"model_deployments": [deployment]}), encoding="utf-8")
    (settings / "tokenizer_configs.yaml").write_text(json.dumps({"tokenizer_configs": [TOKENIZER]}), encoding="utf-8")
    skipped: list[str] = []
    benchmarking = runs.run_benchmarking
    runs.run_benchmarking = functools.partial(without_servers, benchmarking, skipped)
    arguments = ["--plugins", "helm_plugin", "--suite", "v1", "-n", "1", "-m", str(question["instances"])]
    arguments += ["--disable-cache", "--exit-on-error", "-o", str(output), "--local-path", str(settings)]
    try:
        runs.helm_run(runs.build_parser().parse_args([*arguments, "--run-entries", question["entry"]]))
    finally:
        runs.run_benchmarking = benchmarking
    (folder,) = [file.parent for file in (output / "runs" / "v1").glob("**/run_spec.json")]
    return {"run": str(folder), "skipped": skipped}


def without_servers(benchmarking: Any, skipped: list[str], run_specs: Any, **others: Any) -> Any:
    """Run without the metrics that need a server, and note them in `skipped`."""
    replace: Any = importlib.import_module("dataclasses").replace
    left = []
    for spec in run_specs:
        kinds = {each.class_name.rpartition(".")[2]: each for each in spec.metric_specs}
        skipped += [kind for kind in kinds if kind in SERVED]
        metrics = [each for each in spec.metric_specs if each.class_name.rpartition(".")[2] not in SERVED]
        left.append(replace(spec, metric_specs=metrics))
    return benchmarking(run_specs=left, **others)


def module(name: str) -> Any:
    return importlib.import_module(f"helm.benchmark.{name}")


if __name__ == "__main__":
    main()
