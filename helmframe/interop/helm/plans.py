"""HELM's run entries and .conf files as plans: `hf.entry`, `plans_of` and `entry_states`."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict, Unpack, cast

from helmframe._core.safe_text import get_logger
from helmframe._core.specs import ScenarioSpec, Value, frozen
from helmframe._plan import Plan, spec_of
from helmframe._suite import Suite
from helmframe.adapters.format_instructions import AFTER, BEFORE, FOLLOW
from helmframe.errors import (
    HelmframeError,
    NoInstancesError,
    SourceError,
    SourceMissingError,
    UnknownNameError,
    UnknownScenarioError,
)
from helmframe.interop.helm.draft import Draft
from helmframe.interop.helm.entries import ArgumentValue, Entry, EntryState, parse_entry
from helmframe.interop.helm.expanders import (
    EXPANDERS,
    SWEEPS,
    chatml,
    global_prefix,
    increase_max_tokens,
    increase_temperature,
    stop,
    stop_sequences,
)
from helmframe.interop.helm.scenario_lookup import (
    ScenarioIndex,
    block_names,
    check_fixed,
    columns_of,
    find_scenario,
    parameters,
    scenario_index,
    secondary_arguments,
    switch_values,
    switched,
)
from helmframe.scenarios.query import open_query

# HELM's names of groups of models: an entry with one of them runs with the models that the user names.
GROUPS = (
    *("ablation_full_functionality_text", "ablation_text", "all", "audiolm", "biomedical", "code"),
    *("full_functionality_text", "instruction_following", "interactive_qa", "limited_functionality_text"),
    *("opinions_qa_ai21", "opinions_qa_openai", "summarization_zs", "text", "text_code", "text_to_image", "vlm"),
)
logger = get_logger("helmframe.interop.helm")
_SHOWN = 5


def plans_of(
    entries: Sequence[Entry],
    *,
    models: Sequence[str] = (),
    groups: Sequence[str] = (),
    named: bool = True,
    priority: int | None = None,
    max_eval_instances: int | None = None,
    num_train_trials: int | None = None,
    skipped: list[EntryState] | None = None,
) -> list[Plan]:
    """Return the plans of run entries; entries that differ only in the subset become one plan over these subsets.

    Args:
        entries: The entries to run.
        models: The models of entries with a group of HELM's models (`model=text`) or none. Entries that name one model
            run only if it is one of these.
        groups: The groups of the entries to run: names of scenarios, or groups of the .conf file; default all.
        named: False skips entries that name one model.
        priority: The highest priority number of the entries to run; default all.
        max_eval_instances: The number of instances for entries without one.
        num_train_trials: The number of trials with other few-shot examples, as in HELM's `-t`.
        skipped: A list for the entries with an unknown scenario or without rows. By default these raise.

    Raises:
        UnknownNameError: The scenario or an argument of an entry is unknown. The message lists near names.
        ArgumentError: A value is invalid.
    """
    drafts: dict[Draft, list[tuple[Draft, Entry]]] = {}
    defaults: dict[str, ArgumentValue] = (
        {} if max_eval_instances is None else {"max_eval_instances": max_eval_instances}
    )
    index = scenario_index({entry.name for entry in entries})
    for entry in entries:
        if (priority is not None and entry.priority > priority) or not (named or _leaves_model_open(entry)):
            continue
        for draft in _drafts_of(entry, index, models, defaults, groups, skipped):
            if groups and not set(groups_of(entry, draft)) & set(groups):
                continue
            adapted = draft
            if num_train_trials is not None and draft.setting.adapter.shots > 0:
                adapted = draft.adapt(trials=num_train_trials)
            # the product of several parameters would run more than the entries do, so entries are merged over one only;
            # a parameter that isn't the subset selects the examples of the whole plan
            merges = len(adapted.where) == 1 and adapted.where[0][0] in adapted.spec.subsets
            key = replace(adapted, where=((adapted.where[0][0], None),)) if merges else adapted
            drafts.setdefault(key, []).append((adapted, entry))
    return [plan for same in drafts.values() for plan in _plans(same, skipped)]


def _drafts_of(
    entry: Entry,
    index: ScenarioIndex,
    models: Sequence[str],
    defaults: Mapping[str, ArgumentValue],
    groups: Sequence[str],
    skipped: list[EntryState] | None,
) -> list[Draft]:
    """Return the drafts of an entry; none if its scenario is unknown and added to `skipped`."""
    try:
        return drafts_of(entry, index, models=models, defaults=defaults)
    except UnknownScenarioError as error:
        if skipped is None:
            raise
        chosen = not groups or {entry.name, *entry.groups} & {*groups}
        if chosen and (_leaves_model_open(entry) or not models or _model_name(entry) in models):
            skipped.append(EntryState(entry, "unknown scenario", str(error)))
        return []


def _plans(same: Sequence[tuple[Draft, Entry]], skipped: list[EntryState] | None) -> list[Plan]:
    """Return the plan over the subsets of these drafts; no plan if all are added to `skipped`."""
    drafts = [draft for draft, _ in same]
    try:
        return [_over_subsets(drafts).plan()]
    except (NoInstancesError, SourceMissingError):
        if skipped is None:
            raise
    reasons = [draft.missing_rows() for draft in drafts]
    skipped += [
        EntryState(entry, "rows missing", reason)
        for (_, entry), reason in zip(same, reasons, strict=True)
        if reason is not None
    ]
    available = [draft for draft, reason in zip(drafts, reasons, strict=True) if reason is None]
    # other problems, such as a missing model, raise
    return [_over_subsets(available).plan()] if available else []


def drafts_of(
    entry: Entry,
    index: ScenarioIndex,
    *,
    models: Sequence[str] = (),
    defaults: Mapping[str, ArgumentValue] | None = None,
) -> list[Draft]:
    """Return the drafts of an entry: one, several if it sweeps, or none if its model isn't among `models`."""
    spec, used = find_scenario(entry, index)
    columns = parameters(spec)
    # an argument that selects the scenario may be a column too; the method is always an expander too
    arguments = {key: value for key, value in entry.arguments if key not in used or key in ("method", *columns)}
    switches = switch_values(spec, arguments)
    ignored = {*block_names(spec, "ignored"), *secondary_arguments(spec), *check_fixed(spec, arguments), *switches}
    where = columns_of(spec, {key: _swept(key, value) for key, value in arguments.items()})
    expanders = {key: value for key, value in arguments.items() if key not in columns and key not in ignored}
    expanders = {key: value for key, value in (defaults or {}).items() if key not in expanders} | expanders
    for key in expanders:
        if key not in EXPANDERS:
            allowed = [*columns, *switches, *EXPANDERS]
            raise UnknownNameError.among(f"argument of run entry {str(entry)!r}", key, allowed)
    model = _model_name(entry)
    expanders = {key: value for key, value in expanders.items() if key not in ("model", "model_deployment")}
    if _leaves_model_open(entry):
        selected = tuple(models)
    elif models and model not in models:
        return []
    else:
        selected = (model,)
    drafts = [Draft(spec, where=frozen(where), models=selected, **switched(spec, switches))]
    # HELM builds the adapter by the method before any expander changes it
    for key, value in sorted(expanders.items(), key=lambda pair: pair[0] != "method"):
        drafts = [expanded for draft in drafts for expanded in EXPANDERS[key](draft, value)]
    return [
        _without_stops(_without_idle_trials(overridden))
        for draft in drafts
        for overridden in apply_model_overrides(draft)
    ]


