"""What texts begin with alike is one path, each token of it once."""

import numpy as np

from helmframe.models.engine import trie
from helmframe.models.engine.trie import Ids


def texts(*given: list[int]) -> list[Ids]:
    return [np.array(each) for each in given]


def test_equal_texts_are_one() -> None:
    found = trie.in_order([[2, 1], [1], [2, 1]])
    assert [each.tolist() for each in found.texts] == [[1], [2, 1]]
    assert found.places == [1, 0, 1]


def test_order_is_that_of_numbers_and_not_of_digits() -> None:
    assert [each.tolist() for each in trie.in_order([[70000], [255, 1], [256]]).texts] == [[255, 1], [256], [70000]]


def test_a_text_that_another_goes_on_from_is_its_path() -> None:
    block = trie.block(texts([1, 2], [1, 2, 3]), 0)
    assert block.tokens.tolist() == [1, 2, 3]
    assert [path.tolist() for path in block.paths] == [[0, 1], [0, 1, 2]]


def test_every_path_spells_its_text() -> None:
    draw = np.random.default_rng(0)
    given = trie.in_order([draw.integers(0, 3, draw.integers(3, 9)).tolist() for _ in range(40)]).texts
    alike = [text for text in given if text[:2].tolist() == [1, 2]]
    block = trie.block(alike, 2)
    assert [block.tokens[path].tolist() for path in block.paths] == [text[2:].tolist() for text in alike]
    assert all(block.depths[path].tolist() == list(range(2, 2 + len(path))) for path in block.paths)
    different = {tuple(text[: place + 1]) for text in alike for place in range(2, len(text))}
    assert len(block.tokens) == len(different)


def test_a_token_sees_those_before_it_in_its_text_and_no_others() -> None:
    block = trie.block(texts([1, 2, 3], [1, 4]), 0)
    expected = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]]
    assert block.sees().astype(int).tolist() == expected
