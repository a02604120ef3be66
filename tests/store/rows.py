"""Answers for the tests of the store."""

from pathlib import Path

import polars as pl

from helmframe.store import COMPLETION_SCHEMA, REQUEST_COLUMNS, Address, ParquetCompletions, below
from helmframe.store.files import listing, write
from helmframe.store.parts import Part, part_path

FINGERPRINT = "f" * 64
NO_PREFIXES = pl.DataFrame(schema={"prefix_id": pl.String, "prefix": pl.String})


def answers(ids: list[bytes], rows: list[int], text: str = "A", **sent: str) -> pl.DataFrame:
    """One row per id, all with this completion; what was sent is empty where it is not said."""
    blank = {name: pl.Series([None] * len(ids), dtype=dtype) for name, dtype in COMPLETION_SCHEMA.items()}
    frame = pl.DataFrame(blank).with_columns(request_id=pl.Series(ids, dtype=pl.Binary), completion=pl.lit(text))
    numbers = ("perturbation_seed", "trial", "output_index")
    said = [pl.lit(0, dtype=pl.Int64).alias(name) if name in numbers else pl.lit(sent.get(name, "")).alias(name)
            for name in REQUEST_COLUMNS]  # fmt: skip
    return frame.with_columns(*said, row_index=pl.Series(rows, dtype=pl.Int64))


def prefixes(*texts: str) -> pl.DataFrame:
    """Prefixes whose id is their text."""
    return pl.DataFrame({"prefix_id": texts, "prefix": texts}, schema=NO_PREFIXES.schema)


def filled(
    root: Address, parts: int = 4, rows: int = 10, model: str = "mine", scenario: str = "mmlu"
) -> ParquetCompletions:
    """A store with this many parts; the ids are the texts of the row_index."""
    store = ParquetCompletions(root, FINGERPRINT, scenario)
    for part in range(parts):
        places = range(part * rows, (part + 1) * rows)
        ids = [str(place).encode().rjust(16) for place in places]
        frame = answers(ids, list(places), model=model, scenario=scenario, prefix_id="Q: ", suffix="what is it?")
        store.append(frame, prefixes("Q: "))
    return store


FOLDER = f"{FINGERPRINT[:32]}/mmlu"


def write_part(root: Address, data: bytes, low: int, rows: int, *, at: int = 7) -> Address:
    """Write a part of version 1 with these bytes for the model `FINGERPRINT` and mmlu; return its address."""
    path = part_path(FOLDER, low, low, 1, at, rows, data)
    address = below(root, "completions", *path.split("/"))
    write(data, address)
    return address


def parts_of(store: ParquetCompletions) -> list[Address]:
    """The addresses of its parts, without those of prefixes, by name."""
    found = [file for file in listing(store.folder) if Part.named(file)]
    return [below(store.folder, file.name) for file in found]


def path_of(store: ParquetCompletions) -> Path:
    """The folder of a store on disk."""
    assert isinstance(store.folder, Path)
    return store.folder
