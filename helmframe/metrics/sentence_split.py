"""NLTK's English sentence tokenizer, with a model that needs no download."""

from functools import cache
from typing import Any


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text as NLTK's `sent_tokenize` splits them; needs nltk and punkt.

    >>> split_sentences("It sat. . . . Go!")
    ['It sat.', '.', '.', '.', 'Go!']

    Source: Kiss & Strunk 2006; nltk.tokenize.punkt (NLTK 3.10).
    """
    sentences: list[str] = _tokenizer().tokenize(text)
    return sentences


@cache
def _tokenizer() -> Any:
    import punkt
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    # punkt has NLTK's model, but its own tokenizer joins the stops of " . . ." to the sentence before them
    model, parameters = punkt.load_model("english"), PunktParameters()
    parameters.abbrev_types = set(model.abbrev_types)
    parameters.collocations = set(model.collocations)
    parameters.sent_starters = set(model.sent_starters)
    parameters.ortho_context.update({word: int(context) for word, context in model.ortho_context.items()})
    return PunktSentenceTokenizer(parameters)