def _without_stops(draft: Draft) -> Draft:
    """Return the draft without stop sequences if HELM's adapter ignores them; one token has no use for them."""
    fields = draft.setting
    multi_token = dict(fields.decoding).get("max_tokens") != 1
    joint = fields.adapter.method.startswith("multiple_choice_joint")
    return draft.decode(stop=[]) if joint and multi_token and stop_sequences(draft) else draft


def _without_idle_trials(draft: Draft) -> Draft:
    """Return the draft with one trial if it has no few-shot examples: trials differ only in these."""
    adapter = draft.setting.adapter
    return draft.adapt(trials=1) if adapter.shots == 0 and adapter.trials > 1 else draft


def _model_name(entry: Entry) -> str:
    arguments = dict(entry.arguments)
    return str(arguments.get("model_deployment", arguments.get("model", "")))


def _leaves_model_open(entry: Entry) -> bool:
    """Return whether an entry names no single model: a group of models, or none."""
    return _model_name(entry) in ("", *GROUPS)


def groups_of(entry: Entry, draft: Draft) -> list[str]:
    """Return the groups of an entry: its scenario's names, with and without a subset, HELM's groups, and its own."""
    entry_names = [entry.name, draft.spec.scenario]
    subsets = [f"{name}_{value}" for name in entry_names for _, value in draft.where]
    return list(dict.fromkeys([*entry_names, *subsets, *block_names(draft.spec, "groups"), *entry.groups]))


