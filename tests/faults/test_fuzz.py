"""Damaged and hostile input ends in a typed error, within limits of time and memory."""

from pathlib import Path

import pytest

from tests.fuzz import MEGABYTES, READERS, fuzz

INPUTS = 1_000  # of all readers
FILES = [name for name, reader in READERS.items() if reader.damage.__name__ in ("damaged_files", "_damaged_run")]


@pytest.mark.parametrize("name", FILES)
def test_files_without_damage_are_read(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    reader.read(reader.make(tmp_path / "valid"), tmp_path / "read")


@pytest.mark.slow
@pytest.mark.parametrize("reader", list(READERS))
def test_random_damage_raises_typed_errors(reader: str, tmp_path: Path) -> None:
    count = -(-INPUTS // len(READERS))
    outcome = fuzz(reader, count, tmp_path)
    assert outcome.untyped == []
    assert outcome.hangs == []
    assert outcome.inputs >= count
    assert outcome.megabytes < MEGABYTES
