"""HELM's run entries in a process of their own, run by the Python of a venv that has crfm-helm: its prompts.

Reads one JSON line per question and answers with one. {"entry", "module"} and what `helm_scenario_child.patched` takes
build the requests of an entry; `window` is the deployment's [max_sequence_length, max_request_length] in bytes. The
answer is {"requests": [[instance id, perturbation, prompt, scored text, prompt_truncated, examples]], "references":
[[instance id, split, references]]}. `output` has files of the scenario's folder, by name. `run_spec_module` is a module
of a scenario that the run spec reads files with.

{"texts", "window"} splits texts into the windows of language modelling: {"windows": [[[prompt, conditioning tokens]]]}.
"""

import importlib
import json
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

MODEL = "openai/gpt2"
# files beside this one, which is run on its own
byte_tokens: Any = importlib.import_module("byte_tokens")
helm_scenario_child: Any = importlib.import_module("helm_scenario_child")


def main() -> None:
    # HELM prints its own lines on standard output
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        question = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if "entry" in question:
                answer = requests(question)
            elif "texts" in question:
                answer = {"windows": windows(question)}
        except Exception:  # the caller shows it
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


def requests(question: dict[str, Any]) -> dict[str, Any]:
    """Return one row per request of the entry's only run spec, in HELM's order, and one per evaluated instance."""
    runner, factory = module("runner"), module("run_spec_factory")
    module("config_registry").register_builtin_configs_from_helm_package()
    module("run_spec").discover_run_spec_functions()
    specs: Any = importlib.import_module("helm.common.object_spec")
    entry = question["entry"] + ("," if "=" in question["entry"] else "") + f"model={MODEL}"
    if "run_spec_module" in question:
        helm_scenario_child.patched({**question, "module": question["run_spec_module"]})
        module("runner").set_benchmark_output_path(tempfile.mkdtemp())
    (spec,) = factory.construct_run_specs(specs.parse_object_spec(entry))
    helm_scenario_child.patched(question)
    with tempfile.TemporaryDirectory() as folder:
        for name, path in question.get("output", {}).items():
            shutil.copyfile(path, Path(folder) / name)
        instances = module("scenarios.scenario").create_scenario(spec.scenario_spec).get_instances(folder)
    if any(instance.id is None for instance in instances):
        instances = module("scenarios.scenario").with_instance_ids(instances)
    splits = spec.adapter_spec.eval_splits or module("scenarios.scenario").EVAL_SPLITS
    if spec.adapter_spec.max_eval_instances is not None:
        instances = runner.downsample_eval_instances(instances, spec.adapter_spec.max_eval_instances, splits)
    instances = module("data_preprocessor").DataPreprocessor(spec.data_augmenter_spec).preprocess(instances, 1)
    states = adapter(spec.adapter_spec, question["window"]).adapt(instances, 1)
    rows = [
        [
            state.instance.id,
            state.instance.perturbation.name if state.instance.perturbation else "original",
            state.request.prompt,
            scored(state),
            state.prompt_truncated,
            state.num_train_instances,
        ]
        for state in states
    ]
    references = [
        [
            instance.id,
            instance.split,
            [[reference.output.text, "correct" in reference.tags] for reference in instance.references],
        ]
        for instance in instances
        if instance.split in splits
    ]
    return {"requests": rows, "references": references}


def scored(state: Any) -> str | None:
    """Return the end of a truncated prompt that HELM scores as its option, by `BasicReferenceMetric`.

    The last bytes of a character whose first bytes come before them are left out.
    """
    if state.reference_index is None or not state.prompt_truncated:
        return None
    reference = state.instance.references[state.reference_index].output.text
    length = len(byte_tokens.encode(f" {reference}"))
    return str(byte_tokens.decode(byte_tokens.encode(state.request.prompt)[-length:])).lstrip("\ufffd")


def windows(question: dict[str, Any]) -> list[list[list[Any]]]:
    """Return the windows of each text."""
    scenario = module("scenarios.scenario")
    spec = module("adaptation.common_adapter_specs").get_language_modeling_adapter_spec()
    splitting = adapter(spec, question["window"], prefix=byte_tokens.PREFIX)
    rows = []
    for text in question["texts"]:
        instance = scenario.Instance(scenario.Input(text=text), references=[], split="test", id="id0")
        states = splitting.adapt([instance], 1)
        rows.append([[state.request.prompt, state.num_conditioning_tokens] for state in states])
    return rows


def adapter(spec: Any, window: list[int], prefix: str = "") -> Any:
    """Return HELM's adapter with a window service whose tokens are bytes."""
    services, encoding = module("window_services.local_window_service"), module("window_services.window_service")
    tokens: Any = importlib.import_module("helm.common.tokenization_request")

    class ByteWindowService(services.LocalWindowService):  # type: ignore[misc, name-defined]
        def encode(self, text: str, truncation: bool = False, max_length: int | None = None) -> Any:
            ids = byte_tokens.encode(text)
            ids = ids[:max_length] if truncation else ids
            return encoding.EncodeResult(text=text, tokens=[tokens.TokenizationToken(token) for token in ids])

        def decode(self, tokens: list[Any], normalized_text: str | None = None) -> str:
            return str(byte_tokens.decode([token.value for token in tokens]))

    service = ByteWindowService(None, "bytes", window[0], max_request_length=window[1], prefix_token=prefix)
    module("window_services.window_service_factory").WindowServiceFactory.get_window_service = lambda *_: service
    return module("adaptation.adapters.adapter_factory").AdapterFactory.get_adapter(spec, None)


def module(name: str) -> Any:
    return importlib.import_module(f"helm.benchmark.{name}")


if __name__ == "__main__":
    main()
