"""HELM's scenarios and run entries in a process of their own, run by the Python of a venv that has crfm-helm.

Reads one JSON line per question and prints one.

{"module", "class", "arguments"} names a scenario; `patched` lists the keys with the files that it reads. The answer is
{"instances": [{input, split, sub_split, references, id}]}; `digests` replaces the inputs with their sha256.

{"entry", "module"}, also with the keys of `patched`, builds the instances and the requests of an entry. `window` is the
deployment's [max_sequence_length, max_request_length] in bytes. `output` has files of the scenario's folder, by name;
`run_spec_module` is a module of a scenario that the run spec reads files with. The answer is {"requests": [[instance
id, perturbation, prompt, scored text, prompt_truncated, examples]], "references": [[instance id, split, references]] of
the evaluated instances, "instances": [[input, split, references]] of all}.

{"texts", "window"} splits texts into the windows of language modelling: {"windows": [[[prompt, conditioning tokens]]]}.

{"run_spec", "arguments"} returns the run spec that the function of that name makes. {"bare", "ignored"} returns the run
spec that the function of an entry makes without the arguments in `ignored`.

{"texts", "languages"} scores each pair of texts by SEA-HELM's metrics and ours: {"scores": [[name, HELM's, ours]]}.
"""

import dataclasses
import hashlib
import importlib
import json
import os
import random
import shutil
import sys
import tempfile
import traceback
import types
from itertools import product
from pathlib import Path
from typing import Any

MODEL = "openai/gpt2"
WINDOW = [1_000_000, 1_000_000]
# a file beside this one, which is run on its own
byte_tokens: Any = importlib.import_module("byte_tokens")


def main() -> None:
    # HELM prints its own lines on standard output
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        question = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if "class" in question:
                answer = {"instances": instances(question)}
            elif "entry" in question:
                answer = requests(question)
            elif "window" in question:
                answer = {"windows": windows(question)}
            elif "run_spec" in question:
                answer = run_spec(question["run_spec"], question["arguments"])
            elif "bare" in question:
                answer = bare(question["bare"], question["ignored"])
            elif "languages" in question:
                answer = {"scores": scores(question["texts"], question["languages"])}
        except Exception:  # the caller shows it
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


def instances(question: dict[str, Any]) -> list[dict[str, Any]]:
    """What HELM's own scenario makes of the files."""
    scenario = getattr(patched(question), question["class"])(**question["arguments"])
    with tempfile.TemporaryDirectory() as folder:
        made = scenario.get_instances(folder)
    return [
        {
            "input": digest(each.input.text) if question.get("digests") else each.input.messages or each.input.text,
            "split": each.split,
            "sub_split": each.sub_split,
            "references": references(each),
            "id": each.id,
        }
        for each in made
    ]


def patched(question: dict[str, Any]) -> Any:
    """Return the module of a HELM scenario, which reads the given files instead of downloading its own.

    `files` has what it downloads, {part of the URL: path}, with the files of a repository in `snapshot`, and those of
    GPT-2's tokenizer in `tokenizer`; `tables` what it loads from the Hub, {split: Parquet file}, or `hub`, {data set:
    {configuration: {split: Parquet file}}}. `labels` are the columns of these that are class numbers there, and `names`
    those that are numbers in the file too, with the classes' names. `responses` is the folder whose files the scenario
    requests one by one; `missing` has the packages that it imports and doesn't need. With `sheets`, its sheets are CSV
    files; with `sorted`, it lists the files of a folder by name. `seed` is the seed of Python's stream.
    """
    for name in question.get("missing", ()):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].Document = None  # type: ignore[attr-defined]
    scenario: Any = importlib.import_module(f"helm.benchmark.scenarios.{question['module']}")

    def downloaded(source_url: str, target_path: str, **_: Any) -> None:
        (path,) = [path for part, path in question["files"].items() if part in source_url]
        target = Path(target_path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(path).is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, target)

    def loaded(name: str = "", configuration: str | None = None, *_: Any, split: str | None = None, **__: Any) -> Any:
        datasets: Any = importlib.import_module("datasets")
        tables = question["hub"][name][configuration or "default"] if "hub" in question else question["tables"]
        found = datasets.DatasetDict({key: datasets.Dataset.from_parquet(path) for key, path in tables.items()})
        for column in question.get("labels", ()):
            found = found.class_encode_column(column)
        for column, names in question.get("names", {}).items():
            found = found.cast_column(column, datasets.ClassLabel(names=names))
        return found[split] if split else found

    scenario.ensure_file_downloaded = downloaded
    scenario.snapshot_download = lambda **_: question["files"]["snapshot"]
    if question.get("sheets"):  # no package for sheets is installed: the file has the same rows as CSV
        scenario.pd.read_excel = scenario.pd.read_csv
    if question.get("sorted"):  # the order of a folder's files is that of the disk
        listed = os.listdir
        scenario.os.listdir = lambda path: sorted(listed(path))
    if "responses" in question:
        scenario.requests = Responses(Path(question["responses"]))
    if hasattr(scenario, "datasets"):
        scenario.datasets.load_dataset = loaded
    scenario.load_dataset = loaded
    if "seed" in question:  # HELM's stream has no seed
        random.seed(question["seed"])
    if "tokenizer" in question.get("files", {}):
        transformers: Any = importlib.import_module("transformers")
        gpt2: Any = importlib.import_module("transformers.models.gpt2.tokenization_gpt2").GPT2Tokenizer
        transformers.GPT2Tokenizer = types.SimpleNamespace(
            from_pretrained=lambda _: gpt2.from_pretrained(question["files"]["tokenizer"])
        )
    if question["module"] == "entity_matching_scenario":  # the states of its official runs are gone
        states: Any = importlib.import_module(f"helm.benchmark.scenarios.{question['module']}_fixed_random_state")
        states.get_split_to_fixed_random_seed = lambda _: {}
    if hasattr(scenario, "tiktoken"):  # it requests a tokenizer, from the net, and never uses it
        scenario.tiktoken.get_encoding = lambda _: None
    return scenario


