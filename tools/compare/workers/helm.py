"""Cases of HELM: `python -m tools.compare.workers.helm CASE`."""

import importlib
import json
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from helm.clients.simple_client import SimpleClient

from tools.compare.workers.protocol import mark_request, rate, read_lines, report, settings

MODEL = "huggingface/smollm2_base"
# name → module, class and arguments
PERTURBATIONS: dict[str, tuple[str, str, dict[str, object]]] = {
    "mild_mix": ("mild_mix", "MildMixPerturbation", {}),
    "misspellings": ("misspelling", "MisspellingPerturbation", {"prob": 0.1}),
    "typos": ("typos", "TyposPerturbation", {"prob": 0.05}),
    "contraction": ("contraction_expansion", "ContractionPerturbation", {}),
    "space": ("space", "SpacePerturbation", {"max_spaces": 3}),
    "filler_words": ("filler_words", "FillerWordsPerturbation", {"insert_prob": 0.1, "speaker_ph": False}),
    "lowercase": ("lowercase", "LowerCasePerturbation", {}),
    "gender": (
        "gender",
        "GenderPerturbation",
        {"mode": "terms", "prob": 1.0, "source_class": "male", "target_class": "female"},
    ),
}
METRICS = ("exact_match", "quasi_exact_match", "f1_score", "rouge_1", "rouge_l", "bleu_4_unsplit")
# The demo model's tokenizer and its window: those of HELM's own mock model truncate prompts.
CONFIGURATION = {
    "model_deployments.yaml": {
        "model_deployments": [
            {
                "name": "instant/model",
                "model_name": "instant/model",
                "tokenizer_name": "instant/tokenizer",
                "max_sequence_length": 8192,
                "client_spec": {"class_name": "tools.compare.workers.helm.InstantClient"},
            }
        ]
    },
    "tokenizer_configs.yaml": {
        "tokenizer_configs": [
            {
                "name": "instant/tokenizer",
                "tokenizer_spec": {
                    "class_name": "helm.tokenizers.huggingface_tokenizer.HuggingFaceTokenizer",
                    "args": {"pretrained_model_name_or_path": ""},
                },
                "end_of_text_token": "<|im_end|>",
                "prefix_token": "<|im_start|>",
            }
        ]
    },
}


class InstantClient(SimpleClient):
    """A client that returns at once."""

    def invoke_model(self, raw_request: Any) -> dict[str, list[str]]:
        """Return the same letter for each request."""
        mark_request()
        return {"completions": [" A"] * raw_request["num_completions"]}


def mmlu() -> None:
    """Score the demo model on MMLU, 5-shot."""
    _place("mmlu", settings().rows / "mmlu" / "helm")
    entry = f"mmlu:subject=philosophy,method=multiple_choice_joint,model={MODEL}"
    _run(entry, "--enable-local-huggingface-models", str(settings().model))
    report(score=_score("test"))


def hellaswag() -> None:
    """Score the demo model on HellaSwag by likelihood."""
    _place("hellaswag", settings().rows / "hellaswag" / "helm")
    entry = f"commonsense:dataset=hellaswag,method=multiple_choice_separate_original,model={MODEL}"
    _run(entry, "--enable-local-huggingface-models", str(settings().model))
    report(score=_score("valid"))


def overhead() -> None:
    """Run an instant model."""
    _place("mmlu", settings().rows / f"overhead_{settings().n}" / "helm")
    for name, content in CONFIGURATION.items():
        text = json.dumps(content).replace('_or_path": ""', f'_or_path": "{settings().model}"')
        file = Path("prod_env") / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")  # JSON is YAML
    _run("mmlu:subject=philosophy,method=multiple_choice_joint,model=instant/model")
    report(score=_score("test"))


def perturbations() -> None:
    """Perturb texts: texts per second."""
    scenario = importlib.import_module("helm.benchmark.scenarios.scenario")
    instances = [
        scenario.Instance(input=scenario.Input(text=row["text"]), references=[], split="test", id=f"id{number}")
        for number, row in enumerate(read_lines(settings().rows / "texts.jsonl"))
    ]
    for name, (module, class_name, arguments) in PERTURBATIONS.items():
        package = importlib.import_module(f"helm.benchmark.augmentations.{module}_perturbation")
        perturbation = getattr(package, class_name)(**arguments)
        for instance in instances[:50]:
            perturbation.apply(instance)
        start = time.perf_counter()
        for instance in instances:
            perturbation.apply(instance)
        report(**{name: len(instances) / (time.perf_counter() - start)})


def metrics() -> None:
    """Score pairs of texts: pairs per second."""
    warnings.simplefilter("ignore")
    functions = importlib.import_module("helm.benchmark.metrics.evaluate_reference_metrics")
    # BLEU's model of sentences is a download, so both tools score without it
    functions.word_tokenize = partial(functions.word_tokenize, preserve_line=True)  # type: ignore[attr-defined]
    pairs = [(row["gold"], row["output"]) for row in read_lines(settings().rows / "pairs.jsonl")]
    for name in METRICS:
        if name.startswith("rouge_"):
            function = functions.get_rouge_function(f"rouge{name.removeprefix('rouge_').upper()}")
        else:
            function = getattr(functions, name.removesuffix("_unsplit"))
        report(**{name: rate(len(pairs), partial(_for_each, function, pairs))})


def _for_each(function: Callable[..., object], rows: Sequence[tuple[Any, ...]]) -> None:
    for row in rows:
        function(*row)


def _place(scenario: str, rows: Path) -> None:
    """Put rows where HELM looks before it downloads them."""
    shutil.copytree(rows, Path("benchmark_output") / "scenarios" / scenario)


def _run(entry: str, *options: str) -> None:
    from helm.benchmark.run import main

    sys.argv = ["helm-run", "--run-entries", entry, "--suite", "v1", "--max-eval-instances", "1000000", *options]
    main()


def _score(split: str) -> float:
    (file,) = Path("benchmark_output/runs/v1").glob("*/stats.json")
    stats = json.loads(file.read_text(encoding="utf-8"))
    names = [(stat["name"]["name"], stat["name"].get("split"), stat) for stat in stats]
    return next(float(stat["mean"]) for name, where, stat in names if name == "exact_match" and where == split)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
