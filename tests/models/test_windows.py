"""Windows of a text longer than the model's: each token is predicted once."""

from dataclasses import replace

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from helmframe.models.model import Model, Tokens
from helmframe.models.windows import Window, split_into_windows, windows
from tests.acceptance import byte_tokens

BYTES = Tokens(byte_tokens.encode, byte_tokens.decode, lambda: byte_tokens.PREFIX)
NO_PREFIX = Tokens(byte_tokens.encode, byte_tokens.decode, lambda: "")


def test_a_short_text_is_one_window_after_the_first_token() -> None:
    assert windows("abc", BYTES, 8) == [Window("<s>", "abc", 1)]


def test_a_tokenizer_without_a_first_token_conditions_on_nothing() -> None:
    assert windows("abc", NO_PREFIX, 8) == [Window("", "abc", 0)]


def test_later_windows_are_full_and_predict_what_is_left() -> None:
    # a window of 4 holds 5: the last is predicted only
    assert windows("abcdefghij", BYTES, 4) == [
        Window("<s>", "abcd", 1),
        Window("d", "efgh", 1),
        Window("fgh", "ij", 3),
    ]


def test_requests_no_longer_than_the_window_have_windows_as_helm_has_them() -> None:
    # the first token leaves no room for the window's last, which HELM skips
    assert windows("abcdefghij", BYTES, 4, max_request_length=4) == [
        Window("<s>", "abc", 1),
        Window("d", "efg", 1),
        Window("g", "hij", 1),
    ]
    assert windows("abcdefghij", NO_PREFIX, 4, max_request_length=4) == [
        Window("", "abcd", 0),
        Window("d", "efg", 1),
        Window("g", "hij", 1),
    ]


def test_a_text_as_long_as_the_window_needs_no_second() -> None:
    assert windows("abcd", BYTES, 4) == [Window("<s>", "abcd", 1)]


def test_no_text_is_a_window_of_nothing() -> None:
    assert windows("", BYTES, 4) == [Window("<s>", "", 1)]


def test_parts_of_characters_at_the_edges_are_left_out() -> None:
    # é has two bytes; the first window ends within it
    first, second = windows("abcé" + "de", BYTES, 4)
    assert second.continuation.endswith("de")
    assert "\ufffd" not in first.continuation + second.context + second.continuation


@given(st.text(st.characters(codec="ascii"), max_size=60), st.integers(2, 12))
def test_the_windows_of_one_byte_characters_are_the_text(text: str, window: int) -> None:
    assert "".join(each.continuation for each in windows(text, NO_PREFIX, window)) == text


@given(st.text(max_size=60), st.integers(4, 12))
def test_no_window_is_longer_than_the_model_takes(text: str, window: int) -> None:
    for each in windows(text, BYTES, window):
        assert len(byte_tokens.encode(each.context + each.continuation)) <= window + 1


def rows() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "instance_id": ["a", "b", "c"],
            "suffix": ["", "Q:", ""],
            "continuation": ["abcdef", " yes", "xy"],
            "reference_index": pl.Series([None, 0, None], dtype=pl.Int64),
        }
    )


def model(tokens: Tokens | None, window: int | None) -> Model:
    return Model("m", "m", lambda prompts, _: [], str, durable=False, takes=None, window=window, tokens=tokens)


def test_a_model_says_how_long_its_requests_may_be() -> None:
    limited = replace(model(BYTES, 4), max_request_length=4)
    windowed = split_into_windows(rows(), limited).filter(pl.col("instance_id") == "a")
    assert windowed.select("suffix", "continuation").rows() == [("<s>", "abc"), ("cd", "ef")]


def test_rows_of_whole_texts_become_a_row_per_window_and_others_stay() -> None:
    found = split_into_windows(rows(), model(BYTES, 4))
    assert found.select("instance_id", "window_index", "suffix", "continuation").rows() == [
        ("a", 0, "<s>", "abcd"),
        ("a", 1, "bcd", "ef"),
        ("b", None, "Q:", " yes"),
        ("c", 0, "<s>", "xy"),
    ]


def test_without_a_tokenizer_a_text_is_one_window() -> None:
    found = split_into_windows(rows(), model(None, None)).filter(pl.col("instance_id") == "a")
    assert found.select("window_index", "suffix", "continuation").rows() == [(0, "", "abcdef")]
