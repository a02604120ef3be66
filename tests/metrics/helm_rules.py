"""HELM's metric functions of a reference and an output, in plain Python; evaluate_reference_metrics.py."""

import re
import string
from collections.abc import Callable, Mapping


def normalize_text(text: str) -> str:
    bare = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def exact_match(gold: str, output: str) -> float:
    return float(output != "" and gold.strip() == output.strip())


def quasi_exact_match(gold: str, output: str) -> float:
    return float(output != "" and normalize_text(gold) == normalize_text(output))


def f1_score(gold: str, output: str) -> float:
    """`nltk.metrics.f_measure` of the sets of words."""
    wanted, output_words = set(normalize_text(gold).split()), set(normalize_text(output).split())
    common = len(wanted & output_words)
    return 1.0 / (0.5 / (common / len(output_words)) + 0.5 / (common / len(wanted))) if common else 0.0


RULES: Mapping[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "quasi_exact_match": quasi_exact_match,
    "f1_score": f1_score,
}
