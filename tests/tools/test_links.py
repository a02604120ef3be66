"""The crawlers of links, and the links of the repository as GitHub shows them."""

from pathlib import Path

import pytest

from tests.demo import ROOT, tool
from tests.links import anchors, crawl_repository, crawl_site


def test_no_link_of_the_repository_is_broken() -> None:
    found = crawl_repository(ROOT)
    assert found.links > 100
    assert found.broken == []


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[a](b.md)", []),
        ("[a](b.md#two-words)", []),
        ("[a](#top) and <a id='x'></a>", ["#top"]),
        ("[a](c.md)", ["c.md"]),
        ("[a](b.md#three)", ["b.md#three"]),
        ("![a](c.png)", ["c.png"]),
        ("[a][c]\n\n[c]: c.md", ["c.md"]),
        ('<img src="c.svg">', ["c.svg"]),
        ('<source srcset="c.svg">', ["c.svg"]),
        ("`[a](c.md)`", []),
        ("```\n[a](c.md)\n```", []),
        ("[a](https://example.com/c.md)", []),
        ("[a](../)", []),
    ],
)
def test_broken_links_of_markdown_are_found(tmp_path: Path, text: str, broken: list[str]) -> None:
    (tmp_path / "b.md").write_text("# Two words\n")
    (tmp_path / "a.md").write_text(text + "\n")
    assert crawl_repository(tmp_path).broken == [f"a.md: {target}" for target in broken]


def test_links_of_notebooks_are_read(tmp_path: Path) -> None:
    cell = '{"cells": [{"cell_type": "markdown", "source": ["## One, two\\n", "[a](b.md)"]}]}'
    (tmp_path / "a.ipynb").write_text(cell)
    assert crawl_repository(tmp_path).broken == ["a.ipynb: b.md"]
    assert anchors(tmp_path / "a.ipynb") == {"One,-two"}


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ('<a href="b.html#x">b</a>', []),
        ('<a href="b.html#y">b</a>', ["b.html#y"]),
        ('<a href="c.html">c</a>', ["c.html"]),
        ('<img src="c.png">', ["c.png"]),
        ('<img srcset="b.html 1x, c.png 2x">', ["c.png"]),
        ('<a href="/b.html">b</a>', []),
        ('<a href="#x">x</a>', ["#x"]),
        ('<a href="mailto:a@example.com">a</a>', []),
    ],
)
def test_broken_links_of_a_site_are_found(tmp_path: Path, text: str, broken: list[str]) -> None:
    (tmp_path / "b.html").write_text('<h1 id="x">b</h1>')
    (tmp_path / "a.html").write_text(text)
    assert crawl_site(tmp_path).broken == [f"a.html: {target}" for target in broken]


@pytest.mark.parametrize(
    ("markdown", "page", "expected"),
    [
        ("[a](../notebooks/00.ipynb#b)", "f.md", "[a](notebooks/00.md#b)"),
        ("[a](../../notebooks/00.ipynb)", "reference/f.md", "[a](../notebooks/00.md)"),
        ("[a](../LICENSE)", "f.md", "a"),
        ("[`a`](../tools/b.py), [c](d.md#e)", "f.md", "`a`, [c](d.md#e)"),
        ("[a](01.ipynb)", "notebooks/00.md", "[a](01.md)"),
        ("[a](../docs/c.md#d)", "notebooks/00.md", "[a](../c.md#d)"),
        ("![a](00-1-0.png)", "notebooks/00.md", "![a](00-1-0.png)"),
        ("![a](00-1-0.svg)", "notebooks/00.md", "![a](00-1-0.svg)"),
        ("[a](https://example.com)", "f.md", "[a](https://example.com)"),
        ("```\n[a](../LICENSE)\n```", "f.md", "```\n[a](../LICENSE)\n```"),
        ("[![a](b.svg)](c.md)", "f.md", "[![a](b.svg)](c.md)"),
    ],
)
def test_links_between_files_become_links_between_pages(markdown: str, page: str, expected: str) -> None:
    assert tool("docs_pages").site_links(markdown, page) == expected


def test_long_code_in_tables_may_break() -> None:
    html = "<td><code>plan.limit(1).score(a,b)</code>, text</td><p><code>plan.limit(1).score(a,b)</code></p>"
    expected = (
        "<td><code>plan.limit(1)<wbr>.score(a,<wbr>b)</code>, text</td><p><code>plan.limit(1).score(a,b)</code></p>"
    )
    assert tool("docs_pages").on_page_content(html, None, None, None) == expected
