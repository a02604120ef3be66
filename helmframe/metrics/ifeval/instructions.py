"""The instructions of IFEval and IFBench: their checks, and the decorator that registers a check.

Source: Zhou et al. 2023 (IFEval), instruction_following_eval/instructions.py. The source reads words as regular
expressions; here they are words. No prompt of the 541 is affected.

Source of IFBench's 58 instructions, the second half: Pyatkin et al. 2025, instructions.py. A response at which the
source raises an exception, such as one without words, doesn't follow the instruction. `number`, `sentence` and
`position` are the source's arguments N, n and m.

The language of a response is the one that langdetect detects, as in the source and in HELM. langdetect samples n-grams
at random. Here it gets a seed, so that a text always has the same language. HELM sets no seed, so that its value for a
text of unclear language varies between runs.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from io import StringIO
from itertools import pairwise
from string import ascii_lowercase, digits, punctuation
from typing import Any
from unicodedata import normalize

from helmframe._core.registry import Registry
from helmframe.errors import ArgumentError, CapabilityError
from helmframe.metrics.treebank import split_sentences, tokenized

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


@instruction("count:word_count_range")
def word_count_range(response: str, *, min_words: float, max_words: float) -> bool:
    """Return whether the number of words is in the range, both ends included."""
    return min_words <= len(re.findall(r"\w+", response)) <= max_words


@instruction("count:unique_word_count")
def unique_word_count(response: str, *, number: float) -> bool:
    """Return whether there are at least n different words, in any case; a lone punctuation mark counts as one."""
    return len({_trimmed(word) for word in response.lower().split()}) >= number


@instruction("ratio:stop_words")
def stop_words(response: str, *, percentage: float) -> bool:
    """Return whether at most this percentage of the words are stop words, by NLTK's English list."""
    words = re.findall(r"\w+", response.lower())
    return bool(words) and sum(word in _STOP_WORDS for word in words) / len(words) * 100 <= percentage


@instruction("ratio:sentence_type")
def sentence_type(response: str) -> bool:
    """Return whether there are two sentences with a full stop for each one with a question mark."""
    endings = _sentence_endings(response)
    return endings["."] == 2 * endings["?"]


@instruction("ratio:sentence_balance")
def sentence_balance(response: str) -> bool:
    """Return whether the numbers of sentences with a full stop, question mark and exclamation mark are equal."""
    endings = _sentence_endings(response)
    return endings["."] == endings["?"] == endings["!"]


@instruction("count:conjunctions")
def conjunctions(response: str, *, small_n: float) -> bool:
    """Return whether there are at least n coordinating conjunctions; other case or punctuation counts as another."""
    coordinating = ("and", "but", "for", "nor", "or", "so", "yet")
    return len({word for word in response.split() if _trimmed(word).lower() in coordinating}) >= small_n


@instruction("count:person_names")
def person_names(response: str, *, number: float) -> bool:
    """Return whether at least n of the 50 names in the prompt occur as whole words."""
    return sum(re.search(rf"\b{name}\b", response) is not None for name in _PERSON_NAMES) >= number


@instruction("ratio:overlap")
def overlap(response: str, *, reference_text: str, percentage: float) -> bool:
    """Return whether this percentage, ± 2, of the response's different trigrams of words are in the reference."""
    trigrams, reference = (
        set(zip(words, words[1:], words[2:], strict=False)) for words in map(_tokens, (response, reference_text))
    )
    return bool(trigrams) and abs(len(trigrams & reference) / len(trigrams) * 100 - percentage) <= 2


@instruction("count:numbers")
def count_numbers(response: str, *, number: float) -> bool:
    """Return whether there are exactly n numbers; punctuation within a number is ignored."""
    return len(re.findall(r"\d+", _unpunctuated(response))) == number


