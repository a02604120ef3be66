"""Checks of how a response is laid out: paragraphs, lists, sections, titles, JSON.

Source: Zhou et al. 2023 (IFEval), instruction_following_eval/instructions.py.
"""

import json
import re

from helmframe.metrics.ifeval.instruction import instruction


@instruction("length_constraints:number_paragraphs")
def number_paragraphs(response: str, *, num_paragraphs: int) -> bool:
    """Exactly so many paragraphs with *** between them, none of them empty but before the first and after the last."""
    first, *others = re.split(r"\s?\*\*\*\s?", response)
    parts = [first, *others]
    if not others:
        return num_paragraphs == 1
    inner = parts[1:-1]
    filled = sum(part.strip() != "" for part in (parts[0], parts[-1])) + len(inner)
    return all(part.strip() for part in inner) and filled == num_paragraphs


@instruction("length_constraints:nth_paragraph_first_word")
def nth_paragraph_first_word(response: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Exactly so many paragraphs with an empty line between them, and the nth begins with the word, in any case."""
    parts = response.split("\n\n")
    filled = sum(part.strip() != "" for part in parts)
    if filled != num_paragraphs or nth_paragraph > filled or not parts[nth_paragraph - 1].strip():
        return False
    word = parts[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
    return re.split(r"[.,?!'\"]", word)[0].lower() == first_word.lower()


@instruction("detectable_format:number_bullet_lists")
def number_bullet_lists(response: str, *, num_bullets: int) -> bool:
    """Exactly so many lines that begin with * or -."""
    stars = re.findall(r"^[^\S\n]*\*[^\*].*$", response, re.MULTILINE)
    dashes = re.findall(r"^[^\S\n]*-.*$", response, re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


@instruction("detectable_format:number_highlighted_sections")
def number_highlighted_sections(response: str, *, num_highlights: int) -> bool:
    """At least so many *highlighted* or **highlighted** places within a line, none of them empty."""
    single = re.findall(r"\*[^\n\*]*\*", response)
    double = re.findall(r"\*\*[^\n\*]*\*\*", response)
    filled = [highlight for highlight in single if highlight.strip("*").strip()]
    filled += [highlight for highlight in double if highlight.removeprefix("**").removesuffix("**").strip()]
    return len(filled) >= num_highlights


@instruction("detectable_format:multiple_sections")
def multiple_sections(response: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many sections, each begun by the word and a number: "Section 1"."""
    beginnings = re.findall(rf"\s?{re.escape(section_spliter.strip())}\s?\d+\s?", response)
    return len(beginnings) >= num_sections


@instruction("detectable_format:title")
def title(response: str) -> bool:
    """There is a title in double angular brackets, such as <<poem of joy>>."""
    lines = (line[: line.rfind(">>") + 2] for line in response.split("\n") if ">>" in line)
    titles = [title_text for line in lines for title_text in re.findall(r"<<.+>>", line)]
    return any(title_text.lstrip("<").rstrip(">").strip() for title_text in titles)


@instruction("detectable_format:json_format")
def json_format(response: str) -> bool:
    """The whole response is JSON, whether or not in a fence of three backticks."""
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
    """Two different responses with ****** between them, and nothing else."""
    first, *others = response.split("******")
    parts = [first, *others]
    if not all(part.strip() for part in parts[1:-1]):
        return False
    filled = [part.strip() for part in parts if part.strip()]
    return len(filled) == 2 and filled[0] != filled[1]
