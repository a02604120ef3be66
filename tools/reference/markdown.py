"""Markdown of the reference pages: pages, tables, code, and text from docstrings."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

LONGEST = 80


def page(title: str, *paragraphs: str) -> str:
    """Return a page.

    Raises:
        ValueError: Two headings have the same anchor, so GitHub and MkDocs would number them in different ways.
    """
    anchors = [anchor(text.lstrip("#").strip()) for text in paragraphs if text.startswith("#")]
    repeated = sorted({name for name in anchors if anchors.count(name) > 1})
    if repeated:
        raise ValueError(f"{title}: several headings have the anchor {', '.join(repeated)}")
    note = "<!-- Written by `python -m tools.build_reference`. -->"
    return "\n\n".join((note, f"# {title}", *paragraphs)).rstrip() + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown already; their pipes are escaped."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(text) for text in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.splitlines()))


def bullets(items: Iterable[str]) -> str:
    """Return a list."""
    return "\n".join(f"- {item}" for item in items)


def block(text: str, language: str = "text") -> str:
    """Return a block of code, fenced by more backticks than the text contains."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def code(text: str) -> str:
    """Return inline code in one line; nothing for an empty text."""
    if not text:
        return ""
    one_line = text.replace("\n", "\\n")
    if "`" in one_line or one_line != one_line.strip():
        return f"`` {one_line} ``" if one_line.strip() else f"<code>{one_line.replace(' ', '&nbsp;')}</code>"
    return f"`{one_line}`"


def value(item: Any) -> str:
    """Return a value of an example as inline code."""
    if item is None:
        return "null"
    if isinstance(item, int | float) and not isinstance(item, bool):
        # smaller numbers than these are rounding errors, which differ between machines
        digits = 3 if not 0.0005 <= abs(item) < 0.001 else 4
        return f"{round(item, digits) + 0:.4f}".rstrip("0").rstrip(".")
    text = item if isinstance(item, str) else str(item)
    return code(shortened(text)) if text else '`""`'


def shortened(text: str, most: int = LONGEST) -> str:
    """Return the start of a long text, and an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def prose(text: str) -> str:
    """Return the text of a docstring or a description as Markdown: code is unchanged, the rest is escaped."""
    pieces = re.split(r"(``.*?``|`[^`]*`)", " ".join(text.split()))
    return "".join(piece if piece.startswith("`") else _escaped(piece) for piece in pieces)


def first_sentence(text: str) -> str:
    """Return the first sentence, or its part before a semicolon or colon."""
    return re.split(r"(?<=[.;:]) ", " ".join(text.split()))[0].rstrip(".;:")


def _escaped(text: str) -> str:
    pieces = re.split(r"(?<!\w)(\*\w+\*)(?!\w)", text)  # a single word may be emphasised
    escaped = (re.sub(r"([*_\[\]\\$])", r"\\\1", html.escape(piece, quote=False)) for piece in pieces[::2])
    emphasised = [*pieces[1::2], ""]
    return "".join(part for pair in zip(escaped, emphasised, strict=True) for part in pair)


def paragraphs(docstring: str) -> list[str]:
    """Return the paragraphs of a docstring as Markdown, up to its first section."""
    body = re.split(r"\n\s*\n(?=(?:Args|Returns|Raises|Source|Yields|Mended):)", docstring.strip())[0]
    parts = re.split(r"\n\s*\n", body)
    return [block(part, "pycon") if part.startswith(">>>") else prose(part) for part in parts]


def arguments(docstring: str) -> dict[str, str]:
    """Return the descriptions in the section `Args` of a docstring."""
    section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", docstring, re.MULTILINE)
    items = re.findall(r"^ {4}(\w+):\s*((?:.*\n?)(?:^ {8,}.*\n?)*)", section[1] if section else "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in items}


def anchor(heading: str) -> str:
    """Return the anchor of a heading, which GitHub and MkDocs derive alike for these names."""
    return "".join(character for character in heading.lower() if character.isalnum() or character in "_- ").replace(
        " ", "-"
    )