@instruction("words:alphabet")
def alphabet(response: str) -> bool:
    """Return whether each word starts with the next letter of the alphabet, with A after Z."""
    letters = [word[0] for word in _plain_words(response)]
    if not letters or letters[0] not in ascii_lowercase:
        return False
    start = ascii_lowercase.index(letters[0])
    return all(letter == ascii_lowercase[(start + index) % 26] for index, letter in enumerate(letters))


@instruction("words:vowel")
def three_vowels(response: str) -> bool:
    """Return whether the response is one paragraph with at most three of the five vowels."""
    return "\n" not in response.strip() and len(set(response.lower()) & set("aeiou")) <= 3


@instruction("words:consonants")
def consonant_clusters(response: str) -> bool:
    """Return whether each word has two consonants in a row."""
    return all(re.search("[bcdfghjklmnpqrstvwxyz]{2}", word) for word in response.lower().split())


@instruction("sentence:alliteration_increment")
def alliteration_increment(response: str) -> bool:
    """Return whether each sentence has more words in alliterations than the sentence before."""
    lengths = []
    for sentence in _sentences(response):
        stripped = (word.lstrip(punctuation + " ") for word in sentence.lower().split())
        letters = [word[0] for word in stripped if word]
        equal = [first == second for first, second in pairwise(letters)]
        lengths.append(sum(equal) + sum(now and not before for before, now in pairwise([False, *equal])))
    return all(before < now for before, now in pairwise([-1, *lengths]))


@instruction("words:palindrome")
def palindromes(response: str) -> bool:
    """Return whether there are at least ten palindromes of five or more characters."""
    return sum(len(word) >= 5 and word == word[::-1] for word in _plain_words(response)) >= 10


@instruction("count:punctuation")
def every_punctuation(response: str) -> bool:
    """Return whether there are an interrobang (?!, !? or ‽) and, apart from it, each of . , ! ? ; and :."""
    if not any(mark in response for mark in ("!?", "?!", "‽")):
        return False
    rest = response.replace("?!", "", 1) if "?!" in response else response.replace("!?", "", 1)
    return set(".,!?;:") <= set(rest)


@instruction("format:parentheses")
def nested_parentheses(response: str) -> bool:
    """Return whether brackets are nested five deep, with the inner one closed."""
    opening, deepest = [], 0
    for character in response:
        if character in "([{":
            opening.append(character)
            deepest = max(deepest, len(opening))
        elif character in ")]}":
            if not opening or opening[-1] + character not in ("()", "[]", "{}"):
                opening, deepest = [], 0
                continue
            opening.pop()
            if deepest >= 5:
                return True
    return False


@instruction("format:quotes")
def nested_quotes(response: str) -> bool:
    """Return whether there are quotations in quotations three deep, alternately in single and double quotes."""
    opening: list[str] = []
    deepest = 0
    for character in response:
        if opening and character == opening[-1]:
            opening.pop()
            if deepest - len(opening) >= 3:
                return True
        elif character in "\"'":
            opening.append(character)
            deepest = max(deepest, len(opening))
    return False


@instruction("words:prime_lengths")
def prime_lengths(response: str) -> bool:
    """Return whether the length of each word is a prime below 100."""
    primes = {number for number in range(2, 100) if all(number % divisor for divisor in range(2, number))}
    return all(len(word) in primes for word in _unpunctuated(response).split())


@instruction("format:options")
def one_option(response: str, *, options: str) -> bool:
    """Return whether the response is one of the options, in any case, with or without punctuation at its ends.

    Options of letters ("a), b), c)") must be equal.
    """
    separator = "/" if "/" in options else "or" if "or" in options else ","
    allowed = [option.strip() for option in options.split(separator)]
    if re.match(r"\W*[aA]\W*[bB]\W*[cC]\W*", options):
        return response in allowed
    return _trimmed(response).lower() in [_trimmed(option).lower() for option in allowed]


@instruction("format:newline")
def one_word_per_line(response: str) -> bool:
    """Return whether each line has one word; empty lines are allowed."""
    text = _unpunctuated(response).strip()
    return sum(line != "" for line in text.split("\n")) == len(text.split())


