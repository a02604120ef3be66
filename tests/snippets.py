"""The Python snippets of a page, as they stand in it."""

import json
import re
import subprocess
import sys
from typing import NamedTuple


class Snippet(NamedTuple):
    """A snippet, and what stands in the block right below it."""

    code: str
    shown: str | None


def snippets(text: str) -> list[Snippet]:
    """All of a page or a section, from top to bottom."""
    found = re.findall(r"^```python\n(.*?)^```\n(?:\n*^```\n(.*?)^```$)?", text, re.MULTILINE | re.DOTALL)
    return [Snippet(code, shown.strip() or None) for code, shown in found]


def packaged_names(expression: str) -> list[str]:
    """Return the names that an expression of `hf` gives in a fresh process, without plug-ins of other tests."""
    code = f"import json, helmframe as hf; print(json.dumps(list({expression})))"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    names: list[str] = json.loads(printed)
    return names
