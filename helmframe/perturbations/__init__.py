"""Perturbations: changes of the input that should not change the answer."""

from helmframe.perturbations import (
    case_noise,
    contrast,
    dialect,
    helm_streams,
    helm_synonyms,
    noise,
    people,
    prompt,
    spacing,
    spelling,
    synonyms,
    translate,
    unicode_noise,
    word_noise,
    wording,
    words,
)
from helmframe.perturbations.call import PerturbationCall
from helmframe.perturbations.catalogue import perturbations
from helmframe.perturbations.parsing import Variant, call, parse, variants
from helmframe.perturbations.perturb import perturb
from helmframe.perturbations.presets import PRESETS
from helmframe.perturbations.registry import HELM, PERTURBATIONS, Perturbation, perturbation

__all__ = [
    "HELM",
    "PERTURBATIONS",
    "PRESETS",
    "Perturbation",
    "PerturbationCall",
    "Variant",
    "call",
    "case_noise",
    "contrast",
    "dialect",
    "helm_streams",
    "helm_synonyms",
    "noise",
    "parse",
    "people",
    "perturb",
    "perturbation",
    "perturbations",
    "prompt",
    "spacing",
    "spelling",
    "synonyms",
    "translate",
    "unicode_noise",
    "variants",
    "word_noise",
    "wording",
    "words",
]
