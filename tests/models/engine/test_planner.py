"""Each text is read once, in passes of bounded size, and a shared start once for all where that pays."""

import numpy as np
import pytest

from helmframe.models.engine import trie
from helmframe.models.engine.planner import Limits, Step, plan


def planned(texts: list[list[int]], limits: Limits, known: int = 0) -> tuple[list[Step], list[list[int]]]:
    """The steps, and the texts in their order; `known` tokens of each were read before."""
    ordered = trie.in_order(texts)
    wanted = [len(each) - 1 for each in ordered.texts]
    steps = list(plan(ordered, wanted, limits, lambda _, most: min(known, most) if known <= most else 0))
    return steps, [each.tolist() for each in ordered.texts]


HEAD = list(range(100, 140))
QUESTIONS = [[*HEAD, number, number, number] for number in range(20)]


def test_what_fits_one_pass_is_one() -> None:
    steps, _ = planned(QUESTIONS[:4], Limits(tokens=60, wanted=99, worth=10))
    assert steps == [Step(0, [[0, 1, 2, 3]])]


def test_a_start_that_many_passes_would_repeat_is_read_before() -> None:
    steps, _ = planned(QUESTIONS, Limits(tokens=30, wanted=99, worth=10))
    assert {step.base for step in steps} == {40}
    assert [len(step.blocks) for step in steps] == [10, 10]


def test_a_start_that_is_not_worth_a_pass_is_read_again() -> None:
    steps, _ = planned(QUESTIONS, Limits(tokens=70, wanted=99, worth=50))
    assert [step.base for step in steps] == [0, 0]
    assert [len(step.blocks[0]) for step in steps] == [10, 10]


def test_a_start_that_is_known_is_not_read() -> None:
    steps, _ = planned(QUESTIONS[:1], Limits(tokens=60, wanted=99, worth=10), known=40)
    assert steps == [Step(40, [[0]])]


def test_texts_with_nothing_in_common_fill_passes_the_longest_first() -> None:
    steps, texts = planned([[number] * (number + 1) for number in range(6)], Limits(tokens=11, wanted=99, worth=10))
    assert [[len(texts[place]) for block in step.blocks for place in block] for step in steps] == [[6, 5], [4, 3, 2, 1]]


def test_starts_within_starts_are_read_one_after_the_other() -> None:
    passages = [[*HEAD, *range(number, number + 30), last] for number in (200, 300) for last in range(40)]
    steps, _ = planned(passages, Limits(tokens=20, wanted=99, worth=10))
    assert [step.base for step in steps] == [70, 70, 70, 70]


def test_no_base_goes_beyond_the_first_place_wanted() -> None:
    ordered = trie.in_order(QUESTIONS)
    steps = list(plan(ordered, [7] * 20, Limits(tokens=50, wanted=10_000, worth=5), lambda *_: 0))
    assert max(step.base for step in steps) <= 7


def test_a_pass_holds_no_more_wanted_places_than_allowed() -> None:
    steps, _ = planned([[number] for number in range(10)], Limits(tokens=99, wanted=4, worth=10))
    assert [len(step.blocks) for step in steps] == [4, 4, 2]


def test_without_tries_a_pass_gives_what_is_wanted_of_any_of_its_texts() -> None:
    given = [[number] * (number + 1) for number in range(8)]  # each wants its last place, which is another in each
    for chosen, expected in ((True, [3, 3, 2]), (False, [1, 1, 1, 1, 2, 2])):
        limits = Limits(tokens=99, wanted=9, worth=10, tries=False, chosen=chosen)
        steps, _ = planned(given, limits)
        assert [len(step.blocks) for step in steps] == expected


def test_a_text_longer_than_a_pass_is_alone() -> None:
    steps, _ = planned([[1] * 50, [2]], Limits(tokens=10, wanted=99, worth=10))
    assert steps == [Step(0, [[0]]), Step(0, [[1]])]


@pytest.mark.parametrize("tries", [True, False])
@pytest.mark.parametrize("tokens", [1, 7, 40, 1000])
def test_every_text_is_in_one_step_that_shares_its_base(tries: bool, tokens: int) -> None:
    draw = np.random.default_rng(tokens)
    given = [draw.integers(0, 3, draw.integers(1, 30)).tolist() for _ in range(200)]
    steps, texts = planned(given, Limits(tokens=tokens, wanted=10_000, worth=5, tries=tries))
    assert sorted(place for step in steps for block in step.blocks for place in block) == list(range(len(texts)))
    for step in steps:
        assert len({tuple(texts[place][: step.base]) for block in step.blocks for place in block}) == 1
        assert all(len(texts[place]) > step.base for block in step.blocks for place in block)


def test_without_tries_the_padded_size_is_bounded() -> None:
    given = [[number] * (number % 9 + 1) for number in range(40)]
    steps, texts = planned(given, Limits(tokens=27, wanted=99, worth=10, tries=False))
    sizes = [[len(texts[place]) for block in step.blocks for place in block] for step in steps]
    assert all(max(each) * len(each) <= 27 for each in sizes)