@instruction("format:emoji")
def emoji_at_the_end(response: str) -> bool:
    """Return whether each sentence ends with an emoji, or the next one starts with one. Needs the package emoji."""
    is_emoji = _package("emoji", "format:emoji").is_emoji
    sentences = [_unpunctuated(sentence).strip() for sentence in _sentences(response)]
    if not all(sentences):
        return False
    return all(
        any(map(is_emoji, sentence[-2:])) or is_emoji(following[:1])
        for sentence, following in pairwise([*sentences, ""])
    )


@instruction("ratio:sentence_words")
def equal_sentences(response: str) -> bool:
    """Return whether there are three sentences of the same number of characters, and no word is repeated."""
    sentences = _sentences(response)
    words = _plain_words(" ".join(sentences))
    return len(sentences) == 3 and len(set(map(len, sentences))) == 1 and 0 < len(words) == len(set(words))


@instruction("count:words_japanese")
def nth_word_japanese(response: str, *, number: float) -> bool:
    """Return whether every nth word has a Japanese character; numbers and punctuation may stand in its stead."""
    words = map(_trimmed, response.split()[int(number) - 1 :: int(number)])
    return all(re.search("[\u3040-\u30ff\u4e00-\u9fff]", word) for word in words if word and not word.isdigit())


@instruction("words:start_verb")
def starts_with_verb(response: str) -> bool:
    """Return whether the first word is a verb, by NLTK's tagger. Needs its data averaged_perceptron_tagger_eng."""
    nltk = _package("nltk", "words:start_verb")
    try:
        tagged = nltk.pos_tag(_tokens(response))
    except LookupError:
        raise CapabilityError(
            "Instruction 'words:start_verb' needs NLTK's tagger: python -m nltk.downloader "
            "averaged_perceptron_tagger_eng."
        ) from None
    return bool(tagged) and "VB" in tagged[0][1]


@instruction("words:repeats")
def limited_repeats(response: str, *, small_n: float) -> bool:
    """Return whether no word occurs more than n times."""
    return max(Counter(_plain_words(response)).values(), default=0) <= small_n


@instruction("sentence:keyword")
def keyword_in_sentence(response: str, *, word: str, number: float) -> bool:
    """Return whether the nth sentence contains the keyword, in any case, also as a part of a word."""
    sentences = _sentences(response)
    return number <= len(sentences) and word.lower() in sentences[int(number) - 1].lower()


@instruction("count:pronouns")
def pronouns(response: str, *, number: float) -> bool:
    """Return whether there are at least n personal, possessive or reflexive pronouns."""
    return sum(word in _PRONOUNS for word in _plain_words(response.replace("/", " "))) >= number


@instruction("words:odd_even_syllables")
def alternating_syllables(response: str) -> bool:
    """Return whether words with odd and even numbers of syllables alternate. Needs the package syllapy."""
    syllapy = _package("syllapy", "words:odd_even_syllables")
    return all(
        first != second for first, second in pairwise(syllapy.count(word) % 2 for word in _plain_words(response))
    )


@instruction("words:last_first")
def last_word_first(response: str) -> bool:
    """Return whether the last word of each sentence is the first word of the next one."""
    for before, now in pairwise(_sentences(response)):
        last, first = before.rstrip(punctuation + " ").split(), now.lstrip(punctuation + " ").split()
        if not last or not first or last[-1].lower() != first[0].lower():
            return False
    return True


@instruction("words:paragraph_last_first")
def paragraph_ends_as_it_starts(response: str) -> bool:
    """Return whether each line ends with its first word."""
    lines = [_trimmed(line.strip().lower()).split() for line in response.split("\n")]
    return all(words[0] == words[-1] for words in lines if words)


@instruction("sentence:increment")
def sentence_increment(response: str, *, small_n: float) -> bool:
    """Return whether each sentence has n more words than the sentence before."""
    lengths = [len(_unpunctuated(sentence).split()) for sentence in _sentences(response)]
    return all(now == before + small_n for before, now in pairwise(lengths))


