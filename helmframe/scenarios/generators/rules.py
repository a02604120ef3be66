"""Rules and a fact in plain words: what follows?"""

import random
from typing import NamedTuple

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
_SPLITS = (("train", 1000), ("valid", 5000), ("test", 5000))
_SEED = 42
_MOST_RULES = 5
_NOTHING = 0.1  # of the facts from which nothing follows, how many are kept


class _Rule(NamedTuple):
    subject: str
    conditions: list[str]
    joined: str
    then: str


def rules(difficulty: str) -> list[dict[str, str]]:
    """1,000 train, 5,000 valid and 5,000 test instances. Hard ones say facts in narrower words than the rules.

    Source: after Wu et al. 2021 (LIME); HELM, synthetic_reasoning_natural_scenario.py, whose random stream is drawn
    from in its order.
    """
    stream = random.Random(_SEED)  # noqa: S311 - HELM's stream
    rows = []
    for split, count in _SPLITS:
        for _ in range(count):
            text, target = _problem(stream, hard=difficulty == "hard")
            rows.append({"split": split, "input": text, "target": target})
    return rows


def _problem(stream: random.Random, *, hard: bool) -> tuple[str, str]:
    category = stream.choice(list(_SUBJECTS))
    subject = stream.choice(_SUBJECTS[category])
    said = _rules(stream, category, subject, narrow=not hard)
    while True:
        attributes = stream.sample(list(_ATTRIBUTES), 2)
        narrower = [stream.choice(_ATTRIBUTES[each]) for each in attributes]
        follows = [rule.then for rule in said if rule.then not in attributes and _applies(rule, attributes)]
        if follows or stream.random() <= _NOTHING:
            break
    it = subject if category == "person" else f"the {subject}"
    start = it[0].upper() + it[1:]
    fact = f"{start} is {' and '.join(narrower if hard else attributes)}."
    lines = [*(_sentence(rule, category) for rule in said), "Fact:", fact]
    target = f"{start} is {' and '.join(follows)}." if follows else "Nothing."
    return "\n".join([*lines, f"The following can be determined about {it}:"]), target


def _rules(stream: random.Random, category: str, subject: str, *, narrow: bool) -> list[_Rule]:
    """Rules about the subject, or (unless narrow) its category, each over attributes of its own."""
    left = list(_ATTRIBUTES)
    stream.shuffle(left)
    made: list[_Rule] = []
    while len(left) > 2 and len(made) < _MOST_RULES:
        about = subject if narrow else stream.choice([category, subject])
        count = stream.randint(2, 3)
        used, left = left[:count], left[count:]
        made.append(_Rule(about, used[:-1], stream.choice(["and", "or"]), used[-1]))
    return made


def _applies(rule: _Rule, attributes: list[str]) -> bool:
    some = [each in attributes for each in rule.conditions]
    return all(some) if rule.joined == "and" else any(some)


def _sentence(rule: _Rule, category: str) -> str:
    if category == "person":
        one = it = rule.subject
    else:
        one, it = f"{'an' if rule.subject[0] in 'aeiou' else 'a'} {rule.subject}", f"the {rule.subject}"
    return f"If {one} is {f' {rule.joined} '.join(rule.conditions)}, then {it} is {rule.then}."
