"""IFEval: instructions that a program can check, one function each."""

from helmframe.metrics.ifeval import scoring
from helmframe.metrics.ifeval.instructions import INSTRUCTIONS, follows, instruction

__all__ = ["INSTRUCTIONS", "follows", "instruction", "scoring"]
