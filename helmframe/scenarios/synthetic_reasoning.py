"""Generators of reasoning tasks: abstract patterns over words, and rules about facts in plain English."""

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

MODES = ("pattern_match", "variable_substitution", "induction")
_SYMBOLS = ("X", "Y", "Z")
_SIGNS = ("+", "-", "*", "=")
_SPLITS = (("train", 1000), ("valid", 5000), ("test", 5000))
_SEED = 42


class _PatternTexts(NamedTuple):
    """The words and texts of the patterns in one language."""

    words: tuple[str, ...]
    two_results: str
    rule: str
    rules: str
    substitutions: str
    by: str
    result: str


_PATTERNS = {
    "en": _PatternTexts(
        (
            "zebra", "cobra", "stork", "penguin", "shark", "lion", "buffalo", "whale", "seal", "eagle", "horse",
            "rat", "apple", "peach", "watermelon", "banana", "grape", "kiwi", "pear", "strawberry", "blueberry",
            "blackberry",
        ),
        "Two results", "Rule", "Rules", "Substitutions", "by", "Result",
    ),
    "vi": _PatternTexts(
        (
            "con ngựa vằn", "con rắn hổ mang", "con cò", "con chim cánh cụt", "con cá mập", "con sư tử", "con trâu",
            "con cá voi", "con hải cẩu", "con đại bàng", "con ngựa", "con chuột", "quả táo", "quả đào", "quả dưa hấu",
            "quả chuối", "quả nho", "quả kiwi", "quả lê", "quả dâu tây", "quả việt quất", "quả mâm xôi",
        ),
        "Hai kết quả", "Quy luật", "Các quy luật", "Thay thế", "bởi", "Kết quả",
    ),
}  # fmt: skip


def patterns(mode: str, language: str = "en") -> list[dict[str, str]]:
    """Return 1,000 train, 5,000 valid and 5,000 test instances of one mode.

    Source: after Wu et al. 2021 (LIME); HELM, synthetic_reasoning_scenario.py and its Vietnamese variant in MELT, whose
    random stream is used in the same order.
    """
    stream = np.random.RandomState(_SEED)
    rows = []
    for split, count in _SPLITS:
        for _ in range(count):
            text, target = _pattern_problem(stream, mode, _PATTERNS[language])
            rows.append({"split": split, "input": text, "target": target})
    return rows


def _pattern_problem(stream: np.random.RandomState, mode: str, texts: _PatternTexts) -> tuple[str, str]:
    drawn = _some(stream, _SYMBOLS, stream.randint(2, 4))
    symbols = sorted(set(drawn))
    signs = _some(stream, _SIGNS, stream.randint(2, 4))
    pattern = _shuffled(stream, [*drawn, *signs])
    first, second = (_substitutes(stream, symbols, texts.words) for _ in range(2))
    rule, result = " ".join(pattern), _result(pattern, first)
    if mode == "induction":
        return f"{texts.two_results}: {result} | {_result(pattern, second)}", f"{texts.rule}: {rule}"
    if mode == "variable_substitution":
        by = " , ".join(f'{symbol} {texts.by} " {words} "' for symbol, words in first.items())
        return f"{texts.rules}: {rule} | {texts.substitutions}: {by}", result
    others = [" ".join(_shuffled(stream, [*symbols, *signs])) for _ in range(3)]
    return f"{texts.rules}: {' | '.join(_shuffled(stream, [*others, rule]))} | {texts.result}: {result}", rule


def _some(stream: np.random.RandomState, options: tuple[str, ...], count: int) -> list[str]:
    return [options[index] for index in stream.randint(0, len(options), size=count)]


def _shuffled(stream: np.random.RandomState, texts: list[str]) -> list[str]:
    stream.shuffle(texts)
    return texts


def _substitutes(stream: np.random.RandomState, symbols: list[str], words: tuple[str, ...]) -> dict[str, str]:
    """Return one or two words for each symbol."""
    return {symbol: " ".join(_some(stream, words, stream.randint(1, 3))) for symbol in symbols}


