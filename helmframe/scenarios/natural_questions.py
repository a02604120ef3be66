"""Rows of Natural Questions as its makers publish it: a page of Wikipedia a line, and where in it the answers are."""

import gzip
import html
import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from helmframe.errors import SourceBrokenError

_ROWS = 1_000  # held at once
_TEXTS = pl.List(pl.String)
_SCHEMA = pl.Schema({"question": pl.String(), "short_answers": _TEXTS, "long_answers": _TEXTS})


def extracted(path: Path, folder: Path, columns: Mapping[str, str]) -> Path:
    """A file of rows, made of such a file; any other is given back as it is.

    Args:
        path: `nq-dev-00.jsonl.gz`, packed or not.
        folder: where to write.
        columns: those wanted: name → question, short_answers, or long_answers, the passage of each of these.

    Raises:
        SourceBrokenError: a line is not as Natural Questions has it; names file and line.

    Source: HELM `natural_qa_scenario.py`; Kwiatkowski et al. 2019.
    """
    import pyarrow.parquet as pq

    with _opened(path) as file:
        if b'"document_html"' not in file.readline():
            return path
    target = folder / f"{path.name}.parquet"
    writer = None
    try:
        rows = _rows(path)
        while part := list(islice(rows, _ROWS)):
            frame = pl.DataFrame(part, schema=_SCHEMA)
            table = frame.select(pl.col(said).alias(name) for name, said in columns.items()).to_arrow()
            writer = writer or pq.ParquetWriter(target, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    return target


def _opened(path: Path) -> Any:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            try:
                yield _row(json.loads(line))
            except (ValueError, KeyError, TypeError, EOFError) as error:
                problem = f"{path}: line {number} is none of Natural Questions: {type(error).__name__}: {error}."
                raise SourceBrokenError(problem) from None


def _row(page: Mapping[str, Any]) -> dict[str, Any]:
    text = page["document_html"].encode()
    short, long = [], []
    for each in page["annotations"]:
        for answer in each["short_answers"]:
            short.append(_text(text, answer))
            long.append(_text(text, each["long_answer"]))
    return {"question": page["question_text"], "short_answers": short, "long_answers": long}


def _text(page: bytes, place: Mapping[str, int]) -> str:
    """What is written between two bytes: no-break spaces are spaces, and tags go."""
    said = page[place["start_byte"] : place["end_byte"]].replace(b"\xc2\xa0", b" ").decode()
    return re.sub("<([^>]*)>", "", html.unescape(said))
