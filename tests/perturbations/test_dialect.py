"""Words of another dialect, with a small table."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from helmframe.errors import ArgumentError, SourceBrokenError, SourceMissingError
from helmframe.perturbations.parsing import call, variants

# the function of the package has the name of its module
module = import_module("helmframe.perturbations.dialect")

TABLE = {"the": ["da"], "with": ["wit"], "a little": ["alil"], "a": ["ay"], "w/": ["wit"], "going": ["goin", "gon"]}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "SAE_to_AAVE_mapping.json").write_text(json.dumps(TABLE))
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    return tmp_path


def changed(text: str, **arguments: Any) -> str:
    frame = pl.DataFrame({"id": ["id0"], "text": [text]})
    out: str = frame.select(call("dialect", **arguments).on(pl.col("text"), id="id")).item()
    return out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Come with me.", "Come wit me."),
        ("The the THE", "Da da DA"),  # HELM misses those at the edges, and the second of two
        ("with-the the-", "with-the the-"),
        ("a little, a lot", "alil, ay lot"),
        ("w/ it, w/o", "wit it, w/o"),
        ("bathe", "bathe"),
        ("", ""),
    ],
)
def test_words_of_the_table_change(text: str, expected: str) -> None:
    assert changed(text) == expected


def test_another_pair_has_a_table_of_its_own(root: Path) -> None:
    (root / "tables" / "SAE_to_XY_mapping.json").write_text('{"the": ["ze"]}')
    assert changed("the", target="xy") == "ze"


def test_a_table_that_changes_is_read_again(root: Path) -> None:
    assert changed("the") == "da"
    (root / "tables" / "SAE_to_AAVE_mapping.json").write_text('{"the": ["dat one"]}')
    assert changed("the") == "dat one"


def test_slurs_are_left_out_on_request(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_is_slur", lambda word: word in {"goin", "da"})
    assert {changed("going going going " * 5, filter_slurs=True)} == {"gon gon gon " * 5}
    assert changed("the", filter_slurs=True) == "the"
    assert "goin " in changed("going " * 20)


@pytest.mark.shared
def test_slurs_among_the_lexicons_words_are_known(shared: Path) -> None:
    lexicon = json.loads((shared / "tables" / "SAE_to_AAVE_mapping.json").read_text())
    slurs = {word for words in lexicon.values() for word in words if module._is_slur(word)}
    assert len(slurs) == 20
    assert not slurs & {"da", "hoo", "homie", "boi"}


def test_without_the_table_it_says_what_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceMissingError, match=r"SAE_to_XY_mapping\.json is not there"):
        variants(call("dialect", target="XY"))
    monkeypatch.delenv("HELMFRAME_DATA")
    with pytest.raises(SourceMissingError, match=r"no data root is configured.*(\n.*)*no licence and holds slurs"):
        variants("dialect")


@pytest.mark.parametrize("content", ["", "[]", '{"a": "b"}', '{"a": [1]}', '{"a": null}', "\x00"])
def test_a_file_that_is_no_table_is_told(root: Path, content: str) -> None:
    (root / "tables" / "SAE_to_AAVE_mapping.json").write_text(content)
    with pytest.raises(SourceBrokenError, match=r"SAE_to_AAVE_mapping\.json can't be understood"):
        variants("dialect")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prob": 2}, "between 0 and 1"),
        ({"source": "../x"}, "the name of a dialect, in letters"),
        ({"target": 1}, "the name of a dialect, in letters"),
        ({"filter_slurs": "no"}, "True or False"),
    ],
)
def test_values_that_cannot_be_are_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call("dialect", **arguments)
