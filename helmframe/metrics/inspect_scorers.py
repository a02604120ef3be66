"""The scorers and epoch reducers of Inspect, for its tasks and those of the Hub's `eval.yaml`.

Source: inspect_ai 0.3.285, `scorer/`, `solver/_multiple_choice.py`.
"""

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from statistics import mean, median
from typing import Any

from helmframe._core.safe_text import BoundedPattern, bounded_pattern
from helmframe.errors import ArgumentError, CapabilityError
from helmframe.metrics.protocol import metric

SOURCE = "inspect_ai"
_LOCATIONS = ("begin", "end", "any", "exact")
# The patterns of the scorer `answer`: each matches the last "ANSWER:" of a completion.
_ANSWER_PATTERNS = {
    "letter": r"(?is)ANSWER\s*:\s*([A-Za-z])(?:[^\w]|\n|$)(?!.*ANSWER\s*:)",
    "word": r"(?is)ANSWER\s*:\s*(\S+?)(?=[.,;:!?]?\s*(?:\n|$))(?!.*ANSWER\s*:)",
    "line": r"(?i)ANSWER\s*:\s*([^\n]+)\s*\Z",
}


def _targets(references: list[dict[str, Any]], labels: bool) -> list[str]:
    """Return the texts of the correct references, or the labels of the correct options."""
    return [
        option_letter(index) if labels else entry["text"] for index, entry in enumerate(references) if entry["correct"]
    ]


# -- texts -------------------------------------------------------------------------------------------------------------


def _check_location(*, location: str = "end") -> None:
    if location not in _LOCATIONS:
        raise ArgumentError.unknown_value(f"inspect_match(location={location!r})", location, _LOCATIONS)


@metric("inspect_match", source=f"{SOURCE}, match", correctness=True, check=_check_location)
def inspect_match(
    completion: str,
    perturbed_references: list[dict[str, Any]],
    *,
    labels: bool = False,
    location: str = "end",
    ignore_case: bool = True,
    numeric: bool = False,
) -> float:
    """Return 1 if the completion begins or ends with a target, contains it or equals it, as `match` in Inspect.

    Punctuation around the texts is ignored. With `numeric`, numbers are compared if the target is a number.

    Example: "so it is 18." against "18" is 1.
    """
    targets = _targets(perturbed_references, labels)
    return float(any(_matches(completion, target, location, ignore_case, numeric) for target in targets))


def _matches(completion: str, target: str, location: str, ignore_case: bool, numeric: bool) -> bool:
    value, wanted = completion.strip(), target.strip()
    if ignore_case:
        value, wanted = value.casefold(), wanted.casefold()
    if numeric:
        wanted = _without_currency(wanted)
        if parse_number(wanted) is not None:
            return _matches_number(_without_currency(value), _five_digits(wanted), location)
    value, wanted = _trimmed(value), _trimmed(wanted)
    if location == "begin":
        return value.startswith(wanted)
    if location == "end":
        return value.endswith(wanted)
    return value == wanted if location == "exact" else wanted in value


def _matches_number(value: str, wanted: str, location: str) -> bool:
    if location == "exact":
        return _five_digits(value, trim=False) == wanted
    numbers = [_five_digits(word) for word in re.split(r"\s+", value) if parse_number(word) is not None]
    if location == "any":
        return wanted in numbers
    first = (numbers[0] if location == "begin" else numbers[-1]) if numbers else ""
    return first == wanted


def _trimmed(text: str) -> str:
    return text.strip(string.whitespace + string.punctuation)


def _without_currency(text: str) -> str:
    """Return a text without currency signs, thousands separators, emphasis and dots that aren't decimal points."""
    text = re.sub(r"\\([$,£€*_])", r"\1", text)
    return re.sub(r"\.(?=\s|$|\D)", "", re.sub(r"[$,£€*_]", "", text))


def _five_digits(text: str, *, trim: bool = True) -> str:
    number = parse_number(text, trim=trim)
    return text if number is None else format(number, ".5g")


@metric("inspect_includes", source=f"{SOURCE}, includes", correctness=True)
def inspect_includes(
    completion: str,
    perturbed_references: list[dict[str, Any]],
    *,
    labels: bool = False,
    ignore_case: bool = True,
) -> float:
    """Return 1 if the completion contains a target, as `includes` in Inspect.

    Example: "It is PARIS, I think" against "Paris" is 1.
    """
    fold: Callable[[str], str] = str.casefold if ignore_case else str
    targets = _targets(perturbed_references, labels)
    return float(any(fold(target) in fold(completion) for target in targets))