class Responses:
    """The part of `requests` that scenarios list and read the files of a GitHub folder with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, url: str, **_: Any) -> Any:
        """Return the response to a request of the list of files, or of a file."""
        name = url.rpartition("/")[2].partition("#")[0]
        listed = "api.github.com" in url
        names = sorted(path.name for path in self.folder.iterdir())
        exists = listed or (self.folder / name).is_file()
        text = (self.folder / name).read_bytes().decode() if exists and not listed else ""
        return types.SimpleNamespace(
            status_code=200 if exists else 404, text=text, json=lambda: [{"name": each} for each in names]
        )


def run_spec(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """HELM's run spec, before what expanders make of it."""
    functions: Any = importlib.import_module("helm.benchmark.run_specs.classic_run_specs")
    return dataclasses.asdict(getattr(functions, function)(**arguments))


def requests(question: dict[str, Any]) -> dict[str, Any]:
    """Return one row per request of the entry's only run spec, in HELM's order, and one per evaluated instance."""
    runner, factory = module("runner"), module("run_spec_factory")
    module("config_registry").register_builtin_configs_from_helm_package()
    module("run_spec").discover_run_spec_functions()
    specs: Any = importlib.import_module("helm.common.object_spec")
    entry = question["entry"].removesuffix(":")
    entry += f"{',' if ':' in entry else ':'}model={MODEL}"
    if "run_spec_module" in question:
        patched({**question, "module": question["run_spec_module"]})
        module("runner").set_benchmark_output_path(tempfile.mkdtemp())
    (spec,) = factory.construct_run_specs(specs.parse_object_spec(entry))
    patched(question)
    with tempfile.TemporaryDirectory() as folder:
        for name, path in question.get("output", {}).items():
            shutil.copyfile(path, Path(folder) / name)
        made = module("scenarios.scenario").create_scenario(spec.scenario_spec).get_instances(folder)
    if any(instance.id is None for instance in made):
        made = module("scenarios.scenario").with_instance_ids(made)
    splits = spec.adapter_spec.eval_splits or module("scenarios.scenario").EVAL_SPLITS
    selected = made
    if spec.adapter_spec.max_eval_instances is not None:
        selected = runner.downsample_eval_instances(made, spec.adapter_spec.max_eval_instances, splits)
    augmented = module("data_preprocessor").DataPreprocessor(spec.data_augmenter_spec).preprocess(selected, 1)
    states = adapter(spec.adapter_spec, question.get("window", WINDOW)).adapt(augmented, 1)
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
    evaluated = [instance for instance in augmented if instance.split in splits]
    return {
        "requests": rows,
        "references": [[instance.id, instance.split, references(instance)] for instance in evaluated],
        "instances": [[instance.input.text, instance.split, references(instance)] for instance in made],
    }


def references(instance: Any) -> list[list[Any]]:
    return [[reference.output.text, reference.is_correct] for reference in instance.references]


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


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    main()
