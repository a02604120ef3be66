"""The readers of YAML and JSON are strict and bounded, and their errors name the file."""

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from helmframe._core import yaml as readers
from helmframe._core.yaml import (
    decode_json,
    iter_json_items,
    iter_json_lines,
    parse_yaml,
    read_json,
    read_yaml,
    reading,
)
from helmframe.errors import ArgumentError, SourceBrokenError, SpecError


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("name: ä\nlist: [1, 2.5, null, true]\n", encoding="utf-8")
    assert read_yaml(tmp_path / "spec.yaml") == {"name": "ä", "list": [1, 2.5, None, True]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: {c: 1, c: 2}", "the key 'c' is repeated"),
        ("a: [", "invalid YAML in line 2, column 1: "),
        ("a: 2001-99-99", "invalid YAML: month must be in 1..12"),
        (
            "a: !!python/object/apply:os.system [ls]",
            "invalid YAML in line 1, column 4: could not determine a constructor",
        ),
    ],
)
def test_other_texts_are_refused(text: str, problem: str) -> None:
    with pytest.raises(SpecError, match=rf"^spec\.yaml: .*{problem}"):
        parse_yaml(text, "spec.yaml")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("a: ä".encode("latin-1"))
    for name, problem in (
        ("latin.yaml", r"the file must be UTF-8 text \(invalid byte at position 3\)"),
        ("missing.yaml", "can't be read: No such file"),
    ):
        with pytest.raises(SpecError, match=rf"^{name}: {problem}"):
            read_yaml(tmp_path / name)


LEVELS = "".join(f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12))
MERGES = "".join(f"m{level}: &m{level} {{<<: [{','.join([f'*m{level - 1}'] * 10)}]}}\n" for level in range(1, 12))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 20_000, "nest"),
        ("{a: " * 20_000, "nest"),
        ("- " * 20_000, "nested more than 100 levels"),
        ("".join(" " * depth + "a:\n" for depth in range(1_000)), "nested more than 100 levels"),
        ("a0: &a0 [x]\n" + LEVELS, "aliases"),
        ("m0: &m0 {k: v}\n" + MERGES, "aliases"),
        ("a: &a [*a]", "aliases"),
        ("[" + "a," * 300_000 + "]", "more than 200,000 values"),
        ("a: " + "x" * (5 << 20), "longer than 4,194,304 characters"),
        ("a: " + "9" * 100_000, "the number has more than 40 characters"),
        ("a: " + "1:" * 50_000 + "1", "the number has more than 40 characters"),
        ("a: 0xfffffffffffffffffffff", "more than 64 bits"),
        ("%TAG ! x:\n" * 1_000 + "--- a", "more than 100 %TAG directives"),
        ("a: \x00", "control characters are not allowed"),
        ("a: \ud800", "invalid YAML"),
    ],
)
def test_a_text_that_exceeds_a_limit_is_refused(text: str, problem: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(SpecError, match=problem) as raised:
            parse_yaml(text, "spec.yaml")
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
    assert len(str(raised.value)) < 1_000


def test_aliases_merge_keys_and_deep_texts_within_the_limits_are_read() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]", "x")["b"] == {"x": 1, "y": 2}
    assert parse_yaml("[" * 90 + "]" * 90, "x")
    assert parse_yaml("\ufeffa: 1", "x") == {"a": 1}
    assert parse_yaml("", "x") is None


def test_tags_and_repeated_keys_can_be_allowed() -> None:
    assert parse_yaml("a: !upper b\na: 2", "x", unique_keys=False, tags={"!upper": str.upper}) == {"a": 2}
    with pytest.raises(SpecError, match="could not determine a constructor for the tag '!lower'"):
        parse_yaml("a: !lower b", "x", tags={"!upper": str.upper})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"9" * 5_000, "limit"),
        (b"\xff", "utf-8"),
        (b"[1", "delimiter"),
        (b"\x00", "Expecting value"),
    ],
)
def test_json_that_exceeds_a_limit_is_refused(text: bytes, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=problem):
        decode_json(text)
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(SourceBrokenError, match=rf"x\.json isn't valid JSON: .*{problem}"):
        read_json(tmp_path / "x.json")
    with pytest.raises(SourceBrokenError, match=rf"line 1 isn't valid JSON: .*{problem}"):
        list(iter_json_lines(tmp_path / "x.json"))


def test_a_long_json_text_has_a_limited_number_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_SHORT_JSON", 100)
    monkeypatch.setattr(readers, "_MOST_VALUES", 50)
    with pytest.raises(ValueError, match="more than 50 values"):
        decode_json("[" + "0," * 100 + "0]")
    assert decode_json(json.dumps("a,[{" * 100)) == "a,[{" * 100  # within a text, they are no values


def test_surrogate_pairs_are_joined_and_single_surrogates_replaced() -> None:
    assert decode_json(r'{"\ud83d\ude00": ["\ud800", "a\udc00b", "\\ud800"]}') == {"😀": ["�", "a�b", r"\ud800"]}
    assert decode_json("\ufeff[NaN]".encode())[0] != 0


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 20])
def test_elements_of_a_list_are_read_one_at_a_time(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_CHUNK", chunk)
    elements: list[Any] = [1, -2.5e10, 'é"😀\\', {"a": [True, None], "b": {}}, [], "", 0]
    text = json.dumps({"first": [[1], 2], "other": {"x": [1]}, "items": elements, "last": 3}, indent=1)
    assert list(iter_json_items(io.BytesIO(text.encode()), "items")) == elements
    assert list(iter_json_items(io.BytesIO(text.encode()), "last")) == [3]
    assert list(iter_json_items(io.BytesIO(text.encode()), "none")) == []
    assert list(iter_json_items(io.BytesIO(json.dumps(elements).encode()))) == elements
    assert list(iter_json_items(io.BytesIO(b" [ ] "))) == []


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[1, {"a": "b', "the file ends too early at character"),
        ("[1, 2", "the file ends too early"),
        ("", "the file ends too early at character 1"),
        ("[1, tru]", "Expecting value at character 5"),
        ("[1 2]", ", or ] is missing at character 4"),
        ("<html>", "[ is missing at character 1"),
        ("[" * 50_000, "nested too deeply"),
    ],
)
def test_a_damaged_list_raises(text: str, problem: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_CHUNK", chunk)
    with pytest.raises(SourceBrokenError, match="isn't complete JSON") as raised:
        list(iter_json_items(io.BytesIO(text.encode())))
    assert problem in str(raised.value)


def test_an_element_has_a_limited_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_CHUNK", 10)
    monkeypatch.setattr(readers, "LONGEST_JSON", 1 << 20)
    with pytest.raises(SourceBrokenError, match="an element is longer than 1 MB"):
        list(iter_json_items(io.BytesIO(b'["' + b"a" * (4 << 20) + b'"]')))


def test_errors_of_structure_name_the_file() -> None:
    for problem in (KeyError("a"), OverflowError("too large"), RecursionError(), AttributeError("'int' has no get")):
        match = rf"^task\.yaml isn't valid: {type(problem).__name__}"
        with pytest.raises(SpecError, match=match), reading("task.yaml", "valid", SpecError):
            raise problem
    with pytest.raises(ArgumentError, match=r"^mine$"), reading("task.yaml", "valid"):
        raise ArgumentError("mine")
