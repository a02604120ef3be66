"""What a chat model says, read."""

import polars as pl
import pytest

import helmframe as hf
from helmframe.metrics.answers import lenient
from helmframe.metrics.score import score
from tests.frames import completions

LETTERS = ["A", "B", "C", "D"]


def read(completion: str | None, choices: list[str] | None = LETTERS) -> str | None:
    frame = pl.DataFrame(
        {"completion": [completion], "choices": [choices]},
        schema={"completion": pl.String, "choices": pl.List(pl.String)},
    )
    found: str | None = frame.select(lenient(pl.col("completion"), pl.col("choices"))).item()
    return found


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("B", "B"),
        (" B\n", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("B)", "B"),
        ("**B**", "B"),
        ("B. Paris", "B"),
        ("(B) Paris", "B"),
        ("B: Paris", "B"),
        ("B\n\nParis is the capital; A is wrong.", "B"),
        ("The answer is B", "B"),
        ("The answer is (B).", "B"),
        ("The correct answer is: **B. Paris**", "B"),
        ("So the final answer is $B$.", "B"),
        ("Answer:\nB", "B"),
        ("**Answer: D**", "D"),
        ("The best answer would be option D because it is near.", "D"),
        ("Let me see. Is the answer A? No, the answer is C.", "C"),
        ("The answer is A. Wait. The answer is B.", "B"),
        ("A is not correct, (C) is the correct answer", "C"),
        ("B is correct.", "B"),
        ("First one thing,\nthen another.\n\nB", "B"),
        (r"$\boxed{C}$", "C"),
        (r"\boxed{\text{(B)}}", "B"),
        ("Option B", "B"),
        ("I'd take option B", "B"),
        ("C, since the answer A is wrong.", "C"),
    ],
)
def test_a_choice_is_read_from_common_words(completion: str, answer: str) -> None:
    assert read(completion) == answer


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "E",
        "The answer is E",
        "A dog",
        "I think A or B",
        "The answer is not A",
        "The answer is B's",
        "option A is bad, option B fine",
        "B-tree",
        "Paris",
        "answer: b",
    ],
)
def test_what_names_no_choice_is_not_guessed(completion: str) -> None:
    assert read(completion) is None


@pytest.mark.parametrize(
    ("completion", "answer"), [("ii.", "ii"), ("(iv)", "iv"), ("The answer is iii", "iii"), ("v", None)]
)
def test_labels_may_have_several_letters(completion: str, answer: str | None) -> None:
    assert read(completion, ["i", "ii", "iii", "iv"]) == answer


def test_labels_may_be_of_any_script() -> None:
    assert read("(هـ)", ["أ", "هـ"]) == "هـ"
    assert read("答案 answer is 2。", ["1", "2"]) == "2"


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("Yes", "Yes"),
        ("The answer is Yes.", "Yes"),
        ('Thinking. The answer to it is "Paris".\nNext', "Paris"),
        ("**Answer:** 42", "42"),
        (r"So \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        ("Answer: no. The answer is yes", "yes"),
        ("The answer is .", "The answer is ."),
    ],
)
def test_free_text_is_what_is_said_to_be_the_answer(completion: str, answer: str) -> None:
    assert read(completion, None) == answer


def test_nothing_said_is_nothing_read() -> None:
    assert read(None) is None
    assert read(None, None) is None


def test_rows_are_read_one_by_one() -> None:
    frame = pl.DataFrame(
        {"completion": ["(A)", "The answer is x", None, "(B)"], "choices": [["A"], None, ["A"], ["A"]]}
    )
    assert frame.select(lenient(pl.col("completion"), pl.col("choices"))).to_series().to_list() == [
        "A",
        "x",
        None,
        None,
    ]


def test_the_strict_reading_is_helms_and_the_lenient_one_is_asked_for() -> None:
    references = [[("x", False), ("y", True)]] * 2
    frame = completions(
        ["(B)", "(B)"], references, choices=pl.Series([["A", "B"]] * 2), answer_parser=[None, "lenient"]
    )
    scores = score(frame.lazy(), ["exact_match"]).collect()
    assert scores["score"].to_list() == [0.0, 1.0]
    assert scores["parsed"].to_list() == [False, True]


def test_a_sentence_with_a_chatty_model() -> None:
    def chatty(row_prompt: str) -> str:
        del row_prompt
        return "The answer is (A)."

    plan = hf.scenario("sampler").where(subject="music").limit(6).generate(chatty)
    strict, easy = (
        plan.adapt(answer_parser=each).score().table(metrics="exact_match") for each in ("strict", "lenient")
    )
    assert (strict["n_unparsed"][0], easy["n_unparsed"][0]) == (6, 0)
    assert strict["value"][0] == 0


def test_answers_are_not_asked_again_to_be_read_otherwise() -> None:
    asked: list[str] = []

    def counting(prompt: str) -> str:
        asked.append(prompt)
        return "(A)"

    plan = hf.scenario("sampler").where(subject="music").limit(3).generate(counting)
    plan.score()
    plan.adapt(answer_parser="lenient").score()
    assert len(asked) == 3
