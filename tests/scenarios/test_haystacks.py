"""Contexts around questions: on documents few enough to see; that they are HELM's is in tests/acceptance."""

import polars as pl

from helmframe.scenarios.haystacks import hotpotqa_contexts, squad_contexts


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