def _check_pattern(*, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ArgumentError(f"inspect_pattern(pattern={pattern!r}): invalid regular expression: {error}.") from None


@metric("inspect_pattern", source=f"{SOURCE}, pattern", correctness=True, check=_check_pattern)
def inspect_pattern(
    completion: str,
    perturbed_references: list[dict[str, Any]],
    *,
    labels: bool = False,
    pattern: str,
    ignore_case: bool = True,
    match_all: bool = False,
) -> float:
    r"""Return 1 if a group of the pattern equals a target, as `pattern` in Inspect.

    With `match_all`, every group must equal a target. Without groups, the whole match must.

    Example: "#### 18" with the pattern "####\s*(.+)" against "18" is 1.
    """
    match = _compiled(pattern, ignore_case).search(completion)
    if match is None:
        return 0.0
    groups = [group for group in match.groups() or (match.group(0),) if group is not None]
    targets = _targets(perturbed_references, labels)
    if ignore_case:
        groups, targets = [group.lower() for group in groups], [target.lower() for target in targets]
    hits = [group in targets for group in groups]
    if match_all:
        return float(bool(hits) and all(hits) and bool("".join(targets)))
    # Inspect counts an empty match as none
    first = next((group for group, hit in zip(groups, hits, strict=True) if hit), "")
    return float(bool(first))


def _compiled(pattern: str, ignore_case: bool) -> BoundedPattern:
    return bounded_pattern(pattern, re.IGNORECASE if ignore_case else 0)


def _check_answer(*, pattern: str) -> None:
    if pattern not in _ANSWER_PATTERNS:
        raise ArgumentError.unknown_value(f"inspect_answer(pattern={pattern!r})", pattern, _ANSWER_PATTERNS)


@metric("inspect_answer", source=f"{SOURCE}, answer", correctness=True, check=_check_answer)
def inspect_answer(
    completion: str,
    perturbed_references: list[dict[str, Any]],
    *,
    labels: bool = False,
    pattern: str,
) -> float:
    """Return 1 if the letter, word or line after the last "ANSWER:" equals a target, as `answer` in Inspect.

    Example: "So. ANSWER: Yes." with the pattern "word" against "yes" is 1.
    """
    return float(inspect_pattern(completion, perturbed_references, labels=labels, pattern=_ANSWER_PATTERNS[pattern]))


# -- options -----------------------------------------------------------------------------------------------------------


def option_letter(index: int) -> str:
    """Return the label of an option: A to Z, then 1, 2, ….

    >>> option_letter(1), option_letter(26)
    ('B', '1')
    """
    return chr(ord("A") + index) if index < 26 else str(index - 25)


def selected_options(completion: str, n_options: int, *, multiple: bool) -> set[str]:
    """Return the labels of the options that a completion selects, after its last "ANSWER:".

    >>> selected_options("Both. ANSWER: A, C", 3, multiple=True) == {"A", "C"}
    True
    """
    text = re.sub(r"\$\s*([A-Za-z\d][A-Za-z\d ,]*?)\s*\$", r"\1", completion)
    text = re.sub(r"\*\*\s*([A-Za-z\d][A-Za-z\d ,]*?)\s*\*\*", r"\1", text)
    text = re.sub(r"(?i)(^|[:,])(\s*)\(([A-Za-z\d])\)(?=\s*(?:,|\.|\n|\Z))", r"\1\2\3", text)
    answers = re.findall(r"(?im)^ANSWER\s*:\s*([A-Za-z\d ,]+)\s*(?:$|\n|\.)", text) or re.findall(
        r"(?i)ANSWER\s*:\s*([A-Za-z\d ,]+)(?:[^\w]|\n|$|\.)", text
    )
    if not answers:
        return set()
    last = answers[-1].strip().rstrip(".").upper()
    allowed = {option_letter(index) for index in range(n_options)}
    if multiple:
        last = last.replace(" AND ", ",").replace(" ", "")
    parts = [part for part in last.split(",") if part]
    if not multiple:
        return set(parts) if len(parts) == 1 and parts[0] in allowed else set()
    for labels in (set(parts), set(last)):
        if labels <= allowed:
            return labels
    return set()


@metric("inspect_choice", source=f"{SOURCE}, multiple_choice and choice", correctness=True)
def inspect_choice(
    completion: str, perturbed_references: list[dict[str, Any]], *, multiple_correct: bool = False
) -> float:
    """Return 1 if the completion selects the correct options and no others, as `choice` in Inspect.

    Example: "ANSWER: B" is 1 if the second option alone is correct.
    """
    labels = selected_options(completion, len(perturbed_references), multiple=multiple_correct)
    correct = {option_letter(index) for index, entry in enumerate(perturbed_references) if entry["correct"]}
    return float(labels == correct)


# -- words -------------------------------------------------------------------------------------------------------------


@metric("inspect_exact", source=f"{SOURCE}, exact", correctness=True)
def inspect_exact(completion: str, perturbed_references: list[dict[str, Any]], *, labels: bool = False) -> float:
    """Return 1 if the completion equals a target without case, articles and punctuation, as `exact` in Inspect.

    Example: "The Eiffel Tower." against "eiffel tower" is 1.
    """
    words = _words(completion)
    return float(
        any(wanted == words for target in _targets(perturbed_references, labels) if (wanted := _words(target)))
    )


@metric("inspect_f1", source=f"{SOURCE}, f1")
def inspect_f1(
    completion: str,
    perturbed_references: list[dict[str, Any]],
    *,
    labels: bool = False,
    stop_words: Sequence[str] = (),
) -> float:
    """Return the F1 score of the words of the completion and the best target, with two decimals, as `f1` in Inspect.

    Example: "the red car" against "a red bus" is 0.5.
    """
    words = Counter(_words(completion, stop_words).split())
    scores = [0.0]
    for target in _targets(perturbed_references, labels):
        wanted = Counter(_words(target, stop_words).split())
        if wanted:
            common = (words & wanted).total()
            precision, recall = common / words.total() if words else 1.0, common / wanted.total()
            scores.append(2 * precision * recall / (precision + recall) if precision or recall else 0.0)
    return round(max(scores), 2)


def _words(text: str, stop_words: Iterable[str] = ()) -> str:
    """Return the normalized words of a text."""
    stops = {_word(word) for word in stop_words}
    words = [_word(token) for token in re.split(" |-", text)]
    return " ".join(word for word in words if word and word not in stops)


def _word(token: str) -> str:
    token = token.casefold()
    if not _is_finite(token):
        inner = _trimmed(token)
        token = inner if _is_finite(inner) else "".join(char for char in token if char not in string.punctuation)
    token = str(float(token)) if _is_finite(token) else token
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", token).split())


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


# -- numbers -----------------------------------------------------------------------------------------------------------

_MINUS, _PLUS = frozenset("-−﹣－负負"), frozenset("+＋﹢正")
_GROUPING = frozenset(",，﹐、٬ \u00a0\u202f\u2009\u2007\u2008'’ʼ＇")
_HAN_DIGITS = dict(
    zip("零〇○一二三四五六七八九壹贰貳叁參肆伍陆陸柒捌玖两兩幺", map(int, "000123456789122334566789221"), strict=True)
)
_HAN_TENS = {"廿": 20, "卅": 30, "卌": 40}
_HAN_UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_HAN_LARGE = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8, "兆": 10**12}
_HAN_POINT = frozenset("点點")
_HAN = {*_HAN_DIGITS, *_HAN_TENS, *_HAN_UNITS, *_HAN_LARGE, *_HAN_POINT, "负", "負", "正"}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_MOST_CHARACTERS = 400  # of a number
_LARGEST_EXPONENT = 400


