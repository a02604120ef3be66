"""What a chat model says, read."""

import polars as pl
import pytest

import helmframe as hf
from helmframe.metrics.answers import lenient
from helmframe.metrics.score import score
from tests.frames import completions

LETTERS = ["A", "B", "C", "D"]


def read(completion: str | None, choices: list[str] | None = LETTERS, texts: list[str] | None = None) -> str | None:
    frame = pl.DataFrame(
        {"completion": [completion], "choices": [choices], "texts": [texts]},
        schema={"completion": pl.String, "choices": pl.List(pl.String), "texts": pl.List(pl.String)},
    )
    parsed: str | None = frame.select(lenient(pl.col("completion"), pl.col("choices"), pl.col("texts"))).item()
    return parsed


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
        ("b)", "B"),
        ("b", "B"),
        ("answer: b", "B"),
        ("The correct answer is **b) Paris**.", "B"),
        ("I think it's B because A is wrong", "B"),
        ("It is not A; it's B.", "B"),
        ("I'd go with B.", "B"),
        ("A is wrong, since London is in England. So it's B.", "B"),
        ("We can rule out A and C. I choose B", "B"),
        ("Therefore, (B).", "B"),
        ("Paris is the capital, see (B).", "B"),
        ("A. London: no\nB. Paris: yes\nThe answer is B", "B"),
        ("A. London: no\nB. Paris: yes\n\nB", "B"),
        ("<think>maybe A</think> B", "B"),
        ("[THINK]The answer is A[/THINK]**B**", "B"),
        ("A good question. The answer is B.", "B"),
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
        "A good question.",
        "a question",
        "The answer is a question of taste",
        "I'm sorry, but I can't help with that.",
        "As an AI, I can't choose between (A) and (B).",
        "(A) is wrong.",
        "I think A is wrong.",
        "A. London: no\nB. Paris: yes",
        "<think>The answer is A",
        "<think>The answer is A</think>",
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
    "completion",
    [
        "答案是B",
        "正确答案：B",
        "答案是B因为巴黎",
        "La respuesta es B.",
        "La réponse est B.",
        "Die Antwort ist B.",
        "Ответ: B",
    ],
)
def test_the_answer_may_be_stated_in_other_languages(completion: str) -> None:
    assert read(completion) == "B"
    assert read("الإجابة هي ب", ["أ", "ب"]) == "ب"


@pytest.mark.parametrize("completion", ["Paris", "paris.", "**Paris**", "The answer is Paris.", "B Paris", '"Paris"'])
def test_the_text_of_an_option_stands_for_its_label(completion: str) -> None:
    assert read(completion, ["A", "B", "C"], ["London", "Paris", "Rome"]) == "B"


def test_the_text_of_an_option_is_compared_as_a_whole() -> None:
    options = ["A good idea", "B", "Paris", "paris"]
    assert read("A good idea.", LETTERS, options) == "A"
    assert read("The answer is a good idea.", LETTERS, options) == "A"
    assert read("Paris", LETTERS, options) is None  # two options have this text
    assert read("Paris in spring", LETTERS, options) is None
    assert read("B", ["A", "B"], ["B", "A"]) == "B"  # a label comes before a text


def test_a_label_in_the_other_case_must_be_unique() -> None:
    assert read("b)", ["A", "B"]) == "B"
    assert read("B)", ["a", "b"]) == "b"
    assert read("A)", ["a", "A"]) == "A"
    assert read("(α)", ["Α", "Β"]) == "Α"


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
        {
            "completion": ["(A)", "The answer is x", None, "(B)", "two"],
            "choices": [["A"], None, ["A"], ["A"], ["A", "B"]],
            "texts": [["one"], ["one"], ["one"], None, ["one", "two"]],
        }
    )
    parsed = frame.select(lenient(pl.col("completion"), pl.col("choices"), pl.col("texts"))).to_series()
    assert parsed.to_list() == ["A", "x", None, None, "B"]


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
