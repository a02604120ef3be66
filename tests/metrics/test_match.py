"""Metrics that compare the output with the references as wholes: HELM's rules, case by case."""

import time

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helmframe._core.expressions import SPACES
from helmframe.metrics.protocol import resolve_metrics
from helmframe.metrics.shared import score_pairs
from tests.frames import Options, right, scored
from tests.metrics.helm_rules import RULES

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


# -- HELM's functions over pairs that nothing has stripped ------------------------------------------------------------

SPACE = st.text(st.sampled_from(SPACES), max_size=2)
# not those of later editions of Unicode, whose small letters Polars knows before Python does
LETTERS = st.characters(exclude_categories=("Cs", "Cn"))
CORE = st.one_of(
    st.sampled_from(["", "a", "The cat", "the  cat!", "twelve bytes", "thirteen byte", "\u00e9" * 7, "\0", "\u200b"]),
    st.text(LETTERS, max_size=20),
)  # texts of up to twelve bytes Polars keeps in another way than longer ones
TEXT = st.tuples(SPACE, CORE, SPACE).map("".join)
PAIR = st.one_of(
    st.tuples(TEXT, TEXT),
    st.tuples(SPACE, SPACE, CORE, SPACE, SPACE).map(
        lambda parts: (parts[0] + parts[2] + parts[3], parts[1] + parts[2] + parts[4])
    ),
    st.tuples(st.none(), TEXT),
)


@settings(deadline=None)
@given(st.lists(PAIR, max_size=12), st.sampled_from(sorted(RULES)), st.sampled_from(["whole", "sliced", "chunked"]))
def test_it_is_helms_to_the_last_bit(pairs: list[tuple[str | None, str]], name: str, kept: str) -> None:
    expected = [None if output is None else RULES[name](gold, output) for output, gold in pairs]
    frame = pl.DataFrame(pairs, schema={"output": pl.String, "gold": pl.String}, orient="row")
    if kept == "sliced":
        frame = pl.concat([frame, frame, frame]).rechunk().slice(len(frame), len(frame))
    if kept == "chunked":
        frame = pl.concat([frame.head(5), frame.slice(5)], rechunk=False)
    (each,) = resolve_metrics([name])
    found = score_pairs(frame, {name: each.expression()})[name]
    scores = [None if output is None else float(score) for output, score in zip(frame["output"], found, strict=True)]
    assert scores == expected


# -- with arguments, numbers and patterns ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "completion", "reference", "expected"),
    [
        ("quasi_leave_articles_exact_match", "the Eiffel tower!", "Eiffel Tower", 0),
        ("quasi_leave_articles_exact_match", "the Eiffel tower!", "The Eiffel  Tower", 1),
        ("exact_match_indicator", "so it is ## 7", "it is ## 7", 1),
        ("exact_match_indicator", "so it is ## 7", "it is ## 8", 0),
        ("exact_match_indicator(indicator='##')", "so it is ## 7 eggs", "## 7 eggs ", 1),
        ("exact_match_indicator", "", "", 0),
        ("final_number_exact_match", "so 1,500 eggs", "#### 1500", 1),
        ("final_number_exact_match", "The answer is 15 eggs.", "The answer is 15.", 1),
        ("final_number_exact_match", "first 15, then 16", "15", 0),
        ("final_number_exact_match", "-5", "5", 0),
        ("final_number_exact_match", "3/4", "3/4", 1),  # any character may stand for the point
        ("final_number_exact_match", "15.", "15", 1),
        ("final_number_exact_match", "none", "none", 0),
        ("regex_match", "so 18 or 20", "18", 1),
        ("regex_match(last=True)", "so 18 or 20", "20", 1),
        ("regex_match(pattern='#### (.+)')", "5 + 4\n#### 18 ", "18", 1),
        ("regex_match(pattern='[0-9]+ eggs')", "has 18 eggs", "18 eggs", 1),
        ("regex_match", "none", "18", 0),
    ],
)
def test_other_matches(metric: str, completion: str, reference: str, expected: float) -> None:
    assert scored([completion], [right(reference)], metric) == [expected]


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("The answer is (B).", 1), ("Answer: B", 1), ("answer is b", 0), ("B) Lyon", 1), ("(B)", 1), ("B", 1),
        ("A", 0), ("Bring it", 0), ("C", 0), ("I would say B. The answer is A.", 0), ("", 0),
    ],
)  # fmt: skip
def test_the_letter_of_a_chat(completion: str, expected: float) -> None:
    references = [[("Paris", False), ("Lyon", True)]]
    assert scored([completion], references, "choice_match", choices=[["A", "B"]]) == [expected]


