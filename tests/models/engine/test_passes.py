"""Which tokens of a packed row attend to each other: those of a text, or those of all that begin alike."""

import numpy as np

from helmframe.models.engine.attention import Lines
from helmframe.models.engine.planner import build_block


def lines(texts: list[list[int]]) -> tuple[list[list[int]], bool]:
    """The places of each line, and whether what they see is said."""
    block = build_block([np.array(text) for text in texts], 0)
    lines = Lines.of([block], np.array([0, len(block.tokens)]))
    lengths = [1 + int((line != 0).nonzero().max()) for line in lines.positions]
    return [line[:n].tolist() for line, n in zip(lines.positions, lengths, strict=True)], lines.visible is not None


def test_texts_that_share_little_are_lines_of_their_own() -> None:
    texts = [[1, *[number] * 9] for number in (2, 3, 4)]
    assert lines(texts) == ([list(range(10)), [0, *range(10, 19)], [0, *range(19, 28)]], False)


def test_texts_that_share_much_are_one_line() -> None:
    texts = [[*[1] * 20, number] for number in range(2, 8)]
    assert lines(texts) == ([list(range(26))], True)
