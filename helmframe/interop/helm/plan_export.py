"""One of HELM's run entries as a sentence: `hf.entry`."""

from typing import Any, TypedDict, Unpack, cast

from helmframe._plan import Plan, spec_of
from helmframe._suite import Suite
from helmframe.interop.helm.entries import Said, parse_entry
from helmframe.interop.helm.plans import drafts_of
from helmframe.interop.helm.scenario_lookup import known_scenarios


class Expanders(TypedDict, total=False):
    """The run expanders that `entry` takes as keywords, as a run entry has them."""

    add_to_stop: Said
    chatml: Said
    data_augmentation: Said
    eval_split: Said
    follow_format_instructions: Said
    format_prompt: Said
    global_prefix: Said
    increase_max_tokens: Said
    increase_temperature: Said
    instructions: Said
    max_eval_instances: Said
    max_train_instances: Said
    method: Said
    model_deployment: Said
    newline: Said
    num_output_tokens: Said
    num_outputs: Said
    num_train_trials: Said
    num_trials: Said
    only_contrast: Said
    output_format_instructions: Said
    process_output: Said
    prompt: Said
    stop: Said
    temperature: Said


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
    drafts = drafts_of(parse_entry(text), known_scenarios(), also=cast("dict[str, Said]", expanders))
    plans = [draft.plan() for draft in drafts]
    if model is not None:
        plans = [plan if spec_of(plan).models else plan.generate(model) for plan in plans]
    return plans[0] if len(plans) == 1 else Suite(tuple(plans))