def _result(pattern: list[str], substitutes: dict[str, str]) -> str:
    return " ".join(substitutes.get(symbol, symbol) for symbol in pattern)


DIFFICULTIES = ("easy", "hard")


class _RuleTexts(NamedTuple):
    """The words and texts of the rules in one language.

    Args:
        subjects: Category → its members; the first category is persons, who have names.
        attributes: An attribute → the narrower words for it that the hard facts use.
        one: The word before a member of a category, before a vowel and before another letter.
        the: The word before the same member.
        conjunctions: And, or.
        rule: The form of a rule.
        fact: The form of a fact.
        nothing: The target if no rule applies.
        fact_title: The title of the fact.
        question: The last line.
    """

    subjects: Mapping[str, Sequence[str]]
    attributes: Mapping[str, Sequence[str]]
    one: tuple[str, str]
    the: str
    conjunctions: tuple[str, str]
    rule: str
    fact: str
    nothing: str
    fact_title: str
    question: str


def _by_first(groups: Sequence[str], separator: str | None = None) -> dict[str, list[str]]:
    """Return the first word of each group → all its words."""
    words = [group.split(separator) for group in groups]
    return {group[0]: group for group in words}


_RULES = {
    "en": _RuleTexts(
        {
            "person": ["Alice", "Bob", "Carol", "Dan", "Erin", "Frank"],
            "animal": [
                "dog", "cat", "rabbit", "mouse", "tiger", "lion", "bear", "squirrel", "cow", "panda", "hedgehog",
                "elephant", "giraffe", "hippo",
            ],
            "plant": ["poppy", "dandelion", "tree", "rose", "sunflower"],
        },
        _by_first(
            (
                "young", "soft", "sad", "scary", "cold chill cool", "hot warm", "smart clever wise intelligent",
                "clean tidy", "small little tiny", "big enormous giant huge", "good kind nice", "beautiful pretty",
                "red crimson", "blue cobalt", "green viridian", "purple violet", "boring dull", "old ancient antique",
                "strong powerful muscular", "weak frail fragile", "fast quick", "slow sluggish", "bad evil wicked mean",
                "happy elated glad cheerful", "round circular spherical",
            )
        ),
        ("an", "a"), "the", ("and", "or"), "If {one} is {conditions}, then {the} is {then}.", "{the} is {attributes}.",
        "Nothing.", "Fact:", "The following can be determined about {the}:",
    ),
    "vi": _RuleTexts(
        {
            "người": ["An", "Bình", "Cường", "Duy", "Đạt", "Phương"],
            "động vật": [
                "con chó", "con mèo", "con thỏ", "con chuột", "con hổ", "con sư tử", "con gấu", "con sóc", "con bò",
                "con gấu trúc", "con nhím", "con voi", "con hươu cao cổ", "con hà mã",
            ],
            "thực vật": ["hoa anh túc", "hoa bồ công anh", "cây", "hoa hồng", "hoa hướng dương"],
        },
        _by_first(
            (
                "trẻ", "mềm", "buồn", "sợ", "lạnh/lạnh buốt/mát mẻ", "nóng/ấm", "thông minh/tài giỏi/khôn/sáng trí",
                "sạch/ngăn nắp", "nhỏ/bé/tí nị", "to/khổng lồ/bự/lớn", "tốt/tử tế/tốt bụng", "đẹp/xinh", "đỏ/đỏ thẫm",
                "xanh dương/xanh lam", "xanh lục/xanh lá cây", "tím/tím than", "chán/đần", "cũ/xưa/cổ",
                "mạnh/mạnh mẽ/cơ bắp", "yếu/yếu đuối/mỏng manh", "nhanh/mau", "chậm/chậm chạp", "xấu/xấu xa/ác/độc ác",
                "hạnh phúc/hân hoan/vui mừng/vui vẻ", "tròn/hình tròn/hình cầu",
            ),
            "/",
        ),
        ("một", "một"), "cái", ("và", "hoặc"), "Nếu {one} là {conditions}, thì {the} là {then}.",
        "{the} là {attributes}.", "Không có gì.", "Sự thật:", "Những điều sau đây có thể được xác định về {the}:",
    ),
}  # fmt: skip
_MOST_RULES = 5
_NOTHING = 0.1  # share of the facts without a conclusion that are used