def parse_number(text: str, *, trim: bool = True) -> float | None:
    """Return the number that a text is, also with digits of other scripts, fractions and exponents; None otherwise.

    >>> parse_number("(2½)"), parse_number("三百"), parse_number("5 apples")
    (2.5, 300.0, None)
    """
    if trim:
        text = text.strip("!?:;()[]{}'\"`")
    for parse in (float, _unicode_number):
        try:
            number = parse(text)
        except (ValueError, ArithmeticError):
            continue
        if number is not None and math.isfinite(number):
            return number
    return None


def _unicode_number(text: str) -> float | None:
    text, sign = text.strip(), 1.0
    if len(text) > _MOST_CHARACTERS:
        return None
    while text and text[0] in _MINUS | _PLUS:
        sign = -sign if text[0] in _MINUS else sign
        text = text[1:].lstrip()
    if not text:
        return None
    if len(text) == 1 and (value := unicodedata.numeric(text, None)) is not None:
        return sign * value
    base, exponent = _exponent(text)
    number = _with_fraction(base)
    if number is None or (exponent is not None and abs(exponent) > _LARGEST_EXPONENT):
        return None
    power = sign * number if exponent is None else (sign * number) ** exponent
    return float(power)


def _exponent(text: str) -> tuple[str, int | None]:
    """Return a text without its superscript exponent, and the exponent."""
    end = text.rstrip("".join(_GROUPING) + string.whitespace)
    match = re.search(r"([⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)$", end)
    if match is None or not end[: match.start()].rstrip():
        return text.strip(), None
    return end[: match.start()].rstrip(), int(match[1].translate(_SUPERSCRIPTS))


