"""Metrics that compare the output with the references as wholes: HELM's rules, case by case."""

import pytest

from tests.frames import right, scored

NAMES = ["exact_match", "quasi_exact_match", "prefix_exact_match", "quasi_prefix_exact_match"]


# completion, reference, then the four scores in the order of NAMES
@pytest.mark.parametrize(
    ("completion", "reference", "expected"),
    [
        ("Paris", "Paris ", (1, 1, 1, 1)),
        ("paris", "Paris", (0, 1, 0, 1)),
        (" Paris\n", "Paris", (1, 1, 1, 1)),
        ("\u00a0Paris\u2003", "\u3000Paris", (1, 1, 1, 1)),
        ("the Eiffel tower!", "Eiffel Tower", (0, 1, 0, 1)),
        ("Paris, of course", "Paris", (0, 0, 1, 1)),
        ("A paris of course", "Paris.", (0, 0, 0, 1)),
        ("It is Paris", "Paris", (0, 0, 0, 0)),
        ("Eiffel\u00a0\n tower", "eiffel tower", (0, 1, 0, 1)),
        ("U.S.A.", "USA", (0, 1, 0, 1)),
        ("", "Paris", (0, 0, 0, 0)),
        ("   \n", "Paris", (0, 0, 0, 0)),
        ("", "", (0, 0, 0, 0)),
        ("the", "a", (0, 1, 0, 1)),
        ("Paris", "", (0, 0, 1, 1)),
        ("ΣΑΣ", "σας", (0, 1, 0, 1)),
        (".*", ".", (0, 1, 1, 1)),
    ],
)
def test_scores(completion: str, reference: str, expected: tuple[int, ...]) -> None:
    assert tuple(scored([completion], [right(reference)], name)[0] for name in NAMES) == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_best_correct_reference_counts(name: str) -> None:
    references = [[("Lyon", True), ("Paris", True), ("Nice", True)]]
    assert scored(["Paris"], references, name) == [1.0]


@pytest.mark.parametrize("name", NAMES)
def test_wrong_references_do_not_count(name: str) -> None:
    assert scored(["Paris"], [[("Paris", False), ("Lyon", True)]], name) == [0.0]


@pytest.mark.parametrize("name", NAMES)
def test_without_a_correct_reference_nothing_is_right(name: str) -> None:
    assert scored(["Paris", "Paris"], [[], [("Paris", False)]], name) == [0.0, 0.0]


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_request_has_no_score(name: str) -> None:
    assert scored([None, "Paris"], [right("Paris"), right("Paris")], name) == [None, 1.0]


@pytest.mark.parametrize("name", NAMES)
def test_an_unreadable_answer_scores_zero(name: str) -> None:
    references = [[("Paris", True), ("Lyon", False)]]
    assert scored(["Paris"], references, name, choices=[["A", "B"]]) == [0.0]


@pytest.mark.parametrize("name", NAMES)
def test_space_around_an_option_does_not_count(name: str) -> None:
    assert scored([" A"], [[(" Paris ", True), ("Lyon", False)]], name, choices=[["A", "B"]]) == [1.0]


@pytest.mark.parametrize("name", NAMES)
def test_all_failed(name: str) -> None:
    assert scored([None, None], [right("a"), right("b")], name) == [None, None]


@pytest.mark.parametrize("name", NAMES)
def test_no_completions(name: str) -> None:
    assert scored([], [], name) == []
