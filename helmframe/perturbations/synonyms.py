"""The perturbation of synonyms: WordNet's, of every form of a word."""

from collections.abc import Mapping, Sequence

import polars as pl

from helmframe.perturbations import tables
from helmframe.perturbations.registry import perturbation
from helmframe.perturbations.rewording import lexicon, reworded
from helmframe.perturbations.text_kernel import probability
from helmframe.perturbations.word_lists import CLOSED_CLASSES

# What a form ends in, and what its base ends in instead: WordNet's morphy(7).
ENDINGS: Mapping[str, Sequence[tuple[str, str]]] = {
    "n": [("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"),
          ("men", "man"), ("ies", "y")],
    "v": [("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")],
    "a": [("er", ""), ("est", ""), ("er", "e"), ("est", "e")],
    "r": [],
}  # fmt: skip

# WordNet tells more senses of a verb apart than of other words, and fewer of an adverb.
_WEIGHTS = {"n": 1.0, "v": 0.5, "a": 1.0, "r": 2.0}


@perturbation("synonym")
def synonym(text: pl.Expr, key: pl.Expr, prob: float = 0.1) -> pl.Expr:
    """Each noun, verb, adjective and adverb becomes, with probability `prob`, one of its synonyms.

    Args:
        text: the text column.
        key: what the random numbers hang on.
        prob: probability per word that WordNet has synonyms of, a fraction.

    HELM asks spaCy for the part of speech. Here a word has the one in which WordNet has most synonyms of it, whatever
    stands around it: on 40,000 words of MMLU that is spaCy's 87 times in 100. Words of the closed classes ("in", "was")
    have none, nor have single letters and words with a capital, of which seven in ten are names. `compat="helm"` asks
    spaCy (`helmframe[synonym]`, and its model en_core_web_sm).

    Raises:
        SourceMissingError: the data root has no WordNet tables.

    Source: HELM `SynonymPerturbation`, after NL-Augmenter; WordNet 3.0 (Fellbaum 1998).
    """
    chance = probability("synonym", "prob", prob)
    lemmas, irregular = tables.synonyms(), tables.exceptions()

    def over_batch(columns: Sequence[pl.Series]) -> pl.Series:
        texts, keys = columns
        forms = _forms_of(lemmas, irregular)
        # of the many forms only those that occur are laid out
        said = texts.drop_nulls().str.extract_all(r"\p{L}+").explode().unique()
        there = forms.filter(pl.col("form").is_in(said.drop_nulls().implode()))
        words = lexicon(dict(there.select("form", "synonyms").iter_rows()), fold=False)
        each = keys if len(keys) == len(texts) else keys.new_from_index(0, len(texts))
        frame = pl.DataFrame({"text": texts, "key": each})
        return frame.select(reworded(pl.col("text"), pl.col("key"), words, chance)).to_series().alias(texts.name)

    return pl.map_batches([text, key], over_batch, return_dtype=pl.String, is_elementwise=True)


def _forms_of(lemmas: pl.DataFrame, irregular: pl.DataFrame) -> pl.DataFrame:
    """What `_forms` gives, made once for each table."""
    key = (id(lemmas), id(irregular))
    if key not in _MADE:
        # the tables are kept too: while they are, no others can have their ids
        _MADE[key] = (lemmas, irregular, _forms(lemmas, irregular))
    return _MADE[key][2]


_MADE: dict[tuple[int, int], tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]] = {}


def _forms(lemmas: pl.DataFrame, irregular: pl.DataFrame) -> pl.DataFrame:
    """Each form of a word with its part of speech and its synonyms: columns form, pos, synonyms."""
    words = lemmas.filter(pl.col("lemma").str.contains(r"^\p{L}{2,}$"))
    base = words.select("pos", form="lemma", lemma="lemma", rank=pl.lit(0))
    exceptions = irregular.explode("bases").select("pos", "form", lemma="bases", rank=pl.lit(1))
    regular = [
        words.filter(pl.col("pos") == pos, pl.col("lemma").str.ends_with(ending)).select(
            "pos", form=pl.col("lemma").str.strip_suffix(ending) + said, lemma="lemma", rank=pl.lit(rank)
        )
        for pos, endings in ENDINGS.items()
        for rank, (said, ending) in enumerate(endings, 1)
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
