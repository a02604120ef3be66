"""Every example of docs/statistics.md, pasted as it stands: the snippets of a section in turn, and what they show."""

import ast
import re
from functools import cache
from typing import Any

import polars as pl
import pytest

from tests.demo import ROOT
from tests.snippets import snippets

PAGE = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")


SECTIONS = {
    heading: snippets(text)
    for heading, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}


def last_value(code: str, names: dict[str, Any]) -> object:
    """What the last statement gives, as a notebook cell would show it."""
    *before, last = ast.parse(code).body
    assert isinstance(last, ast.Expr)
    exec(compile(ast.Module(before, []), "docs/statistics.md", "exec"), names)
    return eval(compile(ast.Expression(last.value), "docs/statistics.md", "eval"), names)


@cache
def run() -> dict[str, list[tuple[str | None, str]]]:
    """The page from top to bottom: of each section what every snippet should show, and what it does."""
    names: dict[str, Any] = {}
    with pl.Config(
        tbl_formatting="ASCII_MARKDOWN",
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_rows=20,
        tbl_cols=20,
        tbl_width_chars=200,
        fmt_str_lengths=80,
        float_precision=3,
    ):
        return {
            heading: [(each.shown, str(last_value(each.code, names)).strip()) for each in found]
            for heading, found in SECTIONS.items()
        }


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_shows_what_it_says(heading: str) -> None:
    assert run()[heading], f"{heading}: no example"
    for said, found in run()[heading]:
        assert said in (None, found)
