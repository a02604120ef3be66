"""Each text is read once, in passes of bounded size, and a shared start once for all where that pays."""

import numpy as np
import pytest

from helmframe.models.engine.planner import Ids, Limits, Step, build_block, plan, sort_texts


def planned(texts: list[list[int]], limits: Limits, known: int = 0) -> tuple[list[Step], list[list[int]]]:
    """The steps, and the texts in their order; `known` tokens of each were read before."""
    ordered = sort_texts(texts)
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
    ordered = sort_texts(QUESTIONS)
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


def texts(*given: list[int]) -> list[Ids]:
    return [np.array(each) for each in given]


def test_equal_texts_are_one() -> None:
    found = sort_texts([[2, 1], [1], [2, 1]])
    assert [each.tolist() for each in found.texts] == [[1], [2, 1]]
    assert found.indices == [1, 0, 1]


def test_order_is_that_of_numbers_and_not_of_digits() -> None:
    assert [each.tolist() for each in sort_texts([[70000], [255, 1], [256]]).texts] == [[255, 1], [256], [70000]]


def test_a_text_that_another_goes_on_from_is_its_path() -> None:
    block = build_block(texts([1, 2], [1, 2, 3]), 0)
    assert block.tokens.tolist() == [1, 2, 3]
    assert [path.tolist() for path in block.paths] == [[0, 1], [0, 1, 2]]


def test_every_path_spells_its_text() -> None:
    draw = np.random.default_rng(0)
    given = sort_texts([draw.integers(0, 3, draw.integers(3, 9)).tolist() for _ in range(40)]).texts
    alike = [text for text in given if text[:2].tolist() == [1, 2]]
    block = build_block(alike, 2)
    assert [block.tokens[path].tolist() for path in block.paths] == [text[2:].tolist() for text in alike]
    assert all(block.depths[path].tolist() == list(range(2, 2 + len(path))) for path in block.paths)
    different = {tuple(text[: place + 1]) for text in alike for place in range(2, len(text))}
    assert len(block.tokens) == len(different)


def test_a_token_sees_those_before_it_in_its_text_and_no_others() -> None:
    block = build_block(texts([1, 2, 3], [1, 4]), 0)
    expected = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]]
    assert block.visible().astype(int).tolist() == expected
