"""The YAML reader is strict, and its errors name the file."""

from pathlib import Path

import pytest

from helmframe._core.yaml import parse_yaml, read_yaml
from helmframe.errors import SpecError


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