def _over_subsets(same: Sequence[Draft]) -> Draft:
    if len(same) == 1:
        return same[0]
    values: dict[str, dict[Value, None]] = {}
    for name, value in (pair for draft in same for pair in draft.where):
        values.setdefault(name, {})[value] = None
    where = [(name, tuple(column) if len(column) > 1 else next(iter(column))) for name, column in values.items()]
    return replace(same[0], where=tuple(where))


def _swept(key: str, value: ArgumentValue) -> Any:
    named = SWEEPS.get(key, {})
    return named.get(str(value), value)


class Expanders(TypedDict, total=False):
    """The run expanders that `entry` takes as keywords."""

    add_to_stop: ArgumentValue
    chatml: ArgumentValue
    data_augmentation: ArgumentValue
    eval_split: ArgumentValue
    follow_format_instructions: ArgumentValue
    format_prompt: ArgumentValue
    global_prefix: ArgumentValue
    increase_max_tokens: ArgumentValue
    increase_temperature: ArgumentValue
    instructions: ArgumentValue
    max_eval_instances: ArgumentValue
    max_train_instances: ArgumentValue
    method: ArgumentValue
    model_deployment: ArgumentValue
    newline: ArgumentValue
    num_output_tokens: ArgumentValue
    num_outputs: ArgumentValue
    num_train_trials: ArgumentValue
    num_trials: ArgumentValue
    only_contrast: ArgumentValue
    output_format_instructions: ArgumentValue
    process_output: ArgumentValue
    prompt: ArgumentValue
    stop: ArgumentValue
    temperature: ArgumentValue


def entry(text: str, model: Any = None, **expanders: Unpack[Expanders]) -> Plan | Suite:
    """Return the plan of a run entry; for an entry that sweeps (`max_train_instances=all`), a suite of plans.

    If the entry has a group of HELM's models (`model=text`), pass a model, here or by `.generate(model)`. If the entry
    has the name of one of HELM's models, HELM's special cases for that model apply, such as other stop sequences. If
    the entry has no split, HELM's evaluation splits are run: valid and test.

    >>> import helmframe as hf
    >>> plan = entry("sampler:subject=music,model=text,data_augmentation=typos", max_eval_instances=5)
    >>> plan.generate(hf.models.oracle()).score().value("exact_match", perturbation="original")
    1.0

    Args:
        text: The entry.
        model: The model for an entry that has a group of models or none: anything that generates text, or a list.
        **expanders: Run expanders (`max_eval_instances=10`) that the entry does not specify itself.

    Raises:
        UnknownNameError: The scenario or an argument is unknown. The message lists near names.
        ArgumentError: The text isn't an entry, or a value is invalid.
    """
    parsed = parse_entry(text)
    drafts = drafts_of(parsed, scenario_index([parsed.name]), defaults=cast("dict[str, ArgumentValue]", expanders))
    plans = [draft.plan() for draft in drafts]
    if model is not None:
        plans = [plan if spec_of(plan).models else plan.generate(model) for plan in plans]
    return plans[0] if len(plans) == 1 else Suite(tuple(plans))


