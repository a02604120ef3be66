"""Contractions, expansions, fillers, and translation: its prompt, and what the stage does with the completions."""

import logging
from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.errors import ArgumentError
from helmframe.perturbations.call import call
from helmframe.perturbations.factory import perturbation
from helmframe.perturbations.parsing import parse
from helmframe.perturbations.perturb import perturb
from helmframe.perturbations.tables import FILL_PHRASES, SPEAKER_PHRASES, UNCERTAIN_PHRASES
from tests.frames import instances, right


def changed(texts: list[str | None] | str, name: str, **arguments: Any) -> list[str]:
    texts = [texts] if isinstance(texts, str) else list(texts)
    frame = pl.DataFrame({"id": range(len(texts)), "text": pl.Series(texts, dtype=pl.String)})
    return frame.select(call(name, **arguments).on(pl.col("text"), id="id")).to_series().to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She is a doctor, and I am a student", "She's a doctor, and I'm a student"),  # HELM's own test
        ("it is not so", "it's not so"),
        ("is not so", "isn't so"),
        ("Is not it", "Isn't it"),
        ("IS NOT it", "Isn't it"),
        ("CANNOT it cannot be", "CAN'T it can't be"),
        ("i am I AM here", "i'm I'm here"),
        ("that is not.", "that's not."),
        ("who they are", "who they are"),  # no space follows
        ("it is", "it is"),
        ("it  is not  so", "it  isn't  so"),
        ("he would have been, cannot have", "he'd have been, can't have"),
        ("this is", "this is"),
        ("", ""),
    ],
)
def test_contraction(text: str, expected: str) -> None:
    assert changed(text, "contraction") == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She's a doctor, and I'm a student", "She is a doctor, and I am a student"),  # HELM's own test
        ("isn't", "is not"),
        ("DON'T i'm I'M", "Do not i am I am"),
        ("you can't've seen it", "you cannot have seen it"),
        ("he'd've, he'd", "he would have, he would"),
        ("ma'am won't", "madam will not"),
        ("the dog's can’t", "the dog's can’t"),
        ("", ""),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert changed(text, "expansion") == [expected]


def test_contractions_and_expansions_leave_nulls_and_neighbours_alone() -> None:
    assert changed(["it is", None, "not so", "", "it is not so"], "contraction") == [
        "it is",
        None,
        "not so",
        "",
        "it's not so",
    ]


def test_fillers_stay_the_same_for_good() -> None:
    assert changed("The quick brown fox jumps over the lazy dog.", "filler_words") == [
        "umm The like quick brown fox jumps over the lazy possibly dog."
    ]


def test_before_every_word_at_probability_one() -> None:
    (out,) = changed("a b  c", "filler_words", insert_prob=1.0, speaker_ph=False, uncertain_ph=False)
    fillers = set(FILL_PHRASES)
    pieces = out.split(" a ")[0], out.split(" a ")[1].split(" b ")[0]
    assert set(pieces) <= fillers
    assert out.endswith(" c")
    # between two spaces stands a word of no letters, as HELM splits
    assert sum(out.count(each) for each in fillers) >= 4


def test_none_at_probability_zero_and_none_in_an_empty_text() -> None:
    assert changed("a b", "filler_words", insert_prob=0.0) == ["a b"]
    assert changed(["", None, " "], "filler_words", insert_prob=1.0)[:2] == ["", None]


def test_at_most_max_num_insert_fillers_are_inserted() -> None:
    texts: list[str | None] = ["w " * 50] * 40
    counts = [len(out.split()) - 50 for out in changed(texts, "filler_words", max_num_insert=2, fill_ph=False)]
    assert max(counts) <= 2 * 4  # "In my opinion" and its like have several words
    assert changed("a b c", "filler_words", max_num_insert=0, insert_prob=1.0) == ["a b c"]
    (one,) = changed("a b c", "filler_words", max_num_insert=1, insert_prob=1.0)
    assert one.endswith("a b c")


def test_the_kinds_of_fillers_are_an_argument() -> None:
    lists = {"speaker_ph": SPEAKER_PHRASES, "uncertain_ph": UNCERTAIN_PHRASES, "fill_ph": FILL_PHRASES}
    for kind, phrases in lists.items():
        variant_spec = {each: each == kind for each in lists}
        outs = changed(["w"] * 200, "filler_words", insert_prob=1.0, **variant_spec)
        assert {out.removesuffix(" w") for out in outs} == set(phrases)


def test_fillers_are_drawn_evenly() -> None:
    from scipy.stats import chisquare

    outs = changed(["w"] * 23_000, "filler_words", insert_prob=1.0)
    counts = Counter(out.removesuffix(" w") for out in outs)
    assert len(counts) == 23
    assert chisquare(list(counts.values())).pvalue > 0.001


