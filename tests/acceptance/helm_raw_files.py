"""Rows of the shared data as the files that others publish them in."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl


def rows_of(data: Path, path: str) -> pl.DataFrame:
    return pl.read_parquet(data / "scenarios" / path)


def kept(frame: pl.DataFrame, path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
    return str(path)


def written(text: str, path: Path, encoding: str = "utf-8") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding, newline="")
    return str(path)


def lines(rows: Sequence[Any], path: Path) -> str:
    return written("".join(json.dumps(row) + "\n" for row in rows), path)


def table(rows: Sequence[Sequence[Any]], path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return str(path)


def in_shares(frame: pl.DataFrame, names: Sequence[str]) -> dict[str, pl.DataFrame]:
    """The rows dealt out to splits, in turn by blocks of 40."""
    place = pl.int_range(pl.len()) // 40 % len(names)
    return {name: frame.filter(place == number) for number, name in enumerate(names)}


def shard(split: str) -> str:
    return f"{split}-00000-of-00001.parquet"
