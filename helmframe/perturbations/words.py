"""Perturbations of words by tables: misspellings, HELM's mild mix, dialect and synonyms."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import polars as pl

from helmframe._core.expressions import keyed_draws
from helmframe.errors import ArgumentError
from helmframe.perturbations.factory import perturbation
from helmframe.perturbations.rewording import Lexicon, lexicon, lexicon_of, reworded, with_words
from helmframe.perturbations.tables import CLOSED_CLASSES, Tables
from helmframe.perturbations.text_kernel import Bytes, Draws, Numbers, over_buffer, probability, with_spaces
from helmframe.perturbations.wording import contracted


@perturbation("misspellings")
def misspellings(text: pl.Expr, key: pl.Expr, prob: float = 0.1, *, tables: Tables) -> pl.Expr:
    """Replace words with common misspellings of them: "receive" becomes "recieve".

    Case is preserved. The table of misspellings is read from `{data}/tables/`, or from an installed crfm-helm.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a misspelling per word of the table, between 0 and 1.
        tables: The plan's word tables.

    The example writes a table of one word:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import helmframe as hf
    >>> frame = pl.DataFrame({"question": ["Did you receive it?"], "answer": ["yes"]})
    >>> with tempfile.TemporaryDirectory() as data:
    ...     file = Path(data, "tables", "correct_to_misspelling.json")
    ...     file.parent.mkdir()
    ...     _ = file.write_text('{"receive": ["recieve"]}')
    ...     plan = hf.scenario(frame, input="question", references="answer", data=data)
    ...     plan.perturb("misspellings(prob=1.0)").variants().collect()["perturbed_input"][1]
    'Did you recieve it?'

    Raises:
        SourceMissingError: Neither the data root nor an installed crfm-helm has the table. helmframe can't ship it.

    Source: HELM `MisspellingPerturbation`; Wikipedia's list of common misspellings.

    Differs from HELM: If two phrases begin alike, the longer one is replaced: "about a" becomes "abouta". HELM replaces
    the one that its table lists first, and misses most phrases of two words. A phrase that ends in an apostrophe
    ("countries'") is replaced everywhere; HELM replaces it only before a letter.
    """
    return reworded(text, key, _misspelled(tables), probability("misspellings", "prob", prob))


@perturbation("mild_mix")
def mild_mix(text: pl.Expr, key: pl.Expr, *, tables: Tables) -> pl.Expr:
    """Combine lower case, contractions, misspellings and extra spaces.

    The text is converted to lower case and contracted. Each word of the table of misspellings is misspelled with
    probability 0.1. Each run of spaces becomes 1 to 3 spaces. This is HELM's preset `robustness`.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        tables: The plan's word tables.

    The example writes a table of one word:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import helmframe as hf
    >>> frame = pl.DataFrame({"question": ["Did you not receive it?"], "answer": ["yes"]})
    >>> with tempfile.TemporaryDirectory() as data:
    ...     file = Path(data, "tables", "correct_to_misspelling.json")
    ...     file.parent.mkdir()
    ...     _ = file.write_text('{"receive": ["recieve"]}')
    ...     plan = hf.scenario(frame, input="question", references="answer", data=data).perturb("mild_mix")
    ...     plan.variants().collect()["perturbed_input"][1]
    'did   you  not  receive  it?'

    Raises:
        SourceMissingError: Neither the data root nor an installed crfm-helm has the table of misspellings.

    Source: HELM `MildMixPerturbation`.

    Differs from HELM: In the words that it misspells, as `misspellings` does.
    """
    words = _misspelled(tables)

    def mixed(data: Bytes, offsets: Numbers, keys: Draws) -> tuple[Bytes, Numbers]:
        data, offsets = contracted(data, offsets, keys)
        data, offsets = with_words(data, offsets, keys, words, 0.1)
        # words and spaces have the same numbers: each needs a different key
        return with_spaces(data, offsets, keyed_draws(keys, np.full_like(keys, 1 << 63)), 3)

    return over_buffer(text.str.to_lowercase(), key, mixed)


def _misspelled(tables: Tables) -> Lexicon:
    return lexicon_of(tables.misspellings(), fold=False)


@perturbation("dialect", kind="fairness", fields="both")
def dialect(
    text: pl.Expr,
    key: pl.Expr,
    prob: float = 1.0,
    source: str = "SAE",
    target: str = "AAVE",
    filter_slurs: bool = False,
    *,
    tables: Tables,
) -> pl.Expr:
    """Replace words of one dialect with words of another: "this is love" becomes "dis is luvv".

    Case is preserved. The lexicon is read from `{data}/tables/`. It contains slurs.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a change per word of the lexicon, between 0 and 1.
        source: The dialect of the text: "SAE", Standard American English, or another one that the data root has a
            lexicon for.
        target: The new dialect: "AAVE", African American Vernacular English.
        filter_slurs: Whether to skip replacements that are slurs. Words without another replacement stay unchanged.
        tables: The plan's word tables.

    The example writes a lexicon of one word:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import helmframe as hf
    >>> frame = pl.DataFrame({"question": ["Is this love?"], "answer": ["yes"]})
    >>> with tempfile.TemporaryDirectory() as data:
    ...     file = Path(data, "tables", "SAE_to_AAVE_mapping.json")
    ...     file.parent.mkdir()
    ...     _ = file.write_text('{"this": ["dis"]}')
    ...     plan = hf.scenario(frame, input="question", references="answer", data=data).perturb("dialect")
    ...     plan.variants().collect()["perturbed_input"][1]
    'Is dis love?'

    Raises:
        SourceMissingError: The data root has no tables/{source}_to_{target}_mapping.json. helmframe can't ship it.

    Source: HELM `DialectPerturbation`; lexicon of VALUE (Ziems et al. 2022).

    Differs from HELM: HELM's pattern includes a character on both sides of a word. It therefore misses words at the
    edges of a text and directly after another hit (HELM issues #1732 and #1958). If two phrases begin alike, the longer
    one is replaced; HELM replaces the one that its table lists first.
    """
    prob = probability("dialect", "prob", prob)
    for name, value in (("source", source), ("target", target)):
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z]+", value):
            raise ArgumentError(
                f"dialect({name}={value!r}): {name} must be the name of a dialect, letters only, such as 'SAE'."
            )
    if not isinstance(filter_slurs, bool):
        raise ArgumentError(f"dialect(filter_slurs={filter_slurs!r}): filter_slurs must be True or False.")
    table = tables.dialect(source.upper(), target.upper())
    if filter_slurs:
        table = _without_slurs(tuple(table.items()))
    return reworded(text, key, lexicon_of(table, hyphens=True), prob)


# Racist, homophobic and misogynist words among VALUE's alternatives, as hashes: this file should not contain them.
_SLURS = frozenset(
    {
        "0101f1bf", "06df17c2", "315ed6d3", "34981e2e", "3949c4d5", "41bff7e4", "5b5fefed", "6ffeb92f",
        "825ca836", "864e93d1", "88ec9de3", "8b3a18ea", "a1a12299", "a97949e3", "a9cdd30d", "c890f344",
        "caea805a", "dc383863", "e00f319b", "f03005e7",
    }
)  # fmt: skip


@lru_cache(maxsize=4)
def _without_slurs(table: tuple[tuple[str, tuple[str, ...]], ...]) -> Mapping[str, tuple[str, ...]]:
    return {
        word: tuple(alternative for alternative in alternatives if not _is_slur(alternative))
        for word, alternatives in table
    }


def _is_slur(word: str) -> bool:
    return blake2b(word.strip().lower().encode(), digest_size=4).hexdigest() in _SLURS


# Endings of a form and of its base: WordNet's morphy(7).
ENDINGS: Mapping[str, Sequence[tuple[str, str]]] = {
    "n": [("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"),
          ("men", "man"), ("ies", "y")],
    "v": [("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")],
    "a": [("er", ""), ("est", ""), ("er", "e"), ("est", "e")],
    "r": [],
}  # fmt: skip

# WordNet distinguishes more senses of a verb than of other words, and fewer of an adverb.
_WEIGHTS = {"n": 1.0, "v": 0.5, "a": 1.0, "r": 2.0}


@perturbation("synonym")
def synonym(text: pl.Expr, key: pl.Expr, prob: float = 0.1, *, tables: Tables) -> pl.Expr:
    """Replace words with synonyms from WordNet: "a good movie" becomes "a expert motion-picture show".

    WordNet is read from `{data}/tables/`. Each word gets the part of speech in which WordNet has most synonyms for it,
    without regard to context. On 40,000 words of MMLU this is spaCy's part of speech for 87 % of the words. Function
    words ("in", "was"), single letters and capitalised words stay unchanged; seven in ten capitalised words are names.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a change per word that has synonyms in WordNet, between 0 and 1.
        compat: "helm" applies HELM's own rules and random numbers. It needs spaCy (`helmframe[synonym]`) with its model
            en_core_web_sm.
        tables: The plan's word tables.

    The example writes tables with one word and without irregular forms:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import helmframe as hf
    >>> frame = pl.DataFrame({"question": ["Is it a good movie?"], "answer": ["yes"]})
    >>> with tempfile.TemporaryDirectory() as data:
    ...     folder = Path(data, "tables")
    ...     folder.mkdir()
    ...     words = pl.DataFrame({"lemma": ["movie"], "pos": ["n"], "synonyms": [["film", "picture"]]})
    ...     words.write_parquet(folder / "wordnet_synonyms.parquet")
    ...     irregular = pl.DataFrame(schema={"form": pl.String, "pos": pl.String, "bases": pl.List(pl.String)})
    ...     irregular.write_parquet(folder / "wordnet_exceptions.parquet")
    ...     plan = hf.scenario(frame, input="question", references="answer", data=data).perturb("synonym(prob=1.0)")
    ...     plan.variants().collect()["perturbed_input"][1]
    'Is it a good film?'

    Raises:
        SourceMissingError: The data root has no WordNet tables.

    Source: HELM `SynonymPerturbation`, after NL-Augmenter; WordNet 3.0 (Fellbaum 1998).

    Differs from HELM: HELM takes the part of speech from spaCy.
    """
    chance = probability("synonym", "prob", prob)
    lemmas, irregular = tables.synonyms(), tables.exceptions()

    def change_batch(columns: Sequence[pl.Series]) -> pl.Series:
        texts, keys = columns
        forms = _forms_of(lemmas, irregular)
        # only the forms that occur in the texts are needed
        occurring = texts.drop_nulls().str.extract_all(r"\p{L}+").explode().unique()
        present = forms.filter(pl.col("form").is_in(occurring.drop_nulls().implode()))
        words = lexicon(dict(present.select("form", "synonyms").iter_rows()), fold=False)
        row_keys = keys if len(keys) == len(texts) else keys.new_from_index(0, len(texts))
        frame = pl.DataFrame({"text": texts, "key": row_keys})
        return frame.select(reworded(pl.col("text"), pl.col("key"), words, chance)).to_series().alias(texts.name)

    return pl.map_batches([text, key], change_batch, return_dtype=pl.String, is_elementwise=True)


def _forms_of(lemmas: pl.DataFrame, irregular: pl.DataFrame) -> pl.DataFrame:
    """Return `_forms` of these tables; each pair of tables is processed once."""
    key = (id(lemmas), id(irregular))
    if key not in _FORMS:
        # the entry contains the tables, so that no other tables get their ids while it exists
        _FORMS[key] = (lemmas, irregular, _forms(lemmas, irregular))
    return _FORMS[key][2]


_FORMS: dict[tuple[int, int], tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]] = {}


def _forms(lemmas: pl.DataFrame, irregular: pl.DataFrame) -> pl.DataFrame:
    """Return each form of a word with its part of speech and its synonyms: columns form, pos, synonyms."""
    words = lemmas.filter(pl.col("lemma").str.contains(r"^\p{L}{2,}$"))
    base = words.select("pos", form="lemma", lemma="lemma", rank=pl.lit(0))
    exceptions = irregular.explode("bases").select("pos", "form", lemma="bases", rank=pl.lit(1))
    regular = [
        words.filter(pl.col("pos") == pos, pl.col("lemma").str.ends_with(ending)).select(
            "pos", form=pl.col("lemma").str.strip_suffix(ending) + base_ending, lemma="lemma", rank=pl.lit(rank)
        )
        for pos, endings in ENDINGS.items()
        for rank, (base_ending, ending) in enumerate(endings, 1)
    ]
    regular_forms = pl.concat(regular).join(irregular, on=["pos", "form"], how="anti")
    synonyms = (
        pl.concat([base, exceptions, regular_forms])
        .filter(~pl.col("form").is_in(CLOSED_CLASSES.split()))
        .join(lemmas, on=["pos", "lemma"], maintain_order="left")
        .sort("form", "pos", "rank", maintain_order=True)
        .explode("synonyms")
        .with_columns(pl.col("synonyms").str.replace_all("_", " ", literal=True))
        .filter(pl.col("synonyms").str.to_lowercase() != pl.col("form"))
        .group_by("form", "pos", maintain_order=True)
        .agg(pl.col("synonyms").unique(maintain_order=True))
    )
    weight = pl.col("pos").replace_strict(_WEIGHTS, return_dtype=pl.Float64)
    return (
        synonyms.with_columns(weight=pl.col("synonyms").list.len() * weight)
        .sort("form", "weight", "pos", descending=[False, True, False])
        .unique("form", keep="first", maintain_order=True)
        .select("form", "pos", "synonyms")
    )
