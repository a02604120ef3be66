"""HELM's AdapterSpec beside ours, field by field, both ways."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from helmframe._core.specs import AdapterSpec, Pairs, frozen, merged, thawed
from helmframe.adapters.format_instructions import expand_format_instructions

# HELM's field → ours. Both mean the same, and differ where `to_helm` and `from_helm` say so.
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
# HELM's field → our decoding parameter, and what HELM says where nothing is said.
DECODING: dict[str, tuple[str, Any]] = {
    "temperature": ("temperature", 1.0),
    "max_tokens": ("max_tokens", 100),
    "stop_sequences": ("stop", []),
}
# Fields without a say in what is asked or scored, by method: HELM's adapters overwrite or never read them.
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
# Methods that decode nothing.
SCORED = ("language_modeling", "multiple_choice_separate_original", "multiple_choice_separate_calibrated")


def to_helm(
    adapter: AdapterSpec, decoding: Pairs, outputs: int, columns: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """HELM's AdapterSpec as JSON has it, without the model and without fields that say nothing.

    Args:
        adapter: ours, filled up.
        decoding: the decoding parameters.
        outputs: completions of each request.
        columns: what stands for `{subject}` in its texts; subset columns with spaces for underscores.
    """
    said = expand_format_instructions(adapter)
    fields = {theirs: getattr(said, ours) for theirs, ours in ADAPTER.items()}
    if said.instructions and not said.instructions.endswith(said.instructions_suffix):
        fields["instructions"] += said.instructions_suffix
    for name, value in fields.items():
        if isinstance(value, str) and columns:
            fields[name] = filled(value, columns)
    fields["substitutions"] = [{"source": source, "target": target} for source, target in said.substitutions]
    fields["reference_prefix_characters"] = list(said.reference_prefix_characters) or None
    decoded = dict(decoding)
    for theirs, (ours, default) in DECODING.items():
        value = thawed(decoded.get(ours))
        fields[theirs] = default if value is None else value
    if said.method in SCORED:
        fields["max_tokens"] = 0
    if isinstance(fields["stop_sequences"], str):
        fields["stop_sequences"] = [fields["stop_sequences"]]
    # of letters HELM asks for one, and for the log-probabilities of as many tokens in its place
    fields["num_outputs"] = 5 if said.method.startswith("multiple_choice_joint") else outputs
    return {name: value for name, value in fields.items() if value is not None}


def from_helm(spec: Mapping[str, Any]) -> tuple[AdapterSpec, Pairs, int]:
    """Our adapter, decoding parameters and number of outputs for HELM's AdapterSpec."""
    said: dict[str, Any] = {ours: spec[theirs] for theirs, ours in ADAPTER.items() if spec.get(theirs) is not None}
    instructions = str(said.get("instructions", ""))
    said["instructions"] = instructions.removesuffix("\n")
    if instructions and not instructions.endswith("\n"):
        said["instructions_suffix"] = ""
    said["substitutions"] = tuple((each["source"], each["target"]) for each in spec.get("substitutions") or ())
    said["reference_prefix_characters"] = tuple(spec.get("reference_prefix_characters") or ())
    pattern = said.get("answer_pattern")
    if pattern and not re.compile(pattern).groups:
        said["answer_pattern"] = f"({pattern})"
    decoding = {ours: spec[theirs] for theirs, (ours, _) in DECODING.items() if spec.get(theirs) is not None}
    outputs = int(spec.get("num_outputs") or 1)
    alone = str(spec.get("method", "")).startswith("multiple_choice") or spec.get("method") in SCORED
    return AdapterSpec(**said), frozen(decoding), 1 if alone else outputs


def as_said(
    adapter: AdapterSpec, decoding: Pairs, ours: AdapterSpec, own: Pairs, columns: Mapping[str, Any]
) -> tuple[AdapterSpec, Pairs]:
    """The same adapter in the words of a scenario of ours: `{subject}` where it says philosophy; so that ids are equal.

    Args:
        adapter: as `from_helm` gives it.
        decoding: its decoding parameters.
        ours: the scenario's own adapter.
        own: the scenario's own decoding parameters.
        columns: as in `to_helm`.
    """
    if adapter.method != ours.method:
        return adapter, decoding
    idle = {ADAPTER.get(each) or DECODING.get(each, ("", None))[0] for each in IDLE.get(adapter.method, ())}
    same = {
        name: getattr(ours, name)
        for name in (*ADAPTER.values(), "instructions_suffix")
        if name in idle or _equal(getattr(ours, name), getattr(adapter, name), columns)
    }
    # of instructions alone the end may be said in either field
    mine, theirs = (filled(each.instructions, columns) + each.instructions_suffix for each in (ours, adapter))
    if mine == theirs or (not mine.strip() and not theirs.strip()):
        same |= {"instructions": ours.instructions, "instructions_suffix": ours.instructions_suffix}
    kept = tuple((key, value) for key, value in own if key in idle)
    decoded = merged(tuple((key, value) for key, value in decoding if key not in idle), kept)
    return replace(adapter, **same), decoded


def _equal(ours: Any, theirs: Any, columns: Mapping[str, Any]) -> bool:
    return bool((filled(ours, columns) if isinstance(ours, str) else ours) == theirs)


def filled(text: str, columns: Mapping[str, Any]) -> str:
    """The text with columns in the place of their names in braces; other braces stay."""
    return re.sub(r"\{(\w+)\}", lambda found: str(columns.get(found[1], found[0])), text)
