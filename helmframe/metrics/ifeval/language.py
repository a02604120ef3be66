"""Checks that need to know the language of a response, or its sentences.

Source: Zhou et al. 2023 (IFEval), instruction_following_eval/instructions.py. That asks langdetect, which draws random
numbers and is no longer kept; this asks py3langid, over the same 97 languages.
"""

import re
from functools import lru_cache
from importlib.util import find_spec

from helmframe.errors import ArgumentError
from helmframe.metrics.ifeval.instruction import holds, instruction
from helmframe.metrics.sentence_split import split_sentences

# Of the web, and of mail: langdetect reads no words in them either.
_ADDRESS = re.compile(r"https?://[-_.?&~;+=/#0-9A-Za-z]+|[-_.0-9A-Za-z]+@[-_0-9A-Za-z]+[-_.0-9A-Za-z]+")


@instruction("language:response_language")
def response_language(response: str, *, language: str) -> bool:
    """The response is in the language of this code ("en"); what has no letters but in addresses is in any."""
    return _is_in(response, language)


@instruction("change_case:english_capital")
def english_capital(response: str) -> bool:
    """The response is in English and in capital letters."""
    return response.isupper() and _is_in(response, "en")


@instruction("change_case:english_lowercase")
def english_lowercase(response: str) -> bool:
    """The response is in English and has no capital letters."""
    return response.islower() and _is_in(response, "en")


@instruction("change_case:capital_word_frequency")
def capital_word_frequency(response: str, *, capital_frequency: int, capital_relation: str) -> bool:
    """Less than, or at least, so many words in capital letters; one with a hyphen is one."""
    return holds(sum(word.isupper() for word in _words(response)), capital_relation, capital_frequency)


@instruction("length_constraints:number_sentences")
def number_sentences(response: str, *, num_sentences: int, relation: str) -> bool:
    """Less than, or at least, so many sentences, by Punkt's English model (Kiss & Strunk 2006)."""
    return holds(len(split_sentences(response)), relation, num_sentences)


def may_check() -> None:
    """Nothing, where the packages that these checks need are there.

    Raises:
        ArgumentError: one is not.
    """
    missing = [name for name in ("nltk", "punkt", "py3langid") if find_spec(name) is None]
    if missing:
        raise ArgumentError(f"IFEval needs the packages {', '.join(missing)}. Install helmframe[ifeval].")


def _is_in(response: str, language: str) -> bool:
    """Whether the response is in the language, or has no words that tell."""
    words = _ADDRESS.sub(" ", response)
    return not any(character.isalpha() for character in words) or _language(words) == language


@lru_cache(maxsize=4096)
def _language(text: str) -> str:
    from py3langid import classify

    # it is trained on running text, where few words are in capital letters
    return str(classify(text.lower())[0])


def _words(text: str) -> list[str]:
    # as the Penn Treebank has words: an apostrophe begins the rest of a contraction, a hyphen goes through
    return re.findall(r"[^\s,;:@#$%&?!()\[\]{}<>\"`'’“”…]+|['’]\w+", text)