@instruction("words:no_consecutive")
def no_alliteration(response: str) -> bool:
    """Return whether no two words in a row start with the same letter."""
    return all(first[0] != second[0] for first, second in pairwise(_plain_words(response)))


@instruction("format:line_indent")
def stairs(response: str) -> bool:
    """Return whether each line is indented further than the line before; of two empty lines in a row, one counts."""
    lines = response.split("\n")
    for index in range(len(lines)):
        if index < len(lines) and not lines[index].strip():
            lines.remove(lines[index])
    indents = [len(line) - len(line.lstrip(" ")) for line in lines]
    return all(before < now for before, now in pairwise(indents))


@instruction("format:quote_unquote")
def explained_quotes(response: str) -> bool:
    """Return whether a text follows each quotation: no quotation is next to another one, or at the end."""
    plain = response.replace("“", '"').replace("”", '"').replace("'\"'", "")
    joined = "".join(plain.split())
    end = joined.strip(digits + punctuation.replace('"', ""))
    return '""' not in joined and end != "" and end[-1] != '"'


@instruction("format:list")
def list_separator(response: str, *, sep: str) -> bool:
    """Return whether the separator of the list occurs at least twice."""
    return response.count(sep) >= 2


@instruction("format:thesis")
def italic_thesis(response: str) -> bool:
    """Return whether there is a thesis between <i> and </i>, or <em> and </em>, with a text after it."""
    start = response.find("<i>") if "<i>" in response else response.find("<em>")
    rest = response[start:]
    end = rest.find("</i>") if "</i>" in rest else rest.find("</em>")
    return start >= 0 and end >= 0 and rest[3:end].strip() != "" and rest[end + 4 :].strip() != ""


@instruction("format:sub-bullets")
def sub_bullets(response: str) -> bool:
    """Return whether each bullet point (*) has a sub-bullet point (-)."""
    return all("-" in bullet for bullet in response.split("*")[1:])


@instruction("format:no_bullets_bullets")
def sentences_then_bullets(response: str) -> bool:
    """Return whether there are at least two sentences and then at least two bullet points (*), and nothing else."""
    n_sentences, n_bullets, is_text = 0, 0, True
    for line in response.split("\n"):
        if line.strip().startswith("*"):
            is_text, n_bullets = False, n_bullets + 1
            if n_sentences < 2:
                return False
        elif is_text:
            line_sentences = _sentences(line.strip())
            n_sentences += len(line_sentences)
            is_text = bool(line_sentences)  # as in the source, no text may follow an empty line
        else:
            return False
    return n_bullets >= 2


@instruction("custom:multiples")
def multiples(response: str) -> bool:
    """Return whether the numbers are the multiples of 7 between 10 and 50."""
    return re.findall(r"\d+", response) == ["14", "21", "28", "35", "42", "49"]


@instruction("custom:mcq_count_length")
def growing_questions(response: str) -> bool:
    """Return whether there are four questions with five options, "Question 1" first, each longer than the last."""
    blocks = [block.strip() for block in re.split(r"Question \d+[\.|\):;]?\s*", response)]
    if not response.startswith("Question"):
        return False
    lengths = []
    for block in filter(None, blocks):
        is_option = [re.match(r"[A-Ea-e][\.|\)]\s*\w+", line.strip()) is not None for line in block.split("\n")]
        question = block.split("\n")[: is_option.index(True)] if True in is_option else []
        if sum(is_option) != 5:
            return False
        lengths.append(len(" ".join(line.strip() for line in question).strip()))
    return len(lengths) == 4 and all(before < now for before, now in pairwise(lengths))


@instruction("custom:reverse_newline")
def reverse_countries(response: str) -> bool:
    """Return whether at least 52 lines follow in reverse alphabetical order, from the line with Zimbabwe on."""
    lines = [_ascii(line) for line in map(_trimmed, response.split("\n")) if line]
    start = next((index for index, line in enumerate(lines) if "Zimbabwe" in line), len(lines))
    return len(lines) - start >= 52 and lines[start:] == sorted(lines[start:], reverse=True)


