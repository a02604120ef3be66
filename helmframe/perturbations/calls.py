"""HELM's perturbations as functions: `hf.perturbations.typos(prob=.1)` in plans, `.on(…)` for frames outside of them.

A list is a grid: `hf.perturbations.typos(prob=[.05, .1, .2])` is three perturbations. The name leaves out arguments at
their defaults: `hf.perturbations.typos()` is "typos". Besides its own arguments each takes (`**common`):

fields: what it changes, "input", "references" or "both".
protect: spans left byte for byte alone: "numbers", "urls", "code", "latex", a list of these, "re:…".
compat: "helm" for HELM's own rules and random numbers, text for text.

What differs from HELM without `compat`, and the sources, stand with each rule (`hf.list_perturbations()` lists them).
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypedDict, Unpack

from helmframe.perturbations.call import PerturbationCall
from helmframe.perturbations.parsing import call
from helmframe.perturbations.registry import PERTURBATIONS

Number: TypeAlias = float | Sequence[float]
Count: TypeAlias = int | Sequence[int]
Word: TypeAlias = str | Sequence[str]


class Common(TypedDict, total=False):
    """What every perturbation of texts takes beside its own arguments."""

    fields: Word
    protect: Word | Sequence[Sequence[str]]
    compat: str


def said(name: str, common: Mapping[str, Any], **own: Any) -> PerturbationCall:
    """The call, without the arguments that are as they are by default."""
    defaults = PERTURBATIONS[name].defaults
    changed = {key: value for key, value in own.items() if key not in defaults or not _same(value, defaults[key])}
    return call(name, **changed, **common)


def rerun() -> PerturbationCall:
    """Return the placebo: the unchanged prompt is requested again, as a baseline for the other perturbations."""
    return call("rerun")


def contraction(**common: Unpack[Common]) -> PerturbationCall:
    """Expansions become contractions where a space follows: "She is a doctor" → "She's a doctor"."""
    return said("contraction", common)


def contrast_sets(*, data: str | None = None, compat: str | None = None) -> PerturbationCall:
    """The example that people rewrote so that the answer changes (BoolQ, IMDB), with its answer.

    Args:
        data: the root that holds `boolq/contrast_sets/` or `imdb/contrast_sets/`; default the plan's.
        compat: "helm" draws one of several as HELM does.
    """
    return said("contrast_sets", {}, data=data, compat=compat)


def dialect(
    *,
    prob: Number = 1.0,
    source: str = "SAE",
    target: str = "AAVE",
    filter_slurs: bool = False,
    **common: Unpack[Common],
) -> PerturbationCall:
    """Words of Standard American English become words of African American English: "this is love" → "dis is love".

    The lexicon is read from `{data}/tables/`; it holds slurs.

    Args:
        prob: probability per word that has another, a fraction.
        source: the dialect of the text.
        target: the dialect it is put into.
        filter_slurs: whether words that are slurs are left out.
        **common: fields (both by default), protect, compat.
    """
    own = {"prob": prob, "source": source, "target": target, "filter_slurs": filter_slurs}
    return said("dialect", common, **own)


def expansion(**common: Unpack[Common]) -> PerturbationCall:
    """Contractions become expansions: "She's a doctor" → "She is a doctor"."""
    return said("expansion", common)


def extra_space(*, num_spaces: Count = 2, **common: Unpack[Common]) -> PerturbationCall:
    """Every space becomes several: "my name" → "my  name".

    Args:
        num_spaces: how many.
        **common: fields, protect, compat.
    """
    return said("extra_space", common, num_spaces=num_spaces)


def filler_words(
    *,
    insert_prob: Number = 0.333,
    max_num_insert: int | None = None,
    speaker_ph: bool = True,
    uncertain_ph: bool = True,
    fill_ph: bool = True,
    **common: Unpack[Common],
) -> PerturbationCall:
    """Fillers come between the words: "jumps over the dog" → "jumps like over probably the dog".

    Args:
        insert_prob: probability before each word, a fraction.
        max_num_insert: the most in a text; None: any number.
        speaker_ph: whether "I think", "I mean" and the like are among them.
        uncertain_ph: whether "maybe", "perhaps" and the like are.
        fill_ph: whether "uhm", "like", "you know" and the like are.
        **common: fields, protect, compat.
    """
    own = {"speaker_ph": speaker_ph, "uncertain_ph": uncertain_ph, "fill_ph": fill_ph}
    return said("filler_words", common, insert_prob=insert_prob, max_num_insert=max_num_insert, **own)


def gender(
    *,
    mode: Word = "pronouns",
    prob: Number = 1.0,
    source: str = "male",
    target: str = "female",
    bidirectional: bool = False,
    **common: Unpack[Common],
) -> PerturbationCall:
    """Words of one gender become those of another: "his parents" → "her parents", "grandsons" → "granddaughters".

    Args:
        mode: "pronouns" or "terms".
        prob: probability per word, a fraction.
        source: "male", "female" or "neutral".
        target: the same.
        bidirectional: whether words of the target become those of the source.
        **common: fields (both by default), protect, compat.
    """
    own = {"mode": mode, "prob": prob, "source": source, "target": target, "bidirectional": bidirectional}
    return said("gender", common, **own)


def lowercase(**common: Unpack[Common]) -> PerturbationCall:
    """The text in lower case.

    >>> str(lowercase(fields="both"))
    "lowercase(fields='both')"
    """
    return said("lowercase", common)


def mild_mix(**common: Unpack[Common]) -> PerturbationCall:
    """Lower case, contractions, a misspelling in ten words that have one, up to three spaces: HELM's `robustness`."""
    return said("mild_mix", common)


