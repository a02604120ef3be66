"""Check 3: fuzzed inputs of every reader, errors of other types, hangs, and the largest memory.

`make acceptance` feeds 2,000 inputs, `make soak` 20,000.
"""

from pathlib import Path

import pytest

from tests.fuzz import MEGABYTES, READERS, fuzz, shown


def _check(count: int, folder: Path, seed: int) -> None:
    outcomes = [fuzz(reader, -(-count // len(READERS)), folder, seed) for reader in READERS]
    print(f"\n{shown(outcomes)}")
    for outcome in outcomes:
        for problem in (*outcome.untyped, *outcome.hangs):
            print(f"{outcome.reader}: {problem}")
    assert sum(outcome.inputs for outcome in outcomes) >= count
    assert [outcome.reader for outcome in outcomes if outcome.untyped or outcome.hangs] == []
    assert max(outcome.megabytes for outcome in outcomes) < MEGABYTES


def test_two_thousand_inputs(tmp_path: Path) -> None:
    _check(2_000, tmp_path, seed=1)


@pytest.mark.soak
def test_twenty_thousand_inputs(tmp_path: Path) -> None:
    _check(20_000, tmp_path, seed=2)
