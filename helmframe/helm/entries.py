"""HELM's run entries (`mmlu:subject=philosophy,model=openai/gpt2`) and .conf files, as plans."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helmframe.errors import ArgumentError, SpecError, UnknownNameError
from helmframe.perturbations import PERTURBATIONS
from helmframe.plan import Plan, scenario
from helmframe.scenarios.find import find_scenario, scenario_names
from helmframe.specs import ScenarioSpec

# What an entry may say beside the scenario's own parameters: HELM's run expanders, as (verb, argument) of the sentence.
EXPANDERS = {
    "model": ("generate", "model"),
    "model_deployment": ("generate", "model"),
    "num_outputs": ("generate", "n"),
    "temperature": ("generate", "temperature"),
    "stop": ("generate", "stop"),
    "max_train_instances": ("adapt", "shots"),
    "num_train_trials": ("adapt", "trials"),
    "method": ("adapt", "method"),
    "max_eval_instances": ("sample", "n"),
    "eval_split": ("where", "split"),
    "data_augmentation": ("perturb", "said"),
}
# HELM's names of data augmentations that are one perturbation; any perturbation's own name is taken too.
AUGMENTATIONS = {
    "lower": "lowercase",
    "extra_space": "extra_space(num_spaces=2)",
    "space": "space(max_spaces=3)",
    "typo_easy": "typos(prob=0.1)",
    "typo_medium": "typos(prob=0.3)",
    "typo_hard": "typos(prob=0.5)",
}
# HELM's names of groups of models: an entry that says one runs with the models that the user names.
GROUPS = (
    *("ablation_full_functionality_text", "ablation_text", "all", "audiolm", "biomedical", "code"),
    *("full_functionality_text", "instruction_following", "interactive_qa", "limited_functionality_text"),
    *("opinions_qa_ai21", "opinions_qa_openai", "summarization_zs", "text", "text_code", "text_to_image", "vlm"),
)
# Commas inside parentheses belong to the value: model=noisy(accuracy=0.6, seed=1).
_COMMA = re.compile(r",(?![^()]*\))")
_EXAMPLE = 'entries: [{description: "mmlu:subject=philosophy,model=org/name", priority: 1}]'


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
        ArgumentError: no name, an argument without a value, or one with two values.

    Source: HELM `run_entry.py`, `object_spec.py`.
    """
    name, _, rest = text.strip().partition(":")
    if not name:
        raise ArgumentError(f"run entry {text!r} has no scenario; write name:key=value,key=value.")
    arguments = []
    for said in _COMMA.split(rest) if rest else ():
        key, equals, value = said.strip().partition("=")
        if not equals or not key:
            raise ArgumentError(f"run entry {text!r}: {said!r} should be key=value.")
        arguments.append((key, _value(value)))
    # HELM's own files say the same twice here and there
    for key, value in arguments:
        if dict(arguments)[key] != value:
            raise ArgumentError(f"run entry {text!r} says two values of {key}.")
    return Entry(name, tuple(arguments), priority, tuple(groups))


def read_conf(path: str | Path) -> list[Entry]:
    """The entries of a HELM .conf file (HOCON).

    Raises:
        SpecError: no such file, not HOCON, or no entries as HELM has them; names the file.
        ArgumentError: an entry's text is none.
    """
    from pyhocon import ConfigFactory
    from pyhocon.exceptions import ConfigException
    from pyparsing import ParseBaseException

    try:
        conf = ConfigFactory.parse_file(str(path))
    except OSError as error:
        raise SpecError.at(path, "", f"can't be read: {error.strerror or error}.") from None
    except (ConfigException, ParseBaseException, UnicodeDecodeError) as error:
        raise SpecError.at(path, "", f"not HOCON: {error}\nWrite: {_EXAMPLE}") from None
    rows = conf.get("entries", None) if isinstance(conf, Mapping) else None
    if not isinstance(rows, list):
        raise SpecError.at(path, "entries", f"is missing, or no list. Write: {_EXAMPLE}")
    return [_entry(path, f"entries[{place}]", row) for place, row in enumerate(rows)]


