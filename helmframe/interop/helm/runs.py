"""A HELM run as our tables name it: scenario, subset, model, setting, main metric."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from helmframe._core.specs import AdapterSpec, MainScore, ScenarioSpec
from helmframe.adapters.adapt import Setting, adapter_id, settings
from helmframe.errors import ArgumentError, SpecError, UnknownNameError
from helmframe.interop.helm.entries import Entry, parse_entry
from helmframe.interop.helm.fields import SCORED, align_adapter, from_helm
from helmframe.interop.helm.metric_specs import metrics_of
from helmframe.interop.helm.scenario_lookup import ScenarioIndex, columns_of, find_scenario, parameters
from helmframe.interop.helm.variants import Variant, written_variants

# The key of a run: HELM has one directory for each.
RUN = ["scenario", "subset", "model", "setting"]
# Arguments in a run's name that have columns of their own.
_OTHER_COLUMNS = ("model", "model_deployment", "groups", "eval_split", "data_augmentation")


# The organisation of models of ours, whose names have none in HELM.
_MODEL_PREFIX = "helmframe/"


@dataclass(frozen=True)
class Run:
    """One run: HELM's `spec`, and the names of its rows here.

    `augmentation` is the name of its perturbations, `values` the columns of the subset.
    """

    spec: Mapping[str, Any] = field(repr=False)
    scenario: str
    subset: str
    values: Mapping[str, str]
    model: str
    setting: str
    augmentation: str
    main: MainScore
    description: str
    adapter: AdapterSpec = field(repr=False)
    decoding: str = field(repr=False)
    outputs: int
    metrics: tuple[str, ...]
    variants: Mapping[str, Variant] = field(repr=False)

    @property
    def adapter_id(self) -> str:
        """The adapter id that a run of ours with the same adapter has."""
        return adapter_id(self.adapter)

    @property
    def models_language(self) -> bool:
        """True if whole texts are scored, in windows, and nothing is generated."""
        return self.adapter.method == "language_modeling"

    @property
    def instance_prefix(self) -> str:
        """The prefix of HELM's instance ids in our tables."""
        return f"{self.subset}/" if self.subset else ""

    def instance(self, helm_id: str) -> str:
        """Return our id of an instance."""
        return self.instance_prefix + helm_id


def helm_model(name: str) -> str:
    """Return a model's name in HELM's form: an organisation, a slash, a name."""
    return name if name.count("/") == 1 else _MODEL_PREFIX + name.replace("/", "_")


def our_model(name: str) -> str:
    """Return the name before `helm_model`, except for slashes."""
    return name.removeprefix(_MODEL_PREFIX)


def run_of(spec: Mapping[str, Any], metadata: Mapping[str, Any], index: ScenarioIndex) -> Run:
    """Return the run of a run spec.

    Args:
        spec: The content of run_spec.json.
        metadata: The content of scenario.json; may be empty.
        index: Our scenarios.

    Raises:
        SpecError: run_spec.json is invalid.
    """
    try:
        name, helm_adapter = str(spec["name"]), spec["adapter_spec"]
        adapter, decoding, outputs = from_helm(helm_adapter)
        metrics = tuple(metrics_of(spec.get("metric_specs") or (), adapter.method))
        model = our_model(str(helm_adapter.get("model") or helm_adapter["model_deployment"]))
        variants = written_variants(spec)
    except (KeyError, TypeError, AttributeError) as error:
        raise SpecError.at(
            "run_spec.json", "", f"isn't a run spec in HELM's format: {type(error).__name__}: {error}."
        ) from None
    entry = _entry(name)
    arguments = {str(key): value for key, value in ((spec.get("scenario_spec") or {}).get("args") or {}).items()}
    ours, used = _find_scenario(entry, arguments, spec.get("groups") or (), index)
    values = _values(entry, arguments, ours)
    excluded = {*_OTHER_COLUMNS, *used, *(parameters(ours) if ours else arguments)}
    differing = [
        (key, value)
        for key, value in entry.arguments
        if key not in excluded and not (key == "method" and value == adapter.method)
    ]
    if ours is not None:
        default = settings(ours)[0].for_subset("/".join(values.values()))
        columns = {name: value.replace("_", " ") for name, value in values.items()}
        adapter, decoding = align_adapter(adapter, decoding, default.adapter, default.decoding, columns)
    setting = Setting("", adapter, decoding)
    return Run(
        spec=spec,
        scenario=ours.scenario if ours else entry.name,
        subset="/".join(values.values()),
        values=values,
        model=model,
        # an argument of HELM's scenario that ours lacks distinguishes runs as an expander does
        setting=",".join(f"{key}={value}" for key, value in differing if ours or key not in arguments),
        augmentation=str(dict(entry.arguments).get("data_augmentation", "")),
        main=_main(ours, metrics, adapter.method),
        description=ours.description if ours else str(metadata.get("description") or ""),
        adapter=adapter,
        decoding="{}" if adapter.method in SCORED else setting.decoding_json,
        outputs=outputs,
        metrics=metrics,
        variants=variants,
    )


def distinguish_runs(runs: Sequence[Run]) -> list[Run]:
    """Return the runs with settings that distinguish runs of the same scenario, subset and model."""
    counted = Counter(map(_run_key, runs))
    renamed = [
        _with_setting(run, f"data_augmentation={run.augmentation or 'none'}") if counted[_run_key(run)] > 1 else run
        for run in runs
    ]
    counted, seen, distinct = Counter(map(_run_key, renamed)), Counter[tuple[str, ...]](), []
    for run in renamed:
        key = _run_key(run)
        seen[key] += 1
        distinct.append(_with_setting(run, f"run={seen[key]}") if counted[key] > 1 else run)
    return distinct


def _run_key(run: Run) -> tuple[str, ...]:
    return run.scenario, run.subset, run.model, run.setting


def _with_setting(run: Run, part: str) -> Run:
    return replace(run, setting=",".join(filter(None, (run.setting, part))))


def _entry(name: str) -> Entry:
    """Return the entry of a run's name; some names have a comma for the colon (`legal_support,method=…`)."""
    head, comma, rest = name.partition(",")
    text = f"{head}:{rest}" if comma and ":" not in head else name
    try:
        return parse_entry(text)
    except ArgumentError:
        return Entry(name, ())


def _find_scenario(
    entry: Entry, arguments: Mapping[str, Any], groups: Sequence[str], index: ScenarioIndex
) -> tuple[ScenarioSpec | None, frozenset[str]]:
    """Return our scenario, by the run's name, else by its first group."""
    scalars = {key: value for key, value in arguments.items() if isinstance(value, str | int | float)}
    for name in (entry.name, *groups[:1]):
        entry = Entry(str(name), tuple((scalars | dict(entry.arguments)).items()))
        try:
            return find_scenario(entry, index)
        except UnknownNameError:
            continue
    return None, frozenset()


def _values(entry: Entry, arguments: Mapping[str, Any], ours: ScenarioSpec | None) -> dict[str, str]:
    """Return the columns of the subset, in the scenario's order; all arguments of a scenario that isn't ours."""
    merged = {**arguments, **dict(entry.arguments)}
    if ours is None:
        return {key: str(value) for key, value in arguments.items() if isinstance(value, str | int | float)}
    columns = columns_of(ours, merged)
    return {column: str(columns[column]) for column in ours.subsets if column in columns}


def _main(ours: ScenarioSpec | None, metrics: Sequence[str], method: str) -> MainScore:
    if ours is not None:
        return ours.main
    first = "option_accuracy_per_token" if method == "multiple_choice_separate_original" else "exact_match"
    return MainScore(metrics[0] if metrics else first)
