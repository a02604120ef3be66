"""IFEval's instructions: their checks, and the decorator that registers a check.

Source: Zhou et al. 2023 (IFEval), instruction_following_eval/instructions.py. The source reads words as regular
expressions; here they are words. No prompt of the 541 is affected.

The language of a response is the one that langdetect detects, as in the source and in HELM. langdetect samples n-grams
at random. Here it gets a seed, so that a text always has the same language. HELM sets no seed, so that its value for a
text of unclear language varies between runs.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from inspect import signature
from typing import Any

from helmframe._core.registry import Registry
from helmframe.errors import ArgumentError, CapabilityError
from helmframe.metrics.treebank import split_sentences

Check = Callable[..., bool]

INSTRUCTIONS: Registry[Check] = Registry("instruction", "Add one with @instruction.")

_RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "less than": lambda count, limit: count < limit,
    "at least": lambda count, limit: count >= limit,
}


def instruction(name: str) -> Callable[[Check], Check]:
    """Register a function (response, *, …) -> bool as the check of the instruction with this name."""

    def register(check: Check) -> Check:
        INSTRUCTIONS.add(name, check)
        return check

    return register


def follows(response: str, name: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether a response follows the instruction.

    Args:
        response: The completion. An empty one follows no instruction.
        name: IFEval's name of the instruction, such as "length_constraints:number_words".
        arguments: The arguments of the instruction. Null arguments and unknown ones are ignored.

    Raises:
        UnknownNameError: No instruction has that name.
        ArgumentError: An argument is missing.
    """
    check = INSTRUCTIONS[name]
    parameters = [
        name_of_parameter for name_of_parameter in signature(check).parameters if name_of_parameter != "response"
    ]
    values = {
        name_of_parameter: arguments[name_of_parameter]
        for name_of_parameter in parameters
        if arguments.get(name_of_parameter) is not None
    }
    missing = [name_of_parameter for name_of_parameter in parameters if name_of_parameter not in values]
    if missing:
        raise ArgumentError(f"Instruction {name!r} needs {', '.join(missing)}, which its kwargs lack.")
    return response.strip() != "" and check(response, **values)


def holds(count: int, relation: str, limit: int) -> bool:
    """Return whether the count is "less than" or "at least" the limit.

    Raises:
        ArgumentError: The relation is another.
    """
    if relation not in _RELATIONS:
        raise ArgumentError.unknown_value(f"relation={relation!r}", relation, _RELATIONS)
    return _RELATIONS[relation](count, limit)


@instruction("length_constraints:number_paragraphs")
def number_paragraphs(response: str, *, num_paragraphs: int) -> bool:
    """Return whether there are n paragraphs separated by ***; only the first and last part may be empty."""
    first, *others = re.split(r"\s?\*\*\*\s?", response)
    parts = [first, *others]
    if not others:
        return num_paragraphs == 1
    inner = parts[1:-1]
    filled = sum(part.strip() != "" for part in (parts[0], parts[-1])) + len(inner)
    return all(part.strip() for part in inner) and filled == num_paragraphs


