"""Questions in long contexts, as in HELM's RULER: the documents around each question, and their order.

Source: HELM `ruler_qa_scenarios.py`, and there NVIDIA's RULER, `scripts/data/synthetic/qa.py` (Hsieh et al. 2024).
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import polars as pl

WORDS = 131_072  # of context, question and answer
_SEED = 42
_QUESTIONS = 500
_STEP = 10  # documents
_ANSWER = 32  # words reserved for it
_INSTRUCTIONS = (
    "Answer the question based on the given documents. Only give me the answer and do not output any other words."
)
TEMPLATE = (
    f"{_INSTRUCTIONS}\n\nThe following are given documents.\n\n{{context}}\n\n{_INSTRUCTIONS}\n\n"
    "Question: {query} Answer:"
)


@dataclass(frozen=True)
class Question:
    """A question and the numbers of its documents; the related ones, of the same article, are used first around it."""

    position: int
    question: str
    answers: Sequence[str]
    documents: Sequence[int]
    related: Sequence[int] = field(default=())


def hotpotqa_contexts(keys: pl.DataFrame, words: int = WORDS) -> pl.DataFrame:
    """Return the paragraphs around each question: its own ten, and others of all questions.

    Args:
        keys: position, question, answer, and titles and sentences of its paragraphs.
        words: The most words of one context.
    """
    rows = [
        (
            row,
            [
                f"{title}\n{''.join(sentences)}"
                for title, sentences in zip(row["titles"], row["sentences"], strict=True)
            ],
        )
        for row in keys.iter_rows(named=True)
    ]
    documents = sorted({text for _, texts in rows for text in texts})
    number = {text: index for index, text in enumerate(documents)}
    questions = [
        Question(row["position"], row["question"], [row["answer"]], [number[text] for text in texts])
        for row, texts in rows
    ]
    return _build_contexts(documents, questions, words)


def squad_contexts(keys: pl.DataFrame, words: int = WORDS) -> pl.DataFrame:
    """Return the paragraphs around each answerable question: its own, those of its article, and others.

    Args:
        keys: position, question, answers (texts), and title and context of its paragraph; rows of an article together.
        words: The most words of one context.
    """
    rows = keys.to_dicts()
    documents = sorted({row["context"] for row in rows})
    number = {text: index for index, text in enumerate(documents)}
    questions = []
    for _, article in groupby(rows, key=lambda row: row["title"]):
        article_rows = list(article)
        paragraphs = [number[text] for text, _ in groupby(row["context"] for row in article_rows)]
        for row in article_rows:
            document = number[row["context"]]
            related = [paragraph for paragraph in paragraphs if paragraph != document]
            if row["answers"]:
                questions.append(Question(row["position"], row["question"], row["answers"], [document], related))
    return _build_contexts(documents, questions, words)


def _build_contexts(documents: Sequence[str], questions: Sequence[Question], words: int) -> pl.DataFrame:
    """Return the first questions with their contexts: position, row_index, documents in order as texts."""
    stream = random.Random(_SEED)  # noqa: S311 - HELM's stream
    sizes = [len(f"Document 1:\n{text}".split()) for text in documents]
    template = len(TEMPLATE.format(context="", query="").split())
    order = list(range(len(documents)))

    def build(question: Question, count: int) -> tuple[list[int], int]:
        """Return the documents of a context, and the number of words of the prompt."""
        context = _around(question, count, order, stream)
        return context, template + len(question.question.split()) + sum(sizes[document] for document in context)

    contexts = []
    most = _most(questions[0], build, len(documents), words) if questions else 0
    for question in questions[:_QUESTIONS]:
        count = most
        context, length = build(question, count)
        while length + _ANSWER > words and count > _STEP:
            count -= _STEP
            context, length = build(question, count)
        contexts.append(context)
    taken = pl.DataFrame(
        {
            "position": [question.position for question in questions[: len(contexts)]],
            "row_index": range(len(contexts)),
            "document": contexts,
        },
        schema={"position": pl.Int64, "row_index": pl.Int64, "document": pl.List(pl.Int64)},
    )
    # gathered, a document in many contexts is in memory once
    texts = pl.Series(documents, dtype=pl.String)
    texts_of_contexts = taken.explode("document").with_columns(documents=texts.gather(taken["document"].explode()))
    return texts_of_contexts.group_by("position", "row_index", maintain_order=True).agg("documents")


def _around(question: Question, count: int, order: list[int], stream: random.Random) -> list[int]:
    """Return `count` documents in random order, the question's own among them.

    If that is all of them, HELM shuffles its list of documents: from then on, numbers refer to other documents.
    """
    documents, related = list(question.documents), list(question.related)
    if count >= len(order):
        chosen = order
    else:
        if count - len(documents) > len(related):
            excluded = {*documents, *related}
            others = [number for number in range(len(order)) if number not in excluded]
            positions = documents + related + stream.sample(others, max(0, count - len(documents) - len(related)))
        else:
            positions = documents + stream.sample(related, max(0, count - len(documents)))
        chosen = [order[position] for position in positions]
    random.Random(_SEED).shuffle(chosen)  # noqa: S311 - HELM's stream
    return chosen.copy()


def _most(first: Question, build: Callable[[Question, int], tuple[list[int], int]], documents: int, words: int) -> int:
    """Return how many documents fit around the first question, in steps."""
    count, length = _STEP, 0
    while length + _ANSWER < words:
        length = build(first, count)[1] + len(str(list(first.answers)).split())
        if length + _ANSWER > words:
            return max(count - _STEP, _STEP)  # if not even these fit, HELM never ends
        count += _STEP
        if count > documents:
            return documents
    return count
