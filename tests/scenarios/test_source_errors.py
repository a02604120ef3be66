"""What readers raise, as our own errors, without credentials."""

import duckdb
import pytest

from helmframe.errors import SourceBrokenError, SourceDeniedError, SourceError, SourceMissingError
from helmframe.scenarios.sources import source_error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError("Forbidden"), SourceDeniedError),
        (OSError("HTTP GET error 403"), SourceDeniedError),
        (FileNotFoundError("NoSuchBucket"), SourceMissingError),
        (duckdb.IOException("No files found"), SourceMissingError),
        (duckdb.InvalidInputException("odd"), SourceBrokenError),
        (duckdb.Error("Snappy decompression failure"), SourceBrokenError),
        (duckdb.ConversionException("Could not convert 'x' to INT64"), SourceBrokenError),
        (ConnectionRefusedError("refused"), SourceError),
    ],
)
def test_the_kind_of_an_error_follows_from_what_the_reader_says(error: Exception, kind: type[SourceError]) -> None:
    assert type(source_error(error, "mmlu", "s3://b/x")) is kind


def test_the_message_names_scenario_and_address() -> None:
    assert str(source_error(OSError("odd"), "mmlu", "s3://b/x")).startswith(
        "scenario 'mmlu': s3://b/x can't be reached (OSError: odd)."
    )


def test_credentials_are_blotted_out() -> None:
    error = OSError("key AKIA with secret s3cr3t was refused")
    assert "key … with secret … was refused" in str(source_error(error, "mmlu", "s3://b", ["AKIA", "s3cr3t"]))


def test_the_statement_that_duckdb_quotes_is_left_out() -> None:
    error = duckdb.ParserException("syntax error\n\nLINE 1: CREATE SECRET (TYPE s3, SECRET 'half of a secr")
    assert "half of" not in str(source_error(error, "mmlu", "s3://b", ["half of a secret"]))


def test_a_long_message_is_cut() -> None:
    assert len(str(source_error(OSError("x" * 1000), "mmlu", "s3://b")).partition("\n")[0]) < 300


@pytest.mark.parametrize(
    ("address", "cure"), [("b/x.parquet", "from its origin"), ("b/x.jsonl", "Rows must be Parquet. Convert them")]
)
def test_what_helps_follows_from_what_the_file_is(address: str, cure: str) -> None:
    assert cure in str(source_error(duckdb.InvalidInputException("No magic bytes found"), "mmlu", address))
