"""Copied text: HELM's examples and values of its code."""

from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helmframe.metrics.score import score
from tests.frames import completions, right, scored
from tests.metrics.options import why

BOOK = "It was the best of times, it was the worst of times,\nit was the age of wisdom, it was the age of foolishness"
PROMPT = "It was the best of times, "


def copied(generated: Sequence[str | None], metric: str, text: str = BOOK, prompt: str = PROMPT) -> float | None:
    return reasoned(generated, metric, text, prompt)[0]


def reasoned(
    generated: Sequence[str | None], metric: str, text: str = BOOK, prompt: str = PROMPT
) -> tuple[float | None, str | None]:
    count = len(generated)
    frame = completions(generated, [right(text)] * count, instance_id=["id0"] * count, output_index=list(range(count)))
    return why(frame.with_columns(perturbed_input=pl.lit(prompt)), metric)


def test_the_longest_common_prefix_is_helms_example() -> None:
    assert copied(["A A B C", "A M D"], "longest_common_prefix_length", "A A D", "") == 2.0


@pytest.mark.parametrize(
    ("generated", "prefix", "distance", "similarity"),
    [
        (" it was the worst of times,", 7, 0, 1.0),  # 6 words and a comma
        (" it was the worst of days", 5, 1, 5 / 6),
        ("something else entirely", 0, 6, 0.0),
        ("", 0, 0, 0.0),
    ],
)
def test_one_completion(generated: str, prefix: float, distance: float, similarity: float) -> None:
    assert copied([generated], "longest_common_prefix_length") == prefix
    assert copied([generated], "edit_similarity") == pytest.approx(similarity)
    assert copied([generated], "edit_distance") == distance


def test_of_several_completions_the_one_that_copies_most_counts() -> None:
    generated = ["nothing of it", " it was the worst of", "x"]
    assert copied(generated, "longest_common_prefix_length") == 5.0
    assert copied(generated, "edit_distance") == min(copied([each], "edit_distance") or 0.0 for each in generated)
    assert copied(generated, "edit_similarity") == 1.0


def test_divided_by_the_tokens_of_the_prompt() -> None:
    generated = [" it was the worst of times,"]
    assert copied(generated, "longest_common_prefix_length(normalize_by_prefix_length=True)") == pytest.approx(7 / 7)
    assert copied(["x"], "edit_distance(normalize_by_prefix_length=True)") == pytest.approx(1 / 7)


def test_spaces_and_newlines_may_count_as_one_space() -> None:
    generated = [" it  was the\tworst of times, it was"]
    assert copied(generated, "longest_common_prefix_length(normalize_newline_space_tab=True)") == 9.0
    assert copied(generated, "edit_distance(normalize_newline_space_tab=True)") == 0.0
    assert copied(generated, "edit_similarity(normalize_newline_space_tab=True)") == 1.0


def test_more_than_one_reference_is_a_reason() -> None:
    frame = completions(["a"], [right("a", "b")])
    score, reason = why(frame, "edit_distance")
    assert score is None
    assert reason == (
        "ArgumentError: The instance has 2 references. Copying is measured against exactly one reference."
    )


def test_an_empty_prompt_can_t_divide() -> None:
    score, reason = reasoned(["a"], "longest_common_prefix_length(normalize_by_prefix_length=True)", "a", "")
    assert score is None
    assert reason == ("ArgumentError: normalize_by_prefix_length=True needs an input with at least one token.")


def test_a_failed_request_leaves_no_score() -> None:
    assert copied([None], "edit_similarity") is None


tokens = st.lists(st.sampled_from("abc"), min_size=1, max_size=7)


@settings(deadline=None)
@given(tokens, tokens)
def test_the_distance_is_levenshteins(one: list[str], other: list[str]) -> None:
    generated, text = " ".join(one), " ".join(other)
    cut = text[: len(generated)].split()
    assert copied([generated], "edit_distance", text, "") == levenshtein(one, cut)
    assert copied([generated], "edit_similarity", text, "") == pytest.approx(
        1 - levenshtein(one, cut) / max(len(one), len(cut))
    )


def levenshtein(one: Sequence[str], other: Sequence[str]) -> int:
    last = list(range(len(other) + 1))
    for row, mine in enumerate(one, 1):
        now = [row]
        for column, theirs in enumerate(other, 1):
            now.append(min(last[column] + 1, now[-1] + 1, last[column - 1] + (mine != theirs)))
        last = now
    return last[-1]


def test_a_failed_request_has_no_score_and_no_reason() -> None:
    frame = completions([None], [right("a text")])
    assert score(frame.lazy(), ["edit_distance"]).select("score", "reason").collect().rows() == [(None, None)]


@pytest.mark.parametrize(
    ("source", "summary", "coverage", "density", "compression"),
    [
        ("the cat sat", "the cat ran", 2 / 3, 4 / 3, 1.0),
        ("The cat sat on the mat", "the CAT sat", 1.0, 3.0, 2.0),
        ("a b c x a b c d", "a b c d", 1.0, 4.0, 2.0),  # the longest fragment, not the first
        ("a b", "b a", 1.0, 1.0, 1.0),
        ("a b", "x y z w", 0.0, 0.0, 0.5),
        ("a b", "", None, None, None),
    ],
)
def test_fragments(
    source: str, summary: str, coverage: float | None, density: float | None, compression: float | None
) -> None:
    made = [
        scored([summary], [[]], name, perturbed_input=[source])[0] for name in ("coverage", "density", "compression")
    ]
    assert made == [each if each is None else pytest.approx(each) for each in (coverage, density, compression)]
