"""`synonym(compat="helm")`: WordNet's synonyms for a word's part of speech, tagged by spaCy's small English model.

HELM reads the synonyms from a file made with NLTK. Here they come from the data root's WordNet tables, in NLTK's order.
The tags, and so the words that get a random number, depend on the installed model: other versions tag some words
differently.

Source: HELM `SynonymPerturbation`, commit 63754d05.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from random import Random
from threading import Lock
from typing import Any, NamedTuple

import polars as pl

from helmframe.errors import CapabilityError
from helmframe.perturbations.helm_streams import match_case, per_text
from helmframe.perturbations.registry import Stream, helm
from helmframe.perturbations.tables import Tables
from helmframe.perturbations.words import ENDINGS

MODEL = "en_core_web_sm"
# spaCy's parts of speech → WordNet's. HELM writes "s" for adjectives, whose synonyms are those of "a".
_PARTS = {"VERB": "v", "NOUN": "n", "ADV": "r", "ADJ": "a"}


class Token(NamedTuple):
    """A word, its part of speech in WordNet ("" without one), and the space after it."""

    text: str
    part: str
    space: str


@helm("synonym")
def synonym(prob: float, *, tables: Tables) -> Stream:
    """Replace nouns, verbs, adjectives and adverbs with synonyms: one random number per word, and one more for a hit.

    Raises:
        CapabilityError: spaCy or its model is not installed.
    """
    tagged = tagger()
    synonyms = _synonyms(tables.synonyms(), tables.exceptions())

    def replaced(text: str, random: Random) -> str:
        pieces = []
        for token in tagged(text):
            word, alternatives = token.text, synonyms(token.text.lower(), token.part) if token.part else ()
            if alternatives and random.uniform(0, 1) < prob:
                word = match_case(word, random.choice(alternatives))
            pieces.append(word + token.space)
        return "".join(pieces)

    return per_text(replaced)


def tagger() -> Callable[[str], Sequence[Token]]:
    """Return a function that splits a text into words with parts of speech; it loads the model at the first text.

    Raises:
        CapabilityError: spaCy or its model is not installed.
    """
    # spaCy's own model is in no package registry; copies there have a longer name
    models = sorted(point.name for point in entry_points(group="spacy_models") if point.name.startswith(MODEL))
    if importlib.util.find_spec("spacy") is None or not models:
        raise CapabilityError(
            f"synonym(compat='helm') needs spaCy and its model {MODEL}, which is not installed:\n"
            f"pip install 'helmframe[synonym]' && python -m spacy download {MODEL}\n"
            "Without compat='helm', synonym() needs neither."
        )
    return lambda text: _tagged(models[0], text)


def bases(
    word: str, part: str, lemmas: Mapping[tuple[str, str], object], irregular: Mapping[tuple[str, str], Sequence[str]]
) -> list[str]:
    """Return the words in WordNet that a word may be a form of: itself, and its irregular or else its regular bases.

    Source: NLTK `WordNetCorpusReader._morphy`.
    """
    regular = [word.removesuffix(end) + base for end, base in ENDINGS[part] if word.endswith(end)]
    return [base for base in dict.fromkeys([word, *irregular.get((word, part), regular)]) if (base, part) in lemmas]


def _synonyms(lemmas: pl.DataFrame, irregular: pl.DataFrame) -> Callable[[str, str], Sequence[str]]:
    """Return a function from a word in lower case and its part of speech to synonyms; built once per tables."""
    key = (id(lemmas), id(irregular))
    if key not in _LOOK_UPS:
        synonyms = {
            (lemma, part): alternatives
            for lemma, part, alternatives in lemmas.select("lemma", "pos", "synonyms").iter_rows()
        }
        forms = {(form, part): words for form, part, words in irregular.select("form", "pos", "bases").iter_rows()}

        @lru_cache(maxsize=1 << 16)
        def look_up(word: str, part: str) -> tuple[str, ...]:
            words = [other for base in bases(word, part, synonyms, forms) for other in synonyms[base, part]]
            spaced = dict.fromkeys(other.replace("_", " ") for other in words)
            return tuple(other for other in spaced if other != word)

        # the entry contains the tables, so that no other tables get their ids while it exists
        _LOOK_UPS[key] = (lemmas, irregular, look_up)
    return _LOOK_UPS[key][2]


_LOOK_UPS: dict[tuple[int, int], tuple[pl.DataFrame, pl.DataFrame, Callable[[str, str], Sequence[str]]]] = {}


def _tagged(model: str, text: str) -> list[Token]:
    with _ONE_AT_A_TIME:
        nlp = _loaded(model)
        if len(text) > nlp.max_length:
            raise CapabilityError(
                f"synonym(compat='helm'): a text has {len(text):,} characters, and spaCy reads at most "
                f"{nlp.max_length:,}. Remove compat='helm'."
            )
        return [Token(word.text, _PARTS.get(word.pos_, ""), word.whitespace_) for word in nlp(text)]


# spaCy's models are not thread-safe.
_ONE_AT_A_TIME = Lock()


@lru_cache(maxsize=1)
def _loaded(model: str) -> Any:
    import spacy

    try:
        # without the components after the tagger, which don't change parts of speech
        return spacy.load(model, exclude=["senter", "lemmatizer", "ner"])
    except (OSError, ValueError) as error:  # a model for another version of spaCy
        problem = str(error).partition("\n")[0]
        raise CapabilityError(
            f"synonym(compat='helm'): spaCy {spacy.__version__} can't load its model {model}: {problem}\n"
            f"Install the matching version: python -m spacy download {MODEL}"
        ) from error