def test_without_choices_a_letter_has_no_score() -> None:
    assert scored(["B", None], [[("Lyon", True)]] * 2, "choice_match") == [None, None]


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
def test_the_letter_of_a_chain_of_thought(completion: str, helm: int, mended: int) -> None:
    assert scored([completion], [OPTIONS], "chain_of_thought_correctness") == [helm]
    assert scored([completion], [OPTIONS], "chain_of_thought_choice") == [mended]


@pytest.mark.parametrize("name", ["chain_of_thought_correctness", "chain_of_thought_choice"])
def test_without_a_correct_option_nothing_is_right(name: str) -> None:
    assert scored(["The answer is A."], [[("red", False)]], name) == [0.0]


def test_a_failed_request_has_no_letter() -> None:
    assert scored([None], [OPTIONS], "chain_of_thought_choice", error="timeout") == [None]


@pytest.mark.parametrize(
    ("output", "gold", "score"),
    [
        ("The answer is 18.", "9 * 2 = 18\n#### 18", 1.0),
        ("$18.00", "#### 18", 1.0),
        ("It costs 1,200 dollars.", "#### 1200", 1.0),
        ("from 3-4", "#### 4", 1.0),
        ("it is -4", "#### -4", 1.0),
        ("it is 4", "#### -4", 0.0),
        ("18, or perhaps 19", "#### 18", 0.0),
        ("1.5", "#### 15", 0.0),
        ("no idea", "#### 18", 0.0),
        ("", "#### 18", 0.0),
        ("9" * 5000, "#### 18", 0.0),
        ("18", "no number", 0.0),
    ],
)
def test_the_last_numbers_are_compared_as_numbers(output: str, gold: str, score: float) -> None:
    assert scored([output], [right(gold)], "final_number_equal") == [score]


@pytest.mark.parametrize(
    ("output", "gold", "expected"),
    [("1,010", "1000", 10), (" -5 ", "5", 10), ("about 7", "3", 3), ("3.5", "3", 3), ("7", "seven", 7)],
)
def test_the_difference_of_whole_numbers_as_helm_has_it(output: str, gold: str, expected: float) -> None:
    assert scored([output], [right(gold)], "absolute_value_difference") == [expected]


def test_of_several_references_the_nearest_counts() -> None:
    assert scored(["7"], [right("1", "6")], "absolute_value_difference") == [1.0]


@pytest.mark.parametrize(
    ("completion", "reference", "expected"),
    [("It was Paris.", "paris", 1), ("par is", "paris", 0), ("a.b", "a.b", 1), ("axb", "a.b", 0), ("", "x", 0)],
)
def test_a_reference_anywhere_counts(completion: str, reference: str, expected: float) -> None:
    assert scored([completion], [right(reference)], "ruler_string_match_part") == [expected]


@pytest.mark.parametrize(
    ("completion", "reference", "expected"),
    [("xYab", "xYac", 0.5), ("xYab", "xYab", 1.0), ("ab", "xYab", 0.0), ("xY", "xY", 1.0)],
)
def test_what_comes_after_the_start_is_compared(completion: str, reference: str, expected: float) -> None:
    start = {"random_string_to_prepend": ["xY"]}
    assert scored([completion], [right(reference)], "openai_mrcr_accuracy", **start) == [expected]


@pytest.mark.parametrize(
    ("completion", "reference", "expected"),
    [
        ("The total is $1,234.", "1234", 1.0),
        ("first 12, then 34", "12", 0.0),
        ("none", "12", 0.0),
        ("so -5", "5", 1.0),
        ("18 ...", "18", 0.0),
    ],
)
def test_a_pattern_can_ignore_punctuation(completion: str, reference: str, expected: float) -> None:
    metric = "regex_match(ignore_punctuation=True, last=True, pattern='-?[$0-9.,]{2,}|-?[0-9]+')"
    assert scored([completion], [right(reference)], metric) == [expected]


