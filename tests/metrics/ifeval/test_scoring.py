"""IFEval's scores: strict and loose, by prompt and by instruction."""

import pytest
from langdetect import DetectorFactory

from helmframe.errors import ArgumentError, CapabilityError, UnknownNameError
from helmframe.metrics.ifeval import follows, instructions
from helmframe.metrics.protocol import METRICS
from helmframe.metrics.score import score
from tests.frames import completions

NO_COMMA = "punctuation:no_comma"
TITLE = "detectable_format:title"
WORDS = "length_constraints:number_words"
NONE = {"num_words": None, "relation": None}
THREE = {"num_words": 3, "relation": "at least"}


def test_strict_scores_of_a_prompt() -> None:
    names = ["ifeval_strict_accuracy", "ifeval_prompt_strict"]
    frame = completions(
        ["one, two", "<<A>> one two", ""],
        instruction_id_list=[[NO_COMMA, TITLE, WORDS]] * 3, kwargs=[[NONE, NONE, THREE]] * 3,
    )  # fmt: skip
    assert score(frame.lazy(), names).collect()["score"].to_list() == [0.0, 1.0, 0.0] * 2


@pytest.mark.parametrize(
    ("response", "strict", "loose"),
    [
        ("no sign", 1.0, 1.0),
        ("Well, here it is:\nno sign", 0.0, 1.0),
        ("no sign\nAnything else, dear?", 0.0, 1.0),
        ("Well, sir:\nno sign\nAnything else, sir?", 0.0, 1.0),
        ("no, sign", 0.0, 0.0),
    ],
)
def test_loose_scores_leave_out_first_and_last_lines(response: str, strict: float, loose: float) -> None:
    frame = completions([response], instruction_id_list=[[NO_COMMA]], kwargs=[[NONE]])
    names = ["ifeval_strict_accuracy", "ifeval_loose_accuracy", "ifeval_prompt_loose"]
    assert score(frame.lazy(), names).collect()["score"].to_list() == [strict, loose, loose]


def test_loose_scores_leave_out_asterisks() -> None:
    frame = completions(['**"quoted"**'], instruction_id_list=[["startend:quotation"]], kwargs=[[NONE]])
    names = ["ifeval_strict_accuracy", "ifeval_loose_accuracy"]
    assert score(frame.lazy(), names).collect()["score"].to_list() == [0.0, 1.0]


def test_by_instruction_a_prompt_of_three_counts_three_times() -> None:
    frame = completions(
        ["one, two", "one two"],
        instruction_id_list=[[NO_COMMA, TITLE, WORDS], [NO_COMMA]], kwargs=[[NONE, NONE, THREE], [NONE]],
        output=["one, two", "one two"],
    )  # fmt: skip
    value = METRICS["ifeval_instruction_strict"].expression()
    assert frame.select(value).item() == 0.25


def test_an_instruction_without_its_argument_is_no_wrong_answer() -> None:
    frame = completions(["one two three"], instruction_id_list=[[WORDS]], kwargs=[[NONE]])
    row = score(frame.lazy(), ["ifeval_strict_accuracy"]).collect().row(0, named=True)
    assert row["score"] is None
    assert "needs num_words, relation" in row["reason"]


def test_each_stop_of_an_ellipsis_is_a_sentence_as_nltk_has_it() -> None:
    sentences = "length_constraints:number_sentences"
    assert follows("It sat. . . . Go!", sentences, {"num_sentences": 5, "relation": "at least"})
    assert not follows("It sat. . . . Go!", sentences, {"num_sentences": 5, "relation": "less than"})


def test_an_instruction_of_another_name_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'punctuation:no_comma'"):
        follows("x", "punctuation:no_commas", {})


def test_a_relation_of_another_name_is_an_error() -> None:
    with pytest.raises(ArgumentError, match=r"relation='at most'(?s:.*)'?less than"):
        follows("x", WORDS, {"num_words": 3, "relation": "at most"})


def test_without_its_packages_the_metric_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "find_spec", lambda _: None)
    with pytest.raises(CapabilityError, match=r"langdetect, nltk, punkt: pip install 'helmframe\[ifeval\]'"):
        instructions.may_check()


@pytest.mark.parametrize(
    "response", ["\n" * 20_000, "[" * 20_000, "<" * 20_000, "*" * 20_000, '"' * 20_000, "{" * 20_000]
)
def test_a_hostile_response_is_checked_in_time(response: str) -> None:
    for name, arguments in (
        ("detectable_format:number_bullet_lists", {"num_bullets": 1}),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 1}),
        ("detectable_content:number_placeholders", {"num_placeholders": 1}),
        (TITLE, {}),
        ("detectable_format:json_format", {}),
        ("startend:quotation", {}),
    ):
        assert follows(response + "x", name, arguments) in (True, False)


@pytest.mark.parametrize("response", ["* https://en.wikipedia.org/wiki/Vampire", "1789", "who@example.org"])
def test_addresses_and_numbers_are_in_any_language(response: str) -> None:
    assert follows(response, "language:response_language", {"language": "kn"})


def test_addresses_do_not_decide_the_case_of_another_language() -> None:
    assert follows("https://example.org/a", "change_case:english_lowercase", {})
    german = "das wetter ist heute schön, siehe https://example.org/the/weather/is/fine/today/in/the/city"
    assert not follows(german, "change_case:english_lowercase", {})


def test_the_language_of_an_unclear_text_is_the_same_every_time() -> None:
    text = "LE PRÉSIDENT A DÉCIDÉ HIER SOIR QUE"
    languages = set()
    for _ in range(20):
        instructions._language.cache_clear()
        languages.add(instructions._language(text))
    assert len(languages) == 1


def test_the_seed_of_langdetect_stays_the_users() -> None:
    follows("The weather is fine today.", "language:response_language", {"language": "en"})
    assert DetectorFactory.seed is None
