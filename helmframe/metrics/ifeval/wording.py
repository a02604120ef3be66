"""Checks of what a response says: words, letters, phrases.

Source: Zhou et al. 2023 (IFEval), instruction_following_eval/instructions.py. Where that reads a word as a regular
expression, it is a word here: of the 541 prompts none is read otherwise.
"""

import re
from collections.abc import Sequence

from helmframe.metrics.ifeval.instruction import holds, instruction


@instruction("keywords:existence")
def existence(response: str, *, keywords: Sequence[str]) -> bool:
    """Every keyword is there, in any case, as a part of a word too."""
    return all(keyword.lower() in response.lower() for keyword in keywords)


@instruction("keywords:forbidden_words")
def forbidden_words(response: str, *, forbidden_words: Sequence[str]) -> bool:
    """None of the words is there as a whole word, in any case."""
    return not any(re.search(rf"\b{re.escape(word)}\b", response, re.IGNORECASE) for word in forbidden_words)


@instruction("keywords:frequency")
def keyword_frequency(response: str, *, keyword: str, frequency: int, relation: str) -> bool:
    """The keyword is there less than, or at least, so many times, as a part of a word too."""
    return holds(response.lower().count(keyword.strip().lower()), relation, frequency)


@instruction("keywords:letter_frequency")
def letter_frequency(response: str, *, letter: str, let_frequency: int, let_relation: str) -> bool:
    """The letter is there less than, or at least, so many times, in any case.

    Two of the 541 prompts count "#" or "!": the source then counts a random letter; this counts what the prompt says.
    """
    return holds(response.lower().count(letter.strip().lower()), let_relation, let_frequency)


@instruction("punctuation:no_comma")
def no_comma(response: str) -> bool:
    """There is no comma."""
    return "," not in response


@instruction("combination:repeat_prompt")
def repeat_prompt(response: str, *, prompt_to_repeat: str) -> bool:
    """The response begins with the prompt, in any case."""
    return response.strip().lower().startswith(prompt_to_repeat.strip().lower())


@instruction("startend:end_checker")
def end_phrase(response: str, *, end_phrase: str) -> bool:
    """The response ends with the phrase, in any case, whether or not in quotation marks."""
    return response.strip().strip('"').lower().endswith(end_phrase.strip().lower())


@instruction("startend:quotation")
def quotation(response: str) -> bool:
    """The whole response stands between two double quotation marks."""
    return re.fullmatch(r'".*"', response.strip(), re.DOTALL) is not None


@instruction("detectable_format:constrained_response")
def constrained_response(response: str) -> bool:
    """One of three answers is there, word for word."""
    return any(f"My answer is {answer}." in response for answer in ("yes", "no", "maybe"))


@instruction("detectable_content:postscript")
def postscript(response: str, *, postscript_marker: str) -> bool:
    """There is a postscript: the marker somewhere, in any case, "P.S." and "P.P.S" with or without a space between."""
    marker = postscript_marker.strip()
    loose = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
    return re.search(loose.get(marker, re.escape(marker.lower())), response.lower()) is not None


@instruction("detectable_content:number_placeholders")
def number_placeholders(response: str, *, num_placeholders: int) -> bool:
    """At least so many placeholders in square brackets, such as [address]."""
    # behind the last bracket that closes, every one that opens would be sought to the end
    lines = (line[: line.rfind("]") + 1] for line in response.split("\n"))
    return sum(len(re.findall(r"\[.*?\]", line)) for line in lines) >= num_placeholders


@instruction("length_constraints:number_words")
def number_words(response: str, *, num_words: int, relation: str) -> bool:
    """Less than, or at least, so many words: runs of letters, digits and underscores."""
    return holds(len(re.findall(r"\w+", response)), relation, num_words)
