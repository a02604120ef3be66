"""HELM's descriptions of perturbations beside our names, both ways."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from helmframe.columns import ORIGINAL
from helmframe.perturbations import PERTURBATIONS
from helmframe.specs import Call, frozen

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
    "person_name": {"prob": "prob", "source_class": "source_class", "target_class": "target_class"},
    "space": {"max_spaces": "max_spaces"},
    "synonym": {"prob": "prob"},
    "typos": {"prob": "prob"},
}


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
    links = [dict(link) for link in json.loads(parameters)] if parameters else [{"perturbation": perturbation}]
    first = links[0]
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
    return described | {theirs: first[ours] for theirs, ours in arguments.items() if first.get(ours) is not None}


@lru_cache(maxsize=1024)
def _named(text: str) -> Named:
    said = json.loads(text)
    name, seed = str(said["name"]), int(said.get("seed") or 0)
    arguments = {key: _plain(value) for key, value in said.items() if key not in _COMMON}
    if name not in PERTURBATIONS:
        kind = next((each for each in ("fairness", "robustness") if said.get(each)), "")
        return Named(str(Call(name, frozen(arguments))), seed, _json({"perturbation": name, "kind": kind, **arguments}))
    entry = PERTURBATIONS[name]
    names = _ARGUMENTS.get(name, {})
    ours = {names[key]: value for key, value in arguments.items() if key in names}
    if entry.helms:
        ours["compat"] = "helm"
    return Named(str(Call(name, frozen(ours))), seed, _json({"perturbation": name, **entry.defaults, **ours}))


def _kind(name: str) -> str:
    return PERTURBATIONS[name].kind if name in PERTURBATIONS else ""


def _plain(value: Any) -> Any:
    """HELM's classes of people are mappings: {race: white_american}."""
    return "_".join(map(str, value.values())) if isinstance(value, Mapping) else value


def _json(link: Mapping[str, Any]) -> str:
    return json.dumps([link], sort_keys=True, ensure_ascii=False)