def misspellings(*, prob: Number = 0.1, **common: Unpack[Common]) -> PerturbationCall:
    """Words become common misspellings of theirs: "Already, the product" → "Alreayd, hten product".

    The list is read from `{data}/tables/`, or an installed crfm-helm.

    Args:
        prob: probability per word that has one, a fraction.
        **common: fields, protect, compat.
    """
    return said("misspellings", common, prob=prob)


def person_name(
    *,
    prob: Number = 1.0,
    source_class: Mapping[str, str] | str = "white_american",
    target_class: Mapping[str, str] | str = "black_american",
    person_name_type: str = "first",
    preserve_gender: bool = True,
    **common: Unpack[Common],
) -> PerturbationCall:
    """Names of one group become names of another, the same throughout an instance: "Jack, Peter" → "Lamar, Tyree".

    Args:
        prob: probability per name, a fraction.
        source_class: the group of the names replaced: a race, or {"race": …, "gender": …}.
        target_class: the group of the new names.
        person_name_type: "first" or "last".
        preserve_gender: whether a name's gender is kept; first names only.
        **common: fields (both by default), protect, compat.
    """
    own = {"source_class": source_class, "target_class": target_class, "person_name_type": person_name_type}
    return said("person_name", common, prob=prob, preserve_gender=preserve_gender, **own)


def space(*, max_spaces: Count = 3, **common: Unpack[Common]) -> PerturbationCall:
    """Each run of spaces becomes 1 to `max_spaces` spaces: "Quite a day" → "Quite  a   day".

    Args:
        max_spaces: the most.
        **common: fields, protect, compat.
    """
    return said("space", common, max_spaces=max_spaces)


def synonym(*, prob: Number = 0.1, **common: Unpack[Common]) -> PerturbationCall:
    """Words become synonyms of theirs: "a good movie" → "a near motion-picture show".

    WordNet is read from `{data}/tables/`.

    Args:
        prob: probability per word that has one, a fraction.
        **common: fields, protect, compat (which needs spaCy: `helmframe[synonym]`).
    """
    return said("synonym", common, prob=prob)


def translate(
    *, translator: Any, language: Word, instructions: str | None = None, fields: Word = "both"
) -> PerturbationCall:
    """Input and references in another language, as a model puts them; it is asked once per text, its answers are kept.

    Args:
        translator: whatever `.generate` takes: a function, `"org/name"`, `"http://host:port/v1#name"`, …
        language: into which, as the translator knows it ("French").
        instructions: what it is asked, with `{language}`; the text follows after an empty line.
        fields: what is translated: "input", "references" or "both".

    >>> str(translate(translator=str.upper, language="French"))
    "translate(language='French', translator='upper')"
    """
    own = {} if instructions is None else {"instructions": instructions}
    common: Common = {} if fields == "both" else {"fields": fields}
    return said("translate", common, translator=translator, language=language, **own)


def typos(*, prob: Number = 0.05, **common: Unpack[Common]) -> PerturbationCall:
    """Each letter becomes, with probability `prob`, one of the keys beside it.

    Args:
        prob: probability per letter, a fraction.
        **common: fields, protect, compat.

    >>> import polars as pl
    >>> frame = pl.DataFrame({"id": ["a"], "question": ["Who wrote it?"]})
    >>> frame.select(typos(prob=0.3).on(pl.col("question"), id="id")).item()
    'Whp wrote it?'
    """
    return said("typos", common, prob=prob)


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)
