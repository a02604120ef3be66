"""Find the scenario of a run entry, by HELM's names and arguments in the `helm` blocks of the specs.

`helm: {entry: commonsense, arguments: {dataset: openbookqa}, parameters: [subject], ignored: [device]}`

    entry       HELM's name; several specs may have the same
    arguments   arguments that select this spec among those of the same entry; a list: any of these
    parameters  arguments that are columns, under the same name or as {HELM's: ours}
    prefix      {parameter: text}: a prefix of the column's values that HELM's values don't have
    second      {parameter: another argument}: if specified, the column's value is both, joined by "__"
    values      {HELM's value: ours}
    all         parameters whose value "all" means every row
    ignored     arguments without effect here
    fixed       {argument: the only value that its rows support}
    switches    {argument: its default}: true or false; they select one of `settings`
    settings    [{when: {argument: value}, adapter, decoding, metrics}]: what HELM sets for these values of the switches
    passage_question  true: HELM builds inputs from a passage and a question, and retains unchanged copies of them
    unread      columns of examples that HELM's instances lack
    methods     {adapter method: fields of the adapter that HELM sets for it}
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from helmframe._core.specs import ScenarioSpec, thawed
from helmframe.errors import ArgumentError, UnknownScenarioError
from helmframe.interop.helm.entries import Entry
from helmframe.scenarios.catalogue import all_scenarios, scenarios_with

# A scenario's name in entries, HELM's or ours → the specs of that name.
ScenarioIndex: TypeAlias = Mapping[str, Sequence[ScenarioSpec]]


def scenario_index(names: Collection[str] | None = None) -> ScenarioIndex:
    """Return the specs by their names in entries: at least those of `names`; all if one is unknown."""
    if names is not None:
        index = _index(scenarios_with(names))
        if all(name in index for name in names):
            return index
    return _index(all_scenarios())


def _index(specs: Sequence[ScenarioSpec]) -> ScenarioIndex:
    by_name: dict[str, list[ScenarioSpec]] = {}
    for spec in specs:
        by_name.setdefault(str(dict(spec.helm).get("entry", spec.scenario)), []).append(spec)
    for spec in specs:
        # our name selects this spec only, unless it is HELM's name for several
        by_name.setdefault(spec.scenario, [replace(spec, helm=_without_arguments(spec))])
    return by_name


def find_scenario(entry: Entry, index: ScenarioIndex) -> tuple[ScenarioSpec, frozenset[str]]:
    """Return the scenario of an entry, and those of its arguments that select it.

    If several specs have the entry's name, the one with the most matching `arguments` is returned.

    Raises:
        UnknownScenarioError: No spec matches.
    """
    if entry.name not in index:
        raise UnknownScenarioError.among(f"scenario for run entry {str(entry)!r}", entry.name, index)
    arguments = {key: str(value).lower() for key, value in entry.arguments}
    matching = [spec for spec in index[entry.name] if _fits(spec, arguments)]
    if not matching:
        others = [_description(spec) for spec in index[entry.name]]
        raise UnknownScenarioError.among("scenario with the arguments of run entry", str(entry), others)
    spec = max(matching, key=lambda candidate: len(_arguments(candidate)))
    return spec, frozenset(_arguments(spec))


def parameters(spec: ScenarioSpec) -> dict[str, str]:
    """Return the arguments that are columns of the scenario: HELM's name → ours."""
    entries: Any = dict(spec.helm).get("parameters", spec.subsets)
    pairs = ((entry, entry) if isinstance(entry, str) else entry for entry in entries)
    return {str(helm_name): str(name) for helm_name, name in pairs}


def columns_of(spec: ScenarioSpec, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that HELM's arguments specify, and their values here; other arguments are ignored."""
    block: dict[str, Any] = dict(spec.helm)
    prefixes, values, second = (dict(block.get(key, ())) for key in ("prefix", "values", "second"))
    columns = {}
    for helm_name, name in parameters(spec).items():
        value = arguments.get(helm_name)
        if value is None or (helm_name in block_names(spec, "all") and value == "all"):
            continue
        value = values.get(str(value), value)
        if arguments.get(second.get(helm_name, "")):
            value = f"{value}__{arguments[second[helm_name]]}"
        columns[name] = f"{prefixes[helm_name]}{value}" if helm_name in prefixes else value
    return columns


def secondary_arguments(spec: ScenarioSpec) -> list[str]:
    """Return the arguments that are part of another argument's column."""
    block: dict[str, Any] = dict(spec.helm)
    return [str(argument) for argument in dict(block.get("second", ())).values()]


def check_fixed(spec: ScenarioSpec, arguments: Mapping[str, Any]) -> frozenset[str]:
    """Return the arguments that support one value only.

    Raises:
        ArgumentError: An argument has another value.
    """
    fixed: dict[str, Any] = dict(dict(spec.helm).get("fixed") or ())  # type: ignore[arg-type]
    for key, value in fixed.items():
        if str(arguments.get(key, value)).lower() != str(value).lower():
            raise ArgumentError(
                f"run entry: {key}={arguments[key]!r} is unsupported: scenario {spec.scenario!r} has {value!r} "
                f"only. Remove {key}."
            )
    return frozenset(fixed)


def switch_values(spec: ScenarioSpec, arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the value of each argument that selects one of the scenario's settings.

    Raises:
        ArgumentError: A value is neither true nor false.
    """
    block: dict[str, Any] = dict(spec.helm)
    values = {str(key): str(arguments.get(key, default)).lower() for key, default in block.get("switches", ())}
    for key, value in values.items():
        if value not in ("true", "false"):
            raise ArgumentError(f"run entry: {key}={arguments[key]!r} must be true or false.")
    return values


def switched(spec: ScenarioSpec, values: Mapping[str, str]) -> dict[str, Any]:
    """Return the adapter fields, decoding and metrics that HELM sets for these values of the switches."""
    block: dict[str, Any] = dict(spec.helm)
    for setting in map(dict, block.get("settings", ())):
        if dict(setting.pop("when")) == values:
            return setting
    return {}


def method_fields(spec: ScenarioSpec, method: str) -> dict[str, Any]:
    """Return the adapter fields that HELM sets when an entry names this method for the scenario."""
    block: dict[str, Any] = dict(spec.helm)
    fields: Any = dict(block.get("methods") or ()).get(method, ())
    return {str(key): thawed(value) for key, value in fields}


def block_names(spec: ScenarioSpec, key: str) -> tuple[str, ...]:
    """Return a list of names in the `helm` block; empty if it is missing."""
    value: Any = dict(spec.helm).get(key, ())
    return tuple(map(str, value)) if isinstance(value, tuple) else ()


def _fits(spec: ScenarioSpec, arguments: Mapping[str, str]) -> bool:
    return all(arguments.get(key) in values for key, values in _arguments(spec).items())


def _arguments(spec: ScenarioSpec) -> dict[str, tuple[str, ...]]:
    """Return the arguments that select this spec among those of one entry → their values, in lower case."""
    pairs: Any = dict(spec.helm).get("arguments", ())
    return {
        str(key): tuple(str(option).lower() for option in (value if isinstance(value, tuple) else (value,)))
        for key, value in pairs
    }


def _description(spec: ScenarioSpec) -> str:
    arguments = ",".join(f"{key}={'|'.join(values)}" for key, values in _arguments(spec).items())
    return f"{dict(spec.helm).get('entry')}:{arguments}"


def _without_arguments(spec: ScenarioSpec) -> Any:
    return tuple((key, value) for key, value in spec.helm if key != "arguments")
