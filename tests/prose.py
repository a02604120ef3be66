"""The prose of a checkout, text by text, and the words of the language rules in it."""

import argparse
import ast
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Words and phrases that plain technical English has another word for: name → pattern.
WORDS = {
    "say": r"\b(?:say|says|said|saying|unsaid)\b",
    "tell": r"\b(?:tell|tells|told|telling)\b",
    "ask": r"\b(?:ask|asks|asked|asking)\b(?! for a registration)",
    "kept": r"\bkept\b",
    "go on": r"\b(?:go|goes|went|gone|going) on\b",
    "anew": r"\b(?:anew|once more)\b",
    "is no": r"(?<!there )(?<!There )\b(?:is|are|was|were) no (?!longer|more|doubt)\w+",
    # verbs of input and output are usual after it: "can't be read"
    "can't be": r"\b(?:can't|cannot) be(?=\s*[.,;:]|\s*$|\s+(?!read\b|reached\b)\w+)",
    "left out": r"\b(?:left out|leave out|leaves out|leave it out|leave them out)\b",
    "vouch": r"\bvouch\w*",
    "told apart": r"\b(?:told|tell) apart\b",
    "what it is": r"(?:^|(?<=[.:!?]\s))(?:What|Those|Who|That which|Of) [a-z]+(?![^.]*\?)",
    "so many": r"\b(?:so many|as many)\b",
    "of which": r"\b(?:of which|of those that)\b",
    "lies": r"\b(?:lies|lie|stands|stood)\b (?:in|at|below|beside|there|on)\b",
    "beside": r"\bbeside\b",
}
# The longest sentence of the README, in words.
LONGEST = 35


class Text(NamedTuple):
    """A text that a person reads: its kind, where it is, and the text without code."""

    kind: str
    where: str
    text: str


def texts(root: Path) -> Iterator[Text]:
    """Yield the README, docs, notebooks, help pages, error messages and docstrings of a checkout."""
    pages = [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]
    for page in pages:
        kind = "README" if page.name == "README.md" else "docs"
        yield Text(kind, page.name, without_code(page.read_text(encoding="utf-8")))
    for notebook in sorted((root / "notebooks").glob("*.ipynb")):
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        prose = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        yield Text("notebooks", notebook.name, without_code(prose))
    for module in sorted((root / "helmframe").rglob("*.py")):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        where = str(module.relative_to(root))
        yield from (Text("docstrings", where, without_code(text)) for text in _docstrings(tree))
        yield from (Text("errors", where, text) for text in _messages(tree))


def help_pages(parser: argparse.ArgumentParser) -> Iterator[Text]:
    """Yield the help page of a command and of its subcommands."""
    yield Text("help", parser.prog, parser.format_help())
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from help_pages(child)


def without_code(markdown: str) -> str:
    """Return the prose of a page: without fenced code, inline code, doctests, addresses and HTML tags."""
    text = re.sub(r"^( *)(```|~~~).*?^\1\2\s*$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^\s*(?:>>>|\.\.\.) .*(?:\n(?!\s*$|\s*>>>).*)*", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", "CODE", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"<[^>]+>|https?://\S+", "", text)


def hits(text: str) -> Counter[str]:
    """Count the words of the list in a text."""
    return +Counter({name: len(re.findall(pattern, text)) for name, pattern in WORDS.items()})


def found(root: Path) -> dict[str, Counter[str]]:
    """Return kind of text → word → count, over a checkout."""
    counts: dict[str, Counter[str]] = {}
    for text in texts(root):
        counts.setdefault(text.kind, Counter()).update(hits(text.text))
    return counts


def sentences(text: str) -> list[str]:
    """Return the sentences of a page; rows of tables and items of lists end sentences too."""
    blocks = re.split(r"\n\s*\n|\n\s*[-*|#>]\s*|\n\s*\d+\. |\|", text)
    return [
        " ".join(part.split())
        for block in blocks
        for part in re.split(r"(?<=[.!?:])\s+(?=[A-Z`\[])", block)
        if part.strip()
    ]


def _docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text


def _messages(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of raised errors, warnings and log records."""
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else node
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if not isinstance(node, ast.Raise) and not (name.endswith("Error") or name in _REPORTS):
            continue
        for argument in [*call.args, *(keyword.value for keyword in call.keywords)]:
            parts = [
                part.value if isinstance(part, ast.Constant) else "VALUE"
                for part in ast.walk(argument)
                if isinstance(part, ast.Constant | ast.FormattedValue)
            ]
            text = "".join(part for part in parts if isinstance(part, str))
            if " " in text:
                yield text


_REPORTS = frozenset({"warning", "info", "error", "warn", "note", "print_status", "at", "unknown_value", "among", "of"})


if __name__ == "__main__":
    import sys

    total: Counter[str] = Counter()
    for kind, counts in found(Path(sys.argv[1])).items():
        total.update(counts)
        print(
            f"{kind:12} {sum(counts.values()):5}  " + ", ".join(f"{name} {n}" for name, n in counts.most_common() if n)
        )
    print(f"{'all':12} {sum(total.values()):5}  " + ", ".join(f"{name} {n}" for name, n in total.most_common() if n))