@instruction("custom:word_reverse")
def reverse_words(response: str) -> bool:
    """Return whether the words in reverse order contain "bald eagle"."""
    return "bald eagle" in " ".join(reversed(_plain_words(response)))


@instruction("custom:character_reverse")
def reverse_characters(response: str) -> bool:
    """Return whether the response contains "bald eagle" written backwards."""
    return "elgae dlab" in response.lower()


@instruction("custom:sentence_alphabet")
def alphabet_of_sentences(response: str) -> bool:
    """Return whether there are 26 sentences, whose first letters are the alphabet."""
    stripped = [sentence.lstrip(punctuation + " \t\n\r\v\f") for sentence in _sentences(response)]
    return [sentence[:1].lower() for sentence in stripped] == list(ascii_lowercase)


@instruction("custom:european_capitals_sort")
def european_capitals(response: str) -> bool:
    """Return whether the response lists 27 capitals of Europe from north to south, separated by commas."""
    return [capital.strip() for capital in _ascii(response).split(",") if capital.strip()] == [*_CAPITALS]


@instruction("custom:csv_city")
def csv_of_cities(response: str) -> bool:
    """Return whether the response is CSV with the five columns of the prompt and seven rows."""
    rows = _csv(response)
    return len(rows) == 8 and rows[0] == ["ID", "Country", "City", "Year", "Count"] and set(map(len, rows)) == {5}


@instruction("custom:csv_special_character")
def csv_with_special_character(response: str) -> bool:
    """Return whether the response is CSV with 14 rows of the five columns, one with a special character in quotes."""
    header = re.split(r",[ \t]*", response.partition("\n")[0].strip())
    rows = _csv(response.replace('"', '"""'))
    if [*map(_unquoted, header)] != ["ProductID", "Category", "Brand", "Price", "Stock"] or len(rows) != 15:
        return False
    for row in rows[1:]:
        if len(row) != 5:
            return False
        if any(map(_is_quoted_special, row)):
            return True
    return False


@instruction("custom:csv_quotes")
def csv_with_quotes(response: str) -> bool:
    """Return whether the response is a table with tabs, the five columns and three rows, all in quotes."""
    header = [*map(_unquoted, re.split(r"\t *", response.partition("\n")[0].strip()))]
    rows = _csv(response.replace('"', '"""'), delimiter="\t")
    fields = [field.strip() for row in rows for field in row]
    quoted = all(field[:1] == '"' == field[-1:] for field in fields)
    names = ["StudentID", "Subject", "Grade", "Semester", "Score"]
    return header == names and len(rows) == 4 and set(map(len, rows)) == {5} and quoted


@instruction("custom:date_format_list")
def dates(response: str) -> bool:
    """Return whether the response lists dates from 1769 to 1821 in the form YYYY-MM-DD, separated by commas."""
    for text in response.strip().split(","):
        date = re.match(r"(\d{4})-(\d{2})-(\d{2})$", text.strip())
        if date is None:
            return False
        year, month, day = map(int, date.groups())
        longest = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}.get(month, 31 if month else day)
        if not 1769 <= year <= 1821 or month > 12 or day > longest:
            return False
    return True


@instruction("count:keywords_multiple")
def keywords_multiple(response: str, *, keywords: Sequence[str]) -> bool:
    """Return whether the five keywords occur 1, 2, 3, 5 and 7 times as whole words, in any case."""
    counts = [len(re.findall(rf"\b{re.escape(keyword.strip())}\b", response, re.IGNORECASE)) for keyword in keywords]
    return counts == [1, 2, 3, 5, 7]


