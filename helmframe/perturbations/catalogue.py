"""All perturbations and presets as a frame, and HELM's presets, such as `perturb("canonical")`.

Run entries contain presets as `data_augmentation=`. Source: HELM `run_expander.py`, `PERTURBATION_SPECS_DICT`, without
the presets of the Chinese and image scenarios.
"""

import inspect
from collections.abc import Mapping
from types import MappingProxyType

import polars as pl

from helmframe.perturbations.registry import PERTURBATIONS, Perturbation

_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "name": pl.String,
    "arguments": pl.String,
    "kind": pl.String,
    "fields": pl.String,
    "random": pl.Boolean,
    "helm": pl.Boolean,
    "calls": pl.List(pl.String),
    "meaning": pl.String,
    "source": pl.String,
}
_PRESET_SOURCE = "HELM run_expander.py"


def list_perturbations() -> pl.DataFrame:
    """Return all perturbations and then all presets, one row each.

    Returns:
        name; arguments with their defaults; kind ("robustness", "fairness" or ""); fields, the texts that change by
        default ("input", "references" or "both"); random, whether random numbers are used; helm, whether
        `compat="helm"` exists; calls, the perturbations of a preset, else null; meaning, the first sentence of the
        description; source.

    >>> list_perturbations().filter(name="lowercase").select("arguments", "kind", "fields", "random").row(0)
    ('', 'robustness', 'input', False)
    """
    presets = [
        {"name": name, "calls": list(calls), "helm": True, "source": _PRESET_SOURCE}
        for name, calls in sorted(PRESETS.items())
        if name not in PERTURBATIONS
    ]
    return pl.DataFrame([*(_row(PERTURBATIONS[name]) for name in PERTURBATIONS), *presets], schema=_SCHEMA)


def _row(entry: Perturbation) -> dict[str, object]:
    return {
        "name": entry.name,
        "arguments": entry.signature,
        "kind": entry.kind,
        "fields": entry.fields,
        "random": entry.draws,
        "helm": entry.has_helm,
        "calls": None,
        "meaning": (inspect.getdoc(entry.function) or "").partition("\n")[0],
        "source": entry.source,
    }


def _dialect(prob: float) -> str:
    return f"dialect(prob={prob}, source='SAE', target='AAVE')"


def _gender(mode: str, prob: float) -> str:
    return f"gender(mode='{mode}', prob={prob}, source='male', target='female')"


def _first_name(prob: float, *, preserve_gender: bool = True) -> str:
    return (
        f"person_name(prob={prob}, source_class='white_american', target_class='black_american', "
        f"person_name_type='first', preserve_gender={preserve_gender})"
    )


def _last_name(prob: float) -> str:
    return (
        f"person_name(prob={prob}, source_class='white', target_class='hispanic', "
        "person_name_type='last', preserve_gender=False)"
    )


_ROBUSTNESS = ("mild_mix",)
_FAIRNESS = (_dialect(1.0), _gender("pronouns", 1.0), _first_name(1.0))
_STRENGTHS = {"easy": 0.1, "medium": 0.3, "hard": 0.5, "deterministic": 1.0}

# A name that is a perturbation's too (extra_space, space, synonym, contrast_sets) is that perturbation in a plan, and
# the preset in a run entry.
PRESETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "robustness": _ROBUSTNESS,
        "fairness": _FAIRNESS,
        "canonical": (*_ROBUSTNESS, *_FAIRNESS),
        "robustness_all": (
            "contraction",
            "expansion",
            "filler_words(insert_prob=0.1, speaker_ph=False)",
            "lowercase",
            "misspellings(prob=0.1)",
            "space(max_spaces=3)",
            "synonym(prob=0.1)",
            "typos(prob=0.01)",
        ),
        "extra_space": ("extra_space(num_spaces=2)",),
        "space": ("space(max_spaces=3)",),
        "lower": ("lowercase",),
        "contract": ("contraction", "expansion"),
        "filler": ("filler_words(insert_prob=0.3, speaker_ph=False)",),
        "misspelling_mild": ("misspellings(prob=0.05)",),
        "misspelling_medium": ("misspellings(prob=0.2)",),
        "misspelling_hard": ("misspellings(prob=0.5)",),
        "misspelling_sweep": ("misspellings(prob=[0.0, 0.05, 0.2, 0.5])",),
        "typo_easy": ("typos(prob=0.1)",),
        "typo_medium": ("typos(prob=0.3)",),
        "typo_hard": ("typos(prob=0.5)",),
        "synonym": ("synonym(prob=0.5)",),
        "contrast_sets": ("contrast_sets",),
        **{f"dialect_{strength}": (_dialect(prob),) for strength, prob in _STRENGTHS.items()},
        **{
            f"gender_{mode}_{strength}": (_gender(mode, prob),)
            for mode in ("terms", "pronouns")
            for strength, prob in _STRENGTHS.items()
        },
        "person_name_first_hard_preserve_gender": (_first_name(0.5),),
        "person_name_first_hard_dont_preserve_gender": (_first_name(0.5, preserve_gender=False),),
        "person_name_first_deterministic": (_first_name(1.0),),
        "person_name_last_deterministic": (_last_name(1.0),),
        "person_name_last_hard": (_last_name(0.5),),
    }
)
