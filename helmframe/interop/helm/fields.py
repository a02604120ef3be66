"""Conversion between HELM's AdapterSpec and ours, field by field."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from helmframe._core.specs import AdapterSpec, Pairs, frozen, merged, thawed
from helmframe.adapters.format_instructions import expand_format_instructions

# HELM's field → ours. Values are equal except where `to_helm` and `from_helm` convert them.
ADAPTER = {
    "method": "method",
    "global_prefix": "global_prefix",
    "global_suffix": "global_suffix",
    "instructions": "instructions",
    "input_prefix": "input_prefix",
    "input_suffix": "input_suffix",
    "reference_prefix": "reference_prefix",
    "reference_prefix_characters": "reference_prefix_characters",
    "reference_suffix": "reference_suffix",
    "chain_of_thought_prefix": "chain_of_thought_prefix",
    "chain_of_thought_suffix": "chain_of_thought_suffix",
    "output_prefix": "output_prefix",
    "output_suffix": "output_suffix",
    "instance_prefix": "instance_prefix",
    "substitutions": "substitutions",
    "max_train_instances": "shots",
    "num_train_trials": "trials",
    "num_trials": "repeats",
    "sample_train": "sample_train",
    "multi_label": "multi_label",
    "output_mapping_pattern": "answer_pattern",
}
# HELM's field → our decoding parameter, and HELM's default.
DECODING: dict[str, tuple[str, Any]] = {
    "temperature": ("temperature", 1.0),
    "max_tokens": ("max_tokens", 100),
    "stop_sequences": ("stop", []),
}
# Fields without effect on prompts or scores, by method: HELM's adapters overwrite or ignore them.
IDLE: dict[str, frozenset[str]] = {
    "generation": frozenset({"reference_prefix", "reference_prefix_characters", "reference_suffix"}),
    "chat": frozenset(ADAPTER) - {"method", "num_train_trials", "num_trials"},
    "language_modeling": frozenset(ADAPTER) - {"method", "num_trials"} | {"temperature"} | {"num_outputs"},
    "multiple_choice_joint": frozenset({"num_outputs", "stop_sequences"}),
    "multiple_choice_joint_chain_of_thought": frozenset({"num_outputs", "stop_sequences"}),
    "multiple_choice_separate_original": frozenset(
        {"num_outputs", "stop_sequences", "temperature", "max_tokens", "reference_prefix", "reference_suffix"}
    ),
    "ranking_binary": frozenset({"reference_prefix_characters"}),
}
IDLE["multiple_choice_separate_calibrated"] = IDLE["multiple_choice_separate_original"]
# Methods that score given text and generate nothing.
SCORED = ("language_modeling", "multiple_choice_separate_original", "multiple_choice_separate_calibrated")


def to_helm(
    adapter: AdapterSpec, decoding: Pairs, outputs: int, columns: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return HELM's AdapterSpec as JSON, without the model and without fields that are None.

    Args:
        adapter: Our adapter, filled up with defaults.
        decoding: The decoding parameters.
        outputs: The number of completions per request.
        columns: The values of `{subject}` and other fields in the texts: subset columns, with spaces for underscores.
    """
    expanded = expand_format_instructions(adapter)
    fields = {helm_name: getattr(expanded, name) for helm_name, name in ADAPTER.items()}
    if expanded.instructions and not expanded.instructions.endswith(expanded.instructions_suffix):
        fields["instructions"] += expanded.instructions_suffix
    for name, value in fields.items():
        if isinstance(value, str) and columns:
            fields[name] = filled(value, columns)
    fields["substitutions"] = [{"source": source, "target": target} for source, target in expanded.substitutions]
    fields["reference_prefix_characters"] = list(expanded.reference_prefix_characters) or None
    decoded = dict(decoding)
    for helm_name, (name, default) in DECODING.items():
        value = thawed(decoded.get(name))
        fields[helm_name] = default if value is None else value
    if expanded.method in SCORED:
        fields["max_tokens"] = 0
    if isinstance(fields["stop_sequences"], str):
        fields["stop_sequences"] = [fields["stop_sequences"]]
    # for joint options HELM requests one completion and the log-probabilities of this number of top tokens
    fields["num_outputs"] = 5 if expanded.method.startswith("multiple_choice_joint") else outputs
    return {name: value for name, value in fields.items() if value is not None}


