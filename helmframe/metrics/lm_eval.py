"""The filters and text metrics of lm-evaluation-harness, for its tasks.

Source: lm-eval 0.4.13, `filters/`, `api/metrics.py`, `api/task.py`.
"""

import json
import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from helmframe.metrics.protocol import metric

_INVALID = "[invalid]"
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_DIGITS = str.maketrans("", "", string.digits)


@metric(
    "lm_eval_exact_match",
    needs=("lm_eval_scoring",),
    source="lm-eval, filters and exact_match",
    correctness=True,
)
def lm_eval_exact_match(
    completion: str,
    perturbed_references: list[dict[str, Any]],
    lm_eval_choices: list[str] | None,
    lm_eval_scoring: str,
    *,
    filter: str = "none",
) -> float:
    """Return 1 if the filtered completion equals a target of an lm-eval task, else 0.

    The filters and the options `ignore_case`, `ignore_punctuation`, `ignore_numbers` and `regexes_to_ignore` are those
    of the task file.

    Example: With a filter that takes the number after ####, "so #### 18" against "18" is 1.
    """
    scoring = _scoring(lm_eval_scoring)
    result = filtered([completion], scoring["filters"][filter], lm_eval_choices or ())
    options = scoring["metrics"].get("exact_match", {})
    targets = [reference["text"] for reference in perturbed_references if reference["correct"]]
    return float(any(_normal(str(result), options) == _normal(target, options) for target in targets))


@lru_cache(maxsize=256)
def _scoring(text: str) -> Any:
    return json.loads(text)


def _normal(text: str, options: Mapping[str, Any]) -> str:
    for pattern in options.get("regexes_to_ignore") or ():
        text = re.sub(pattern, "", text)
    if options.get("ignore_case"):
        text = text.lower()
    if options.get("ignore_punctuation"):
        text = text.translate(_PUNCTUATION)
    return text.translate(_DIGITS) if options.get("ignore_numbers") else text


def filtered(responses: list[Any], steps: Sequence[tuple[str, Mapping[str, Any]]], choices: Sequence[str]) -> Any:
    """Return the responses of a document after the steps of a filter: a list, or a text once one is taken.

    >>> filtered(["It is 18.", "It is 19."], [("regex", {"regex_pattern": "([0-9]+)"}), ("take_first", {})], ())
    '18'
    """
    value: Any = responses
    for name, options in steps:
        value = FILTERS[name](value, options, choices)
    return value


def _matched(pattern: re.Pattern[str], text: Any, options: Mapping[str, Any]) -> str | None:
    """Return the selected match of a pattern; None without one."""
    matches = pattern.findall(text if isinstance(text, str) else "")
    if not matches:
        return None
    match = matches[options.get("group_select", 0)]
    if isinstance(match, tuple):
        groups = [group for group in match if group]
        if not groups:
            return ""
        match = groups[0]
    return str(match).strip()


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _regex(responses: list[Any], options: Mapping[str, Any], choices: Sequence[str]) -> list[Any]:
    del choices
    pattern = _compiled(options.get("regex_pattern", r"#### (\-?[0-9\.\,]+)"))
    fallback = options.get("fallback", _INVALID)
    matches = [_matched(pattern, response, options) for response in responses]
    return [fallback.strip() if match == "" else fallback if match is None else match for match in matches]


@lru_cache(maxsize=1)
def _unicode_punctuation() -> dict[int, None]:
    codes = range(sys.maxunicode)
    return dict.fromkeys(code for code in codes if unicodedata.category(chr(code)).startswith("P"))


def _multi_choice_regex(responses: list[Any], options: Mapping[str, Any], choices: Sequence[str]) -> list[Any]:
    """Return the letter of an option in brackets: by the pattern, else by the option's text, else by a letter."""

    def ignored(text: str) -> str:
        for pattern in options.get("regexes_to_ignore") or ():
            text = re.sub(pattern, "", text)
        text = text.lower() if options.get("ignore_case") else text
        return text.translate(_unicode_punctuation()) if options.get("ignore_punctuation") else text

    letters = [chr(ord("A") + number) for number in range(len(choices))]
    texts = [ignored(choice.strip()) for choice in choices]
    by_text = dict(zip(texts, letters, strict=True))
    of_texts = re.compile("|".join(sorted(map(re.escape, texts), key=len, reverse=True)))
    of_letters = re.compile(rf":[\s]*({'|'.join(letters)})")
    pattern = _compiled(options.get("regex_pattern", r"#### (\-?[0-9\.\,]+)"))
    results = []
    for response in responses:
        match = _matched(pattern, response, options)
        if not match:
            text = _matched(of_texts, ignored(response), options)
            match = f"({by_text[text]})" if text and text in by_text else text
            if not match:
                letter = _matched(of_letters, response, options)
                match = f"({letter})" if letter and letter in letters else letter
        results.append(match or options.get("fallback", _INVALID))
    return results


FILTERS: dict[str, Callable[[Any, Mapping[str, Any], Sequence[str]], Any]] = {
    "take_first": lambda responses, _, __: responses[0],
    "take_first_k": lambda responses, options, _: responses[: options["k"]],
    "majority_vote": lambda responses, _, __: [Counter(responses).most_common(1)[0][0]],
    "regex": _regex,
    "multi_choice_regex": _multi_choice_regex,
    "remove_whitespace": lambda responses, _, __: [response.strip() for response in responses],
    "lowercase": lambda responses, _, __: [response.lower() for response in responses],
    "uppercase": lambda responses, _, __: [response.upper() for response in responses],
    "map": lambda responses, options, _: [
        (options.get("mapping_dict") or {}).get(response, options.get("default_value")) for response in responses
    ],
}
