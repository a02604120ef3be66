"""The Python snippets of a page, as they stand in it."""

import re
from typing import NamedTuple


class Snippet(NamedTuple):
    """A snippet, and what stands in the block right below it."""

    code: str
    shown: str | None


def snippets(text: str) -> list[Snippet]:
    """All of a page or a section, from top to bottom."""
    found = re.findall(r"^```python\n(.*?)^```\n(?:\n*^```\n(.*?)^```$)?", text, re.MULTILINE | re.DOTALL)
    return [Snippet(code, shown.strip() or None) for code, shown in found]
