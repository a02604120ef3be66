"""What texts share is kept, the last used longest, within bounds."""

import numpy as np
import torch

from helmframe.models.engine.heads import Head, Heads

TEXT = np.arange(10)


def head(length: int) -> Head:
    return Head(length, [(torch.zeros(1, length, 4), torch.zeros(1, length, 4))])  # 32 bytes a token


def test_the_longest_start_within_the_limit_is_found() -> None:
    heads = Heads(10_000)
    heads.keep(TEXT, head(3))
    heads.keep(TEXT, head(6))
    heads.keep(TEXT + 50, head(2))
    assert [heads.known(TEXT, most) for most in (6, 7, 9)] == [6, 6, 6]
    assert heads.known(TEXT + 50, 9) == 2
    assert heads.known(TEXT + 1, 9) == 0


def test_a_longer_start_holds_the_shorter_ones() -> None:
    heads = Heads(10_000)
    states = torch.arange(24.0).reshape(1, 6, 4)
    heads.keep(TEXT, Head(6, [(states, states + 1)]))
    assert [heads.known(TEXT, most) for most in (1, 2, 3, 6)] == [0, 0, 3, 6]
    found = heads.longest(TEXT, 3)
    assert found is not None
    assert (found.length, found.size) == (3, 2 * 3 * 16)
    (layer,) = found.layers
    assert torch.equal(layer[0], states[:, :3])
    assert torch.equal(layer[1], states[:, :3] + 1)
    assert heads.longest(np.append(TEXT[:2], 99), 3) is None


def test_the_one_not_used_for_longest_goes_first() -> None:
    heads = Heads(32 * 8)
    heads.keep(TEXT, head(4))
    heads.keep(TEXT + 50, head(4))
    assert heads.known(TEXT, 9) == 4
    heads.keep(TEXT + 90, head(4))
    assert [heads.known(text, 9) for text in (TEXT, TEXT + 50, TEXT + 90)] == [4, 0, 4]


def test_out_of_memory_all_go_and_less_is_kept_from_then_on() -> None:
    heads = Heads(10_000)
    heads.keep(TEXT, head(4))
    heads.keep(TEXT + 50, head(4))
    assert (heads.make_room(), heads.room) == (32 * 8, 32 * 4)
    assert [heads.known(text, 9) for text in (TEXT, TEXT + 50)] == [0, 0]
    assert (heads.make_room(), heads.room) == (0, 32 * 4)


def test_the_last_one_is_kept_whatever_its_size() -> None:
    heads = Heads(1)
    heads.keep(TEXT, head(4))
    assert heads.known(TEXT, 9) == 4
