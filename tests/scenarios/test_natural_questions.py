"""Natural Questions as its makers publish it: what HELM reads of a page."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from helmframe.errors import SourceBrokenError
from helmframe.scenarios.natural_questions import extracted

ALL = {name: name for name in ("question", "short_answers", "long_answers")}


def page(question: str, passage: str, *answers: str) -> dict[str, Any]:
    """A page that is one passage, in bytes, of which some are answers."""
    text = passage.encode()
    places = []
    for each in answers:
        start = text.index(each.encode())
        places.append({"start_byte": start, "end_byte": start + len(each.encode())})
    whole = {"start_byte": 0, "end_byte": len(text)}
    annotations = [{"long_answer": whole, "short_answers": places}, {"long_answer": whole, "short_answers": []}]
    return {"question_text": question, "document_html": passage, "annotations": annotations}


def written(path: Path, *pages: dict[str, Any]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(each) + "\n" for each in pages)
    return path


def test_answers_are_cut_out_by_their_bytes_and_lose_what_is_of_html(tmp_path: Path) -> None:
    passage = "<p>Caf\u00e9\u00a0Fran\u00e7ais &amp; <b>Co</b> of Gen\u00e8ve</p>"
    raw = written(
        tmp_path / "nq-dev-00.jsonl.gz",
        page("who is it", passage, "Caf\u00e9\u00a0Fran\u00e7ais &amp; <b>Co</b>", "Gen\u00e8ve"),
    )
    rows = pl.read_parquet(extracted(raw, tmp_path, ALL)).to_dicts()
    assert rows == [
        {
            "question": "who is it",
            "short_answers": ["Caf\u00e9 Fran\u00e7ais & Co", "Gen\u00e8ve"],
            "long_answers": ["Caf\u00e9 Fran\u00e7ais & Co of Gen\u00e8ve"] * 2,
        }
    ]


def test_columns_are_named_as_wanted(tmp_path: Path) -> None:
    raw = written(tmp_path / "nq.jsonl.gz", page("q", "<p>yes</p>", "yes"), page("r", "<p>no</p>"))
    frame = pl.read_parquet(extracted(raw, tmp_path, {"answer": "short_answers"}))
    assert frame.to_dict(as_series=False) == {"answer": [["yes"], []]}


def test_a_file_of_rows_is_given_back(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "q", "short_answers": ["a"], "long_answers": ["b"]}\n')
    assert extracted(rows, tmp_path, ALL) == rows


def test_a_line_that_is_none_of_theirs_is_named(tmp_path: Path) -> None:
    raw = written(tmp_path / "nq.jsonl.gz", page("q", "<p>yes</p>", "yes"), {"question_text": "r"})
    with pytest.raises(SourceBrokenError, match=r"nq\.jsonl\.gz: line 2 is none of Natural Questions: KeyError"):
        extracted(raw, tmp_path, ALL)
