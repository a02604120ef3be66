"""Perturbations: changes of the input that should not change the answer."""

from helmframe.perturbations import spacing, spelling
from helmframe.perturbations.perturb import PERTURBATIONS, PerturbationCall, Variant, call, parse, perturb, perturbation

__all__ = [
    "PERTURBATIONS",
    "PerturbationCall",
    "Variant",
    "call",
    "parse",
    "perturb",
    "perturbation",
    "spacing",
    "spelling",
]
