"""Stop strings, as they are said and as they cut a text."""

import pytest

from helmframe.models.stop_strings import before_stop, stops_of


@pytest.mark.parametrize(
    ("said", "stops"), [(None, []), ("a", ["a"]), (["a", ""], ["a"]), ("", []), ([], []), (("a", "b"), ["a", "b"])]
)
def test_stops_are_one_string_or_several(said: object, stops: list[str]) -> None:
    assert stops_of({"stop": said}) == stops


@pytest.mark.parametrize(
    ("stops", "text"), [([], "a.\nb."), (["\n"], "a."), (["b", "."], "a"), (["a"], ""), (["x"], "a.\nb.")]
)
def test_a_text_ends_before_the_first_of_them(stops: list[str], text: str) -> None:
    assert before_stop("a.\nb.", stops) == text
