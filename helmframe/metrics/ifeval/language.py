"""Checks that depend on the language of a response, or on its sentences.

Source: Zhou et al. 2023 (IFEval), instruction_following_eval/instructions.py. The language is the one that langdetect
detects, as in the source and in HELM. langdetect samples n-grams at random. Here it gets a seed, so that a text always
has the same language. HELM sets no seed, so that its value for a text of unclear language varies between runs.
"""

import re
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from helmframe.errors import CapabilityError
from helmframe.metrics.ifeval.instructions import holds, instruction
from helmframe.metrics.treebank import split_sentences


@instruction("language:response_language")
def response_language(response: str, *, language: str) -> bool:
    """Return whether the response is in the language with this code ("en"); text without letters is in any language."""
    return _is_in(response, language)


@instruction("change_case:english_capital")
def english_capital(response: str) -> bool:
    """Return whether the response is in English and in capital letters."""
    return response.isupper() and _is_in(response, "en")


@instruction("change_case:english_lowercase")
def english_lowercase(response: str) -> bool:
    """Return whether the response is in English and has no capital letters."""
    return response.islower() and _is_in(response, "en")


@instruction("change_case:capital_word_frequency")
def capital_word_frequency(response: str, *, capital_frequency: int, capital_relation: str) -> bool:
    """Return whether there are less than, or at least, n words in capitals; a hyphenated word is one word."""
    return holds(sum(word.isupper() for word in _words(response)), capital_relation, capital_frequency)


@instruction("length_constraints:number_sentences")
def number_sentences(response: str, *, num_sentences: int, relation: str) -> bool:
    """Return whether there are less than, or at least, n sentences, by Punkt's English model (Kiss & Strunk 2006)."""
    return holds(len(split_sentences(response)), relation, num_sentences)


def may_check() -> None:
    """Check that the packages that IFEval needs are installed.

    Raises:
        CapabilityError: A package is missing.
    """
    missing = [name for name in ("langdetect", "nltk", "punkt") if find_spec(name) is None]
    if missing:
        raise CapabilityError(f"IFEval needs the packages {', '.join(missing)}: pip install 'helmframe[ifeval]'.")


def _is_in(response: str, language: str) -> bool:
    """Return whether the response is in the language, or has no words that langdetect can use."""
    return _language(response) in (language, None)


@lru_cache(maxsize=4096)
def _language(text: str) -> str | None:
    """Return the code of the text's language; None if langdetect finds no words."""
    from langdetect import LangDetectException

    detector = _detectors().create()
    detector.append(text)
    try:
        return str(detector.detect())
    except LangDetectException:
        return None


@lru_cache(maxsize=1)
def _detectors() -> Any:
    """Return a factory of detectors with a seed; langdetect's own factory has the user's seed."""
    from langdetect import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    factory.seed = 0
    return factory


def _words(text: str) -> list[str]:
    # words as in the Penn Treebank: an apostrophe starts the rest of a contraction, and hyphenated words are one word
    return re.findall(r"[^\s,;:@#$%&?!()\[\]{}<>\"`'’“”…]+|['’]\w+", text)
