"""A hook of MkDocs (mkdocs.yml): the notebooks become pages, and links between repository files links between pages.

`tools/build_reference.py` writes the reference pages that are made from the code.
"""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# The page of errors, whose anchors are those of the API too.
ERRORS = "reference/errors.md"
# Pages whose tables need the room of the table of contents.
WIDE = ("benchmarks.md", "compare.md", "reference/columns.md", "reference/metrics.md", "reference/scenarios.md")
_CELL = re.compile(r"<td[ >].*?</td>", re.DOTALL)
_CODE = re.compile(r"<code>[^<]*</code>")
_BREAK = re.compile(r"(?<=,)(?=\S)|(?<=\))(?=\.)")
_FENCED = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the notebooks; MkDocs calls it when it has the files of docs/."""
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for name, content in notebook_pages(notebook):
            files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs calls it so
    """Rewrite the links of a page; MkDocs calls it with each page."""
    if page.file.src_uri in WIDE:
        page.meta["hide"] = ["toc"]
    if page.file.src_uri == ERRORS:
        markdown = re.sub(r"^### `(\w+)`$", r'<a id="helmframe.errors.\1"></a>\n\n\g<0>', markdown, flags=re.MULTILINE)
    return site_links(markdown, page.file.src_uri)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs calls it so
    """Let long code in tables break after commas and between calls; MkDocs calls it with the HTML of each page."""
    return _CELL.sub(lambda cell: _CODE.sub(lambda code: _BREAK.sub("<wbr>", code[0]), cell[0]), html)


def site_links(markdown: str, page: str) -> str:
    """Return the text with links for the site, outside of code blocks.

    A link to a notebook leads to its page. A link to a repository file that has no page becomes its label.
    """
    parts, end = [], 0
    for fenced in _FENCED.finditer(markdown):
        parts += [_rewritten(markdown[end : fenced.start()], page), fenced[0]]
        end = fenced.end()
    return "".join([*parts, _rewritten(markdown[end:], page)])


def _rewritten(text: str, page: str) -> str:
    return _LINK.sub(lambda link: _site_link(link[0], link[1] + link[2], link[3], page), text)


def _site_link(link: str, label: str, target: str, page: str) -> str:
    path, mark, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:|/", path) or (page.startswith("notebooks/") and path.endswith((".png", ".svg"))):
        return link
    folder = dirname(page) if page.startswith("notebooks/") else normpath(f"docs/{dirname(page)}")
    file = normpath(f"{folder}/{path}")
    if file.startswith("notebooks/") and file.endswith(".ipynb"):
        site = file.removesuffix(".ipynb") + ".md"
    elif file.startswith("docs/"):
        site = file.removeprefix("docs/")
    else:
        return label.removeprefix("!")
    return f"{link[: -len(target) - 1]}{relpath(site, dirname(page) or '.')}{mark}{anchor})"


def notebook_pages(path: Path) -> Iterator[tuple[str, str | bytes]]:
    """Return path and content of a notebook as a page with its outputs, and of its pictures."""
    lines = []
    for index, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines.append(source)
            continue
        lines.append(f"```python\n{source}\n```")
        for number, output in enumerate(cell["outputs"]):
            picture = f"{path.stem}-{index}-{number}.png"
            data = output.get("data", {})
            shown = {kind: "".join(text) for kind, text in data.items() if isinstance(text, str | list)}
            if "image/png" in shown:
                lines.append(f"![Output of the cell above]({picture}){{ width=600 }}")
                yield f"notebooks/{picture}", base64.b64decode(shown["image/png"])
            elif "image/svg+xml" in shown:
                picture = picture.removesuffix("png") + "svg"
                lines.append(f"![Output of the cell above]({picture})")
                yield f"notebooks/{picture}", shown["image/svg+xml"]
            elif "text/html" in shown:
                block = re.sub(r"\n\s*\n", "\n", shown["text/html"])  # a blank line would end it
                lines.append(f'<div class="output">{block}</div>')
            else:
                text = shown.get("text/plain") or "".join(output["text"])
                lines.append(f"```text\n{text.rstrip()}\n```")
    lines.append(f"*This page is the notebook `notebooks/{path.name}` with its outputs.*")
    yield f"notebooks/{path.stem}.md", "\n\n".join(lines)
