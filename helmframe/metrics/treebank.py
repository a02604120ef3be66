"""The tokenizers behind BLEU: the Penn Treebank's rules as in NLTK's `word_tokenize`, and NLTK's sentence tokenizer.

NLTK's own word tokenizer takes 0.4 ms per word and 4 s to import. The rules depend on little outside a chunk between
spaces, so each distinct chunk of a column is split once. The sentence model needs no download.
"""

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import polars as pl

# Rules with the characters that they need (at least one); the rules replace " by `` or ''.
_RULES = (
    # opening quotes
    ("«“‘„`", r"([«“‘„]|[`]+)", r" \1 "),
    ('"', r"^\"", r"``"),
    ('`"', r"(``)", r" \1 "),
    ("\"'", r"([ \(\[{<])(\"|\'{2})", r"\1 `` "),
    ("'", r"(?i)(?<!\w)(\')(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", r"\1 "),
    # punctuation; only the last full stop is split off
    (".", r"([^\.])(\.)([\]\)}>\"\'»”’ ]*+)\s*$", r"\1 \2 \3 "),
    (":,", r"([:,])([^\d])", r" \1 \2"),
    (":,", r"([:,])$", r" \1 "),
    (".", r"\.{2,}", r" \g<0> "),
    (";@#$%&", r"[;@#$%&]", r" \g<0> "),
    ("\u2012\u2013\u2014\u2015", r"[\u2012-\u2015]", r" \g<0> "),
    (".", r"([^\.])(\.)([\]\)}>\"\']*)\s*$", r"\1 \2\3 "),
    ("?!", r"[?!]", r" \g<0> "),
    ("'", r"([^'])' ", r"\1 ' "),
    ("*", r"[*]", r" \g<0> "),
    ("][(){}<>", r"[\]\[\(\)\{\}\<\>]", r" \g<0> "),
    ("-", r"--", r" -- "),
    ("'\"", r"^|$", r" "),
    # closing quotes
    ("»”’", r"([»”’])", r" \1 "),
    ("'", r"''", r" '' "),
    ('"', r"\"", r" '' "),
    ("'", r"\s+", r" "),
    ("'", r"([^' ])('[sS]|'[mM]|'[dD]|') ", r"\1 \2 "),
    ("'", r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", r"\1 \2 "),
)
_TWO_IN_ONE = (
    r"(?i)\b(can)(not)\b",
    r"(?i)\b(d)('ye)\b",
    r"(?i)\b(gim|lem)(me)\b",
    r"(?i)\b(gon)(na)\b",
    r"(?i)\b(got)(ta)\b",
    r"(?i)\b(more)('n)\b",
    r"(?i)\b(wan)(na)(?=\s|$)",
    r"(?i)(?:(?<=\s)|^)('t)(is|was)\b",
)
_SOME_TWO_IN_ONE = r"(?i)cannot|d'ye|gimme|lemme|gonna|gotta|more'n|wanna|'tis|'twas"


def tokenized(text: str) -> list[str]:
    """Return the words of a text.

    Source: R. MacIntyre's tokenizer.sed of the Penn Treebank; nltk.tokenize.NLTKWordTokenizer (NLTK 3.10).

    >>> tokenized("They'll save $3.88, won't they?")
    ['They', "'ll", 'save', '$', '3.88', ',', 'wo', "n't", 'they', '?']
    """
    rules, has_two_in_one, two_in_one = _compiled()
    characters = set(text)
    for needs, substituted, replacement in rules:
        if not needs.isdisjoint(characters):
            text = substituted(replacement, text)
    if has_two_in_one(text):
        for substituted in two_in_one:
            text = substituted(r" \1 \2 ", text)
    return text.split()


@lru_cache(maxsize=1 << 18)
def chunk_words(chunk: str, first: int, last: int) -> tuple[str, ...]:
    """Return the words in a chunk without white space.

    `first` and `last` are true if no chunk precedes or follows it.
    """
    if CUT in chunk:
        return tuple(chunk.split(CUT)[1:])
    usual = _usual()(chunk)
    if usual and not _has_two_in_one(usual[2]):
        opening, body, clitic, closing, mark = usual.groups()
        if mark == "." and not closing and not last:  # a full stop within a text is part of its word
            return (*opening, f"{body}{clitic or ''}.")
        return (*opening, body, *filter(None, [clitic]), *closing, *mark)
    cut = tokenized(f"{'' if first else 'x '}{chunk}{'' if last else ' x'}")
    return tuple(cut[not first : len(cut) - (not last)])


def cut_where_needed(texts: pl.Series) -> pl.Series:
    """Return the texts with `CUT` before each word of the chunks for which the rules depend on their surroundings.

    These are closing marks alone at the end, and quotes next to white space other than one ' '.
    """
    texts = texts.str.replace_all(CUT, "\n", literal=True)
    quoted = texts.str.contains(rf"(?:{_ODD}|^\s+){_QUOTED}|{_QUOTED}(?:{_ODD}|\s+$)")
    lone = texts.str.contains(_LONE_CLOSERS)
    for where, cut in ((quoted & ~lone, _cut_quoted), (lone, _cut_all)):
        at = where.fill_null(value=False)
        if at.any():
            texts = texts.scatter(at.arg_true(), [cut(text) for text in texts.filter(at)])
    return texts


TWO_IN_ONE = ["cannot", "gimme", "gonna", "gotta", "lemme", "wanna"]
CUT = "\x1f"  # white space, so no word contains it
_ODD = r"[\s\x1c-\x1f&&[^ ]]"
_QUOTED = r"""[^\s\x1c-\x1f]*['"`][^\s\x1c-\x1f]*"""
_LONE_CLOSERS = r"""\s[\]\)}>"'»”’]+\s*$"""


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text as NLTK's `sent_tokenize` splits them. Needs nltk and punkt.

    >>> split_sentences("It sat. . . . Go!")
    ['It sat.', '.', '.', '.', 'Go!']

    Source: Kiss & Strunk 2006; nltk.tokenize.punkt (NLTK 3.10).
    """
    sentences: list[str] = _tokenizer().tokenize(text)
    return sentences


@cache
def _compiled() -> tuple[Any, Any, Any]:
    """Return the rules, compiled at their first use: `import helmframe` stays fast."""
    rules = [(frozenset(needs), re.compile(pattern).sub, replacement) for needs, pattern, replacement in _RULES]
    return rules, re.compile(_SOME_TWO_IN_ONE).search, [re.compile(pattern).sub for pattern in _TWO_IN_ONE]


def _cut_all(text: str) -> str:
    return "".join(f"{CUT}{word}" for word in tokenized(text))


def _cut_quoted(text: str) -> str:
    first, last = len(text) - len(text.lstrip()), len(text.rstrip())

    def cut(chunk: re.Match[str]) -> str:
        start, end = chunk.span()
        around = text[max(start - 1, 0) : start].strip(" ") or text[end : end + 1].strip(" ")
        if not around and (start > first or not first) and (end < last or last == len(text)):
            return chunk[0]  # texts with only such chunks are not split here
        left = ("x" if start > first else "") + _space(text[max(start - 1, 0) : start])
        right = _space(text[end : end + 1]) + ("x" if end < last else "")
        return _cut_between(left, chunk[0], right)

    return re.sub(r"""(?<!\S)[^\s'"`]*+['"`]\S*""", cut, text)


@lru_cache(maxsize=1 << 16)
def _cut_between(left: str, chunk: str, right: str) -> str:
    words = tokenized(f"{left}{chunk}{right}")
    return "".join(f"{CUT}{word}" for word in words["x" in left : len(words) - ("x" in right)])


def _space(neighbour: str) -> str:
    return neighbour if neighbour in ("", " ") else "\n"


def _has_two_in_one(body: str) -> bool:
    lower = body.lower()
    return (
        lower in TWO_IN_ONE
        if body.isalnum()
        else any(re.search(rf"\b{contraction}\b", lower) for contraction in TWO_IN_ONE)
    )


@cache
def _usual() -> Callable[[str], re.Match[str] | None]:
    """Return a matcher of chunks that consist of brackets, a word, a clitic, brackets and a mark.

    These are split without the rules.
    """
    word = r"[A-Za-z0-9]+(?:[-/_.^+=][A-Za-z0-9]+)*"
    return re.compile(rf"([(\[]*)({word})('(?:[sSmMdD]|ll|re|ve))?([)\]]*)([,:;?!.]?)\Z").match


@cache
def _tokenizer() -> Any:
    import punkt
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    # punkt contains NLTK's model, but its own tokenizer joins the full stops of " . . ." to the sentence before them
    model, parameters = punkt.load_model("english"), PunktParameters()
    parameters.abbrev_types = set(model.abbrev_types)
    parameters.collocations = set(model.collocations)
    parameters.sent_starters = set(model.sent_starters)
    parameters.ortho_context.update({word: int(context) for word, context in model.ortho_context.items()})
    return PunktSentenceTokenizer(parameters)
