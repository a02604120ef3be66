"""Questions hidden in long contexts, as HELM's RULER has them: which documents stand around each, in which order.

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
_ANSWER = 32  # words kept for it
_TOLD = "Answer the question based on the given documents. Only give me the answer and do not output any other words."
TEMPLATE = f"{_TOLD}\n\nThe following are given documents.\n\n{{context}}\n\n{_TOLD}\n\nQuestion: {{query}} Answer:"


@dataclass(frozen=True)
class Asked:
    """A question and the documents, by number, that it is about; those of the same article come first around it."""

    place: int
    question: str
    answers: Sequence[str]
    own: Sequence[int]
    near: Sequence[int] = field(default=())


def of_hotpotqa(keys: pl.DataFrame, words: int = WORDS) -> pl.DataFrame:
    """The paragraphs around each question: its own ten, and others of all questions.

    Args:
        keys: place, question, answer, and of its paragraphs titles and sentences.
        words: the most of one context.
    """
    rows = [
        (row, [f"{title}\n{''.join(said)}" for title, said in zip(row["titles"], row["sentences"], strict=True)])
        for row in keys.iter_rows(named=True)
    ]
    documents = sorted({text for _, texts in rows for text in texts})
    number = {text: place for place, text in enumerate(documents)}
    asked = [
        Asked(row["place"], row["question"], [row["answer"]], [number[text] for text in texts]) for row, texts in rows
    ]
    return _filled(documents, asked, words)


def of_squad(keys: pl.DataFrame, words: int = WORDS) -> pl.DataFrame:
    """The paragraphs around each question that has an answer: its own, those of its article, and others.

    Args:
        keys: place, question, answers (texts), and of its paragraph title and context; rows of an article together.
        words: the most of one context.
    """
    rows = keys.to_dicts()
    documents = sorted({row["context"] for row in rows})
    number = {text: place for place, text in enumerate(documents)}
    asked = []
    for _, article in groupby(rows, key=lambda row: row["title"]):
        of_article = list(article)
        paragraphs = [number[text] for text, _ in groupby(row["context"] for row in of_article)]
        for row in of_article:
            own = number[row["context"]]
            near = [each for each in paragraphs if each != own]
            if row["answers"]:
                asked.append(Asked(row["place"], row["question"], row["answers"], [own], near))
    return _filled(documents, asked, words)


def _filled(documents: Sequence[str], asked: Sequence[Asked], words: int) -> pl.DataFrame:
    """The first questions and their contexts: place, row_index, and the documents in order, as texts."""
    stream = random.Random(_SEED)  # noqa: S311 - HELM's stream
    sizes = [len(f"Document 1:\n{text}".split()) for text in documents]
    template = len(TEMPLATE.format(context="", query="").split())
    order = list(range(len(documents)))

    def made(question: Asked, count: int) -> tuple[list[int], int]:
        """The documents of a context, and the words of the prompt."""
        context = _around(question, count, order, stream)
        return context, template + len(question.question.split()) + sum(sizes[each] for each in context)

    contexts = []
    most = _most(asked[0], made, len(documents), words) if asked else 0
    for question in asked[:_QUESTIONS]:
        count = most
        context, length = made(question, count)
        while length + _ANSWER > words and count > _STEP:
            count -= _STEP
            context, length = made(question, count)
        contexts.append(context)
    taken = pl.DataFrame(
        {
            "place": [each.place for each in asked[: len(contexts)]],
            "row_index": range(len(contexts)),
            "document": contexts,
        },
        schema={"place": pl.Int64, "row_index": pl.Int64, "document": pl.List(pl.Int64)},
    )
    # gathered, a document that stands in many contexts is in memory once
    texts = pl.Series(documents, dtype=pl.String)
    each_text = taken.explode("document").with_columns(documents=texts.gather(taken["document"].explode()))
    return each_text.group_by("place", "row_index", maintain_order=True).agg("documents")


def _around(question: Asked, count: int, order: list[int], stream: random.Random) -> list[int]:
    """So many documents, the question's own among them, shuffled.

    Where that is all, HELM shuffles its own list of them: numbers mean other documents from then on.
    """
    own, near = list(question.own), list(question.near)
    if count >= len(order):
        chosen = order
    else:
        if count - len(own) > len(near):
            known = {*own, *near}
            others = [number for number in range(len(order)) if number not in known]
            places = own + near + stream.sample(others, max(0, count - len(own) - len(near)))
        else:
            places = own + stream.sample(near, max(0, count - len(own)))
        chosen = [order[place] for place in places]
    random.Random(_SEED).shuffle(chosen)  # noqa: S311 - HELM's stream
    return chosen.copy()


def _most(first: Asked, made: Callable[[Asked, int], tuple[list[int], int]], documents: int, words: int) -> int:
    """How many documents fit around the first question, by steps."""
    count, length = _STEP, 0
    while length + _ANSWER < words:
        length = made(first, count)[1] + len(str(list(first.answers)).split())
        if length + _ANSWER > words:
            return max(count - _STEP, _STEP)  # where not even these fit, HELM never ends
        count += _STEP
        if count > documents:
            return documents
    return count