@instruction("length_constraints:nth_paragraph_first_word")
def nth_paragraph_first_word(response: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Return whether there are n paragraphs between empty lines, and the nth begins with the word, in any case."""
    parts = response.split("\n\n")
    filled = sum(part.strip() != "" for part in parts)
    if filled != num_paragraphs or nth_paragraph > filled or not parts[nth_paragraph - 1].strip():
        return False
    word = parts[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
    return re.split(r"[.,?!'\"]", word)[0].lower() == first_word.lower()


@instruction("detectable_format:number_bullet_lists")
def number_bullet_lists(response: str, *, num_bullets: int) -> bool:
    """Return whether there are n lines that start with * or -."""
    stars = re.findall(r"^[^\S\n]*\*[^\*].*$", response, re.MULTILINE)
    dashes = re.findall(r"^[^\S\n]*-.*$", response, re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


@instruction("detectable_format:number_highlighted_sections")
def number_highlighted_sections(response: str, *, num_highlights: int) -> bool:
    """Return whether there are at least n non-empty *highlighted* or **highlighted** texts within a line."""
    single = re.findall(r"\*[^\n\*]*\*", response)
    double = re.findall(r"\*\*[^\n\*]*\*\*", response)
    filled = [highlight for highlight in single if highlight.strip("*").strip()]
    filled += [highlight for highlight in double if highlight.removeprefix("**").removesuffix("**").strip()]
    return len(filled) >= num_highlights


@instruction("detectable_format:multiple_sections")
def multiple_sections(response: str, *, section_spliter: str, num_sections: int) -> bool:
    """Return whether there are at least n sections, each begun by the word and a number: "Section 1"."""
    beginnings = re.findall(rf"\s?{re.escape(section_spliter.strip())}\s?\d+\s?", response)
    return len(beginnings) >= num_sections


@instruction("detectable_format:title")
def title(response: str) -> bool:
    """Return whether there is a title in double angular brackets, such as <<poem of joy>>."""
    lines = (line[: line.rfind(">>") + 2] for line in response.split("\n") if ">>" in line)
    titles = [title_text for line in lines for title_text in re.findall(r"<<.+>>", line)]
    return any(title_text.lstrip("<").rstrip(">").strip() for title_text in titles)


@instruction("detectable_format:json_format")
def json_format(response: str) -> bool:
    """Return whether the whole response is JSON, with or without a fence of three backticks."""
    text = response.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


@instruction("combination:two_responses")
def two_responses(response: str) -> bool:
    """Return whether there are two different responses with ****** between them, and nothing else."""
    first, *others = response.split("******")
    parts = [first, *others]
    if not all(part.strip() for part in parts[1:-1]):
        return False
    filled = [part.strip() for part in parts if part.strip()]
    return len(filled) == 2 and filled[0] != filled[1]


@instruction("keywords:existence")
def existence(response: str, *, keywords: Sequence[str]) -> bool:
    """Return whether the response contains every keyword, in any case, also as a part of a word."""
    return all(keyword.lower() in response.lower() for keyword in keywords)


@instruction("keywords:forbidden_words")
def forbidden_words(response: str, *, forbidden_words: Sequence[str]) -> bool:
    """Return whether the response contains none of the words as a whole word, in any case."""
    return not any(re.search(rf"\b{re.escape(word)}\b", response, re.IGNORECASE) for word in forbidden_words)


@instruction("keywords:frequency")
def keyword_frequency(response: str, *, keyword: str, frequency: int, relation: str) -> bool:
    """Return whether the keyword occurs less than, or at least, n times, also as a part of a word."""
    return holds(response.lower().count(keyword.strip().lower()), relation, frequency)


@instruction("keywords:letter_frequency")
def letter_frequency(response: str, *, letter: str, let_frequency: int, let_relation: str) -> bool:
    """Return whether the letter occurs less than, or at least, n times, in any case.

    Two of the 541 prompts count "#" or "!". The source counts a random letter for these; this function counts the one
    that the prompt names.
    """
    return holds(response.lower().count(letter.strip().lower()), let_relation, let_frequency)


@instruction("punctuation:no_comma")
def no_comma(response: str) -> bool:
    """Return whether there is no comma."""
    return "," not in response


@instruction("combination:repeat_prompt")
def repeat_prompt(response: str, *, prompt_to_repeat: str) -> bool:
    """Return whether the response begins with the prompt, in any case."""
    return response.strip().lower().startswith(prompt_to_repeat.strip().lower())


@instruction("startend:end_checker")
def end_phrase(response: str, *, end_phrase: str) -> bool:
    """Return whether the response ends with the phrase, in any case, with or without quotation marks."""
    return response.strip().strip('"').lower().endswith(end_phrase.strip().lower())


@instruction("startend:quotation")
def quotation(response: str) -> bool:
    """Return whether the whole response is between two double quotation marks."""
    return re.fullmatch(r'".*"', response.strip(), re.DOTALL) is not None


@instruction("detectable_format:constrained_response")
def constrained_response(response: str) -> bool:
    """Return whether the response contains one of three answers, word for word."""
    return any(f"My answer is {answer}." in response for answer in ("yes", "no", "maybe"))


@instruction("detectable_content:postscript")
def postscript(response: str, *, postscript_marker: str) -> bool:
    """Return whether there is a postscript: the marker anywhere in the response, in any case.

    "P.S." and "P.P.S" may have a space between their letters.
    """
    marker = postscript_marker.strip()
    loose = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
    return re.search(loose.get(marker, re.escape(marker.lower())), response.lower()) is not None


@instruction("detectable_content:number_placeholders")
def number_placeholders(response: str, *, num_placeholders: int) -> bool:
    """Return whether there are at least n placeholders in square brackets, such as [address]."""
    # after the last closing bracket, a search from each opening one would run to the end of the text
    lines = (line[: line.rfind("]") + 1] for line in response.split("\n"))
    return sum(len(re.findall(r"\[.*?\]", line)) for line in lines) >= num_placeholders


@instruction("length_constraints:number_words")
def number_words(response: str, *, num_words: int, relation: str) -> bool:
    """Return whether there are less than, or at least, n words: runs of letters, digits and underscores."""
    return holds(len(re.findall(r"\w+", response)), relation, num_words)


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