class _Rule(NamedTuple):
    subject: str
    conditions: list[str]
    joined_by_and: bool
    then: str


def rules(difficulty: str, language: str = "en") -> list[dict[str, str]]:
    """Return 1,000 train, 5,000 valid and 5,000 test instances; hard facts use narrower words than the rules.

    Source: after Wu et al. 2021 (LIME); HELM, synthetic_reasoning_natural_scenario.py and its Vietnamese variant in
    MELT, whose random stream is used in the same order.
    """
    stream = random.Random(_SEED)  # noqa: S311 - HELM's stream
    rows = []
    for split, count in _SPLITS:
        for _ in range(count):
            text, target = _rule_problem(stream, _RULES[language], hard=difficulty == "hard")
            rows.append({"split": split, "input": text, "target": target})
    return rows


def _rule_problem(stream: random.Random, texts: _RuleTexts, *, hard: bool) -> tuple[str, str]:
    category = stream.choice(list(texts.subjects))
    subject = stream.choice(texts.subjects[category])
    problem_rules = _rules(stream, texts, category, subject, narrow=not hard)
    while True:
        attributes = stream.sample(list(texts.attributes), 2)
        narrower = [stream.choice(texts.attributes[attribute]) for attribute in attributes]
        follows = [rule.then for rule in problem_rules if rule.then not in attributes and _applies(rule, attributes)]
        if follows or stream.random() <= _NOTHING:
            break
    person = category == next(iter(texts.subjects))
    the = subject if person else f"{texts.the} {subject}"
    start, conjunction = the[0].upper() + the[1:], f" {texts.conjunctions[0]} "
    fact = texts.fact.format(the=start, attributes=conjunction.join(narrower if hard else attributes))
    lines = [*(_sentence(rule, texts, person=person) for rule in problem_rules), texts.fact_title, fact]
    target = texts.fact.format(the=start, attributes=conjunction.join(follows)) if follows else texts.nothing
    return "\n".join([*lines, texts.question.format(the=the)]), target


def _rules(stream: random.Random, texts: _RuleTexts, category: str, subject: str, *, narrow: bool) -> list[_Rule]:
    """Return rules about the subject or (unless narrow) its category, each over other attributes."""
    left = list(texts.attributes)
    stream.shuffle(left)
    made: list[_Rule] = []
    while len(left) > 2 and len(made) < _MOST_RULES:
        rule_subject = subject if narrow else stream.choice([category, subject])
        count = stream.randint(2, 3)
        used, left = left[:count], left[count:]
        joined_by_and = stream.choice([True, False])
        made.append(_Rule(rule_subject, used[:-1], joined_by_and, used[-1]))
    return made


def _applies(rule: _Rule, attributes: list[str]) -> bool:
    conditions_met = [condition in attributes for condition in rule.conditions]
    return all(conditions_met) if rule.joined_by_and else any(conditions_met)


def _sentence(rule: _Rule, texts: _RuleTexts, *, person: bool) -> str:
    if person:
        one = the = rule.subject
    else:
        before_vowel, otherwise = texts.one
        one = f"{before_vowel if rule.subject[0] in 'aeiou' else otherwise} {rule.subject}"
        the = f"{texts.the} {rule.subject}"
    joined = f" {texts.conjunctions[0 if rule.joined_by_and else 1]} "
    return texts.rule.format(one=one, conditions=joined.join(rule.conditions), the=the, then=rule.then)
