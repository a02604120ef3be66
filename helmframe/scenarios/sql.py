"""Names and texts as SQL of DuckDB."""

from collections.abc import Iterable


def identifier(name: str) -> str:
    """Return a name as a quoted identifier.

    >>> identifier("order")
    '"order"'
    """
    return '"' + name.replace('"', '""') + '"'


def text_literal(text: str) -> str:
    """Return a text as a literal.

    >>> text_literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def text_list(texts: Iterable[str]) -> str:
    """Return texts as a list.

    >>> text_list(["a", "b"])
    "['a', 'b']"
    """
    return f"[{', '.join(map(text_literal, texts))}]"
