"""HELM's entries in a process of their own, run by the Python of a venv that has crfm-helm: run specs and requests.

Reads one JSON line per question and prints one. {"entry", "module"} builds the instances and requests of an entry, from
`files` {part of a URL: path} and `hub` {data set: {configuration: {split: Parquet file}}} instead of downloads:
{"requests": [[instance id, perturbation, prompt]], "instances": [[input, split, [[text, correct]]]]}.

{"bare", "ignored"} returns the run spec that the function of the entry makes without the arguments in `ignored`.

{"texts", "languages"} scores each pair of texts by SEA-HELM's metrics and ours: {"scores": [[name, HELM's, ours]]}.
"""

import dataclasses
import importlib
import json
import shutil
import sys
import tempfile
import traceback
from itertools import product
from pathlib import Path
from typing import Any

# files beside this one, which is run on its own
helm_entries_child: Any = importlib.import_module("helm_entries_child")
module = helm_entries_child.module
WINDOW = [1_000_000, 1_000_000]


def main() -> None:
    # HELM prints its own lines on standard output
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        question = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if "entry" in question:
                answer = evaluated(question)
            elif "bare" in question:
                answer = bare(question["bare"], question["ignored"])
            elif "texts" in question:
                answer = {"scores": scores(question["texts"], question["languages"])}
        except Exception:  # the caller shows it
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


def evaluated(question: dict[str, Any]) -> dict[str, Any]:
    """Return the instances and the requests of the entry's only run spec, in HELM's order."""
    module("config_registry").register_builtin_configs_from_helm_package()
    module("run_spec").discover_run_spec_functions()
    specs: Any = importlib.import_module("helm.common.object_spec")
    text = question["entry"]
    entry = specs.parse_object_spec(f"{text}{',' if ':' in text else ':'}model={helm_entries_child.MODEL}")
    (spec,) = module("run_spec_factory").construct_run_specs(entry)
    patch(question)
    with tempfile.TemporaryDirectory() as folder:
        made = module("scenarios.scenario").create_scenario(spec.scenario_spec).get_instances(folder)
    if any(instance.id is None for instance in made):
        made = module("scenarios.scenario").with_instance_ids(made)
    splits = spec.adapter_spec.eval_splits or module("scenarios.scenario").EVAL_SPLITS
    selected = made
    if spec.adapter_spec.max_eval_instances is not None:
        sampled = module("runner").downsample_eval_instances
        selected = sampled(made, spec.adapter_spec.max_eval_instances, splits)
    augmented = module("data_preprocessor").DataPreprocessor(spec.data_augmenter_spec).preprocess(selected, 1)
    states = helm_entries_child.adapter(spec.adapter_spec, WINDOW).adapt(augmented, 1)
    return {
        "requests": [
            [
                state.instance.id,
                state.instance.perturbation.name if state.instance.perturbation else "original",
                state.request.prompt,
            ]
            for state in states
        ],
        "instances": [
            [
                instance.input.text,
                instance.split,
                [[reference.output.text, reference.is_correct] for reference in instance.references],
            ]
            for instance in made
        ],
    }


def bare(text: str, ignored: list[str]) -> dict[str, Any]:
    """Return the run spec of an entry before HELM expands it."""
    module("run_spec").discover_run_spec_functions()
    specs: Any = importlib.import_module("helm.common.object_spec")
    entry = specs.parse_object_spec(text)
    arguments = {key: value for key, value in entry.args.items() if key not in ignored}
    return dataclasses.asdict(module("run_spec").get_run_spec_function(entry.class_name)(**arguments))


def scores(texts: list[str], languages: list[str]) -> list[list[Any]]:
    """Return the scores of all pairs of texts, as output and reference."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    ours: Any = importlib.import_module("helmframe.metrics.overlap")
    helms = module("metrics.seahelm_metrics")
    translation, rows = helms.SEAHELMMachineTranslationMetric(), []
    for output, gold in product(texts, texts):
        plain = output.strip()
        chrf = translation.chr_f_plus_plus([gold], plain)["chr_f_plus_plus"]
        rows.append(["chr_f_plus_plus", chrf, ours.chr_f_plus_plus(output, gold)])
        for language in languages:
            metric = helms.SEAHELMQAMetric(language)
            for name in ("squad_f1_score", "squad_exact_match_score"):
                helms_score = float(getattr(metric, name)(gold.strip(), plain))
                our_score = getattr(ours, name)(output, gold, language=language)
                rows.append([f"{name}({language})", helms_score, our_score])
    return rows


def patch(question: dict[str, Any]) -> None:
    """Make the module of a HELM scenario read the given files instead of downloading its own."""
    scenario: Any = importlib.import_module(f"helm.benchmark.scenarios.{question['module']}")

    def downloaded(source_url: str, target_path: str, **_: Any) -> None:
        (path,) = [path for part, path in question["files"].items() if part in source_url]
        target = Path(target_path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(path).is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, target)

    def loaded(name: str, configuration: str | None = None, *_: Any, split: str | None = None, **__: Any) -> Any:
        datasets: Any = importlib.import_module("datasets")
        tables = question["hub"][name][configuration or "default"]
        found = datasets.DatasetDict({key: datasets.Dataset.from_parquet(path) for key, path in tables.items()})
        return found[split] if split else found

    scenario.ensure_file_downloaded = downloaded
    scenario.snapshot_download = lambda **_: question["files"]["snapshot"]
    if hasattr(scenario, "datasets"):
        scenario.datasets.load_dataset = loaded
    scenario.load_dataset = loaded


if __name__ == "__main__":
    main()
