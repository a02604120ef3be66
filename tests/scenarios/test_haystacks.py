"""Contexts around questions: on documents few enough to see; that they are HELM's is in tests/acceptance."""

import re
from collections import Counter
from itertools import pairwise

import polars as pl
import pytest

from helmframe.scenarios.haystacks import RULER, hotpotqa_contexts, ruler_rows, ruler_samples, squad_contexts


def hotpotqa(questions: int) -> pl.DataFrame:
    """Two paragraphs for each question, of six words each."""
    rows = [
        {
            "position": place,
            "question": "who was it",
            "answer": "Ann",
            "titles": [f"T{place}", f"U{place}"],
            "sentences": [["One two. ", "Three four five."]] * 2,
        }
        for place in range(questions)
    ]
    return pl.DataFrame(rows)


def squad(articles: int) -> pl.DataFrame:
    """Articles of three paragraphs with two questions each, the second of which has no answer."""
    rows = [
        {
            "title": f"A{article}",
            "context": f"Paragraph {paragraph} of {article}.",
            "question": f"q{number}",
            "answers": ["x"] if number == 0 else [],
        }
        for article in range(articles)
        for paragraph in range(3)
        for number in range(2)
    ]
    return pl.DataFrame(rows).with_row_index("position")


def test_a_paragraph_is_its_title_and_its_sentences() -> None:
    documents = hotpotqa_contexts(hotpotqa(1))["documents"][0].to_list()
    assert sorted(documents) == ["T0\nOne two. Three four five.", "U0\nOne two. Three four five."]


def test_a_question_keeps_its_own_documents_among_as_many_as_fit() -> None:
    # the template has 51 words and the question 3; a document 6 and the 2 of its number; 32 are kept for the answer
    taken = hotpotqa_contexts(hotpotqa(40), words=51 + 3 + 32 + 25 * 8)
    assert taken["position"].to_list() == taken["row_index"].to_list() == list(range(40))
    assert taken["documents"].list.len().to_list() == [20] * 40
    for place, documents in enumerate(taken["documents"]):
        assert {each.partition("\n")[0] for each in documents} >= {f"T{place}", f"U{place}"}
    assert taken["documents"][0].to_list() != taken["documents"][1].to_list()


def test_only_the_paragraphs_of_unanswerable_questions_are_used() -> None:
    taken = squad_contexts(squad(2))
    assert taken["position"].to_list() == [0, 2, 4, 6, 8, 10]
    assert taken["documents"].list.len().to_list() == [6] * 6


def test_paragraphs_of_the_same_article_come_before_others() -> None:
    taken = squad_contexts(squad(30), words=51 + 1 + 32 + 10 * 6)
    for place, documents in taken.select("position", "documents").iter_rows():
        article = place // 6
        assert {f"Paragraph {number} of {article}." for number in range(3)} <= set(documents)
        assert len(documents) == 10


def test_there_are_at_most_five_hundred_questions() -> None:
    assert hotpotqa_contexts(hotpotqa(510), words=600).height == 500


def test_a_text_in_many_contexts_is_the_same_each_time() -> None:
    assert squad_contexts(squad(4)).equals(squad_contexts(squad(4)))


@pytest.mark.parametrize("task", RULER)
def test_a_generated_context_fits_and_has_its_answers(task: str) -> None:
    samples = ruler_samples(task, 4096, 3)
    assert samples == ruler_samples(task, 4096, 3)
    assert len({sample.input for sample in samples}) == 3
    for sample in samples:
        assert 3400 < len(f"{sample.input} {sample.prefix}".split()) <= 4096
        assert all(output in sample.input for output in sample.outputs)
        assert len(set(sample.outputs)) == len(sample.outputs)


def test_needles_of_other_keys_are_not_the_answer() -> None:
    (sample,) = ruler_samples("niah_multikey_2", 4096, 1)
    (key,) = re.findall(r"number for ([\w-]+) mentioned", sample.prefix)
    assert f"One of the special magic numbers for {key} is: {sample.outputs[0]}." in sample.input
    assert sample.input.count("One of the special magic numbers") > 300


def test_the_variables_of_a_chain_have_its_value() -> None:
    (sample,) = ruler_samples("vt", 4096, 1)
    text = sample.input.rpartition("Memorize")[2]
    for before, now in pairwise(sample.outputs):
        assert f"VAR {now} = VAR {before}" in text
    (value,) = re.findall(rf"VAR {sample.outputs[0]} = (\d+)", text)
    assert f"are assgined the value {value}" in sample.prefix  # the spelling is RULER's


def test_common_words_are_more_frequent_than_the_others() -> None:
    (sample,) = ruler_samples("cwe", 4096, 1)
    counts = Counter(re.findall(r"\d+\. (\S+)", sample.input))
    assert {word for word, _ in counts.most_common(10)} == set(sample.outputs)
    assert set(counts.values()) == {30, 3}


def test_frequent_words_are_the_most_frequent_after_the_noise() -> None:
    (sample,) = ruler_samples("fwe", 4096, 1)
    counts = Counter(sample.input.partition("Question")[0].split("coded words. ")[1].split())
    assert [word for word, _ in counts.most_common(4)] == ["...", *sample.outputs]


def test_rows_end_with_the_start_of_the_answer() -> None:
    rows = ruler_rows("cwe", "131072")
    assert len(rows) == 100
    assert rows[0]["input"].endswith("list?\n\nAnswer: The top 10 words that appear most often in the list are:")
    assert len(rows[0]["target"].split("\n")) == 10
    assert 130_000 < len(rows[0]["input"].split()) <= 131_072