def test_a_pattern_can_ignore_case() -> None:
    pattern = "pattern='answer: (.+)'"
    assert scored(["answer: YES"], [right("yes")], f"regex_match({pattern}, ignore_case=True)") == [1.0]
    assert scored(["answer: YES"], [right("yes")], f"regex_match({pattern})") == [0.0]


@pytest.mark.parametrize(
    ("completion", "reference", "expected"),
    [
        ("It is 0.50 %", "0.5", 1.0),
        ("$ 1,200", "1", 1.0),  # the number ends at the comma
        ("-3.5e2", "-350.0", 1.0),
        ("7", "7.00001", 0.0),
        ("none", "none", 0.0),
        ("", "1", 0.0),
    ],
)
def test_first_numbers_are_compared(completion: str, reference: str, expected: float) -> None:
    assert scored([completion], [right(reference)], "float_equiv") == [expected]


WEEKS = ("('14 weeks', '1 days')", "('14 weeks', '2 days')")


@pytest.mark.parametrize(
    ("category", "completion", "reference", "limits", "expected"),
    [
        ("risk", " 4\n", "4", ("4", "4"), 1.0),
        ("risk", "4.0", "4", ("4", "4"), 0.0),
        ("physical", "7.5", "7.6", ("7", "8"), 1.0),
        ("physical", "8.01", "7.6", ("7", "8"), 0.0),
        ("physical", "about 7.5", "7.6", ("7", "8"), 0.0),
        ("dosage conversion", "8", "8", ("7", "8"), 1.0),
        ("lab test", "5", "5", ("4", "6"), 0.0),  # HELM has no rule for it
        ("date", "03/01/2020", "02/29/2020", ("02/28/2020", "03/02/2020"), 1.0),
        ("date", "2020-03-01", "02/29/2020", ("02/28/2020", "03/02/2020"), 0.0),
        ("date", "('14 weeks', '2 days')", WEEKS[0], WEEKS, 1.0),
        ("date", "('15 weeks', '2 days')", WEEKS[0], WEEKS, 0.0),
        ("date", "14 weeks", WEEKS[0], WEEKS, 0.0),
    ],
)  # fmt: skip
def test_computed_values_are_between_their_limits(
    category: str, completion: str, reference: str, limits: tuple[str, str], expected: float
) -> None:
    columns = {"category": [category], "lower_limit": [limits[0]], "upper_limit": [limits[1]]}
    assert scored([completion], [right(reference)], "medcalc_bench_accuracy", **columns) == [expected]


@pytest.mark.parametrize(
    ("completion", "reference", "flag", "sentence"),
    [
        ("CORRECT", "CORRECT", 1, 1),
        (" CORRECT\n", "CORRECT", 1, 1),
        ("CORRECT", "2 The dose is 1 mg.", 0, 0),
        ("2 The dose is 1 mg.", "CORRECT", 0, 0),
        ("2", "2 The dose is 1 mg.", 1, 1),
        ("3 The dose is 1 mg.", "2 The dose is 1 mg.", 1, 0),
        ("The dose", "2 The dose is 1 mg.", 1, 0),
    ],
)
def test_errors_in_notes_are_flagged_and_placed(completion: str, reference: str, flag: int, sentence: int) -> None:
    names = ("medec_error_flag_accuracy", "medec_error_sentence_accuracy")
    assert [scored([completion], [right(reference)], name) for name in names] == [[flag], [sentence]]


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("ANSWER: 70", 1.0),
        ("ANSWER: \\boxed{70}", 1.0),
        ("$$\n\\boxed{70}\n$$", 1.0),
        ("The answer is **70**.\n\n---", 1.0),
        ("70\nANSWER: 71", 0.0),
        ("ANSWER: 070", 1.0),
        ("ANSWER: 70.0", 1.0),
        ("ANSWER: x=70", 0.0),
        ("It is 70 dollars", 1.0),
        ("seventy", 0.0),
        ("  \n", 0.0),
        ("ANSWER: 1e999", 0.0),
    ],
)
def test_aime_compares_the_last_number_on_the_last_line(completion: str, expected: float) -> None:
    assert scored([completion], [right("70")], "aime_match") == [expected]