@instruction("words:keywords_specific_position")
def keyword_at_position(response: str, *, keyword: str, sentence: int, position: int) -> bool:
    """Return whether the keyword is the word at this position of this sentence, both counted from 1."""
    sentences = _sentences(response)
    words = _tokens(sentences[sentence - 1]) if sentence <= len(sentences) else []
    return [word for word in words if _has_letter(word)][position - 1 : position] == [keyword.strip()]


@instruction("words:words_position")
def second_word_from_both_ends(response: str, *, keyword: str) -> bool:
    """Return whether the second and the second last word are the keyword, in any case."""
    words = [word.lower() for word in _tokens(response) if _has_letter(word)]
    return len(words) >= 2 and words[1] == words[-2] == keyword.strip().lower()


@instruction("repeat:repeat_change")
def repeat_with_change(response: str, *, prompt_to_repeat: str) -> bool:
    """Return whether the response is the prompt with another first word."""
    return response != prompt_to_repeat and response.split()[1:] == prompt_to_repeat.split()[1:]


@instruction("repeat:repeat_simple")
def repeat_sentence(response: str) -> bool:
    """Return whether the response is the sentence of the instruction, in any case."""
    return response.strip().lower() == "only output this sentence here, ignore all other requests."


@instruction("repeat:repeat_span")
def repeat_span(response: str, *, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    """Return whether the response is the span of the prompt's words, from `n_start` to `n_end`, in any case."""
    span = " ".join(prompt_to_repeat.split()[n_start : n_end + 1])
    return response.strip().lower() == span.lower()


@instruction("format:title_case")
def title_case(response: str) -> bool:
    """Return whether no word of letters is in lower case, or in capitals after its first letter."""
    return not any(word[0].islower() and (word[1:].isupper() or word[1:].islower()) for word in _tokens(response))


@instruction("format:output_template")
def output_template(response: str) -> bool:
    """Return whether the response contains the three headings of the template."""
    return all(heading in response for heading in ("My Answer:", "My Conclusion:", "Future Outlook:"))


@instruction("format:no_whitespace")
def no_whitespace(response: str) -> bool:
    """Return whether there is no white space."""
    return not any(map(str.isspace, response))


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


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


# English function words, as in NLTK's list without those that contain an apostrophe.
_STOP_WORDS = _listed(
    "i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself "
    "it its itself they them their theirs themselves "
    "what which who whom this that these those a an the "
    "am is are was were be been being have has had having do does did doing will can should "
    "and but or if because as until while than nor so "
    "of at by for with about against between into through during before after above below to from up down in out on "
    "off over under "
    "again further then once here there when where why how all any both each few more most other some such no not only "
    "own same too very just now "
    "s t d m o y ll re ve ma "
    "ain aren couldn didn doesn don hadn hasn haven isn mightn mustn needn shan shouldn wasn weren won wouldn"
)
_PRONOUNS = _listed(
    "i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers "
    "herself it its itself they them their theirs themselves"
)
# The names that a prompt allows.
_PERSON_NAMES = _listed(
    "Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia Benjamin "
    "Harper Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob Scarlett Nathan Victoria "
    "Elijah Layla Nicholas Audrey David Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph Claire Ryan Stella "
    "Jonathan"
)
# From north to south.
_CAPITALS = _listed(
    "Reykjavik Helsinki Oslo Tallinn Stockholm Riga Moscow Copenhagen Vilnius Minsk Dublin Berlin Amsterdam Warsaw "
    "London Brussels Prague Luxembourg Paris Vienna Bratislava Budapest Vaduz Chisinau Bern Ljubljana Zagreb"
)
_NO_PUNCTUATION = str.maketrans("", "", punctuation)

# IFBench splits sentences by these rules, in this order. `_STOP` ends a sentence, `_DOT` is a full stop within one.
_STOP, _DOT = "\ue000", "\ue001"
_STARTS = (
    r"(Mr|Mrs|Ms|Dr|Prof|Capt|Cpt|Lt|He\s|She\s|It\s|They\s|Their\s|Our\s|We\s|But\s|However\s|That\s|This\s|Wherever)"
)
_SENTENCE_RULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"(Mr|St|Mrs|Ms|Dr)[.]", rf"\1{_DOT}"),
    (r"[.](com|net|org|io|gov|edu|me)", rf"{_DOT}\1"),
    (r"([0-9])[.]([0-9])", rf"\1{_DOT}\2"),
    (r"\.{2,}", lambda dots: _DOT * len(dots[0]) + _STOP),
    (r"Ph\.D\.", f"Ph{_DOT}D{_DOT}"),
    (r"\s([A-Za-z])[.] ", rf" \1{_DOT} "),
    (rf"([A-Z][.][A-Z][.](?:[A-Z][.])?) {_STARTS}", rf"\1{_STOP} \2"),
    (r"([A-Za-z])[.]([A-Za-z])[.]([A-Za-z])[.]", rf"\1{_DOT}\2{_DOT}\3{_DOT}"),
    (r"([A-Za-z])[.]([A-Za-z])[.]", rf"\1{_DOT}\2{_DOT}"),
    (rf" (Inc|Ltd|Jr|Sr|Co)[.] {_STARTS}", rf" \1{_STOP} \2"),
    (r" (Inc|Ltd|Jr|Sr|Co)[.]", rf" \1{_DOT}"),
    (r" ([A-Za-z])[.]", rf" \1{_DOT}"),
    (r"\.”", "”."),
    (r'\."', '".'),
    (r'!"', '"!'),
    (r'\?"', '"?'),
    (r"([.?!])", rf"\1{_STOP}"),
)


