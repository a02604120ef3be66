"""Crawlers of links: over the repository's Markdown and notebooks, as GitHub shows them, and over the built site."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

SKIPPED = {".git", ".venv", "build", "demo", "dist", "models", "node_modules", "site"}
_FENCED = re.compile(r"^ {0,3}(`{3,}|~{3,}).*?^ {0,3}\1`*[ \t]*$", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_TARGETS = (
    re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)"),  # [text](target), ![text](target)
    re.compile(r"^ {0,3}\[[^\]]+\]:\s+<?(\S+?)>?(?:\s+\"[^\"]*\")?\s*$", re.MULTILINE),  # [label]: target
    re.compile(r"<(?:a|img|source)\b[^>]*?\s(?:href|src|srcset)=\"([^\"]+)\""),
)


class Found(NamedTuple):
    """What a crawl found: number of pages, number of links within them, and the broken links."""

    pages: int
    links: int
    broken: list[str]


def crawl_repository(root: Path) -> Found:
    """Check every relative link and anchor of the Markdown files and notebooks below a folder."""
    pages = [
        file
        for pattern in ("*.md", "*.ipynb")
        for file in sorted(root.rglob(pattern))
        if not SKIPPED & set(file.relative_to(root).parts) and ".ipynb_checkpoints" not in file.parts
    ]
    broken, number = [], 0
    for page in pages:
        for target in _targets(_text(page)):
            link = urlsplit(target)
            if link.scheme or link.netloc:
                continue
            number += 1
            path = (page.parent / unquote(link.path)).resolve() if link.path else page
            if not path.exists() or (link.fragment and unquote(link.fragment) not in anchors(path)):
                broken.append(f"{page.relative_to(root)}: {target}")
    return Found(len(pages), number, broken)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a Markdown file or notebook: GitHub's of its headings, and those of its HTML."""
    if path.suffix not in (".md", ".ipynb"):
        return set()
    text = _FENCED.sub("", _text(path))
    html = re.findall(r"<\w+\b[^>]*?\s(?:id|name)=\"([^\"]+)\"", text)
    headings = re.findall(r"^ {0,3}#{1,6}[ \t]+(.+?)(?:[ \t]+#+)?[ \t]*$", text, re.MULTILINE)
    if path.suffix == ".ipynb":  # Jupyter's have the heading as it is written
        return {*html, *(heading.replace(" ", "-") for heading in headings)}
    return {*html, *github_anchors(headings)}


def github_anchors(headings: list[str]) -> Iterator[str]:
    """Return the anchors of headings in order, as GitHub makes them.

    >>> list(github_anchors(["The `a_b` way: RR@k", "Same", "Same", "[link](x.md), *now*"]))
    ['the-a_b-way-rrk', 'same', 'same-1', 'link-now']
    """
    seen: Counter[str] = Counter()
    for heading in headings:
        text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("\\", "")
        text = re.sub(r"(?<!\w)[*_]+|[*_]+(?!\w)", "", text) if "`" not in text else text
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        yield f"{name}-{seen[name]}" if seen[name] else name
        seen[name] += 1


def crawl_site(folder: Path) -> Found:
    """Check every `href`, `src` and `srcset` of the pages of a site, with their anchors."""
    pages = {file.resolve(): _Page.of(file) for file in sorted(folder.rglob("*.html"))}
    broken, number = [], 0
    for file, page in pages.items():
        for target in page.targets:
            link = urlsplit(target)
            if link.scheme or link.netloc:
                continue
            number += 1
            # the page of errors is shown at any address, so its links begin at the root
            base = folder.resolve() if link.path.startswith("/") else file.parent
            path = (base / unquote(link.path).lstrip("/")).resolve() if link.path else file
            path = path / "index.html" if path.is_dir() else path
            fragment = unquote(link.fragment)
            if not path.is_file() or (fragment and path in pages and fragment not in pages[path].ids):
                broken.append(f"{file.relative_to(folder.resolve())}: {target}")
    return Found(len(pages), number, broken)


class _Page(HTMLParser):
    """The targets and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: set[str] = set()

    @classmethod
    def of(cls, file: Path) -> "_Page":
        page = cls()
        page.feed(file.read_text(encoding="utf-8"))
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" or (name == "name" and tag == "a"):
                self.ids.add(value or "")
            elif value and (name in ("href", "src") or name == "srcset"):
                self.targets += [part.split()[0] for part in value.split(",")] if name == "srcset" else [value]


def _text(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".ipynb":
        return text
    cells = (cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def _targets(text: str) -> Iterator[str]:
    """Return the targets of links outside of code."""
    text = _INLINE_CODE.sub("code", _FENCED.sub("", text))
    for pattern in _TARGETS:
        yield from pattern.findall(text)
