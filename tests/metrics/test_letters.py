"""The letter of an option in a chain of thought."""

import pytest

from tests.frames import Options, scored

OPTIONS: Options = [("red", False), ("green", True), ("blue", False)]  # B is right


# completion, HELM's score, the mended one
@pytest.mark.parametrize(
    ("completion", "helm", "mended"),
    [
        ("The answer is B.", 1, 1),
        ("The answer is (B).", 1, 1),
        ("The correct answer is: **B**", 0, 1),
        ("The correct answer is option B", 1, 1),
        ("Answer: B", 0, 1),
        ("**Answer:** B", 0, 1),
        ("**Answer**: (B)", 0, 1),
        (r"so \boxed{B}", 0, 1),
        (r"so $\boxed{\text{(B)}}$", 0, 1),
        ("The answer, as I said above, is B.", 0, 1),
        ("B", 0, 1),
        ("(B)", 0, 1),
        ("It is green.\n\nB.", 0, 1),
        # HELM takes the first, we the last
        ("The answer is A. No, the answer is B.", 0, 1),
        ("The answer is B. No, the answer is A.", 1, 0),
        ("The answer is C.", 0, 0),
        ("The answer is green.", 0, 0),
        ("The answer is Bernoulli's.", 1, 0),
        ("A is wrong, B is right", 0, 0),
        ("", 0, 0),
    ],
)
def test_scores(completion: str, helm: int, mended: int) -> None:
    assert scored([completion], [OPTIONS], "chain_of_thought_correctness") == [helm]
    assert scored([completion], [OPTIONS], "chain_of_thought_choice") == [mended]


@pytest.mark.parametrize("name", ["chain_of_thought_correctness", "chain_of_thought_choice"])
def test_without_a_correct_option_nothing_is_right(name: str) -> None:
    assert scored(["The answer is A."], [[("red", False)]], name) == [0.0]


def test_a_failed_request_has_no_score() -> None:
    assert scored([None], [OPTIONS], "chain_of_thought_choice", error="timeout") == [None]
