"""IFEval: instructions that a program can check, one function each."""

from helmframe.metrics.ifeval import form, language, scoring, wording
from helmframe.metrics.ifeval.instruction import INSTRUCTIONS, follows, instruction

__all__ = ["INSTRUCTIONS", "follows", "form", "instruction", "language", "scoring", "wording"]