def entry_states(entries: Iterable[Entry]) -> Iterator[EntryState]:
    """Return the state of each distinct entry, for any model.

    The states are "plan" (it can be run), "unknown scenario", "rows missing" (in the configured data root) and
    "unsupported" (an argument isn't supported). `reason` is the error.
    """
    scenarios_by_name = scenario_index()
    scenarios: dict[ScenarioSpec, str | None] = {}
    rows: dict[Draft, str | None] = {}
    for entry in dict.fromkeys(entries):
        try:
            drafts = dict.fromkeys(draft.without_models() for draft in drafts_of(entry, scenarios_by_name))
            for draft in drafts:
                if draft.spec not in scenarios:
                    scenarios[draft.spec] = _unreadable(draft.spec)
                if draft not in rows:
                    rows[draft] = scenarios[draft.spec] or draft.missing_rows()
        except UnknownScenarioError as error:
            yield EntryState(entry, "unknown scenario", str(error))
            continue
        except HelmframeError as error:
            yield EntryState(entry, "unsupported", str(error))
            continue
        reason = next((rows[draft] for draft in drafts if rows[draft]), None)
        yield EntryState(entry, "rows missing", reason) if reason else EntryState(entry, "plan")


def skipped_text(skipped: Sequence[EntryState]) -> str:
    """Return the number of skipped entries and the reasons, with at most five names for each."""
    unknown = [state.entry.name for state in skipped if state.state == "unknown scenario"]
    lines = [f"  unknown scenario ({len(unknown):,}): {_most_common(unknown)}"] if unknown else []
    without_rows: dict[str, list[str]] = {}
    for state in skipped:
        if state.state == "rows missing":
            without_rows.setdefault(state.reason, []).append(str(state.entry))
    for reason, names in sorted(without_rows.items(), key=lambda pair: -len(pair[1]))[:_SHOWN]:
        lines += [
            f"  rows missing ({len(names):,}): {_most_common(names)}",
            *(f"    {line}" for line in reason.splitlines()),
        ]
    left = sum(map(len, without_rows.values())) - sum(sorted(map(len, without_rows.values()))[-_SHOWN:])
    if left:
        lines.append(f"  rows missing ({left:,}): other entries")
    total = f"Skipped {len(skipped):,} run {'entry' if len(skipped) == 1 else 'entries'}:"
    return "\n".join([total, *lines, "`helmframe list helm-entries --conf-paths FILE` lists all."])


def _most_common(names: Sequence[str]) -> str:
    counts = Counter(names)
    shown = ", ".join(name for name, _ in counts.most_common(_SHOWN))
    return f"{shown}, … ({len(counts):,} in all)" if len(counts) > _SHOWN else shown


def warn_skipped(skipped: Sequence[EntryState]) -> None:
    """Log which entries were skipped."""
    if skipped:
        logger.warning("%s", skipped_text(skipped))


def _unreadable(spec: ScenarioSpec) -> str | None:
    """Return the reason why a scenario's rows are unreadable; None if they are readable."""
    try:
        with open_query(spec):
            return None
    except SourceError as error:
        return str(error)


