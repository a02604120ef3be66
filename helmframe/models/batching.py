"""Which prompts a local model gets together: those of like length that start alike, under a token budget."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Prompts that agree in so many first tokens are asked together if there are enough of them, and what they share is
# computed once.
HEAD = 48
ENOUGH = 4


class Batch(NamedTuple):
    """Places of the rows to ask together, and how many first tokens they share."""

    rows: list[int]
    shared: int


def in_order(tokens: Sequence[Sequence[int]], limits: Sequence[int]) -> list[int]:
    """The places of all prompts with a limit above 0, such that those to be asked together are neighbours.

    By limit (tokens to generate), then by head, then the longest first: if memory is short, it shows at once.

    >>> in_order([[1], [2, 3], [4, 5, 6]], [1, 1, 0])
    [1, 0]
    """
    heads = _heads(tokens)
    places = [place for place, limit in enumerate(limits) if limit > 0]
    return sorted(places, key=lambda place: (-limits[place], heads[place], -len(tokens[place])))


def first_batch(
    places: Sequence[int],
    tokens: Sequence[list[int]],
    limits: Sequence[int],
    *,
    budget: int,
    most: int,
    share: bool,
) -> Batch:
    """The first of the places, ordered by `in_order`, that fit together.

    Args:
        places: what is still to ask.
        tokens: of every prompt.
        limits: tokens to generate for every prompt; those of a batch have the same.
        budget: tokens of the batch, padded to its longest row, what it shares left out.
        most: rows of the batch.
        share: whether the model can compute a shared start once.
    """
    first = places[0]
    head = tokens[first][:HEAD]
    rows = [place for place in places[:most] if limits[place] == limits[first]]
    if share:
        alike = [place for place in rows if tokens[place][:HEAD] == head]
        if len(alike) >= min(ENOUGH, len(rows)) and len(head) == HEAD:
            shared = common(tokens[place] for place in alike)
            width = max(len(tokens[place]) for place in alike) - shared
            return Batch(alike[: max(1, budget // width)], shared)
    return Batch(rows[: max(1, budget // max(len(tokens[place]) for place in rows))], 0)


def common(rows: Iterable[list[int]]) -> int:
    """How many first tokens all rows share, leaving each at least one of its own.

    >>> common([[1, 2, 3], [1, 2, 4, 5], [1, 2]])
    1
    """
    rows = list(rows)
    low, high = min(rows), max(rows)  # the first and last in lexical order differ earliest
    most = min(map(len, rows)) - 1
    return next((place for place in range(most) if low[place] != high[place]), most)


def _heads(tokens: Sequence[Sequence[int]]) -> list[int]:
    """A number for each prompt: the same for those with the same head, and one for all whose head is rare."""
    heads = [tuple(each[:HEAD]) for each in tokens]
    counts = Counter(heads)
    numbers = {head: number for number, head in enumerate(counts) if counts[head] >= ENOUGH and len(head) == HEAD}
    return [numbers.get(head, len(counts)) for head in heads]
