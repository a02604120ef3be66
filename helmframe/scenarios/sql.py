"""Names and texts as SQL of DuckDB, and the limits of SQL in specs and plans."""

import re
from collections.abc import Iterable

# DuckDB's time grows with the cube of the depth of an expression, and a chain of operators is one level for each.
_LONGEST, _MOST_LEVELS, _MOST_OPERATORS = 100_000, 80, 200
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|\$\$.*?\$\$", re.DOTALL)
_OPERATORS = re.compile(r"\|\||::|->|[+*/%\-^~!&|]")


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


def excess_of(text: str) -> str | None:
    """Return why DuckDB might need very long for a SQL text; None if it doesn't.

    >>> excess_of("SELECT (a + b) * 2 FROM rows")
    >>> excess_of("SELECT " + "(" * 100 + "a" + ")" * 100)
    'it has more than 80 levels of brackets'
    """
    if len(text) > _LONGEST:
        return f"it has more than {_LONGEST:,} characters"
    plain = _QUOTED.sub("''", text)
    level = most = 0
    for sign in re.findall(r"[(\[{)\]}]", plain):
        level += 1 if sign in "([{" else -1
        most = max(most, level)
    if most > _MOST_LEVELS:
        return f"it has more than {_MOST_LEVELS} levels of brackets"
    if len(_OPERATORS.findall(plain)) > _MOST_OPERATORS:
        return f"it has more than {_MOST_OPERATORS} operators"
    return None
