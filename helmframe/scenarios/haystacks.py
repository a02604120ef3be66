"""The tasks of RULER: needles and questions in long contexts (Hsieh et al. 2024).

Source of the questions: HELM `ruler_qa_scenarios.py`, and there NVIDIA's RULER, `scripts/data/synthetic/qa.py`.

Source of the other tasks: lm-eval `tasks/ruler`, after the same folder of RULER. Lengths are in words here, and in
tokens there. Each instance has a random stream of its own, whose values are drawn in the order of the source.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import groupby, pairwise
from math import pi
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple
from uuid import UUID

import numpy as np
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


# The lengths of RULER, and the number of instances of each: fewer at the longest lengths, to bound memory.
LENGTHS: Mapping[str, int] = {"4096": 500, "8192": 500, "16384": 500, "32768": 500, "65536": 200, "131072": 100}


class Sample(NamedTuple):
    """An instance of a generated task: the prompt, the start of the answer, and the texts that the answer must have."""

    input: str
    prefix: str
    outputs: list[str]


# A function that makes an instance of a size, in units of its task.
Build = Callable[[random.Random, int], Sample]


def ruler_rows(task: str, length: str) -> list[dict[str, str]]:
    """Return the test instances of a task: input, and the outputs as lines of `target`.

    Args:
        task: The name in `RULER`.
        length: The most words of a prompt and its answer.
    """
    delimiter = "\n\n" if task == "cwe" else " "
    samples = ruler_samples(task, int(length), LENGTHS[length])
    return [
        {
            "split": "test",
            "input": f"{sample.input}{delimiter}{sample.prefix}",
            "target": "\n".join(sample.outputs),
        }
        for sample in samples
    ]


def ruler_samples(task: str, length: int, count: int) -> list[Sample]:
    """Return `count` instances of a task, of at most `length` words with their answers."""
    build, size = RULER[task](length)
    return [build(random.Random(ruler_key(task, length, index)), size) for index in range(count)]  # noqa: S311 - keyed


def ruler_key(task: str, length: int, index: int) -> str:
    """Return the seed of an instance."""
    return f"ruler_{task} {length} {index}"


_NEEDLE = "One of the special magic {kind} for {key} is: {value}."
_NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
_NIAH = (
    "Some special magic {kind} are hidden within the following text. Make sure to memorize it. I will quiz you about "
    "the {kind} afterwards.\n{context}\nWhat are all the special magic {kind} for {query} mentioned in the provided "
    "text?"
)
_DEPTHS = list(np.round(np.linspace(0, 100, num=40)).astype(int))  # in percent
_NIAH_ANSWER = 128  # words reserved for it


@dataclass(frozen=True)
class Needles:
    """A task of needles in a haystack.

    Attributes:
        haystack: "repeat", a few sentences again and again; "essay", prose; "needle", other needles.
        keys: The number of keys.
        values: The number of values of a key.
        queries: The number of keys in the question.
        kind_of_key: "words" or "uuids".
        kind: The kind of the values: "numbers" or "uuids".
    """

    haystack: str
    keys: int = 1
    values: int = 1
    queries: int = 1
    kind_of_key: str = "words"
    kind: str = "numbers"

    def __call__(self, length: int) -> tuple[Build, int]:
        """Return the function that makes an instance, and the number of words or sentences of the haystack."""
        step, needles = 500 if self.haystack == "essay" else 25, max(self.keys, self.queries) * self.values
        answers = self.queries * self.values - 1  # the source joins the first answer to the question

        def words(size: int) -> int:
            return len(self.build(random.Random(0), size).input.split())  # noqa: S311 - only its length counts

        first = max(step, needles)
        return self.build, _size(words, first, step, length - _NIAH_ANSWER, extra=answers)

    def build(self, stream: random.Random, size: int) -> Sample:
        """Return an instance with `size` words of prose, or sentences, around the needles."""
        pairs = []
        for _ in range(max(self.keys, self.queries)):
            key = _value(stream, self.kind_of_key)
            pairs.append((key, [_value(stream, self.kind) for _ in range(self.values)]))
        needles = [_NEEDLE.format(kind=self.kind, key=key, value=value) for key, values in pairs for value in values]
        random.Random(_SEED).shuffle(needles)  # noqa: S311 - the source's stream
        context = self._prose(stream, size, needles) if self.haystack == "essay" else self._lines(stream, size, needles)
        chosen = [pairs[index] for index in stream.sample(range(len(pairs)), self.queries)]
        *others, last = (key for key, _ in chosen)
        query = f"{', '.join(others)}, and {last}" if others else last
        template, kind, verb = _NIAH, self.kind, "are"
        if self.queries * self.values == 1:
            for plural, singular in (("Some", "A"), ("are all", "is"), ("are", "is"), ("answers", "answer")):
                template = template.replace(plural, singular)
            kind, verb = self.kind.removesuffix("s"), "is"
        return Sample(
            template.format(kind=kind, context=context, query=query),
            f"The special magic {kind} for {query} mentioned in the provided text {verb}",
            [value for _, values in chosen for value in values],
        )

    def _lines(self, stream: random.Random, size: int, needles: Sequence[str]) -> str:
        if self.haystack == "repeat":
            lines = [_NOISE] * size
        else:
            lines = [
                _NEEDLE.format(kind=self.kind, key=_value(stream, self.kind_of_key), value=_value(stream, self.kind))
                for _ in range(size)
            ]
        for index, needle in zip(sorted(stream.sample(range(size), len(needles)), reverse=True), needles, strict=True):
            lines.insert(index, needle)
        return "\n".join(lines)

    def _prose(self, stream: random.Random, size: int, needles: Sequence[str]) -> str:
        sentences = _sentences(size)
        depths = stream.sample(_DEPTHS, len(needles))
        positions = sorted(int(len(sentences) * (depth / 100)) for depth in depths)
        parts = []
        for start, end, needle in zip([0, *positions], [*positions, len(sentences)], [*needles, ""], strict=True):
            parts += [" ".join(sentences[start:end]), *([needle] if needle else [])]
        return " ".join(parts)


def _value(stream: random.Random, kind: str) -> str:
    """Return a random number of seven digits, word or UUID."""
    if kind == "numbers":
        return str(stream.randint(10**6, 10**7 - 1))
    if kind == "words":
        return stream.choice(ruler_words())
    return str(UUID(int=stream.getrandbits(128), version=4))


def _size(words: Callable[[int], int], first: int, step: int, most: int, *, extra: int = 0) -> int:
    """Return the largest size that fits, in steps. The number of words is linear in the size.

    Args:
        words: Size → words of the prompt.
        first: The smallest size.
        step: The step.
        most: The most words of a prompt.
        extra: The words that the source adds when it looks for the size.
    """
    start = words(first)
    slope = words(first + step) - start

    def at(size: int) -> int:
        return start + (size - first) // step * slope

    size, total = first, 0
    while total < most:
        total = at(size) + extra
        size += step if total <= most else -step
        if total > most:
            break
    while size > first and at(size) > most:
        size -= step
    return max(size, first)


_CHAIN = (
    "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{context}\nQuestion: Find "
    "all variables that are assigned the value {query} in the text above."
)
# the spelling is the source's
_CHAIN_ANSWER = (
    "Answer: According to the chain(s) of variable assignment in the text above, {count} variables are assgined the "
    "value {query}, they are:"
)
_HOPS, _CHAIN_WORDS = 4, 30


def variable_tracking(length: int) -> tuple[Build, int]:
    """Return the function that makes a chain of variables after an example, and its number of lines of noise."""

    def words(size: int, letters: int) -> int:
        sample = _chain(random.Random(0), size, letters)  # noqa: S311 - only its length counts
        return len(f"{sample.input} {sample.prefix}".split())

    answer = _HOPS + 1
    noise = _size(lambda size: words(size, 3), 5, 5, 500 - _CHAIN_WORDS, extra=answer)
    of_example = words(noise, 3) + answer
    size = _size(lambda size: words(size, 5), 10, 10, length - _CHAIN_WORDS - of_example, extra=answer)

    example = _chain(random.Random(ruler_key("vt", length, -1)), noise, 3)  # noqa: S311 - keyed, no secret

    def build(stream: random.Random, size: int) -> Sample:
        sample = _chain(stream, size, 5)
        # other names, so that no instance shows the same example
        text = f"{example.input} {example.prefix}  {' '.join(example.outputs)}\n\n"
        for name in example.outputs:
            text = text.replace(name, "".join(stream.choices(ascii_uppercase, k=len(name))))
        return Sample(f"{text}\n\n{sample.input}", sample.prefix, sample.outputs)

    return build, size


def _chain(stream: random.Random, size: int, letters: int) -> Sample:
    """Return a chain of assignments to variables of that many letters, hidden in `size` lines of noise."""
    names: list[str] = []
    while len(set(names)) < _HOPS + 1:
        names = ["".join(stream.choices(ascii_uppercase, k=letters)) for _ in range(_HOPS + 1)]
    value = stream.randint(10_000, 99_998)
    chain = [
        f"VAR {names[0]} = {value}",
        *(f"VAR {now} = VAR {before} " for before, now in pairwise(names)),
    ]
    lines = [f"{_NOISE}\n"] * size
    if len(lines) <= len(chain):
        pieces = [piece for line in lines for piece in line.split(".")]
        lines = [f"{piece}." if piece.strip() else piece for piece in pieces]
    for offset, position in enumerate(sorted(stream.sample(range(len(lines)), len(chain)))):
        lines.insert(position + offset, chain[offset])
    context = " ".join(lines).replace(". \n", ".\n")
    query, count = str(value), _HOPS + 1
    return Sample(_CHAIN.format(context=context, query=query), _CHAIN_ANSWER.format(count=count, query=query), names)


_COMMON = (
    "Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that "
    "appear most often.\n{context}\nQuestion: What are the 10 most common words in the above list?"
)
_COMMON_ANSWER = "Answer: The top 10 words that appear most often in the list are:"
_N_COMMON, _COMMON_WORDS = 10, 120
_REPEATS = (30, 3)  # of a common word, and of another one


def common_words(length: int) -> tuple[Build, int]:
    """Return the function that makes a list of words with ten common ones, and its number of different words."""

    def words(size: int) -> int:
        items = _REPEATS[0] * _N_COMMON + _REPEATS[1] * (size - _N_COMMON)
        return len(f"{_COMMON} {_COMMON_ANSWER}".split()) - 1 + 2 * items

    # the source also counts an example of 40 words, ten of them common, which it doesn't show
    example = len(f"{_COMMON} {_COMMON_ANSWER}".split()) - 2 + 2 * (10 * _N_COMMON + 3 * 30) + 2 * _N_COMMON
    size = _size(words, _N_COMMON, _N_COMMON, length - _COMMON_WORDS, extra=example + 2 * _N_COMMON)

    def build(stream: random.Random, size: int) -> Sample:
        chosen = stream.sample(ruler_words(), size)
        common = chosen[:_N_COMMON]
        items = common * _REPEATS[0] + chosen[_N_COMMON:] * _REPEATS[1]
        stream.shuffle(items)
        context = " ".join(f"{number}. {word}" for number, word in enumerate(items, 1))
        return Sample(_COMMON.format(context=context), _COMMON_ANSWER, common)

    return build, min(size, len(ruler_words()))


_CODED = (
    "Read the following coded text and track the frequency of each coded word. Find the three most frequently appeared "
    "coded words. {context}\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the "
    "three most frequently appeared words in the above coded text?"
)
_CODED_ANSWER = "Answer: According to the coded text above, the three most frequently appeared words are:"
_CODED_LETTERS = 6
_ZETA = pi**2 / 6  # of Zipf's law with exponent 2


def frequent_words(length: int) -> tuple[Build, int]:
    """Return the function that makes a text of coded words under Zipf's law, and the size of its text."""
    ranks = np.arange(1, length // 50 + 1)

    def counts(size: int) -> list[int]:
        count: list[int] = (size * (ranks**-2.0) / _ZETA).astype(int).tolist()
        return count

    def words(size: int) -> int:
        return len(f"{_CODED} {_CODED_ANSWER}".split()) - 1 + sum(counts(size))

    step = length // 32
    size = length // _CODED_LETTERS
    while words(size) < length:
        size += step
    size -= step

    def build(stream: random.Random, size: int) -> Sample:
        words_of_letters: set[str] = set()
        while len(words_of_letters) < len(ranks):
            words_of_letters.add("".join(stream.choices(ascii_lowercase, k=_CODED_LETTERS)))
        vocabulary = sorted(words_of_letters)
        random.Random(_SEED).shuffle(vocabulary)  # noqa: S311 - the source's stream
        vocabulary[0] = "..."  # the most frequent one is noise
        coded = [word for word, count in zip(vocabulary, counts(size), strict=True) for _ in range(count)]
        random.Random(_SEED).shuffle(coded)  # noqa: S311 - the source's stream
        return Sample(_CODED.format(context=" ".join(coded)), _CODED_ANSWER, vocabulary[1:4])

    return build, size


RULER: Mapping[str, Callable[[int], tuple[Build, int]]] = {
    "niah_single_1": Needles("repeat"),
    "niah_single_2": Needles("essay"),
    "niah_single_3": Needles("essay", kind="uuids"),
    "niah_multikey_1": Needles("essay", keys=4),
    "niah_multikey_2": Needles("needle"),
    "niah_multikey_3": Needles("needle", kind_of_key="uuids", kind="uuids"),
    "niah_multivalue": Needles("essay", values=4),
    "niah_multiquery": Needles("essay", queries=4),
    "vt": variable_tracking,
    "cwe": common_words,
    "fwe": frequent_words,
}


@cache
def ruler_words() -> tuple[str, ...]:
    """Return the words of keys and lists: an adjective and a noun each, 22,736 in all."""
    return tuple(sorted(f"{adjective}-{noun}" for adjective in _ADJECTIVES.split() for noun in _NOUNS.split()))


@cache
def ruler_prose() -> tuple[str, ...]:
    """Return the words of the prose around needles, enough for the longest context.

    RULER hides its needles in essays that may not be distributed. These sentences are made from a seed.
    """
    stream = random.Random("ruler_prose")  # noqa: S311 - keyed, no secret
    words: list[str] = []
    while len(words) < max(map(int, LENGTHS)):
        names = {f"a{number}": stream.choice(_ADJECTIVES.split()) for number in range(2)}
        names |= {f"n{number}": stream.choice(_NOUNS.split()) for number in range(3)}
        words += stream.choice(_SENTENCES).format(**names).split()
    return tuple(words)


@lru_cache(maxsize=4)
def _sentences(n_words: int) -> tuple[str, ...]:
    """Return the sentences of the first words of the prose."""
    return tuple(re.split(r"(?<=[.?!]) ", " ".join(ruler_prose()[:n_words])))


_SENTENCES = (
    "The {a0} {n0} was near the {n1}, and nobody knew why.",
    "Why did the {n0} seem so {a0} after the {n1} was gone?",
    "It takes years to build a {n0} that is {a0} enough for a {n1}.",
    "Most people prefer a {a0} {n0} to a {a1} one.",
    "When she saw the {n0}, she forgot the {n1} and the {n2}.",
    "A {n0} is only as {a0} as the {n1} behind it.",
    "He wrote about the {n0} in a {a0} letter to his sister.",
    "They carried the {n0} past the {n1} without a word.",
    "There is a {a0} {n0} in every {n1}, if you look for it.",
    "The {n0} changed slowly, while the {n1} became {a0}.",
    "Nothing about the {n0} was {a0}, and that surprised the visitors.",
    "In the evening the {n0} looked {a0} and the {n1} looked {a1}.",
    "What would you do with a {a0} {n0} and a {n1}?",
    "I have never met anyone who liked the {n0} better than the {n1}.",
    "Early in spring the {n0} was moved from the {n1} to the {n2}.",
    "If the {n0} is {a0}, then the {n1} has to be {a1}.",
)
_ADJECTIVES = """
able amber ancient angry annual arctic bitter blank blunt bold brave brief bright brisk broad broken busy calm
careful central cheap civil clean clear clever coarse cold common cool crisp cruel curious curly dark deep dense
distant double dry dull dusty early eager easy elegant empty equal exact faint fair famous fancy fast final firm
flat fluffy foreign formal fragile fresh frozen gentle giant glad global golden grand grateful green grey happy
harsh hasty heavy hidden hollow honest humble hungry idle jolly keen kind large late lazy light lively local lonely
long loud lucky mellow mild modern narrow neat nervous noble odd old orange pale patient plain polite proud quick
quiet rapid rare rough round rural
"""
_NOUNS = """
acorn airport album anchor ankle apron arch arrow atlas attic autumn axle badge bagel ballad bamboo banner barley
barn basin basket beacon beetle belt bench bicycle blanket blossom bottle boulder bowl branch brick bridge broom
bucket buckle bundle bureau butter button cabin cable cactus camera canal candle canoe canyon carpet castle cedar
cellar chain chapel cherry chimney circle clock cloud clover coast collar comet compass copper coral corner cotton
cradle crater cricket crown cupboard curtain cushion dagger desert diary dolphin donkey dragon drawer drum eagle
easel elbow ember engine fabric falcon farm feather fence ferry fiddle field flute forest fountain fossil garden
garlic gate ginger glacier glove goblet grain grape gravel guitar hammer harbour harvest hazel hedge helmet heron
hill hinge honey hotel island ivory jacket jasmine jewel jungle kettle kitchen kite ladder lagoon lantern lemon
letter library lily linen lizard magnet mango maple marble market meadow melon mirror mitten moss mountain museum
napkin needle nest nickel notebook oasis ocean olive onion orchard otter oven oyster paddle palace pantry parade
parcel parrot pasture pebble pencil pepper piano pillow pine planet plum pocket pond poppy port potato pottery
prairie pumpkin puzzle quarry quilt raven reef ribbon river
"""