def _with_fraction(text: str) -> float | None:
    """Return a number that may end in a fraction character: 2½."""
    fractions = [
        (index, value)
        for index, char in enumerate(text)
        if (value := unicodedata.numeric(char, None)) is not None and 0 < value < 1
    ]
    if not fractions:
        return _plain_number(text)
    index, fraction = fractions[0]
    tail = text[index + 1 :]
    if len(fractions) > 1 or any(not (char.isspace() or char in _GROUPING) for char in tail):
        return None
    head = text[:index].strip()
    whole = _plain_number(head) if head else 0.0
    return None if whole is None else whole + fraction


def _plain_number(text: str) -> float | None:
    text = text.strip()
    if not text:
        return None
    if any(char in _HAN for char in text) and (number := _han_number(text)) is not None:
        return number
    number = _grouped_number(text)
    if number is None and len(text) == 1:
        return unicodedata.numeric(text, None)
    return number


def _grouped_number(text: str) -> float | None:
    """Return a number with digits of any script, grouping and a decimal mark that is guessed as Inspect does."""
    dot, comma = text.rfind("."), text.rfind(",")
    mark = "." if dot > comma else ""
    if comma > dot:
        digits = sum(_digit(char) is not None for char in text[comma + 1 :])
        mark = "," if dot >= 0 or digits in (1, 2, 3) else ""
    pieces: list[str] = []
    has_exponent, position = False, 0
    while position < len(text):
        char = text[position]
        position += 1
        if char in "eE" and not has_exponent:
            if not pieces:
                return None
            pieces.append(char)
            has_exponent = True
            if position < len(text) and text[position] in (_MINUS | _PLUS) - _HAN:
                pieces.append("-" if text[position] in _MINUS else "+")
                position += 1
        elif char in "٫．" or char == mark:
            if "." in pieces:
                return None
            pieces.append(".")
        elif char in _GROUPING or char.isspace() or (mark and char in ",."):
            continue
        elif (digit := _digit(char)) is not None:
            pieces.append(digit)
        else:
            return None
    try:
        return float("".join(pieces))
    except ValueError:
        return None


def _digit(char: str) -> str | None:
    value = unicodedata.digit(char, None)
    if value is None:
        value = _HAN_DIGITS.get(char)
    return None if value is None else str(value)


def _han_number(text: str) -> float | None:
    whole, fraction = text, ""
    for mark in (*_HAN_POINT, "．", "."):
        if mark in text:
            whole, _, fraction = text.partition(mark)
            break
    digits = ["" if char.isspace() else _digit(char) for char in whole]
    if any(char in _HAN_UNITS or char in _HAN_LARGE or char in _HAN_TENS for char in whole):
        value = _han_units(whole)
    elif None in digits:
        return None
    else:
        value = int("".join(map(str, digits)) or 0)
    decimals = ["" if char.isspace() else _digit(char) for char in fraction]
    if value is None or None in decimals:
        return None
    powers = enumerate(filter(None, decimals), start=1)
    return float(value + sum(int(digit) / 10**power for power, digit in powers))


