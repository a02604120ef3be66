"""Generators of reasoning tasks: abstract patterns over words, and rules about facts in plain English."""

import random
from typing import NamedTuple

import numpy as np

MODES = ("pattern_match", "variable_substitution", "induction")
_SYMBOLS = ("X", "Y", "Z")
_SIGNS = ("+", "-", "*", "=")
_ANIMALS = "zebra cobra stork penguin shark lion buffalo whale seal eagle horse rat"
_FRUITS = "apple peach watermelon banana grape kiwi pear strawberry blueberry blackberry"
_WORDS = (*_ANIMALS.split(), *_FRUITS.split())
_SPLITS = (("train", 1000), ("valid", 5000), ("test", 5000))
_SEED = 42


def patterns(mode: str) -> list[dict[str, str]]:
    """Return 1,000 train, 5,000 valid and 5,000 test instances of one mode.

    Source: after Wu et al. 2021 (LIME); HELM, synthetic_reasoning_scenario.py, whose random stream is used in
    the same order.
    """
    stream = np.random.RandomState(_SEED)
    rows = []
    for split, count in _SPLITS:
        for _ in range(count):
            text, target = _pattern_problem(stream, mode)
            rows.append({"split": split, "input": text, "target": target})
    return rows


def _pattern_problem(stream: np.random.RandomState, mode: str) -> tuple[str, str]:
    drawn = _some(stream, _SYMBOLS, stream.randint(2, 4))
    symbols = sorted(set(drawn))
    signs = _some(stream, _SIGNS, stream.randint(2, 4))
    pattern = _shuffled(stream, [*drawn, *signs])
    first, second = _substitutes(stream, symbols), _substitutes(stream, symbols)
    rule, result = " ".join(pattern), _result(pattern, first)
    if mode == "induction":
        return f"Two results: {result} | {_result(pattern, second)}", f"Rule: {rule}"
    if mode == "variable_substitution":
        by = " , ".join(f'{symbol} by " {words} "' for symbol, words in first.items())
        return f"Rules: {rule} | Substitutions: {by}", result
    others = [" ".join(_shuffled(stream, [*symbols, *signs])) for _ in range(3)]
    return f"Rules: {' | '.join(_shuffled(stream, [*others, rule]))} | Result: {result}", rule


def _some(stream: np.random.RandomState, options: tuple[str, ...], count: int) -> list[str]:
    return [options[index] for index in stream.randint(0, len(options), size=count)]


def _shuffled(stream: np.random.RandomState, texts: list[str]) -> list[str]:
    stream.shuffle(texts)
    return texts


def _substitutes(stream: np.random.RandomState, symbols: list[str]) -> dict[str, str]:
    """Return one or two words for each symbol."""
    return {symbol: " ".join(_some(stream, _WORDS, stream.randint(1, 3))) for symbol in symbols}


def _result(pattern: list[str], substitutes: dict[str, str]) -> str:
    return " ".join(substitutes.get(symbol, symbol) for symbol in pattern)


DIFFICULTIES = ("easy", "hard")
_SUBJECTS = {
    category: words.split()
    for category, words in (
        ("person", "Alice Bob Carol Dan Erin Frank"),
        ("animal", "dog cat rabbit mouse tiger lion bear squirrel cow panda hedgehog elephant giraffe hippo"),
        ("plant", "poppy dandelion tree rose sunflower"),
    )
}
# An attribute, and the narrower words for it that the hard facts use.
_ATTRIBUTES = {
    words.split()[0]: words.split()
    for words in (
        "young", "soft", "sad", "scary", "cold chill cool", "hot warm", "smart clever wise intelligent", "clean tidy",
        "small little tiny", "big enormous giant huge", "good kind nice", "beautiful pretty", "red crimson",
        "blue cobalt", "green viridian", "purple violet", "boring dull", "old ancient antique",
        "strong powerful muscular", "weak frail fragile", "fast quick", "slow sluggish", "bad evil wicked mean",
        "happy elated glad cheerful", "round circular spherical",
    )
}  # fmt: skip
_MOST_RULES = 5
_NOTHING = 0.1  # share of the facts without a conclusion that are used


class _Rule(NamedTuple):
    subject: str
    conditions: list[str]
    joined: str
    then: str


def rules(difficulty: str) -> list[dict[str, str]]:
    """Return 1,000 train, 5,000 valid and 5,000 test instances; hard facts use narrower words than the rules.

    Source: after Wu et al. 2021 (LIME); HELM, synthetic_reasoning_natural_scenario.py, whose random stream is used
    in the same order.
    """
    stream = random.Random(_SEED)  # noqa: S311 - HELM's stream
    rows = []
    for split, count in _SPLITS:
        for _ in range(count):
            text, target = _rule_problem(stream, hard=difficulty == "hard")
            rows.append({"split": split, "input": text, "target": target})
    return rows


def _rule_problem(stream: random.Random, *, hard: bool) -> tuple[str, str]:
    category = stream.choice(list(_SUBJECTS))
    subject = stream.choice(_SUBJECTS[category])
    problem_rules = _rules(stream, category, subject, narrow=not hard)
    while True:
        attributes = stream.sample(list(_ATTRIBUTES), 2)
        narrower = [stream.choice(_ATTRIBUTES[attribute]) for attribute in attributes]
        follows = [rule.then for rule in problem_rules if rule.then not in attributes and _applies(rule, attributes)]
        if follows or stream.random() <= _NOTHING:
            break
    it = subject if category == "person" else f"the {subject}"
    start = it[0].upper() + it[1:]
    fact = f"{start} is {' and '.join(narrower if hard else attributes)}."
    lines = [*(_sentence(rule, category) for rule in problem_rules), "Fact:", fact]
    target = f"{start} is {' and '.join(follows)}." if follows else "Nothing."
    return "\n".join([*lines, f"The following can be determined about {it}:"]), target


def _rules(stream: random.Random, category: str, subject: str, *, narrow: bool) -> list[_Rule]:
    """Return rules about the subject or (unless narrow) its category, each over other attributes."""
    left = list(_ATTRIBUTES)
    stream.shuffle(left)
    made: list[_Rule] = []
    while len(left) > 2 and len(made) < _MOST_RULES:
        rule_subject = subject if narrow else stream.choice([category, subject])
        count = stream.randint(2, 3)
        used, left = left[:count], left[count:]
        made.append(_Rule(rule_subject, used[:-1], stream.choice(["and", "or"]), used[-1]))
    return made


def _applies(rule: _Rule, attributes: list[str]) -> bool:
    conditions_met = [condition in attributes for condition in rule.conditions]
    return all(conditions_met) if rule.joined == "and" else any(conditions_met)


def _sentence(rule: _Rule, category: str) -> str:
    if category == "person":
        one = it = rule.subject
    else:
        one, it = f"{'an' if rule.subject[0] in 'aeiou' else 'a'} {rule.subject}", f"the {rule.subject}"
    return f"If {one} is {f' {rule.joined} '.join(rule.conditions)}, then {it} is {rule.then}."
