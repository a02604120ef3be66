"""Docstrings as the documentation shows them: examples as code, a source as one paragraph.

An extension of Griffe, which reads them for MkDocs (mkdocs.yml). Left as they are, `>>>` would be three quotations
inside each other, and the first line of a longer source the title of a box.
"""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)
_SOURCE = re.compile(r"^Source: .*(?:\n[ ]+\S.*)+", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Rewrites the docstring of everything that is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Griffe calls it with each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = shown(obj.docstring.value)


def shown(docstring: str) -> str:
    r"""The docstring in Markdown.

    >>> shown("Twice.\n\n>>> twice(2)\n4\n\nSource: a\n    and b.")
    'Twice.\n\n```pycon\n>>> twice(2)\n4\n```\n\nSource: a and b.'
    """
    examples = _EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", docstring)
    return _SOURCE.sub(lambda found: re.sub(r"\n\s+", " ", found[0]), examples)
