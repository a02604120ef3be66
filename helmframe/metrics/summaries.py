"""How much of a summary is copied from its source: coverage, density, compression."""

from collections.abc import Sequence

from helmframe.metrics.protocol import metric
from helmframe.metrics.treebank import tokenized

SOURCE = "Grusky et al. 2018 (Newsroom); HELM, summarization_metrics.py through summ_eval, which cuts words with spaCy"


@metric("coverage", higher_is_better=None, source=SOURCE, helm="summarization_coverage")
def coverage(output: str, perturbed_input: str) -> float | None:
    """Share of the summary's words that lie in fragments of the source; null for an empty summary.

    "the cat ran" of "the cat sat": the fragment "the cat", so 2/3.
    """
    n_words, fragments = _fragments(output, perturbed_input)
    return sum(fragments) / n_words if n_words else None


@metric("density", unit="words", higher_is_better=None, range=(0.0, None), source=SOURCE, helm="summarization_density")
def density(output: str, perturbed_input: str) -> float | None:
    """Mean length of the fragment that a word of the summary lies in: the squares of fragments over its words.

    "the cat ran" of "the cat sat": 4/3.
    """
    n_words, fragments = _fragments(output, perturbed_input)
    return sum(length**2 for length in fragments) / n_words if n_words else None


@metric("compression", unit="ratio", higher_is_better=None, range=(0.0, None), source=SOURCE,
        helm="summarization_compression")  # fmt: skip
def compression(output: str, perturbed_input: str) -> float | None:
    """Words of the source over words of the summary; null for an empty summary. 100 words in 20: 5."""
    n_words = len(tokenized(output))
    return len(tokenized(perturbed_input)) / n_words if n_words else None


def _fragments(output: str, source: str) -> tuple[int, list[int]]:
    """Words of the summary, and the lengths of what it shares with the source, longest first from the left."""
    summary_words, source_words = ([word.lower() for word in tokenized(text)] for text in (output, source))
    positions: dict[str, list[int]] = {}
    for index, word in enumerate(source_words):
        positions.setdefault(word, []).append(index)
    lengths, start = [], 0
    while start < len(summary_words):
        longest = max(
            (_alike(summary_words, start, source_words, index) for index in positions.get(summary_words[start], ())),
            default=0,
        )
        if longest:
            lengths.append(longest)
        start += max(longest, 1)
    return len(summary_words), lengths


def _alike(summary_words: Sequence[str], start: int, source_words: Sequence[str], position: int) -> int:
    length = 0
    while (
        start + length < len(summary_words)
        and position + length < len(source_words)
        and summary_words[start + length] == source_words[position + length]
    ):
        length += 1
    return length
