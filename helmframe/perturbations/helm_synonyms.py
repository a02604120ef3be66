"""`synonym(compat="helm")`: WordNet's synonyms of a word's part of speech, which spaCy's small English model tells.

HELM reads the synonyms from a file made with NLTK; here they come from the data root's WordNet tables, in NLTK's order.
The tags, and so the words that are drawn for, are those of the model at hand: other versions tag some words otherwise.

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
from helmframe.perturbations import tables
from helmframe.perturbations.helm_streams import each_text, in_case_of
from helmframe.perturbations.registry import Stream, helm
from helmframe.perturbations.synonyms import ENDINGS

MODEL = "en_core_web_sm"
# spaCy's parts of speech → WordNet's. HELM says "s" for adjectives, whose synonyms are those of "a".
_PARTS = {"VERB": "v", "NOUN": "n", "ADV": "r", "ADJ": "a"}


class Token(NamedTuple):
    """A word, its part of speech by WordNet ("" where it has none there), and the space after it."""

    text: str
    part: str
    space: str


@helm("synonym")
def synonym(prob: float) -> Stream:
    """Each noun, verb, adjective and adverb with synonyms: one draw, and one more for a hit.

    Raises:
        CapabilityError: spaCy or its model is not installed.
    """
    tagged = tagger()
    synonyms = _synonyms(tables.synonyms(), tables.exceptions())

    def replaced(text: str, random: Random) -> str:
        pieces = []
        for token in tagged(text):
            word, others = token.text, synonyms(token.text.lower(), token.part) if token.part else ()
            if others and random.uniform(0, 1) < prob:
                word = in_case_of(word, random.choice(others))
            pieces.append(word + token.space)
        return "".join(pieces)

    return each_text(replaced)


def tagger() -> Callable[[str], Sequence[Token]]:
    """What cuts a text into words and tells their parts of speech; the model itself is loaded at the first text.

    Raises:
        CapabilityError: spaCy or its model is not installed.
    """
    # spaCy's own is on no package registry; copies of it there have a longer name
    found = sorted(each.name for each in entry_points(group="spacy_models") if each.name.startswith(MODEL))
    if importlib.util.find_spec("spacy") is None or not found:
        raise CapabilityError(
            f"synonym(compat='helm'): HELM draws synonyms by the tags of spaCy's model {MODEL}, which is not installed:"
            f"\npip install 'helmframe[synonym]' && python -m spacy download {MODEL}\n"
            "Or leave out compat: our own synonym(…) needs no tagger."
        )
    return lambda text: _tagged(found[0], text)


def bases(
    word: str, part: str, lemmas: Mapping[tuple[str, str], object], irregular: Mapping[tuple[str, str], Sequence[str]]
) -> list[str]:
    """The words of WordNet that a word may be a form of: itself, and its irregular or else its regular bases.

    Source: NLTK `WordNetCorpusReader._morphy`.
    """
    regular = [word.removesuffix(end) + base for end, base in ENDINGS[part] if word.endswith(end)]
    return [each for each in dict.fromkeys([word, *irregular.get((word, part), regular)]) if (each, part) in lemmas]


def _synonyms(lemmas: pl.DataFrame, irregular: pl.DataFrame) -> Callable[[str, str], Sequence[str]]:
    """Word, in lower case, and part of speech → its synonyms; tables are laid out once."""
    key = (id(lemmas), id(irregular))
    if key not in _MADE:
        known = {(lemma, part): others for lemma, part, others in lemmas.select("lemma", "pos", "synonyms").iter_rows()}
        forms = {(form, part): words for form, part, words in irregular.select("form", "pos", "bases").iter_rows()}

        @lru_cache(maxsize=1 << 16)
        def look_up(word: str, part: str) -> tuple[str, ...]:
            found = [each.replace("_", " ") for base in bases(word, part, known, forms) for each in known[base, part]]
            return tuple(each for each in dict.fromkeys(found) if each != word)

        # the tables are kept too: while they are, no others can have their ids
        _MADE[key] = (lemmas, irregular, look_up)
    return _MADE[key][2]


_MADE: dict[tuple[int, int], tuple[pl.DataFrame, pl.DataFrame, Callable[[str, str], Sequence[str]]]] = {}


def _tagged(model: str, text: str) -> list[Token]:
    with _ONE_AT_A_TIME:
        read = _loaded(model)
        if len(text) > read.max_length:
            raise CapabilityError(
                f"synonym(compat='helm'): spaCy reads texts of up to {read.max_length:,} characters; one has "
                f"{len(text):,}. Leave out compat for these."
            )
        return [Token(each.text, _PARTS.get(each.pos_, ""), each.whitespace_) for each in read(text)]


# spaCy's models are not for several threads at once.
_ONE_AT_A_TIME = Lock()


@lru_cache(maxsize=1)
def _loaded(model: str) -> Any:
    import spacy

    try:
        # without what comes after the part of speech, and does not change it
        return spacy.load(model, exclude=["senter", "lemmatizer", "ner"])
    except (OSError, ValueError) as error:  # a model for another version of spaCy
        problem = str(error).partition("\n")[0]
        raise CapabilityError(
            f"synonym(compat='helm'): spaCy {spacy.__version__} can't load {model}: {problem}"
        ) from error