def from_helm(spec: Mapping[str, Any]) -> tuple[AdapterSpec, Pairs, int]:
    """Return our adapter, decoding parameters and number of outputs for HELM's AdapterSpec."""
    fields: dict[str, Any] = {
        name: spec[helm_name] for helm_name, name in ADAPTER.items() if spec.get(helm_name) is not None
    }
    instructions = str(fields.get("instructions", ""))
    fields["instructions"] = instructions.removesuffix("\n")
    ending = instructions[len(instructions.rstrip("\n")) :]
    if instructions and ending != "\n":
        fields |= {"instructions": instructions.removesuffix(ending), "instructions_suffix": ending}
    fields["substitutions"] = tuple(
        (substitution["source"], substitution["target"]) for substitution in spec.get("substitutions") or ()
    )
    fields["reference_prefix_characters"] = tuple(spec.get("reference_prefix_characters") or ())
    pattern = fields.get("answer_pattern")
    if pattern and not re.compile(pattern).groups:
        fields["answer_pattern"] = f"({pattern})"
    decoding = {name: spec[helm_name] for helm_name, (name, _) in DECODING.items() if spec.get(helm_name) is not None}
    outputs = int(spec.get("num_outputs") or 1)
    single = str(spec.get("method", "")).startswith("multiple_choice") or spec.get("method") in SCORED
    return AdapterSpec(**fields), frozen(decoding), 1 if single else outputs


def align_adapter(
    adapter: AdapterSpec, decoding: Pairs, ours: AdapterSpec, default_decoding: Pairs, columns: Mapping[str, Any]
) -> tuple[AdapterSpec, Pairs]:
    """Return an equal adapter with the texts of one of our scenarios, so that adapter ids are equal.

    The scenario's texts have `{subject}` where the adapter's have "philosophy".

    Args:
        adapter: An adapter that `from_helm` returned.
        decoding: The decoding parameters of the adapter.
        ours: The scenario's adapter.
        default_decoding: The scenario's decoding parameters.
        columns: As in `to_helm`.
    """
    if adapter.method != ours.method:
        return adapter, decoding
    idle = {ADAPTER.get(field) or DECODING.get(field, ("", None))[0] for field in IDLE.get(adapter.method, ())}
    same = {
        name: getattr(ours, name)
        for name in (*ADAPTER.values(), "instructions_suffix")
        if name in idle or _equal(getattr(ours, name), getattr(adapter, name), columns)
    }
    # the end of the instructions may be in either field
    our_instructions, helm_instructions = (
        filled(spec.instructions, columns) + spec.instructions_suffix for spec in (ours, adapter)
    )
    if our_instructions == helm_instructions or (not our_instructions.strip() and not helm_instructions.strip()):
        same |= {"instructions": ours.instructions, "instructions_suffix": ours.instructions_suffix}
    idle_decoding = tuple((key, value) for key, value in default_decoding if key in idle)
    decoded = merged(tuple((key, value) for key, value in decoding if key not in idle), idle_decoding)
    return replace(adapter, **same), decoded


def _equal(value: Any, helm_value: Any, columns: Mapping[str, Any]) -> bool:
    return bool((filled(value, columns) if isinstance(value, str) else value) == helm_value)


def filled(text: str, columns: Mapping[str, Any]) -> str:
    """Return the text with the names of columns in braces replaced by their values; other braces stay."""
    return re.sub(r"\{(\w+)\}", lambda match: str(columns.get(match[1], match[0])), text)
