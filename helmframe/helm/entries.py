"""HELM's run entries (`mmlu:subject=philosophy,model=openai/gpt2`) and .conf files, as plans."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helmframe.errors import ArgumentError, SpecError, UnknownNameError
from helmframe.perturbations import PERTURBATIONS
from helmframe.plan import Plan, scenario
from helmframe.scenarios.find import find_scenario, scenario_names
from helmframe.specs import ScenarioSpec

# What an entry may say beside the scenario's own parameters: HELM's run expanders that have a verb here.
EXPANDERS: dict[str, Callable[[Plan, Any], Plan]] = {
    "model": lambda plan, value: plan.generate(str(value)),
    "model_deployment": lambda plan, value: plan.generate(str(value)),
    "max_train_instances": lambda plan, value: plan.adapt(shots=value),
    "num_train_trials": lambda plan, value: plan.adapt(trials=value),
    "max_eval_instances": lambda plan, value: plan.sample(value, order="helm"),
    "eval_split": lambda plan, value: plan.where(split=value),
    "method": lambda plan, value: plan.adapt(method=value),
    "data_augmentation": lambda plan, value: plan.perturb(_perturbation(str(value))),
}


@dataclass(frozen=True)
class Entry:
    """One run entry: the scenario's HELM name, its arguments, and the priority and groups a .conf file gives it."""

    name: str
    arguments: tuple[tuple[str, str | int | float], ...]
    priority: int = 1
    groups: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = ",".join(f"{key}={value}" for key, value in self.arguments)
        return f"{self.name}:{said}" if said else self.name


def parse_entry(text: str, priority: int = 1, groups: Sequence[str] = ()) -> Entry:
    """A run entry: split at the first colon, at commas, at each argument's first equals sign; numbers become numbers.

    >>> parse_entry("mmlu:subject=philosophy,max_train_instances=0").arguments
    (('subject', 'philosophy'), ('max_train_instances', 0))

    Raises:
        ArgumentError: an argument without a value.

    Source: HELM `run_entry.py`, `object_spec.py`.
    """
    name, _, rest = text.strip().partition(":")
    arguments = []
    for said in filter(None, rest.split(",")):
        key, equals, value = said.partition("=")
        if not equals or not key:
            raise ArgumentError(f"run entry {text!r}: {said!r} should be key=value.")
        arguments.append((key.strip(), _value(value)))
    return Entry(name, tuple(arguments), priority, tuple(groups))


def read_conf(path: str | Path) -> list[Entry]:
    """The entries of a HELM .conf file (HOCON).

    Raises:
        SpecError: no such file, not HOCON, or without entries.
    """
    from pyhocon import ConfigFactory
    from pyhocon.exceptions import ConfigException
    from pyparsing.exceptions import ParseBaseException

    try:
        conf = ConfigFactory.parse_file(str(path))
        rows = [(str(row["description"]), int(row.get("priority", 1)), list(row.get("groups", []))) for row in conf["entries"]]
    except OSError as error:
        raise SpecError.at(path, "", f"can't be read: {error.strerror or error}.") from None
    except (ConfigException, ParseBaseException, TypeError, ValueError, KeyError, AttributeError) as error:
        raise SpecError.at(path, "entries", f'should be [{{description: "mmlu:subject=…,model=…", priority: 1}}, …]: {error}') from None
    return [parse_entry(*row) for row in rows]


def plans_of(entries: Sequence[Entry], **also: Any) -> list[Plan]:
    """The plans that entries say; entries that differ in nothing but the scenario's part become one plan over those parts.

    Args:
        entries: what to run.
        **also: expanders for every entry that does not say them itself (`max_eval_instances=10`).

    Raises:
        UnknownNameError: no scenario for an entry, or no such argument; with near matches.
    """
    merged: dict[tuple[Any, ...], tuple[ScenarioSpec, dict[str, list[Any]], dict[str, Any]]] = {}
    for entry in entries:
        spec = _spec(entry)
        own = {key: value for key, value in entry.arguments if key in _parameters(spec)}
        said = {**also, **{key: value for key, value in entry.arguments if key not in own}}
        for key in said:
            if key not in EXPANDERS:
                known = [*_parameters(spec), *EXPANDERS]
                raise UnknownNameError.among(f"argument of run entry {str(entry)!r}", key, known)
        key = (spec.scenario, tuple(sorted(own)), tuple(sorted(said.items(), key=str)))
        _, parts, _ = merged.setdefault(key, (spec, {name: [] for name in own}, said))
        for name, value in own.items():
            if value not in parts[name]:
                parts[name].append(value)
    plans = []
    for spec, parts, said in merged.values():
        plan = scenario(spec.scenario)
        if parts:
            plan = plan.where(**parts)
        for key, value in said.items():
            plan = EXPANDERS[key](plan, value)
        plans.append(plan)
    return plans


def _spec(entry: Entry) -> ScenarioSpec:
    by_entry = {str(dict(spec.helm).get("entry", spec.scenario)): spec for spec in map(find_scenario, scenario_names())}
    if entry.name not in by_entry:
        raise UnknownNameError.among("scenario for a HELM run entry", entry.name, by_entry)
    return by_entry[entry.name]


def _parameters(spec: ScenarioSpec) -> list[str]:
    said = dict(spec.helm).get("parameters", ())
    return [str(each) for each in said] if isinstance(said, tuple) else []


def _perturbation(value: str) -> str:
    names = {"lower": "lowercase"}.get(value, value)
    if names not in PERTURBATIONS:
        raise UnknownNameError.among("perturbation for data_augmentation", value, PERTURBATIONS)
    return names


def _value(text: str) -> str | int | float:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text
