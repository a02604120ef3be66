"""HELM's descriptions of perturbations beside our names, both ways."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from helmframe._core.specs import Call, frozen
from helmframe._schema import ORIGINAL
from helmframe.perturbations.registry import PERTURBATIONS

# The key of our parameters that holds HELM's description, where ours lacks some of it.
_VERBATIM = "helm_description"
# How the classes that we write begin.
OURS = "helmframe."
# What every description says, beside a perturbation's own arguments.
_COMMON = ("name", "robustness", "fairness", "computed_on", "seed")
# The arguments that HELM's descriptions hold → ours.
_CLASSES = {"source_class": "source", "target_class": "target"}
_ARGUMENTS: dict[str, dict[str, str]] = {
    "dialect": {"prob": "prob", **_CLASSES},
    "extra_space": {"num_spaces": "num_spaces"},
    "filler_words": {"insert_prob": "insert_prob"},
    "gender": {"mode": "mode", "prob": "prob", **_CLASSES, "bidirectional": "bidirectional"},
    "misspellings": {"prob": "prob"},
    "person_name": {
        each: each for each in ("prob", "source_class", "target_class", "person_name_type", "preserve_gender")
    },
    "space": {"max_spaces": "max_spaces"},
    "synonym": {"prob": "prob"},
    "typos": {"prob": "prob"},
}


# The arguments of `person_name` that HELM describes as text: race=white_american,gender=female.
_PEOPLE = ("source_class", "target_class")


class Named(NamedTuple):
    """A variant as our tables name it; `parameters` as canonical JSON, null for the original."""

    perturbation: str
    seed: int
    parameters: str | None


def named(description: Mapping[str, Any] | None, own: Mapping[str, Named] | None = None) -> Named:
    """Our name of a perturbation that HELM describes: `typos(compat='helm', prob=0.1)`.

    Args:
        description: as HELM has it; None for the original.
        own: `own_names` of the run.
    """
    if not description:
        return Named(ORIGINAL, 0, None)
    text = json.dumps(description, sort_keys=True)
    return (own or {}).get(text) or _named(text)


def own_names(spec: Mapping[str, Any]) -> dict[str, Named]:
    """The descriptions of the variants of a run that we wrote, as canonical JSON → what they were called.

    Args:
        spec: its run_spec.json.
    """
    said = (spec.get("data_augmenter_spec") or {}).get("perturbation_specs") or []
    ours = [each["args"] for each in said if str(each.get("class_name", "")).startswith(OURS)]
    names = [
        Named(str(each["perturbation"]), int(each["perturbation_seed"]), each["perturbation_parameters"])
        for each in ours
    ]
    return {json.dumps(description(*each), sort_keys=True): each for each in names}


def description(perturbation: str, seed: int, parameters: str | None) -> dict[str, Any] | None:
    """HELM's description of one of our variants; None for the original."""
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
    values = {theirs: (ours, first[ours]) for theirs, ours in arguments.items() if first.get(ours) is not None}
    return described | {theirs: _helms_value(ours, value) for theirs, (ours, value) in values.items()}


@lru_cache(maxsize=1024)
def _named(text: str) -> Named:
    helms = {key: value for key, value in json.loads(text).items() if value is not None}
    name, seed = str(helms["name"]), int(helms.get("seed") or 0)
    arguments = {key: value for key, value in helms.items() if key not in _COMMON}
    if name in PERTURBATIONS:
        entry = PERTURBATIONS[name]
        names = _ARGUMENTS.get(name, {})
        ours = {names[key]: _our_value(names[key], value) for key, value in arguments.items() if key in names}
        if entry.has_helm:
            ours["compat"] = "helm"
        call, link = Call(name, frozen(ours)), {"perturbation": name, **entry.defaults, **ours}
    else:
        kind = next((each for each in ("fairness", "robustness") if helms.get(each)), "")
        call, link = Call(name, frozen(arguments)), {"perturbation": name, "kind": kind, **arguments}
    if description(str(call), seed, _json(link)) != helms:
        link[_VERBATIM] = helms
    return Named(str(call), seed, _json(link))


def _our_value(argument: str, value: Any) -> Any:
    """Return our value of an argument for HELM's: "race=white_american" is "white_american"."""
    if argument == "person_name_type":
        return str(value).removesuffix("_name")
    if argument not in _PEOPLE:
        return value
    if isinstance(value, str):
        parts = [each.partition("=") for each in value.split(",")]
        if not all(equals for _, equals, _ in parts):
            return value
        value = {category: each for category, _, each in parts}
    return value["race"] if list(value) == ["race"] else value


def _helms_value(argument: str, value: Any) -> Any:
    """Return HELM's value of an argument for ours."""
    if argument == "person_name_type":
        return str(value).removesuffix("_name") + "_name"
    if argument not in _PEOPLE:
        return value
    properties = value if isinstance(value, Mapping) else {"race": value}
    return ",".join(f"{category}={each}" for category, each in properties.items())


def _kind(name: str) -> str:
    return PERTURBATIONS[name].kind if name in PERTURBATIONS else ""


def _json(link: Mapping[str, Any]) -> str:
    return json.dumps([link], sort_keys=True, ensure_ascii=False)