def plans_of(entries: Sequence[Entry], *, models: Sequence[str] = (), **also: Any) -> list[Plan]:
    """The plans that entries say; those that differ in nothing but the scenario's part become one plan over the parts.

    Where an entry says no split, HELM's evaluation splits are run: valid and test.

    Args:
        entries: what to run.
        models: who answers, where an entry says a group of HELM's models (`model=text`) or none; of the entries that
            say one model, only those that say one of these are kept.
        **also: expanders for every entry that does not say them itself (`max_eval_instances=10`).

    Raises:
        UnknownNameError: no scenario for an entry, or no such argument; with near matches.
        ArgumentError: a value that can't be, or a group of models without `models`.
    """
    specs = _specs()
    merged: dict[tuple[Any, ...], tuple[str, dict[str, list[Any]], dict[str, Any]]] = {}
    for entry in entries:
        if entry.name not in specs:
            raise UnknownNameError.among(f"scenario for run entry {str(entry)!r}", entry.name, specs)
        name, spec = specs[entry.name]
        own = {key: value for key, value in entry.arguments if key in _parameters(spec)}
        said = also | {key: value for key, value in entry.arguments if key not in own}
        for key in said:
            if key not in EXPANDERS:
                known = [*_parameters(spec), *EXPANDERS]
                raise UnknownNameError.among(f"argument of run entry {str(entry)!r}", key, known)
        if not _answers(entry, said, models):
            continue
        # the product of several parameters would ask for more than the entries do, so only one is merged over
        apart = tuple(own.items()) if len(own) > 1 else tuple(own)
        same = (name, apart, tuple(sorted(said.items(), key=str)))
        _, parts, _ = merged.setdefault(same, (name, {key: [] for key in own}, said))
        for key, value in own.items():
            if value not in parts[key]:
                parts[key].append(value)
    return [_plan(*each) for each in merged.values()]


def _entry(path: str | Path, key: str, row: object) -> Entry:
    """One row of `entries`."""
    known = ("description", "priority", "groups")
    if not isinstance(row, Mapping) or not isinstance(row.get("description", None), str):
        raise SpecError.at(path, key, f"should be {{description: …, priority: 1}}. Write: {_EXAMPLE}")
    for each in row:
        if each not in known:
            raise SpecError.unknown_key(path, f"{key}.{each}", known)
    priority, groups = row.get("priority", 1), row.get("groups", [])
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise SpecError.at(path, f"{key}.priority", f"should be a whole number, not {priority!r}.")
    if not isinstance(groups, list):
        raise SpecError.at(path, f"{key}.groups", f"should be a list of names, not {groups!r}.")
    return parse_entry(row["description"], priority, [str(each) for each in groups])


def _specs() -> dict[str, tuple[str, ScenarioSpec]]:
    """How an entry calls a scenario (HELM's name or ours) → our name and the spec."""
    found = {name: find_scenario(name) for name in scenario_names()}
    ours = {name: (name, spec) for name, spec in found.items()}
    return ours | {str(dict(spec.helm).get("entry", name)): (name, spec) for name, spec in found.items()}


def _parameters(spec: ScenarioSpec) -> tuple[str, ...]:
    said = dict(spec.helm).get("parameters", spec.part)
    return tuple(map(str, said)) if isinstance(said, tuple) else ()


def _answers(entry: Entry, said: dict[str, Any], models: Sequence[str]) -> bool:
    """Whether the entry is to be run; fills in who answers where it says a group of models or none."""
    model = said.get("model_deployment", said.get("model"))
    if model is None or model in GROUPS:
        if model is not None and not models:
            raise ArgumentError(
                f"run entry {str(entry)!r}: {model!r} is a group of HELM's models. "
                "Say who answers: model=org/name there, or --models-to-run org/name for all entries."
            )
        if models:
            said["model"] = tuple(models)
        return True
    return not models or str(model) in models


def _plan(name: str, parts: Mapping[str, Sequence[Any]], said: Mapping[str, Any]) -> Plan:
    verbs: dict[str, dict[str, Any]] = {"where": dict(parts)}
    for key, value in said.items():
        verb, argument = EXPANDERS[key]
        verbs.setdefault(verb, {})[argument] = _said(key, value)
    if "sample" in verbs:
        verbs["sample"]["order"] = "helm"
    elif "split" not in verbs["where"]:
        verbs["where"]["split"] = ["valid", "test"]
    if "generate" in verbs and "model" not in verbs["generate"]:
        raise ArgumentError(f"run entry {name!r} says how to answer, but not who: add model=org/name.")
    plan = scenario(name)
    for verb, arguments in verbs.items():
        if arguments:
            plan = getattr(plan, verb)(**arguments)
    return plan


def _said(key: str, value: Any) -> Any:
    """The value as the verb takes it."""
    if key == "data_augmentation":
        name = AUGMENTATIONS.get(str(value), str(value))
        if name.partition("(")[0] not in PERTURBATIONS:
            raise UnknownNameError.among("data_augmentation", value, [*AUGMENTATIONS, *PERTURBATIONS])
        return name
    if key == "stop":
        if value != "none":
            raise ArgumentError(f"run entry: stop={value!r} has no place here yet; there is stop=none.")
        return []
    if key in ("model", "model_deployment"):
        return list(value) if isinstance(value, tuple) else str(value)
    return value


def _value(text: str) -> str | int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    # "nan" and "inf" are words here
    return number if math.isfinite(number) else text
