"""Text of exceptions and objects, whatever their classes do, and patterns of files."""

import ast
import logging
import re
import time
from pathlib import Path

import pytest

from helmframe._core.safe_text import (
    bounded_pattern,
    error_message,
    error_text,
    get_logger,
    has_traceback,
    safe_repr,
    traceback_text,
    type_name,
    valid_unicode,
)
from helmframe.errors import ArgumentError


class ExitingError(Exception):
    """`str()` of it exits."""

    def __str__(self) -> str:
        raise SystemExit(1)

    __repr__ = __str__


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("a b"), "ValueError: a b"),
        (ValueError(), "ValueError"),
        (KeyError("a"), "KeyError: 'a'"),
        (ExitingError(), "ExitingError: <str() raised SystemExit>"),
        (ValueError("a\ud800"), "ValueError: a\ufffd"),
        (BaseExceptionGroup("g", [SystemExit(1)]), "BaseExceptionGroup: g (1 sub-exception)"),
    ],
)
def test_an_error_is_its_type_and_message(error: BaseException, text: str) -> None:
    assert error_text(error) == text


def test_a_keyboard_interrupt_is_not_swallowed() -> None:
    class StoppedError(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        error_message(StoppedError())


def test_an_object_whose_repr_raises_is_named_by_its_type() -> None:
    assert safe_repr(ExitingError()) == "<repr() of ExitingError raised SystemExit>"
    assert safe_repr("a") == "'a'"


def test_a_class_has_its_own_name_whatever_its_metaclass_says() -> None:
    class Nameless(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]
            raise ValueError("no name")

    class NamelessError(Exception, metaclass=Nameless):
        pass

    assert [type_name(ValueError), error_text(NamelessError("a"))] == ["ValueError", "NamelessError: a"]


def test_a_traceback_has_its_frames_where_they_can_be_formatted() -> None:
    with pytest.raises(ValueError, match="a") as raised:
        raise ValueError("a\ud800")
    assert "in test_a_traceback_has_its_frames" in traceback_text(raised.value)
    assert traceback_text(raised.value).endswith("ValueError: a\ufffd\n")
    broken = SyntaxError("bad", (None, None, None, 5))  # type: ignore[arg-type]  # a text that is a number
    assert (has_traceback(raised.value), has_traceback(ValueError()), has_traceback(broken)) == (True, False, False)
    assert traceback_text(broken).startswith("SyntaxError: bad (no traceback: formatting it raised AttributeError: ")


def test_surrogate_pairs_are_joined_and_single_ones_replaced() -> None:
    assert valid_unicode("\ud83d\ude00 \ud800 ä") == "😀 \ufffd ä"


def test_a_subclass_of_str_becomes_plain_text() -> None:
    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise ValueError("no text")

        def encode(self, *_: str) -> bytes:
            raise ValueError("no bytes")

    text = valid_unicode(Text("a"))
    assert (text, type(text)) == ("a", str)


def test_log_messages_show_control_characters_as_code_points(caplog: pytest.LogCaptureFixture) -> None:
    get_logger("helmframe.test").warning("run %s: %d", "\x1b[31m", 3)
    get_logger("helmframe.test").warning("run %s", "plain")
    assert [record.getMessage() for record in caplog.records] == ["run ⟨U+001B⟩[31m: 3", "run plain"]
    assert caplog.records[1].args == ("plain",)


def test_every_logger_of_the_package_cleans_its_messages() -> None:
    package = Path(__file__).parents[2] / "helmframe"
    raw = []
    for file in sorted(package.rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            value = node.value if isinstance(node, ast.Assign) else None
            if isinstance(value, ast.Call) and ast.unparse(value.func) == "logging.getLogger":
                raw.append(str(file.relative_to(package)))
    assert raw == []
    assert isinstance(get_logger("helmframe.test"), logging.Logger)


def test_a_long_message_of_an_exception_is_shortened() -> None:
    assert len(error_message(ValueError("a" * 10**7))) < 2_000


def test_a_hostile_pattern_ends_after_a_second() -> None:
    start = time.process_time()
    with pytest.raises(ArgumentError, match=r"'\(a\+\)\+\$' takes more than 1 s for a text of 5,001 characters"):
        bounded_pattern("(a+)+$").findall("a" * 5_000 + "!")
    assert time.process_time() - start < 3


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(\-?[0-9\.\,]+)", "18, 20.5 and -3"), (r"(a)|(b)", "xab"), (r"\s*", " a "),
        (r"(?i)answer: ?([A-D])?", "Answer: b"),
        (r"(?s)<x>(.*?)</x>", "<x>1\n</x><x>2</x>"), (r"\b(\w+)\b", "Zoë's café"),
    ],
)  # fmt: skip
def test_patterns_match_as_in_re(pattern: str, text: str) -> None:
    bounded = bounded_pattern(pattern)
    assert bounded.findall(text) == re.findall(pattern, text)
    assert bounded.sub(r"_", text, count=2) == re.sub(pattern, "_", text, count=2)


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "(?P<x>a)(?P<x", "a" * 10_001])
def test_an_invalid_pattern_is_an_argument_error(pattern: str) -> None:
    with pytest.raises(ArgumentError, match="regular expression"):
        bounded_pattern(pattern)