@pytest.mark.parametrize(
    ("completion", "reference", "expected"),
    [
        ("So the answer is: 42", "42", 0.0),
        ("So. The answer is: 42", "42", 1.0),
        ("The answer is: 42.0", "42", 1.0),
        ("The answer is: 41. No. The final answer is: $\\boxed{42}$.", "42", 1.0),
        ("The answer is: a, b", "a,b", 1.0),
        ("The answer is (B)", "(B)", 1.0),
        ("The answer is (B)", "b", 1.0),
        ("The answer is b", "(B)", 1.0),
        ("The answer is (B)", "c", 0.0),
        ("The answer is: it's", "its", 1.0),
        ("The answer is: 1, 2", "[1,2]", 1.0),
        ("The answer is: who?", "who", 1.0),
        ("yes\nbecause", "yes", 1.0),
        ("", "yes", 0.0),
    ],
)
def test_bbeh_compares_the_stated_answer_with_tolerance(completion: str, reference: str, expected: float) -> None:
    assert scored([completion], [right(reference)], "bbeh_match") == [expected]


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("[[0,1],[1,0]]", 1.0),
        ("```json\n[[0, 1], [1, 0]]\n```", 1.0),
        ("First [[1]], then\n```\n[[0, 1], [1, 0]]\n```", 1.0),
        ("It is [ [0, 1],\n [1, 0] ].", 1.0),
        ("It is [[0, 1], [1, 1]].", 0.0),
        ("It is [[1, 0]] or [[0, 1], [1, 0]].", 0.0),
        ("[]", 0.0),
        ("[0, 1]\n[1, 0]", 0.0),
        ("[" * 5000, 0.0),
        ("no grid", 0.0),
    ],
)
def test_grids_are_compared_cell_by_cell(completion: str, expected: float) -> None:
    assert scored([completion], [right("[[0, 1], [1, 0]]")], "grid_match") == [expected]


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("Because of this, the answer is (B).", 1.0),
        ("ANSWER: B", 1.0),
        ("The best option is $\\boxed{B}$.", 1.0),
        ("Answer: A\nNo.\nAnswer: B", 1.0),
        ("Answer: B\nThat is all.", 1.0),
        ("B", 1.0),
        ("The answer is Rome.", 1.0),
        ("Answer Rome.", 1.0),
        ("The answer is Paris.", 0.0),
        ("ANSWER: A", 0.0),
        ("Better not", 0.0),
        ("ANSWER: J", 0.0),
        ("", 0.0),
    ],
)
def test_super_gpqa_finds_the_letter_or_the_text_of_an_option(completion: str, expected: float) -> None:
    assert scored([completion], [[("Paris", False), ("Rome", True), ("(a+)+", False)]], "super_gpqa_match") == [
        expected
    ]


@pytest.mark.parametrize("name", ["super_gpqa_match", "grid_match", "aime_match", "bbeh_match"])
@pytest.mark.parametrize("text", ["(", "[[", "The ", "answer", "\\boxed{", " ", "```", "\n"])
def test_hostile_completions_take_linear_time(name: str, text: str) -> None:
    start = time.process_time()
    scored([f"The answer{text * 50_000}"], [[("(a+)+", True), ("b", False)]], name)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("is ann@example.com.", 1.0),
        ("ann@other.org", 1 / 3),
        ("bob@example.com", 1 / 3),
        ("no", 0.0),
        ("a@b c@example.com", 1 / 3),
    ],
)
def test_leaked_addresses_count_by_their_parts(completion: str, expected: float) -> None:
    columns = {"email": ["ann@example.com"], "leaks": [["ann@example.com"]]}
    result = scored([completion], [right("ann@example.com")], "decodingtrust_privacy_leakage_rate", **columns)
    assert result == [pytest.approx(expected)]


@pytest.mark.parametrize(("completion", "expected"), [("It is 0123.", 1.0), ("Sure", 1.0), ("I can't tell 012 3", 0.0)])
def test_without_an_address_each_text_that_leaks_counts(completion: str, expected: float) -> None:
    columns = {"email": pl.Series([None], dtype=pl.String), "leaks": [["0123", "Sure"]]}
    assert scored([completion], [right("0123")], "decodingtrust_privacy_leakage_rate", **columns) == [expected]
