"""Which scenario a run entry means: HELM's names and arguments, as the specs' `helm` blocks say them.

`helm: {entry: commonsense, arguments: {dataset: openbookqa}, parameters: [subject], ignored: [device]}`

    entry       HELM's name; several specs may have the same
    arguments   what chooses this spec among those of the same entry; a list: any of these
    parameters  arguments that are columns, under the same name or as {HELM's: ours}
    prefix      {parameter: text}: the column's values start with it, and HELM's do not
    second      {parameter: another argument}: where that is said, the column's value is both, "__" between them
    values      {HELM's value: ours}
    all         parameters whose value "all" leaves nothing out
    ignored     arguments that mean nothing here
    fixed       {argument: the one value that its rows are made for}
    switches    {argument: its default}: true or false; they choose one of `settings`
    settings    [{when: {argument: value}, adapter, decoding, metrics}]: what HELM sets for these values of the switches
    passage_question  true: HELM builds its inputs of a passage and a question, and keeps unchanged copies of them
    unread      columns of examples that HELM's instances lack
    methods     {adapter method: fields of the adapter that HELM sets for it}
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from helmframe._core.specs import ScenarioSpec, thawed
from helmframe.errors import ArgumentError, UnknownScenarioError
from helmframe.interop.helm.entries import Entry
from helmframe.scenarios.catalogue import all_scenarios

# How an entry may call a scenario, by HELM's name or by ours → the specs it may mean.
Known: TypeAlias = Mapping[str, Sequence[ScenarioSpec]]


def known_scenarios() -> Known:
    """All specs by the names that entries have for them."""
    found = all_scenarios()
    by_name: dict[str, list[ScenarioSpec]] = {}
    for spec in found:
        by_name.setdefault(str(dict(spec.helm).get("entry", spec.scenario)), []).append(spec)
    for spec in found:
        # our own name means just this one, unless it is HELM's name for several
        by_name.setdefault(spec.scenario, [replace(spec, helm=_without_arguments(spec))])
    return by_name


def meant(entry: Entry, known: Known) -> tuple[ScenarioSpec, frozenset[str]]:
    """The scenario an entry means, and those of its arguments that say which one it is.

    Several specs may have an entry's name: then the one most of whose `arguments` the entry says.

    Raises:
        UnknownScenarioError: none has it.
    """
    if entry.name not in known:
        raise UnknownScenarioError.among(f"scenario for run entry {str(entry)!r}", entry.name, known)
    said = {key: str(value).lower() for key, value in entry.arguments}
    fitting = [spec for spec in known[entry.name] if _fits(spec, said)]
    if not fitting:
        others = [_shown(spec) for spec in known[entry.name]]
        raise UnknownScenarioError.among("scenario with the arguments of run entry", str(entry), others)
    spec = max(fitting, key=lambda each: len(_arguments(each)))
    return spec, frozenset(_arguments(spec))


def parameters(spec: ScenarioSpec) -> dict[str, str]:
    """The arguments that are columns of the scenario, by HELM's name → ours."""
    said: Any = dict(spec.helm).get("parameters", spec.subsets)
    pairs = ((each, each) if isinstance(each, str) else each for each in said)
    return {str(theirs): str(ours) for theirs, ours in pairs}


def columns_of(spec: ScenarioSpec, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that arguments of HELM's say, and their values here; the others are left out."""
    block: dict[str, Any] = dict(spec.helm)
    prefixes, values, second = (dict(block.get(key, ())) for key in ("prefix", "values", "second"))
    said = {}
    for theirs, ours in parameters(spec).items():
        value = arguments.get(theirs)
        if value is None or (theirs in names(spec, "all") and value == "all"):
            continue
        value = values.get(str(value), value)
        if arguments.get(second.get(theirs, "")):
            value = f"{value}__{arguments[second[theirs]]}"
        said[ours] = f"{prefixes[theirs]}{value}" if theirs in prefixes else value
    return said


def seconds(spec: ScenarioSpec) -> list[str]:
    """The arguments that are a part of another's column."""
    block: dict[str, Any] = dict(spec.helm)
    return [str(each) for each in dict(block.get("second", ())).values()]


def check_fixed(spec: ScenarioSpec, arguments: Mapping[str, Any]) -> frozenset[str]:
    """The arguments that have one value only, said or not.

    Raises:
        ArgumentError: one is said with another.
    """
    fixed: dict[str, Any] = dict(dict(spec.helm).get("fixed") or ())  # type: ignore[arg-type]
    for key, value in fixed.items():
        if str(arguments.get(key, value)).lower() != str(value).lower():
            raise ArgumentError(
                f"run entry: {key}={arguments[key]!r}: the rows of scenario {spec.scenario!r} are made for {value!r}; "
                "leave it out."
            )
    return frozenset(fixed)


def switch_values(spec: ScenarioSpec, arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the value of each argument that chooses one of the scenario's settings.

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


def names(spec: ScenarioSpec, key: str) -> tuple[str, ...]:
    """A list of names in the `helm` block; empty where it is not there."""
    said: Any = dict(spec.helm).get(key, ())
    return tuple(map(str, said)) if isinstance(said, tuple) else ()


def _fits(spec: ScenarioSpec, said: Mapping[str, str]) -> bool:
    return all(said.get(key) in values for key, values in _arguments(spec).items())


def _arguments(spec: ScenarioSpec) -> dict[str, tuple[str, ...]]:
    """The arguments that choose this spec among those of one entry → the values that do, in lower case."""
    said: Any = dict(spec.helm).get("arguments", ())
    return {
        str(key): tuple(str(each).lower() for each in (value if isinstance(value, tuple) else (value,)))
        for key, value in said
    }


def _shown(spec: ScenarioSpec) -> str:
    said = ",".join(f"{key}={'|'.join(values)}" for key, values in _arguments(spec).items())
    return f"{dict(spec.helm).get('entry')}:{said}"


def _without_arguments(spec: ScenarioSpec) -> Any:
    return tuple((key, value) for key, value in spec.helm if key != "arguments")
