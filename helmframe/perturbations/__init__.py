"""Perturbations: changes of the input that should not change the answer."""

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
    "parse",
    "perturb",
    "perturbation",
    "perturbations",
    "variants",
]
