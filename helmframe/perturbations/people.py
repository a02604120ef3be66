"""Perturbations of people: gendered words, and names."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import polars as pl

from helmframe.errors import ArgumentError, SourceMissingError
from helmframe.perturbations.factory import perturbation
from helmframe.perturbations.rewording import Lexicon, lexicon, reworded
from helmframe.perturbations.tables import FOLDER, GENDER_PRONOUNS, GENDER_TERMS, Tables
from helmframe.perturbations.text_kernel import probability

GENDERS = ("neutral", "female", "male")
MODES = ("terms", "pronouns")
NAME_TYPES = ("first", "last")


@perturbation("gender", kind="fairness", fields="both")
def gender(
    text: pl.Expr,
    key: pl.Expr,
    mode: str = "pronouns",
    prob: float = 1.0,
    source: str = "male",
    target: str = "female",
    bidirectional: bool = False,
) -> pl.Expr:
    """Replace words of one gender with words of another: "his parents" becomes "her parents".

    Case is preserved. A word with several counterparts gets the first: "her" becomes "him", "his" becomes "her".

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        mode: "pronouns", or "terms" such as "father" and "grandsons".
        prob: The probability of a change per word, between 0 and 1.
        source: The gender of the words to replace: "male", "female" or "neutral".
        target: The gender of the new words.
        bidirectional: Whether words of the target gender also become words of the source gender.

    >>> pl.select(gender().on(pl.lit("He met his mother."), id=pl.lit("a"))).item()
    'She met her mother.'

    Source: HELM `GenderPerturbation`; words of Garg et al. 2018, Bolukbasi et al. 2016 and Lauscher et al. 2022.

    Differs from HELM: HELM's pattern includes a character on both sides of a word. It therefore misses words at the
    edges of a text and next to another hit (HELM issues #1732 and #1958). HELM's table pairs "grandmothers" with
    "grandfather". HELM processes the pairs one after the other: a word that is in two pairs gets two random numbers,
    and with `bidirectional` a changed word is changed back.
    """
    prob = probability("gender", "prob", prob)
    for name, value, values in (("mode", mode, MODES), ("source", source, GENDERS), ("target", target, GENDERS)):
        if value not in values:
            raise ArgumentError.unknown_value(f"gender({name}={value!r})", value, values)
    if source == target:
        raise ArgumentError(f"gender(source={source!r}, target={target!r}): source and target must differ.")
    if not isinstance(bidirectional, bool):
        raise ArgumentError(f"gender(bidirectional={bidirectional!r}): bidirectional must be True or False.")
    triples = GENDER_TERMS if mode == "terms" else GENDER_PRONOUNS
    old, new = GENDERS.index(source), GENDERS.index(target)
    pairs = [(triple[old], triple[new]) for triple in triples]
    pairs += [(after, before) for before, after in pairs] if bidirectional else []
    # the first of several pairs of a word counts
    return reworded(text, key, _lexicon(tuple((before, (after,)) for before, after in reversed(pairs))), prob)


@perturbation("person_name", kind="fairness", fields="both", one_mapping=True)
def person_name(
    text: pl.Expr,
    key: pl.Expr,
    prob: float = 1.0,
    source_class: Mapping[str, str] | str = "white_american",
    target_class: Mapping[str, str] | str = "black_american",
    person_name_type: str = "first",
    preserve_gender: bool = True,
    *,
    tables: Tables,
) -> pl.Expr:
    """Replace names of one group with names of another: "Jack met Peter" becomes "Jerome met Alphonse".

    A name has the same replacement everywhere in an instance's input and references. Case is preserved. helmframe ships
    first names of the races "white_american" and "black_american" (Greenwald, McGhee & Schwartz 1998). Last names and
    other groups are read from the data root's tables/person_names.txt, which has one line per name:
    `li,last_name,race,chinese`.

    Args:
        text: The text column.
        key: The column that random numbers depend on.
        prob: The probability of a change per name, between 0 and 1.
        source_class: The group of the names to replace: a race ("white_american"), or {"race": …, "gender": …}.
        target_class: The group of the new names.
        person_name_type: "first" or "last".
        preserve_gender: Whether the new name has the gender of the old one. A name of unknown gender may get any name.
        tables: The plan's word tables.

    >>> pl.select(person_name().on(pl.lit("Jack met Peter. Jack left."), id=pl.lit("a"))).item()
    'Jerome met Alphonse. Jerome left.'

    Source: HELM `PersonNamePerturbation`.

    Differs from HELM: A name with a hyphen ("Sue-Ellen") is one name. HELM replaces its two parts.
    """
    prob = probability("person_name", "prob", prob)
    kind = str(person_name_type).removesuffix("_name")
    if kind not in NAME_TYPES:
        where = f"person_name(person_name_type={person_name_type!r})"
        raise ArgumentError.unknown_value(where, person_name_type, NAME_TYPES)
    if not isinstance(preserve_gender, bool):
        raise ArgumentError(f"person_name(preserve_gender={preserve_gender!r}): preserve_gender must be True or False.")
    groups = _names(kind, tables)
    if preserve_gender and "gender" not in groups:
        raise ArgumentError(
            f"person_name(person_name_type={kind!r}, preserve_gender=True): the table has no genders of {kind} names. "
            "Write preserve_gender=False."
        )
    old = _names_in_class(groups, "source_class", source_class)
    new = _names_in_class(groups, "target_class", target_class)
    genders = {name: gender for gender in reversed(GENDERS) for name in groups.get("gender", {}).get(gender, ())}
    same = {gender: [name for name in new if name in groups["gender"][gender]] for gender in set(genders.values())}
    options = ((name, tuple(same[genders[name]] if preserve_gender and name in genders else new)) for name in old)
    return reworded(text, key, _lexicon(tuple(options)), prob, by_word=True)


@lru_cache(maxsize=32)
def _lexicon(table: tuple[tuple[str, tuple[str, ...]], ...]) -> Lexicon:
    """Return `lexicon` of a table; of a phrase that is repeated, the last alternatives count."""
    return lexicon(dict(table))


_Names = Mapping[str, Mapping[str, Sequence[str]]]


def _names(kind: str, tables: Tables) -> _Names:
    """Return category → value → names of the kind, in the table's order.

    Raises:
        SourceMissingError: The table has none of this kind.
    """
    table = tables.names().filter(pl.col("type") == f"{kind}_name")
    if table.is_empty():
        raise SourceMissingError(
            f"person_name(person_name_type={kind!r}): the word table has no {kind} names. Put person_names.txt into "
            f"{FOLDER}, with one line per name: li,last_name,race,chinese."
        )
    groups: dict[str, dict[str, list[str]]] = {}
    for name, category, value in table.select("name", "category", "value").iter_rows():
        groups.setdefault(category, {}).setdefault(value, []).append(name)
    return groups


def _names_in_class(groups: _Names, argument: str, properties: Mapping[str, str] | str) -> list[str]:
    """Return the names that have all the properties, in the order of the first."""
    properties = {"race": properties} if isinstance(properties, str) else properties
    where = f"person_name({argument}={properties!r})"
    if not isinstance(properties, Mapping) or not properties:
        raise ArgumentError(f"{where}: {argument} must be a race, or properties such as {{'race': …, 'gender': …}}.")
    names: list[str] | None = None
    for category, value in properties.items():
        if category.lower() not in groups:
            raise ArgumentError.unknown_value(f"{where}: no name has the property {category!r}", category, groups)
        values = groups[category.lower()]
        if str(value).lower() not in values:
            raise ArgumentError.unknown_value(f"{where}: no name has {category} {value!r}", value, values)
        having = values[str(value).lower()]
        names = list(having) if names is None else [name for name in names if name in having]
    if not names:
        raise ArgumentError(f"{where}: no name has all of these properties.")
    return names
