"""Errors say what was wrong and what to write instead; registries find names."""

import inspect
import pickle
import time
import warnings

import pytest

from helmframe import errors
from helmframe._core.registry import Registry
from helmframe.errors import (
    ArgumentError,
    GroupedError,
    HelmframeError,
    HelmframeWarning,
    SourceBrokenError,
    UnknownNameError,
    near,
    shorten,
)


def test_the_tree_drawn_on_top_is_the_tree_there_is() -> None:
    drawn = {line.strip("│ ├└─").split()[0] for line in (errors.__doc__ or "").splitlines() if "Error" in line[:30]}
    there = {name for name, each in vars(errors).items() if inspect.isclass(each) and issubclass(each, HelmframeError)}
    assert there == drawn


def test_every_error_is_also_a_builtin_one() -> None:
    for each in vars(errors).values():
        if inspect.isclass(each) and issubclass(each, HelmframeError) and each is not HelmframeError:
            assert any(base.__module__ == "builtins" and base is not Exception for base in each.__mro__[1:-3])


def test_an_unknown_name_suggests_lists_and_hints() -> None:
    error = UnknownNameError.among("metric", "exact_mach", ["exact_match", "f1"], hint="Add one with @metric.")
    assert str(error) == (
        "Unknown metric 'exact_mach'. Did you mean 'exact_match'?\nKnown: exact_match, f1.\nAdd one with @metric."
    )


def test_nothing_like_it_suggests_nothing() -> None:
    assert near("zzz", ["exact_match"]) == []
    assert "Did you mean" not in str(UnknownNameError.among("metric", "zzz", ["exact_match"]))


def test_case_does_not_hide_a_name() -> None:
    assert near("TYPOS", ["typos"]) == ["typos"]


def function() -> None: ...


def test_a_registry_finds_by_name_and_lists_sorted() -> None:
    registry: Registry[object] = Registry("thing")
    registry.add("b", function)
    registry.add("a", function)
    assert registry["a"] is function
    assert list(registry) == ["a", "b"]


def test_the_same_function_may_be_registered_again_and_another_may_not() -> None:
    registry: Registry[object] = Registry("thing")
    registry.add("a", function)
    registry.add("a", function)
    with pytest.raises(ArgumentError, match="is already registered"):
        registry.add("a", test_case_does_not_hide_a_name)


def test_at_most_five_known_names_are_shown() -> None:
    error = UnknownNameError.among("column of this table", "zzz", iter("abcdefg"))
    assert str(error) == "Unknown column 'zzz' of this table.\nKnown: a, b, c, d, e, … (7 in all)."
    listing = str(UnknownNameError.among("metric", "bleu", map(str, range(200))))
    assert listing == "Unknown metric 'bleu'.\nhf.list_metrics() lists all."


def test_a_value_out_of_a_choice_names_the_choices() -> None:
    error = ArgumentError.unknown_value("sample(order='kyed')", "kyed", ["keyed", "helm"])
    assert str(error) == "sample(order='kyed'): order must be 'helm' or 'keyed'. Did you mean 'keyed'?"
    error = ArgumentError.unknown_value("where(subject='x') matches no instance", "x", ["music"])
    assert str(error) == "where(subject='x') matches no instance.\nKnown: music."


LONG = "a" * 10**6


@pytest.mark.parametrize(
    "make",
    [
        lambda: SourceBrokenError(f"{LONG} can't be read."),
        lambda: UnknownNameError.among("metric", LONG, ["exact_match"], hint="Write another."),
        lambda: UnknownNameError.among("metric", "x", [LONG]),
        lambda: ArgumentError.unknown_argument("typos()", LONG, ["prob"]),
        lambda: ArgumentError.unknown_value(f"sample(order={LONG!r})", LONG, ["keyed", "helm"]),
        lambda: ArgumentError.unknown_value(LONG, 1, ["keyed", "helm"]),
        lambda: GroupedError(LONG, [ValueError()]),
        lambda: HelmframeError("a\n" * 10**5),
    ],
)
def test_a_message_repeats_little_of_a_long_input(make: object) -> None:
    started = time.process_time()
    error = make()  # type: ignore[operator]
    assert time.process_time() - started < 2
    assert str(error).count("a") < 600
    assert all(len(line) <= 500 for line in str(error).split("\n"))
    assert "more characters" in str(error) or "more lines" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_message_shows_control_characters_as_code_points() -> None:
    error = SourceBrokenError("a\x1b[31m\u202eb\ud800\r\nc\td")
    assert str(error) == "a⟨U+001B⟩[31m⟨U+202E⟩b⟨U+D800⟩⟨U+000D⟩\nc\td"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("\x1b[31m", HelmframeWarning, stacklevel=1)
    assert str(caught[0].message) == "⟨U+001B⟩[31m"


def test_a_short_text_is_not_shortened_and_a_long_one_stays_in_its_limit() -> None:
    assert shorten("a" * 500) == "a" * 500
    assert len(shorten("a" * 10**7)) < 500
