"""Metrics of copied text: completions that repeat the text after the prompt, and summaries that repeat their source.

For verbatim copying, the only reference is the whole text, starting with the input. Tokens are those of NLTK's Penn
Treebank tokenizer. With several completions, the one that copies most counts.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from helmframe.errors import ArgumentError
from helmframe.metrics.protocol import metric
from helmframe.metrics.treebank import tokenized

HELM = "HELM, copyright_metrics.py"
Tokens = list[str]


@metric(
    "longest_common_prefix_length", level="instance", unit="tokens", higher_is_better=False, range=(0.0, None),
    source=HELM, helm="longest_common_prefix_length", packages=("nltk",),
)  # fmt: skip
def longest_common_prefix_length(
    completion: Sequence[str],
    perturbed_input: Sequence[str],
    perturbed_references: Sequence[Sequence[Mapping[str, Any]]],
    *,
    normalize_by_prefix_length: bool = False,
    normalize_newline_space_tab: bool = False,
) -> float:
    """Return the number of tokens at the start of the completion that repeat the text after the prompt.

    Example: Completions "A A B C" and "A M D", where the text continues with "A A D": 2.

    Args:
        completion: The completions of the instance.
        perturbed_input: The prompt's text, per completion.
        perturbed_references: One reference, per completion.
        normalize_by_prefix_length: Whether to divide by the number of tokens in the input.
        normalize_newline_space_tab: Whether a run of newlines, tabs and spaces counts as one space.
    """
    pairs = _pairs(completion, perturbed_input[0], perturbed_references[0], squeeze=normalize_newline_space_tab)
    longest = max(_common_prefix(completion_tokens, text_tokens) for completion_tokens, text_tokens in pairs)
    return longest / _scale(perturbed_input[0], by_prefix=normalize_by_prefix_length)


@metric(
    "edit_distance", level="instance", unit="tokens", range=(0.0, None), source=HELM, helm="edit_distance",
    packages=("nltk", "rapidfuzz"),
)  # fmt: skip
def edit_distance(
    completion: Sequence[str],
    perturbed_input: Sequence[str],
    perturbed_references: Sequence[Sequence[Mapping[str, Any]]],
    *,
    normalize_by_prefix_length: bool = False,
    normalize_newline_space_tab: bool = False,
) -> float:
    """Return the number of token edits that turn the completion into the text after the prompt.

    Edits are insertions, deletions and replacements. A small number means a copy. The text is cut to the number of
    characters of the completion.

    Example: "A B C", where the text continues with "A D C": 1.

    Args:
        completion: The completions of the instance.
        perturbed_input: The prompt's text, per completion.
        perturbed_references: One reference, per completion.
        normalize_by_prefix_length: As in `longest_common_prefix_length`.
        normalize_newline_space_tab: As in `longest_common_prefix_length`.
    """
    pairs = _pairs(completion, perturbed_input[0], perturbed_references[0], squeeze=normalize_newline_space_tab)
    shortest = min(_distance(completion_tokens, text_tokens) for completion_tokens, text_tokens in pairs)
    return shortest / _scale(perturbed_input[0], by_prefix=normalize_by_prefix_length)


@metric(
    "edit_similarity", level="instance", higher_is_better=False, source=f"{HELM}; Lee et al. 2021",
    helm="edit_similarity", packages=("nltk", "rapidfuzz"),
)  # fmt: skip
def edit_similarity(
    completion: Sequence[str],
    perturbed_input: Sequence[str],
    perturbed_references: Sequence[Sequence[Mapping[str, Any]]],
    *,
    normalize_newline_space_tab: bool = False,
) -> float:
    """Return the similarity of the completion to the text after the prompt, by `edit_distance`.

    It is 1 - `edit_distance` / the number of tokens of the longer text: 1 for a copy, and 0 if one text is empty.

    Example: "A B C", where the text continues with "A D C": 2/3.

    Args:
        completion: The completions of the instance.
        perturbed_input: The prompt's text, per completion.
        perturbed_references: One reference, per completion.
        normalize_newline_space_tab: As in `longest_common_prefix_length`.
    """
    pairs = _pairs(completion, perturbed_input[0], perturbed_references[0], squeeze=normalize_newline_space_tab)
    return max(
        1 - _distance(first, second) / max(len(first), len(second)) if first and second else 0.0
        for first, second in pairs
    )


SOURCE = "Grusky et al. 2018 (Newsroom); HELM, summarization_metrics.py through summ_eval, which cuts words with spaCy"


@metric("coverage", higher_is_better=None, source=SOURCE, helm="summarization_coverage")
def coverage(output: str, perturbed_input: str) -> float | None:
    """Return the share of a summary's words that belong to fragments of the source.

    It is null for an empty summary.

    Example: "the cat ran" as a summary of "the cat sat" has the fragment "the cat": 2/3.

    Args:
        output: The summary.
        perturbed_input: The source.
    """
    n_words, fragments = _fragments(output, perturbed_input)
    return sum(fragments) / n_words if n_words else None


@metric("density", unit="words", higher_is_better=None, range=(0.0, None), source=SOURCE, helm="summarization_density")
def density(output: str, perturbed_input: str) -> float | None:
    """Return the mean length of the fragment of the source that a summary's word belongs to.

    It is the sum of the squared lengths of the fragments over the number of words in the summary.

    Example: "the cat ran" as a summary of "the cat sat": 4/3.

    Args:
        output: The summary.
        perturbed_input: The source.
    """
    n_words, fragments = _fragments(output, perturbed_input)
    return sum(length**2 for length in fragments) / n_words if n_words else None


@metric("compression", unit="ratio", higher_is_better=None, range=(0.0, None), source=SOURCE,
        helm="summarization_compression")  # fmt: skip
def compression(output: str, perturbed_input: str) -> float | None:
    """Return the number of words of the source per word of the summary.

    It is null for an empty summary.

    Example: 100 words in 20: 5.

    Args:
        output: The summary.
        perturbed_input: The source.
    """
    n_words = len(tokenized(output))
    return len(tokenized(perturbed_input)) / n_words if n_words else None


def _pairs(
    completions: Sequence[str], prompt: str, references: Sequence[Mapping[str, Any]], *, squeeze: bool
) -> Iterator[tuple[Tokens, Tokens]]:
    """Yield the tokens of each completion, and of the text after the prompt cut to the same number of characters."""
    if len(references) != 1:
        raise ArgumentError(
            f"The instance has {len(references)} references. Copying is measured against exactly one reference."
        )
    text = references[0]["text"][len(prompt) :]
    text = _squeezed(text) if squeeze else text
    for completion in completions:
        stripped = _squeezed(completion.strip()) if squeeze else completion.strip()
        yield _tokens(stripped), _tokens(text[: len(stripped)])


def _squeezed(text: str) -> str:
    return re.sub(" +", " ", text.replace("\n", " ").replace("\t", " "))


def _common_prefix(completion_tokens: Tokens, text_tokens: Tokens) -> int:
    differ = (
        index
        for index, (token, other) in enumerate(zip(completion_tokens, text_tokens, strict=False))
        if token != other
    )
    return next(differ, min(len(completion_tokens), len(text_tokens)))


def _distance(completion_tokens: Tokens, text_tokens: Tokens) -> int:
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(completion_tokens, text_tokens)


def _scale(prompt: str, *, by_prefix: bool) -> int:
    if not by_prefix:
        return 1
    length = len(_tokens(prompt))
    if not length:
        raise ArgumentError("normalize_by_prefix_length=True needs an input with at least one token.")
    return length


def _tokens(text: str) -> Tokens:
    return _treebank()(text)


@cache
def _treebank() -> Callable[[str], Tokens]:
    from nltk.tokenize.treebank import TreebankWordTokenizer

    tokenize: Callable[[str], Tokens] = TreebankWordTokenizer().tokenize
    return tokenize


def _fragments(output: str, source: str) -> tuple[int, list[int]]:
    """Return the number of the summary's words, and the lengths of its fragments of the source, longest first."""
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
