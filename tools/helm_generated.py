"""Print the hashes of the instances that HELM generates, as tests/scenarios/test_generated.py holds them.

Run it with the Python of an environment that has crfm-helm (0.5.16 was used): python tools/helm_generated.py
"""

import json
from hashlib import sha256
from importlib import import_module
from typing import Any

SCENARIOS = {
    "dyck_language": ("dyck_language_scenario", "DyckLanguageScenario", "num_parenthesis_pairs", (2, 3, 4)),
    "synthetic_reasoning": (
        "synthetic_reasoning_scenario",
        "SyntheticReasoningScenario",
        "mode",
        ("pattern_match", "variable_substitution", "induction"),
    ),
    "synthetic_reasoning_natural": (
        "synthetic_reasoning_natural_scenario",
        "SRNScenario",
        "difficulty",
        ("easy", "hard"),
    ),
}


def digest(instances: list[Any]) -> str:
    """sha256 of [[split, input, reference], …] as JSON, in HELM's order."""
    rows = [[each.split, each.input.text, each.references[0].output.text] for each in instances]
    return sha256(json.dumps(rows).encode()).hexdigest()


def main() -> None:
    """One line per part."""
    for name, (module, kind, argument, values) in SCENARIOS.items():
        scenario = getattr(import_module(f"helm.benchmark.scenarios.{module}"), kind)
        for value in values:
            print(name, value, digest(scenario(**{argument: value}).get_instances("")))


if __name__ == "__main__":
    main()
