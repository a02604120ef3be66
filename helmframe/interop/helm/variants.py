"""Conversion between HELM's descriptions of perturbations and our names."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from helmframe._core.specs import Call, frozen
from helmframe._schema import ORIGINAL
from helmframe.perturbations.registry import PERTURBATIONS

# The key of our parameters with HELM's description, if ours lacks some of it.
_VERBATIM = "helm_description"
# The prefix of class names that helmframe writes.
OURS = "helmframe."
# The keys of every description, besides a perturbation's arguments.
_COMMON = ("name", "robustness", "fairness", "computed_on", "seed")
# The arguments in HELM's descriptions → ours.
_CLASSES = {"source_class": "source", "target_class": "target"}
_ARGUMENTS: dict[str, dict[str, str]] = {
    "dialect": {"prob": "prob", **_CLASSES},
    "extra_space": {"num_spaces": "num_spaces"},
    "filler_words": {"insert_prob": "insert_prob"},
    "gender": {"mode": "mode", "prob": "prob", **_CLASSES, "bidirectional": "bidirectional"},
    "misspellings": {"prob": "prob"},
    "person_name": {
        name: name for name in ("prob", "source_class", "target_class", "person_name_type", "preserve_gender")
    },
    "space": {"max_spaces": "max_spaces"},
    "synonym": {"prob": "prob"},
    "typos": {"prob": "prob"},
}


# The arguments of `person_name` that HELM describes as text: race=white_american,gender=female.
_PEOPLE = ("source_class", "target_class")


class Variant(NamedTuple):
    """A variant as our tables name it; `parameters` are canonical JSON, null for the original."""

    perturbation: str
    seed: int
    parameters: str | None


def parse_variant(description: Mapping[str, Any] | None, written: Mapping[str, Variant] | None = None) -> Variant:
    """Return our name of a perturbation that HELM describes: `typos(compat='helm', prob=0.1)`.

    Args:
        description: HELM's description; None for the original.
        written: The `written_variants` of the run.
    """
    if not description:
        return Variant(ORIGINAL, 0, None)
    text = json.dumps(description, sort_keys=True)
    return (written or {}).get(text) or _parse_description(text)


def written_variants(spec: Mapping[str, Any]) -> dict[str, Variant]:
    """Return the variants of a run that helmframe wrote, by their descriptions as canonical JSON.

    Args:
        spec: The content of its run_spec.json.
    """
    specs = (spec.get("data_augmenter_spec") or {}).get("perturbation_specs") or []
    arguments = [spec["args"] for spec in specs if str(spec.get("class_name", "")).startswith(OURS)]
    variants = [
        Variant(str(fields["perturbation"]), int(fields["perturbation_seed"]), fields["perturbation_parameters"])
        for fields in arguments
    ]
    return {json.dumps(describe_variant(*variant), sort_keys=True): variant for variant in variants}


def describe_variant(perturbation: str, seed: int, parameters: str | None) -> dict[str, Any] | None:
    """Return HELM's description of one of our variants; None for the original."""
    if perturbation == ORIGINAL:
        return None
    links: list[dict[str, Any]] = json.loads(parameters) if parameters else [{"perturbation": perturbation}]
    first = links[0]
    if _VERBATIM in first:
        return dict(first[_VERBATIM])
    name = str(first.pop("perturbation"))
    kinds = {str(link.get("kind") or _kind(str(link.get("perturbation", name)))) for link in (*links, {})}
    kind = next((family for family in ("fairness", "robustness") if family in kinds), "")
    described: dict[str, Any] = {"name": name if len(links) == 1 else perturbation}
    described |= {"robustness": kind == "robustness", "fairness": kind == "fairness", "computed_on": "perturbed"}
    if seed:
        described["seed"] = seed
    if name not in PERTURBATIONS:
        return described | {key: value for key, value in first.items() if key != "kind"}
    arguments = _ARGUMENTS.get(name, {})
    values = {
        helm_name: (argument, first[argument])
        for helm_name, argument in arguments.items()
        if first.get(argument) is not None
    }
    return described | {helm_name: _helms_value(argument, value) for helm_name, (argument, value) in values.items()}


@lru_cache(maxsize=1024)
def _parse_description(text: str) -> Variant:
    fields = {key: value for key, value in json.loads(text).items() if value is not None}
    name, seed = str(fields["name"]), int(fields.get("seed") or 0)
    arguments = {key: value for key, value in fields.items() if key not in _COMMON}
    if name in PERTURBATIONS:
        entry = PERTURBATIONS[name]
        names = _ARGUMENTS.get(name, {})
        ours = {names[key]: _our_value(names[key], value) for key, value in arguments.items() if key in names}
        if entry.has_helm:
            ours["compat"] = "helm"
        call, link = Call(name, frozen(ours)), {"perturbation": name, **entry.defaults, **ours}
    else:
        kind = next((family for family in ("fairness", "robustness") if fields.get(family)), "")
        call, link = Call(name, frozen(arguments)), {"perturbation": name, "kind": kind, **arguments}
    if describe_variant(str(call), seed, _json(link)) != fields:
        link[_VERBATIM] = fields
    return Variant(str(call), seed, _json(link))


def _our_value(argument: str, value: Any) -> Any:
    """Return our value of an argument for HELM's: "race=white_american" is "white_american"."""
    if argument == "person_name_type":
        return str(value).removesuffix("_name")
    if argument not in _PEOPLE:
        return value
    if isinstance(value, str):
        parts = [part.partition("=") for part in value.split(",")]
        if not all(equals for _, equals, _ in parts):
            return value
        value = {category: part for category, _, part in parts}
    return value["race"] if list(value) == ["race"] else value


def _helms_value(argument: str, value: Any) -> Any:
    """Return HELM's value of an argument for ours."""
    if argument == "person_name_type":
        return str(value).removesuffix("_name") + "_name"
    if argument not in _PEOPLE:
        return value
    properties = value if isinstance(value, Mapping) else {"race": value}
    return ",".join(f"{category}={text}" for category, text in properties.items())


def _kind(name: str) -> str:
    return PERTURBATIONS[name].kind if name in PERTURBATIONS else ""


def _json(link: Mapping[str, Any]) -> str:
    return json.dumps([link], sort_keys=True, ensure_ascii=False)