def _han_units(text: str) -> int | None:
    """Return a whole number of Han digits and units: 三百二十."""
    total = section = number = 0
    for char in text:
        if char.isspace() or char in "零〇○":
            continue
        if char in _HAN_TENS:
            section += _HAN_TENS[char]
        elif char in _HAN_UNITS:
            section, number = section + (number or 1) * _HAN_UNITS[char], 0
        elif char in _HAN_LARGE:
            total, section, number = total + (section + number) * _HAN_LARGE[char], 0, 0
        elif (digit := _digit(char)) is not None:
            number = int(digit)
        else:
            return None
    return total + section + number


# -- mathematics, judges and epochs ------------------------------------------------------------------------------------


def _check_math() -> None:
    from importlib.util import find_spec

    if find_spec("inspect_ai") is None:
        raise CapabilityError("inspect_math needs Inspect: pip install inspect-ai latex2sympy2-extended.")
    _math_scorer()


@lru_cache(maxsize=1)
def _math_scorer() -> Any:
    from inspect_ai.scorer import math as inspect_scorer  # type: ignore[import-not-found, unused-ignore]

    return inspect_scorer()


@metric("inspect_math", source=f"{SOURCE}, math", correctness=True, check=_check_math)
def inspect_math(completion: str, perturbed_references: list[dict[str, Any]], *, labels: bool = False) -> float:
    r"""Return 1 if the final expression of the completion equals a target, by `math` of an installed Inspect.

    Example: "so \boxed{1/2}" against "0.5" is 1.
    """
    import asyncio
    from concurrent.futures import ThreadPoolExecutor
    from types import SimpleNamespace

    async def run() -> Any:
        state = SimpleNamespace(output=SimpleNamespace(completion=completion))
        return await _math_scorer()(state, _targets(perturbed_references, labels))

    with ThreadPoolExecutor(1) as pool:  # the calling thread may run an event loop, as in notebooks
        score = pool.submit(asyncio.run, run()).result()
    return float(score.value == "C")


def _no_judge(*, judge: str = "", model: str = "MODEL") -> None:
    raise CapabilityError(f"The task is scored by a model. Choose one: plan.metrics(hf.judge({model!r}, {judge!r})).")


@metric("inspect_model_graded", source=f"{SOURCE}, model_graded_qa", check=_no_judge)
def inspect_model_graded(completion: str, *, judge: str = "", model: str = "MODEL") -> float | None:  # noqa: ARG001
    """Raise an error that shows how to choose the judge of a task that Inspect scores with a model.

    Example: With hf.judge("openai/gpt-4o", "inspect_qa") in its place, the grade C is 1.
    """
    return None


REDUCERS = ("mean", "median", "mode", "max", "pass_at", "pass_k", "at_least")


def _check_reducer(*, reducer: str = "mean", k: int = 1) -> None:
    if reducer not in REDUCERS:
        raise ArgumentError.unknown_value(f"inspect_epochs(reducer={reducer!r})", reducer, REDUCERS)
    if k < 1:
        raise ArgumentError(f"inspect_epochs(k={k}): k must be an integer ≥ 1.")


@metric("inspect_epochs", level="instance", source=f"{SOURCE}, reducers", check=_check_reducer)
def inspect_epochs(
    score: Sequence[float | None],
    *,
    metric: str,  # noqa: ARG001 - the metric of `score`
    reducer: str = "mean",
    k: int = 1,
) -> float | None:
    """Return the scores of an instance's outputs as one number, as Inspect reduces the scores of epochs.

    Example: The mode of 1, 0, 1 is 1, and pass_at with k=2 is 1.

    Args:
        score: The scores under `metric`.
        metric: The metric that is reduced.
        reducer: "mean", "median", "mode", "max", "pass_at", "pass_k" or "at_least".
        k: The number of outputs of "pass_at", "pass_k" and "at_least".
    """
    values = [value for value in score if value is not None]
    if not values:
        return None
    n, correct = len(values), sum(value >= 1 for value in values)
    if reducer == "mode":
        return Counter(values).most_common(1)[0][0]
    if reducer == "at_least":
        return float(correct >= k)
    if reducer in ("pass_at", "pass_k"):
        if n < k:
            return None
        failed = math.comb(n - correct, k) / math.comb(n, k)
        return 1 - failed if reducer == "pass_at" else math.comb(correct, k) / math.comb(n, k)
    return float(max(values) if reducer == "max" else median(values) if reducer == "median" else mean(values))
