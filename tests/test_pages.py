"""Every Python snippet of the pages of docs/ that have no test of their own, from top to bottom, and what they show."""

import ast
from typing import Any

import pytest

from helmframe.results import Results
from tests.demo import ROOT
from tests.snippets import snippets
from tests.test_how_to_pages import PAGES as HOW_TO

PAGES = ["index", "your_data", "extend", "compare", "coming_from", "how_it_works", "ray", "ray_arithmetic"]
WITHOUT_SNIPPETS = ["security", "support"]
NOT_RUN = "# not run here"


@pytest.mark.parametrize("page", PAGES)
def test_a_pages_snippets_run_and_show_what_it_says(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert snippets(text)
    names: dict[str, Any] = {}
    for code, shown in snippets(text):
        *before, last = ast.parse(code).body
        assert isinstance(last, ast.Expr)
        if code.startswith(NOT_RUN):
            continue
        exec(compile(ast.Module(before, []), page, "exec"), names)
        expression = last.value
        if isinstance(expression, ast.Call) and ast.unparse(expression.func) == "print":
            (expression,) = expression.args  # a page shows what the snippet prints
        value = eval(compile(ast.Expression(expression), page, "eval"), names)
        # below a run's table stand its metrics and its folder
        found = str(value).split("\nmetrics:")[0] if isinstance(value, Results) else str(value)
        assert shown in (None, found.strip())


def test_every_page_is_tested() -> None:
    others = {page.stem.removeprefix("test_").removesuffix("_page") for page in (ROOT / "tests").glob("test_*_page.py")}
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} == {*PAGES, *WITHOUT_SNIPPETS, *HOW_TO, *others}
