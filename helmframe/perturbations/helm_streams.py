"""`compat="helm"`: each of HELM's perturbations as HELM has it, known bugs included, one text after the other.

The order of the random numbers must be HELM's, so every function processes its text in the order of the stream.

Source: HELM `helm/benchmark/augmentations/`, commit 63754d05.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from random import Random

from helmframe.errors import ArgumentError
from helmframe.perturbations.registry import Stream, helm
from helmframe.perturbations.spelling import NEIGHBOURS
from helmframe.perturbations.tables import (
    CONTRACTIONS,
    FILL_PHRASES,
    GENDER_PRONOUNS,
    GENDER_TERMS,
    SPEAKER_PHRASES,
    UNCERTAIN_PHRASES,
    Tables,
)


@helm("rerun")
def rerun() -> Stream:
    """Return the texts unchanged."""
    return per_text(lambda text, _: text)


@helm("lowercase")
def lowercase() -> Stream:
    """Convert texts to lower case."""
    return per_text(lambda text, _: text.lower())


@helm("extra_space")
def extra_space(num_spaces: int) -> Stream:
    """Replace every space with several."""
    return per_text(lambda text, _: text.replace(" ", " " * num_spaces))


@helm("space")
def space(max_spaces: int) -> Stream:
    """Replace each run of spaces, with one random number for its new length."""
    return per_text(lambda text, random: re.sub(" +", lambda _: " " * random.randint(1, max_spaces), text))


@helm("typos")
def typos(prob: float) -> Stream:
    """Replace letters of the keyboard: one random number per letter, and one more for a hit."""

    def typed(text: str, random: Random) -> str:
        letters = []
        for letter in text:
            lower = letter.lower()
            new = lower
            if lower in NEIGHBOURS and random.random() < prob:
                new = random.choice(NEIGHBOURS[lower])
            letters.append(new if lower == letter else new.upper())
        return "".join(letters)

    return per_text(typed)


@helm("misspellings")
def misspellings(prob: float, *, tables: Tables) -> Stream:
    """Misspell each word of the table, between word boundaries: one random number per word, and one more for a hit."""
    table = tables.misspellings()
    pattern = _words_of(tuple(table))

    def misspelt(match: re.Match[str], random: Random) -> str:
        word = match.group(1)
        return match_case(word, random.choice(table[word])) if random.random() < prob else word

    return per_text(lambda text, random: pattern.sub(lambda match: misspelt(match, random), text))


@helm("contraction")
def contraction() -> Stream:
    """Contract expansions before a space; of two contractions of one expansion, the later in the table counts."""
    return per_text(lambda text, _: _contracted(text))


@helm("expansion")
def expansion() -> Stream:
    """Expand contractions between word boundaries, in any case."""
    table = CONTRACTIONS
    pattern = _words_of(tuple(table), ignore_case=True)
    return per_text(lambda text, _: pattern.sub(lambda match: match_case(match[0], _entry(table, match[0])), text))


@helm("mild_mix")
def mild_mix(*, tables: Tables) -> Stream:
    """Convert to lower case, contract, misspell with probability 0.1 and insert up to three spaces: one stream."""
    misspelt, spaced = misspellings(0.1, tables=tables), space(3)
    return per_text(lambda text, random: spaced(misspelt([_contracted(text.lower())], random), random)[0])


@helm("filler_words")
def filler_words(
    insert_prob: float, max_num_insert: int | None, speaker_ph: bool, uncertain_ph: bool, fill_ph: bool
) -> Stream:
    """Insert fillers before words between single spaces: one random number per word, and one more for a filler."""
    lists = ((speaker_ph, SPEAKER_PHRASES), (uncertain_ph, UNCERTAIN_PHRASES), (fill_ph, FILL_PHRASES))
    fillers = [phrase for included, phrases in lists if included for phrase in phrases]

    def filled(text: str, random: Random) -> str:
        words, inserted = [], 0
        for word in text.split(" "):
            if (max_num_insert is None or inserted < max_num_insert) and random.random() <= insert_prob:
                words.append(random.choice(fillers))
                inserted += 1
            words.append(word)
        return " ".join(words)

    return per_text(filled)


@helm("dialect")
def dialect(prob: float, source: str, target: str, filter_slurs: bool, *, tables: Tables) -> Stream:
    """Replace words of the table between characters that are neither letter nor hyphen; a match consumes both."""
    if filter_slurs:
        raise ArgumentError(
            "dialect(filter_slurs=True, compat='helm'): HELM doesn't filter slurs. Remove one of the two arguments."
        )
    table = tables.dialect(source, target)
    pattern = _between(tuple(table), r"[^\w-]")

    def spoken(match: re.Match[str], random: Random) -> str:
        if random.uniform(0, 1) >= prob:
            return match[0]
        alternatives = table.get(match[1].lower())
        # a letter with the lower case of another letter (the long s) makes HELM fail here
        return (
            match[0]
            if alternatives is None
            else match[0].replace(match[1], match_case(match[1], random.choice(alternatives)))
        )

    return per_text(lambda text, random: pattern.sub(lambda match: spoken(match, random), text))


@helm("gender")
def gender(mode: str, prob: float, source: str, target: str, bidirectional: bool) -> Stream:
    """Swap pair after pair over the whole text: one random number per match, which consumes both its neighbours."""
    genders = ("neutral", "female", "male")
    triples = [*GENDER_PRONOUNS] if mode == "pronouns" else [_SLIP.get(triple, triple) for triple in GENDER_TERMS]
    pairs = [(triple[genders.index(source)], triple[genders.index(target)]) for triple in triples]
    pairs += [(new, old) for old, new in pairs] if bidirectional else []
    rules = [(_between((old,), r"[^\w]"), new) for old, new in pairs]

    def swapped(text: str, random: Random) -> str:
        def swap(match: re.Match[str], new: str) -> str:
            hit = random.uniform(0, 1) < prob
            return match[0].replace(match[1], match_case(match[1], new)) if hit else match[0]

        for pattern, new in rules:
            text = pattern.sub(lambda match, new=new: swap(match, new), text)  # type: ignore[misc]
        return text

    return per_text(swapped)


@helm("person_name", seeded=False)
def person_name(
    prob: float,
    source_class: str | Mapping[str, str],
    target_class: str | Mapping[str, str],
    person_name_type: str,
    preserve_gender: bool,
    *,
    tables: Tables,
) -> Stream:
    """Replace names of one group by names of another: an instance has one mapping and one list of exempt names."""
    groups = _groups(f"{person_name_type.removesuffix('_name')}_name", tables)
    sources, targets = frozenset(_names(groups, source_class)), _names(groups, target_class)
    genders = [
        frozenset(groups["gender", gender]) for gender in ("female", "male", "neutral") if ("gender", gender) in groups
    ]

    def options(name: str) -> list[str]:
        same = next((names for names in genders if name in names), None) if preserve_gender else None
        return targets if same is None else [target for target in targets if target in same]

    def renamed(texts: Sequence[str], random: Random) -> list[str]:
        mapping: dict[str, str] = {}
        exempt: set[str] = set()

        def token(text: str) -> str:
            lower = text.lower()
            if lower in sources and lower not in mapping and lower not in exempt:
                if random.uniform(0, 1) >= prob:
                    exempt.add(lower)
                elif candidates := options(lower):
                    mapping[lower] = random.choice(candidates)
            return match_case(text, mapping[lower]) if lower in mapping else text

        return ["".join(map(token, re.split(r"([^\w])", text))) for text in texts]

    return renamed


# The plural that HELM's table lacks.
_SLIP = {("grandparents", "grandmothers", "grandfathers"): ("grandparents", "grandmothers", "grandfather")}


def per_text(change: Callable[[str, Random], str]) -> Stream:
    """Return a stream that changes the texts of an instance one after the other."""
    return lambda texts, random: [change(text, random) for text in texts]


def match_case(source: str, target: str) -> str:
    """Return the target in lower case, upper case or capitalised, as the source is; else unchanged."""
    if all(letter.islower() for letter in source):
        return target.lower()
    if all(letter.isupper() for letter in source):
        return target.upper()
    return target.capitalize() if source[:1].isupper() else target


def _entry(table: Mapping[str, str], word: str) -> str:
    # if the lower case has no entry (the long s matches an s), HELM fails; here the word stays unchanged
    return table.get(word, table.get(word.lower(), word))


def _contracted(text: str) -> str:
    table, pattern = _contractions()
    return pattern.sub(lambda match: match_case(match[1], _entry(table, match[1])) + " ", text)


@lru_cache(maxsize=1)
def _contractions() -> tuple[dict[str, str], re.Pattern[str]]:
    table = {expanded: contracted for contracted, expanded in CONTRACTIONS.items()}
    return table, re.compile(rf"\b({'|'.join(table)})\b ", re.IGNORECASE)


@lru_cache(maxsize=8)
def _words_of(words: tuple[str, ...], *, ignore_case: bool = False) -> re.Pattern[str]:
    return re.compile(rf"\b({'|'.join(words)})\b", re.IGNORECASE if ignore_case else 0)


@lru_cache(maxsize=256)
def _between(words: tuple[str, ...], edge: str) -> re.Pattern[str]:
    return re.compile(rf"{edge}({'|'.join(map(re.escape, words))}){edge}", re.IGNORECASE)


def _groups(kind: str, tables: Tables) -> dict[tuple[str, str], list[str]]:
    """Return (category, value) → names of that kind, in the table's order."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, category, value in tables.names().filter(type=kind).select("name", "category", "value").iter_rows():
        groups.setdefault((category, value), []).append(name)
    return groups


def _names(groups: Mapping[tuple[str, str], list[str]], properties: str | Mapping[str, str]) -> list[str]:
    """Return the names that have all the properties; a bare word is a race."""
    wanted = {"race": properties} if isinstance(properties, str) else properties
    lists = [groups[category.lower(), value.lower()] for category, value in wanted.items()]
    return [name for name in lists[0] if all(name in other for other in lists[1:])]
