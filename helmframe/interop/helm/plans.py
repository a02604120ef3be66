"""HELM's run entries and .conf files as plans."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from helmframe._core.specs import frozen
from helmframe._plan import Plan
from helmframe.errors import NoInstancesError, SourceMissingError, UnknownNameError, UnknownScenarioError
from helmframe.interop.helm.draft import Draft
from helmframe.interop.helm.entries import Entry, EntryState, Said
from helmframe.interop.helm.expanders import EXPANDERS, SWEEPS, stops
from helmframe.interop.helm.model_overrides import unasked
from helmframe.interop.helm.scenario_lookup import (
    Known,
    check_fixed,
    columns_of,
    known_scenarios,
    meant,
    names,
    parameters,
    seconds,
    switch_values,
    switched,
)

# HELM's names of groups of models: an entry that says one runs with the models that the user names.
GROUPS = (
    *("ablation_full_functionality_text", "ablation_text", "all", "audiolm", "biomedical", "code"),
    *("full_functionality_text", "instruction_following", "interactive_qa", "limited_functionality_text"),
    *("opinions_qa_ai21", "opinions_qa_openai", "summarization_zs", "text", "text_code", "text_to_image", "vlm"),
)


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
        entries: what to run.
        models: who answers, where an entry says a group of HELM's models (`model=text`) or none; of the entries that
            say one model, only those that say one of these are kept.
        groups: only entries of one of these groups: a scenario's name, or what the .conf file says.
        named: False leaves out entries that say one model.
        priority: only entries with a priority up to this.
        max_eval_instances: for the entries that say none.
        num_train_trials: for all entries with in-context examples, as HELM's `-t`.
        skipped: A list that gets the entries without a scenario or without rows here, which raise by default.

    Raises:
        UnknownNameError: no scenario for an entry, or no such argument; with near matches.
        ArgumentError: a value that can't be.
    """
    drafts: dict[Draft, list[tuple[Draft, Entry]]] = {}
    also: dict[str, Said] = {} if max_eval_instances is None else {"max_eval_instances": max_eval_instances}
    known = known_scenarios()
    for entry in entries:
        if (priority is not None and entry.priority > priority) or not (named or _open(entry)):
            continue
        for draft in _drafts_of(entry, known, models, also, groups, skipped):
            if groups and not set(groups_of(entry, draft)) & set(groups):
                continue
            asked = draft
            if num_train_trials is not None and draft.setting.adapter.shots > 0:
                asked = draft.adapt(trials=num_train_trials)
            # the product of several parameters would run more than the entries do, so only one is merged over; one that
            # is not the subset chooses the examples of the whole plan
            merges = len(asked.where) == 1 and asked.where[0][0] in asked.spec.subsets
            apart = replace(asked, where=()) if merges else asked
            drafts.setdefault(apart, []).append((asked, entry))
    return [plan for same in drafts.values() for plan in _plans(same, skipped)]


def _drafts_of(
    entry: Entry,
    known: Known,
    models: Sequence[str],
    also: Mapping[str, Said],
    groups: Sequence[str],
    skipped: list[EntryState] | None,
) -> list[Draft]:
    """Return the drafts of an entry; none where its scenario isn't here and `skipped` takes it."""
    try:
        return drafts_of(entry, known, models=models, also=also)
    except UnknownScenarioError as error:
        if skipped is None:
            raise
        chosen = not groups or {entry.name, *entry.groups} & {*groups}
        if chosen and (_open(entry) or not models or _who(entry) in models):
            skipped.append(EntryState(entry, "scenario not here", str(error)))
        return []


def _plans(same: Sequence[tuple[Draft, Entry]], skipped: list[EntryState] | None) -> list[Plan]:
    """Return the plan over the subsets of these drafts; of no subset where `skipped` takes all of them."""
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
    left = [draft for draft, reason in zip(drafts, reasons, strict=True) if reason is None]
    # what is missing besides, such as the model, raises
    return [_over_subsets(left).plan()] if left else []


def drafts_of(
    entry: Entry, known: Known, *, models: Sequence[str] = (), also: Mapping[str, Said] | None = None
) -> list[Draft]:
    """The drafts that one entry says: one, or several where it sweeps; none where none of `models` is meant."""
    spec, used = meant(entry, known)
    # the method may choose the scenario, and is always an expander too
    arguments = {key: value for key, value in entry.arguments if key not in used or key == "method"}
    columns, switches = parameters(spec), switch_values(spec, arguments)
    ignored = {*names(spec, "ignored"), *seconds(spec), *check_fixed(spec, arguments), *switches}
    where = columns_of(spec, {key: _swept(key, value) for key, value in arguments.items()})
    expanding = {key: value for key, value in arguments.items() if key not in columns and key not in ignored}
    expanding = {key: value for key, value in (also or {}).items() if key not in expanding} | expanding
    for key in expanding:
        if key not in EXPANDERS:
            known_names = [*columns, *switches, *EXPANDERS]
            raise UnknownNameError.among(f"argument of run entry {str(entry)!r}", key, known_names)
    who = _who(entry)
    expanding = {key: value for key, value in expanding.items() if key not in ("model", "model_deployment")}
    if _open(entry):
        answering = tuple(models)
    elif models and who not in models:
        return []
    else:
        answering = (who,)
    drafts = [Draft(spec, where=frozen(where), models=answering, **switched(spec, switches))]
    # HELM builds the adapter by the method before any expander changes it
    for key, value in sorted(expanding.items(), key=lambda pair: pair[0] != "method"):
        drafts = [each for draft in drafts for each in EXPANDERS[key](draft, value)]
    return [_without_stops(_without_idle_trials(each)) for draft in drafts for each in unasked(draft)]


def _without_stops(draft: Draft) -> Draft:
    """Return the draft without stop sequences if HELM's adapter ignores them; one token has no use for them."""
    fields = draft.setting
    several = dict(fields.decoding).get("max_tokens") != 1
    joint = fields.adapter.method.startswith("multiple_choice_joint")
    return draft.decode(stop=[]) if joint and several and stops(draft) else draft


def _without_idle_trials(draft: Draft) -> Draft:
    """Return the draft with one trial if it has no few-shot examples, which are all that differs between trials."""
    adapter = draft.setting.adapter
    return draft.adapt(trials=1) if adapter.shots == 0 and adapter.trials > 1 else draft


def _who(entry: Entry) -> str:
    said = dict(entry.arguments)
    return str(said.get("model_deployment", said.get("model", "")))


def _open(entry: Entry) -> bool:
    """Whether it leaves open who answers: a group of models, or none."""
    return _who(entry) in ("", *GROUPS)


def groups_of(entry: Entry, draft: Draft) -> list[str]:
    """The groups an entry belongs to: its scenario's names, with and without a subset, HELM's others, and its own."""
    own = [entry.name, draft.spec.scenario]
    subsets = [f"{name}_{value}" for name in own for _, value in draft.where]
    return list(dict.fromkeys([*own, *subsets, *names(draft.spec, "groups"), *entry.groups]))


def _over_subsets(same: Sequence[Draft]) -> Draft:
    if len(same) == 1:
        return same[0]
    values = dict.fromkeys(value for draft in same for _, value in draft.where)
    where = [(key, tuple(values) if len(values) > 1 else next(iter(values))) for key, _ in same[0].where]
    return replace(same[0], where=tuple(where))


def _swept(key: str, value: Said) -> Any:
    words = SWEEPS.get(key, {})
    return words.get(str(value), value)
