"""Scenarios without data: their rows are generated from a seed, the same on every machine."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import polars as pl

from helmframe.errors import UnknownNameError
from helmframe.scenarios.haystacks import LENGTHS, RULER, ruler_rows
from helmframe.scenarios.privacy import QUESTIONS, friends_secrets
from helmframe.scenarios.synthetic_reasoning import DIFFICULTIES, MODES, patterns, rules


class Generator(NamedTuple):
    """A function that makes the rows of one subset, the column of the subset, and its values."""

    column: str
    subsets: tuple[str, ...]
    make: Callable[[str], list[dict[str, str]]]


def generated_rows(name: str, filters: Mapping[str, Sequence[str]] | None = None) -> pl.DataFrame:
    """Return the rows of a generated scenario, in the order of their generation.

    Args:
        name: The name of the generator, from a spec's `source: {generated: …}`.
        filters: Column → values. Only subsets with these values are generated; the first subset if none has them.

    Returns:
        row_index, split, the column of the subset, input, target.

    Raises:
        UnknownNameError: The generator is unknown.
    """
    generator = find_generator(name)
    values = (filters or {}).get(generator.column, generator.subsets)
    chosen = [subset for subset in generator.subsets if subset in values] or generator.subsets[:1]
    return pl.concat(_subset_rows(name, subset) for subset in chosen)


def no_rows(name: str) -> pl.DataFrame:
    """Return an empty frame with the columns of a generated scenario; no row is generated.

    Raises:
        UnknownNameError: The generator is unknown.
    """
    texts = dict.fromkeys(("split", find_generator(name).column, "input", "target"), pl.String)
    return pl.DataFrame(schema={"row_index": pl.Int64, **texts})


def find_generator(name: str) -> Generator:
    """Return the generator of that name.

    Raises:
        UnknownNameError: The generator is unknown.
    """
    if name not in GENERATED:
        raise UnknownNameError.among("generator", name, GENERATED)
    return GENERATED[name]


@lru_cache(maxsize=32)
def _subset_rows(name: str, subset: str) -> pl.DataFrame:
    generator = GENERATED[name]
    rows = pl.DataFrame(generator.make(subset), schema={"split": pl.String, "input": pl.String, "target": pl.String})
    return rows.with_row_index("row_index").select(
        pl.col("row_index").cast(pl.Int64), "split", pl.lit(subset).alias(generator.column), "input", "target"
    )


PROMPT_TOKENS = ("1", "16", "32", "64", "256", "512", "768", "1024", "1536", "1920")
_INSTANCES = 10
# Short common words: nearly always one token each, with the space before, whatever the tokenizer.
_TEXT = (
    "the time of day is not what it was and we all know that people can work in the house for a long while but they "
    "do want to go out again with some friends who live by the water near the old town where he first came to see "
    "her family last year after he had found more than one good place to stay there"
)


def lengths(tokens: str) -> list[dict[str, str]]:
    """Return 10 test instances of n common words each, without references.

    HELM cuts its prompts by each model's tokenizer. These are common words, nearly always one token each.
    """
    rows = []
    for index in range(_INSTANCES):
        stream = random.Random(f"synthetic_efficiency {tokens} {index}")  # noqa: S311 - keyed, no secret
        words = stream.choices(_TEXT.split(), k=int(tokens))
        rows.append({"split": "test", "input": " ".join(words), "target": ""})
    return rows


RELATIONS = ("linear", "parabola", "plane", "paraboloid")
_SPLITS = (("train", 100), ("test", 500))
_POINTS = 8
_COEFFICIENTS, _VALUES = 5, 10


def relations(relation: str) -> list[dict[str, str]]:
    """Return 100 train and 500 test instances: eight points of a relation, and the arguments of a ninth.

    y = ax + b, y = ax² + bx + c, z = ax + by + c, or z = ax² + by² + c, with integer coefficients. The task is HELM's
    (Liang et al. 2022, numeracy). No release has its code any more, so these are our instances: keyed by relation,
    split and index.
    """
    return [_relation_row(relation, split, index) for split, count in _SPLITS for index in range(count)]


def _relation_row(relation: str, split: str, index: int) -> dict[str, str]:
    stream = random.Random(f"numeracy {relation} {split} {index}")  # noqa: S311 - keyed, no secret
    a, b, c = (stream.randint(1, _COEFFICIENTS) for _ in range(3))
    two = relation in ("plane", "paraboloid")
    grid = [(x, y) for x in range(_VALUES) for y in (range(_VALUES) if two else (0,))]
    points = stream.sample(grid, _POINTS + 1)
    lines = []
    for x, y in points:
        if relation == "linear":
            value = a * x + b
        elif relation == "parabola":
            value = a * x * x + b * x + c
        elif relation == "plane":
            value = a * x + b * y + c
        else:
            value = a * x * x + b * y * y + c
        lines.append((f"({x}, {y})" if two else str(x), str(value)))
    *shown, (query, target) = lines
    return {"split": split, "input": "\n".join([*map(" -> ".join, shown), f"{query} ->"]), "target": target}


PAIRS = ("2", "3", "4")
_KINDS = (("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"))
_SEED = 42
_NEST, _JOIN = 0.5, 0.25  # of drawing p → ( p ) and p → p p; else nothing
_DEEPEST, _LONGEST = 100, 100
_MOST_OPEN = 3
_BLOCK = 65_536


def dyck(pairs: str) -> list[dict[str, str]]:
    """Return 3 train and 500 test instances over `pairs` kinds of brackets: a start, and the brackets that close it.

    A target starts with a space, as in HELM.

    Source: Suzgun et al. 2019; HELM, dyck_language_scenario.py, whose two random streams are used in the same order.
    """
    return _DyckSequences(int(pairs)).rows()


class _DyckSequences:
    """Two random streams, from which the sequences are drawn one after another."""

    def __init__(self, kinds: int) -> None:
        self.kinds = _KINDS[:kinds]
        self.closing = dict(self.kinds)
        self.coin = random.Random(_SEED)  # noqa: S311 - HELM's stream
        self.kind = _kinds(len(self.kinds))

    def rows(self) -> list[dict[str, str]]:
        """Return all instances; no input is repeated."""
        seen: set[str] = set()
        rows = []
        for split, count, shortest, longest in (("train", 3, 4, 50), ("test", 500, 52, 100)):
            left = count
            while left:
                text, target = self.problem(shortest, longest)
                if text in seen:
                    continue
                seen.add(text)
                left -= 1
                rows.append({"split": split, "input": text, "target": " " + target})
        return rows

    def problem(self, shortest: int, longest: int) -> tuple[str, str]:
        """Return a sequence of at least `shortest` brackets without its last ones, and the last ones."""
        while True:
            whole = self.sequence(0, longest)
            if len(whole) < shortest:
                continue
            start = self.before_last(whole, self.coin.randint(1, _MOST_OPEN))
            if start:
                return " ".join(start), " ".join(self.closed(start))

    def sequence(self, depth: int, longest: int = _LONGEST) -> list[str]:
        """Return a balanced sequence; an empty one if it would be too deep or too long."""
        if depth > _DEEPEST:
            return []
        drawn = self.coin.random()
        made: list[str] = []
        if drawn < _NEST:
            opening, closing = self.kinds[next(self.kind)]
            made = [opening, *self.sequence(depth + 1), closing]
        elif drawn < _NEST + _JOIN:
            made = self.sequence(depth)
            made = made + self.sequence(depth)
        return made if len(made) <= longest else []

    def before_last(self, whole: list[str], still_open: int) -> list[str]:
        """Return the longest start of the sequence that leaves `still_open` brackets open."""
        count = 0
        for position in range(len(whole) - 1, -1, -1):
            count += -1 if whole[position] in self.closing else 1
            if count == still_open:
                return whole[:position]
        return []

    def closed(self, start: list[str]) -> list[str]:
        """Return the brackets that close the open ones, the last one first."""
        stack: list[str] = []
        for bracket in start:
            if bracket in self.closing:
                stack.append(self.closing[bracket])
            else:
                stack.pop()
        return stack[::-1]


def _kinds(count: int) -> Iterator[int]:
    """Yield NumPy's stream of `randint(count)`, drawn in blocks."""
    stream = np.random.RandomState(_SEED)
    while True:
        yield from stream.randint(count, size=_BLOCK).tolist()


GENERATED: Mapping[str, Generator] = {
    "decodingtrust_privacy_understanding": Generator("prompt_type", QUESTIONS, friends_secrets),
    "dyck_language": Generator("num_parenthesis_pairs", PAIRS, dyck),
    "melt_synthetic_reasoning": Generator("mode", MODES, partial(patterns, language="vi")),
    "melt_synthetic_reasoning_natural": Generator("difficulty", DIFFICULTIES, partial(rules, language="vi")),
    "numeracy": Generator("relation_type", RELATIONS, relations),
    "synthetic_efficiency": Generator("num_prompt_tokens", PROMPT_TOKENS, lengths),
    "synthetic_reasoning": Generator("mode", MODES, patterns),
    "synthetic_reasoning_natural": Generator("difficulty", DIFFICULTIES, rules),
    **{f"ruler_{task}": Generator("length", tuple(LENGTHS), partial(ruler_rows, task)) for task in RULER},
}
