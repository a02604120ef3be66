"""Prompts that start alike are asked together; what they share is counted once."""

from helmframe.models.batching import Batch, common, first_batch, in_order


def test_prompts_too_long_for_the_window_are_left_out() -> None:
    assert in_order([[1], [2]], [0, 1]) == [1]


def test_longer_prompts_come_first() -> None:
    assert in_order([[1], [1, 2, 3], [1, 2]], [5, 5, 5]) == [1, 2, 0]


def test_prompts_with_one_head_are_neighbours() -> None:
    one, other = list(range(48)), list(range(48, 96))
    tokens = [head + tail for tail in ([1], [1, 2], [1, 2, 3], [1, 2, 3, 4]) for head in (one, other)]
    assert in_order(tokens, [5] * 8) == [6, 4, 2, 0, 7, 5, 3, 1]


def test_common_leaves_each_row_a_token() -> None:
    assert common([[1, 2, 3], [1, 2, 3]]) == 2


def test_the_budget_counts_padded_tokens() -> None:
    tokens = [[1] * 10, [2] * 9, [3] * 8]
    assert first_batch([0, 1, 2], tokens, [5] * 3, budget=20, most=9, share=False) == Batch([0, 1], 0)


def test_one_row_is_asked_whatever_the_budget() -> None:
    assert first_batch([0], [[1] * 10], [5], budget=5, most=9, share=False) == Batch([0], 0)


def test_rows_of_one_batch_have_one_limit() -> None:
    assert first_batch([0, 1], [[1], [2]], [5, 4], budget=99, most=9, share=False) == Batch([0], 0)


def test_shared_tokens_do_not_count() -> None:
    tokens = [[*range(48), 100 + row] for row in range(6)]
    assert first_batch([*range(6)], tokens, [5] * 6, budget=6, most=9, share=True) == Batch([0, 1, 2, 3, 4, 5], 48)


def test_rows_that_start_otherwise_wait() -> None:
    tokens = [[*range(48), 100 + row] for row in range(4)] + [[7] * 49]
    assert first_batch([*range(5)], tokens, [5] * 5, budget=99, most=9, share=True) == Batch([0, 1, 2, 3], 48)


def test_nothing_is_shared_where_the_model_can_not() -> None:
    tokens = [[*range(48), 100 + row] for row in range(4)]
    assert first_batch([*range(4)], tokens, [5] * 4, budget=999, most=9, share=False).shared == 0