# HELM's names of models → the names of the changes that it makes to a plan for them.
# Source: HELM `run_spec_factory.py`, `run_expander.py`, `model_metadata.yaml` of 0.5.16.
_BY_MODEL: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("bigscience/t0pp", "google/t5-11b", "google/flan-t5-xxl", "tsinghua/glm"), ("no_newlines",)),
    "google/ul2": ("no_newlines", "nlg_prefix"),
    "together/gpt-neoxt-chat-base-20b": ("chatml",),
    **dict.fromkeys(("eleutherai/gpt-j-6b", "meta/opt-6.7b", "meta/opt-1.3b", "nvidia/megatron-gpt2"), ("warm",)),
    "google/gemini-1.0-pro-vision-001": ("two_tokens",),
    "google/medlm-large": ("no_stop",),
}
_BY_FAMILY = {
    r"anthropic/claude-(v1\.3|instant-v1|instant-1\.2|2\.0|2\.1)": ("claude_2",),
    r"anthropic/claude-3-.*": ("claude_3",),
}


def apply_model_overrides(draft: Draft) -> list[Draft]:
    """Return the draft, and a separate draft for each model that HELM runs differently."""
    overridden = [name for name in draft.models if overrides_of(name)]
    others = tuple(name for name in draft.models if name not in overridden)
    unchanged = [replace(draft, models=others)] if others or not overridden else []
    return [*unchanged, *(_override(replace(draft, models=(name,)), name) for name in overridden)]


def _override(draft: Draft, name: str) -> Draft:
    for override in overrides_of(name):
        draft = _OVERRIDES[override](draft)
    return draft


def _no_newlines(draft: Draft) -> Draft:
    """Separate the examples by "###" for models that read no line ends."""
    generated = draft.setting.adapter.method in ("generation", "multiple_choice_joint")
    return stop(draft, "hash")[0] if generated else draft


def _claude_2(draft: Draft) -> Draft:
    """Write the turns of Claude 2 and its instructions to follow the form of the examples."""
    adapter = draft.setting.adapter
    texts = {
        "global_prefix": f"\n\nHuman: {BEFORE}\n\n",
        "global_suffix": f"\n\n{AFTER}\n\nAssistant: {adapter.output_prefix.strip()}",
    }
    # HELM overwrites format instructions of the same fields
    overwritten = adapter.format_instructions == FOLLOW or adapter.format_instructions.endswith("_suffix")
    return draft.adapt(**texts, **({"format_instructions": ""} if overwritten else {}))


def _claude_3(draft: Draft) -> Draft:
    """Remove stop sequences of white space, which the server refuses."""
    return draft.decode(stop=[sequence for sequence in stop_sequences(draft) if sequence.strip()])


def _nonzero_temperature(draft: Draft) -> Draft:
    """Raise a temperature of 0, at which the server fails."""
    current = dict(draft.setting.decoding).get("temperature")
    return increase_temperature(draft, 1e-4)[0] if current == 0 else draft


def _two_tokens(draft: Draft) -> Draft:
    """Allow a second token for models that generate nothing when one is allowed."""
    one = dict(draft.setting.decoding).get("max_tokens") == 1
    return increase_max_tokens(draft, 1)[0] if one else draft


_OVERRIDES: dict[str, Callable[[Draft], Draft]] = {
    "chatml": lambda draft: chatml(draft, "True")[0],
    "claude_2": _claude_2,
    "claude_3": _claude_3,
    "nlg_prefix": lambda draft: global_prefix(draft, "nlg")[0],
    "no_newlines": _no_newlines,
    "no_stop": lambda draft: stop(draft, "none")[0],
    "two_tokens": _two_tokens,
    "warm": _nonzero_temperature,
}


def overrides_of(name: str) -> tuple[str, ...]:
    """Return the names of the changes that HELM makes for a model, by HELM's name of it.

    >>> overrides_of("google/flan-t5-xxl")
    ('no_newlines',)
    """
    lowered = name.lower()
    family = next((overrides for pattern, overrides in _BY_FAMILY.items() if re.fullmatch(pattern, lowered)), ())
    return _BY_MODEL.get(lowered, family)
