"""The changes that HELM makes to a plan for some models by itself, by the name of the model.

Source: HELM `run_spec_factory.py`, `run_expander.py`, `model_metadata.yaml` of 0.5.16.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from helmframe.adapters.format_instructions import AFTER, BEFORE, FOLLOW
from helmframe.interop.helm.draft import Draft
from helmframe.interop.helm.expanders import (
    chatml,
    global_prefix,
    increase_max_tokens,
    increase_temperature,
    stop,
    stop_sequences,
)

# HELM's names of models → the names of the changes that it makes for them.
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