@given(st.lists(st.text("ab \né🎓", max_size=20), max_size=6))
def test_the_text_stays_between_the_fillers(texts: list[str]) -> None:
    outs = changed([*texts], "filler_words", insert_prob=0.5, uncertain_ph=False, speaker_ph=False)
    for new, old in zip(outs, texts, strict=True):
        for filler in ("you know", *FILL_PHRASES):
            new = new.replace(f"{filler} ", "")
        assert new == old


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"insert_prob": 2}, "between 0 and 1"),
        ({"max_num_insert": -1}, "max_num_insert must be an integer ≥ 0, or None"),
        ({"max_num_insert": 1.5}, "max_num_insert must be an integer ≥ 0, or None"),
        ({"speaker_ph": 1}, "speaker_ph must be True or False"),
        (
            {"speaker_ph": False, "uncertain_ph": False, "fill_ph": False},
            "at least one of speaker_ph, uncertain_ph and fill_ph must be True",
        ),
    ],
)
def test_invalid_values_raise(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call("filler_words", **arguments)


def upper(_: object, prompts: pl.Series) -> pl.Series:
    """The text at the end of each prompt, in capitals; nothing for one that says "silence"."""
    text = prompts.str.split("\n\n").list.last()
    return pl.select(pl.when(text.str.contains("silence")).then(None).otherwise(text.str.to_uppercase())).to_series()


def translated(frame: pl.DataFrame, **more: object) -> pl.DataFrame:
    variant_spec = parse(call("translate", translator="echo()", language="French", **more))
    return perturb(frame.lazy(), [variant_spec], upper).filter(pl.col("perturbation") != "original").collect()


def test_input_and_references_are_replaced_by_the_answers() -> None:
    (row,) = translated(instances(["who?"], [[*right("homer"), ("who?", False)]])).to_dicts()
    assert row["perturbed_input"] == "WHO?"
    assert [(each["text"], each["correct"]) for each in row["perturbed_references"]] == [
        ("HOMER", True),
        ("WHO?", False),
    ]
    assert row["changed"]


@pytest.mark.parametrize(("fields", "expected"), [("input", ("WHO?", "homer")), ("references", ("who?", "HOMER"))])
def test_one_of_both_can_be_chosen(fields: str, expected: tuple[str, str]) -> None:
    (row,) = translated(instances(["who?"], [right("homer")]), fields=fields).to_dicts()
    assert (row["perturbed_input"], row["perturbed_references"][0]["text"]) == expected


def test_the_prompt_says_the_language_and_then_the_text() -> None:
    seen: list[str] = []

    def ask(_: object, prompts: pl.Series) -> pl.Series:
        seen.extend(prompts)
        return prompts

    variant_spec = parse("translate(translator='echo()', language='French', instructions='In {language} ({x}):')")
    perturb(instances(["who?", "who?"], [right("who?")] * 2).lazy(), [variant_spec], ask).collect()
    assert seen == ["In French ({x}):\n\nwho?"]


def test_a_row_with_a_text_that_has_no_answer_is_skipped_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    frame = instances(["a", "silence", "b", None], [right("x"), right("x"), right("silence"), []])
    with caplog.at_level(logging.WARNING):
        rows = translated(frame)
    assert rows["instance_id"].to_list() == ["id0", "id3"]
    assert rows["perturbed_input"].to_list() == ["A", None]
    assert "1 of 4 texts have no completion: their variants are skipped" in caplog.text


def test_without_anybody_to_ask_it_is_left_out() -> None:
    variant_spec = parse("translate(translator='echo()', language='French')")
    assert perturb(instances(["who?"]).lazy(), [variant_spec]).collect()["perturbation"].to_list() == ["original"]


def test_it_may_be_a_link_of_a_chain() -> None:
    variant_spec = parse("extra_space+translate(translator='echo()', language='French')+lowercase")
    rows = perturb(instances(["who is"]).lazy(), [variant_spec], upper).collect()
    assert rows["perturbed_input"].to_list() == ["who is", "who  is"]


def test_another_that_a_model_makes_needs_a_prompt_only() -> None:
    @perturbation("paraphrase", model_argument="writer")
    def paraphrase(text: pl.Expr) -> pl.Expr:
        return pl.lit("Say it differently:\n\n") + text

    rows = perturb(instances(["who?"]).lazy(), [parse("paraphrase(writer='echo()')")], upper).collect()
    assert rows["perturbed_input"].to_list() == ["who?", "WHO?"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"translator": "echo()"}, r"translate\(\) needs the argument language"),
        ({"language": "French"}, r"translate\(\) needs the argument translator\. Write translate\(translator=…\)"),
        ({"translator": "echo()", "language": ""}, "language must be the name of a language, such as 'French'"),
        ({"translator": "echo()", "language": "French", "instructions": 1}, "a text, such as"),
        (
            {"translator": "echo()", "language": "French", "protect": "numbers"},
            "a model writes the text, so protect= isn't supported",
        ),
        ({"translator": "echo()", "language": "French", "compat": "helm"}, "HELM has no such perturbation"),
        ({"translator": "echo()", "language": "French", "fields": "both?"}, "Did you mean 'both'"),
    ],
)
def test_invalid_translations_raise(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call("translate", **arguments)


def test_languages_are_a_grid_and_an_object_has_its_name() -> None:
    variant_spec = call("translate", translator=str.upper, language=["French", "German"])
    assert [str(each) for each in variant_spec.cells()] == [
        f"translate(language='{language}', translator='upper')" for language in ("French", "German")
    ]
    assert {each.model for each in variant_spec.cells()} == {str.upper}


def test_outside_of_sentences_there_is_nobody_to_ask() -> None:
    with pytest.raises(
        ArgumentError,
        match=r"translate\.on\(…\): translate needs more than a text column\. Use it in a plan: \.perturb",
    ):
        call("translate", translator="echo()", language="French").on(pl.col("text"), id="id")
