"""A text as it is, asked about as a whole."""

import pytest

from helmframe.errors import ArgumentError
from tests.adapters.test_adapt import cells, requests
from tests.frames import variants

ASKED = variants(["Once upon\na time"], data_subject="tales")


def test_the_text_is_asked_about_after_nothing() -> None:
    (row,) = requests(ASKED, ASKED.clear(), method="language_modeling").to_dicts()
    assert (row["prompt"], row["continuation"], row["decoding"]) == ("", "Once upon\na time", "{}")
    assert (row["reference_index"], row["request_mode"]) == (None, None)


def test_a_scenarios_examples_and_instructions_are_left_out() -> None:
    (cell,) = cells({"method": "language_modeling"}, adapter=(("instructions", "Go on."), ("shots", 5)))
    assert (cell.adapter.shots, cell.adapter.instructions) == (0, "")


def test_said_ones_are_an_error() -> None:
    with pytest.raises(ArgumentError, match=r"shots=5.*'language_modeling' has no use for it"):
        cells({"method": "language_modeling", "shots": 5})
