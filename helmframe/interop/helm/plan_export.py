"""One of HELM's run entries as a sentence: `hf.entry`."""

from typing import Any, TypedDict, Unpack, cast

from helmframe._plan import Plan, spec_of
from helmframe._suite import Suite
from helmframe.interop.helm.entries import ArgumentValue, parse_entry
from helmframe.interop.helm.plans import drafts_of
from helmframe.interop.helm.scenario_lookup import scenario_index


class Expanders(TypedDict, total=False):
    """The run expanders that `entry` takes as keywords, as a run entry has them."""

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
    """A run entry as a plan; one that sweeps (`max_train_instances=all`) as a suite of them.

    `hf.entry("mmlu:subject=philosophy,model=text,data_augmentation=canonical").generate(model).score()`

    A group of HELM's models (`model=text`) is nobody in particular: say who answers, here or by `.generate(model)`.
    A model that the entry names by HELM's name is asked as HELM asks it: some want other stops, or turns of their own.
    Where the entry says no split, HELM's evaluation splits are run: valid and test.

    Args:
        text: the entry.
        model: who answers, where the entry names a group of models or none: anything that answers, or several.
        **expanders: Run expanders (`max_eval_instances=10`) that the entry does not specify itself.

    Raises:
        UnknownNameError: no scenario for the entry, or no such argument; with near matches.
        ArgumentError: no entry, or a value that can't be.
    """
    drafts = drafts_of(parse_entry(text), scenario_index(), defaults=cast("dict[str, ArgumentValue]", expanders))
    plans = [draft.plan() for draft in drafts]
    if model is not None:
        plans = [plan if spec_of(plan).models else plan.generate(model) for plan in plans]
    return plans[0] if len(plans) == 1 else Suite(tuple(plans))