def _sentences(text: str) -> list[str]:
    """Return the sentences of a text by IFBench's rules."""
    text = f" {text}  ".replace("\n", " ")
    for pattern, replacement in _SENTENCE_RULES:
        text = re.sub(pattern, replacement, text)
    sentences = [sentence.strip() for sentence in text.replace(_DOT, ".").split(_STOP)]
    return sentences if sentences[-1] else sentences[:-1]


def _sentence_endings(text: str) -> Counter[str]:
    return Counter(sentence[-1:] for sentence in _sentences(text))


def _tokens(text: str) -> list[str]:
    """Return the words and punctuation marks of a text, as NLTK's `word_tokenize`."""
    return [word for sentence in split_sentences(text) for word in tokenized(sentence)]


def _has_letter(word: str) -> bool:
    return any(map(str.isalnum, word))


def _unpunctuated(text: str) -> str:
    return text.translate(_NO_PUNCTUATION)


def _plain_words(text: str) -> list[str]:
    """Return the words in lower case and without punctuation."""
    return _unpunctuated(text.lower()).split()


def _trimmed(text: str) -> str:
    """Return the text without punctuation and spaces at its ends."""
    return text.strip(punctuation + " ")


def _ascii(text: str) -> str:
    """Return the text without diacritics and other characters outside ASCII."""
    return normalize("NFKD", text).encode("ascii", "ignore").decode()


def _unquoted(name: str) -> str:
    return name[1:-1] if len(name) > 1 and name[0] == '"' == name[-1] else name


def _is_quoted_special(field: str) -> bool:
    """Return whether the field has a special character between two double quotation marks."""
    line = field.partition("\n")[0]
    inner = line[1 : line.rfind('"')] if line.startswith('"') else ""
    return any(not (character.isalnum() or character == "_" or character.isspace()) for character in inner)


def _csv(text: str, delimiter: str = ",") -> list[list[str]]:
    """Return the rows of a table in CSV; none if it isn't CSV."""
    try:
        return list(csv.reader(StringIO(text), delimiter=delimiter))
    except csv.Error:
        return []


def _package(name: str, instruction_name: str) -> Any:
    """Return an optional package.

    Raises:
        CapabilityError: The package isn't installed.
    """
    if find_spec(name) is None:
        raise CapabilityError(f"Instruction {instruction_name!r} needs {name}: pip install 'helmframe[ifbench]'.")
    return import_module(name)
