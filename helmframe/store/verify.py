"""Every file of a store, read whole and held against its name."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import polars as pl

from helmframe.columns import PREFIXES
from helmframe.errors import StoreError
from helmframe.store.answers import ANSWER, SENT, file_name
from helmframe.store.files import Address, File, below, listing, read_all
from helmframe.store.parts import Part, damage, footer_of
from helmframe.store.run_cache import CACHE

_PREFIXES = re.compile(r"prefixes-[0-9a-f]{32}(-[0-9a-f]{8})?\.parquet")
_TABLE = re.compile(r"\d{6,12}(-[0-9a-f]{8}){0,2}\.parquet")


@dataclass(frozen=True)
class Found:
    """A file that was looked at; `why` says what is wrong with it, None where nothing is."""

    file: File
    why: str | None


def verify(root: Address) -> Iterator[Found]:
    """Each file of the answers and of the runs, one by one.

    Raises:
        StoreError: the store can't be reached.
    """
    for folder, check in (("completions", _answers), ("runs", _run)):
        files = listing(below(root, folder))
        for file, data in zip(files, read_all([file.address for file in files]), strict=True):
            if data is not None:
                yield Found(file, check(file, data))


def _answers(file: File, data: bytes) -> str | None:
    names = file.name.split("/")
    part = Part.named(file)
    if len(names) != 3 or (part is None and not _PREFIXES.fullmatch(names[2])):
        return "its name is not one that helmframe gives"
    return _readable(file, data) or (_prefixes(data) if part is None else _part(part, data, *names[:2]))


def _part(part: Part, data: bytes, fingerprint: str, scenario: str) -> str | None:
    rows = pl.read_parquet(data)
    missing = {*SENT, *ANSWER} - set(rows.columns)
    if missing:
        return f"it holds no answers: it has no column {', '.join(sorted(missing))}"
    about = footer_of(data)
    if about.get("fingerprint", fingerprint) != fingerprint:
        return "it holds another model's answers"
    if "scenario" in about and file_name(str(about["scenario"])) != scenario:
        return "it holds answers to another scenario"
    if part.rows is not None and part.rows != rows.height:
        return "its name says another number of rows"
    if "row_index" in rows.columns:
        low, high = rows.select(low=pl.col("row_index").min(), high=pl.col("row_index").max()).row(0)
        if low is not None and (low < part.low or high > part.high):
            return "its name says other rows than it holds"
    if "written" in rows.columns and rows["written"].max() != part.time:
        return "its name says another time than it holds"
    return None


def _prefixes(data: bytes) -> str | None:
    missing = set(PREFIXES.schema) - set(pl.read_parquet(data).columns)
    return f"it holds no prefixes: it has no column {', '.join(sorted(missing))}" if missing else None


def _run(file: File, data: bytes) -> str | None:
    names = file.name.split("/")
    if names[1:3] == [CACHE, "completions"]:
        return _answers(replace(file, name="/".join(names[3:])), data)
    name = file.name.rpartition("/")[2]
    if name == "manifest.json":
        return None if _is_json(data) else "it is no JSON"
    if not name.endswith(".parquet"):
        return None
    return _readable(file, data) if _TABLE.fullmatch(name) else "its name is not one that helmframe gives"


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def _readable(file: File, data: bytes) -> str | None:
    """What keeps the file from being read as Parquet; a newer format is no damage, but can't be looked into."""
    try:
        why = damage(data, file.name)
        if why is None:
            pl.read_parquet(data)
    except StoreError as error:
        return str(error)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return "its pages can't be read"
    return why
