"""One of HELM's run entries as a sentence: `hf.entry`."""

from typing import Any

from helmframe._suite import Suite
from helmframe.interop.helm.entries import Said, parse_entry
from helmframe.interop.helm.plans import drafts_of
from helmframe.interop.helm.scenario_lookup import known_scenarios
from helmframe.plan import Plan


def entry(text: str, model: Any = None, **also: Said) -> Plan | Suite:
    """A run entry as a plan; one that sweeps (`max_train_instances=all`) as a suite of them.

    `hf.entry("mmlu:subject=philosophy,model=text,data_augmentation=canonical").generate(model).score()`

    A group of HELM's models (`model=text`) is nobody in particular: say who answers, here or by `.generate(model)`.
    A model that the entry names by HELM's name is asked as HELM asks it: some want other stops, or turns of their own.
    Where the entry says no split, HELM's evaluation splits are run: valid and test.

    Args:
        text: the entry.
        model: who answers, where the entry names a group of models or none: anything that answers, or several.
        **also: run expanders (`max_eval_instances=10`) that the entry does not say itself.

    Raises:
        UnknownNameError: no scenario for the entry, or no such argument; with near matches.
        ArgumentError: no entry, or a value that can't be.
    """
    drafts = drafts_of(parse_entry(text), known_scenarios(), also=also)
    plans = [draft.plan() for draft in drafts]
    if model is not None:
        plans = [plan if plan.models else plan.generate(model) for plan in plans]
    return plans[0] if len(plans) == 1 else Suite(tuple(plans))
