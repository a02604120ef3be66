"""Names and texts as DuckDB writes them."""

from collections.abc import Iterable


def identifier(name: str) -> str:
    """The name as a quoted identifier.

    >>> identifier("order")
    '"order"'
    """
    return '"' + name.replace('"', '""') + '"'


def text_literal(text: str) -> str:
    """The text as a literal.

    >>> text_literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def text_list(texts: Iterable[str]) -> str:
    """The texts as a list.

    >>> text_list(["a", "b"])
    "['a', 'b']"
    """
    return f"[{', '.join(map(text_literal, texts))}]"
