"""Dyck languages: brackets that were opened are to be closed, in order."""

import random
from collections.abc import Iterator

PAIRS = ("2", "3", "4")
_KINDS = (("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"))
_SEED = 42
_NEST, _JOIN = 0.5, 0.25  # of drawing p → ( p ) and p → p p; else nothing
_DEEPEST, _LONGEST = 100, 100
_MOST_OPEN = 3
_BLOCK = 65_536


def dyck(pairs: str) -> list[dict[str, str]]:
    """3 train and 500 test instances over the first `pairs` kinds of brackets: a sequence cut short and what closes it.

    A target starts with a space, as HELM has it.

    Source: Suzgun et al. 2019; HELM, dyck_language_scenario.py, whose two random streams are drawn from in its order.
    """
    return _Maker(int(pairs)).rows()


class _Maker:
    """Both random streams, as one sequence after another draws from them."""

    def __init__(self, kinds: int) -> None:
        self.kinds = _KINDS[:kinds]
        self.closing = dict(self.kinds)
        self.coin = random.Random(_SEED)  # noqa: S311 - HELM's stream
        self.kind = _kinds(len(self.kinds))

    def rows(self) -> list[dict[str, str]]:
        """All instances; an input is never there twice."""
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
        """A sequence of at least so many brackets, without its last ones, and these."""
        while True:
            whole = self.sequence(0, longest)
            if len(whole) < shortest:
                continue
            start = self.before_last(whole, self.coin.randint(1, _MOST_OPEN))
            if start:
                return " ".join(start), " ".join(self.closed(start))

    def sequence(self, depth: int, longest: int = _LONGEST) -> list[str]:
        """A balanced sequence; nothing where it would be too deep or too long."""
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
        """The longest start of the sequence that leaves so many brackets open."""
        count = 0
        for place in range(len(whole) - 1, -1, -1):
            count += -1 if whole[place] in self.closing else 1
            if count == still_open:
                return whole[:place]
        return []

    def closed(self, start: list[str]) -> list[str]:
        """What closes the brackets that are open, the last one first."""
        stack: list[str] = []
        for each in start:
            if each in self.closing:
                stack.append(self.closing[each])
            else:
                stack.pop()
        return stack[::-1]


def _kinds(count: int) -> Iterator[int]:
    """NumPy's stream of `randint(count)`, drawn in blocks."""
    import numpy as np

    stream = np.random.RandomState(_SEED)
    while True:
        yield from stream.randint(count, size=_BLOCK).tolist()
