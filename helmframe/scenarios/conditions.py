"""Conditions of a `where` as SQL over the columns of the instances; SQL of the user is unchanged."""

from collections.abc import Iterable, Mapping

from helmframe._core.specs import Between, Equals, Scalar, Sql, check_text
from helmframe._schema import INSTANCES, source_column
from helmframe.errors import ArgumentError
from helmframe.scenarios.sources import Source
from helmframe.scenarios.sql import identifier, text_literal


def condition_sql(source: Source, columns: Mapping[str, str], condition: Equals | Between | Sql) -> str:
    """Return a condition as SQL over the view `instances`, in brackets.

    Args:
        source: The source with the view.
        columns: The columns of the view, name → DuckDB type.
        condition: The condition.

    Raises:
        ArgumentError: The column is unknown, the value doesn't have the type of its column, or the text isn't one SQL
            condition.
    """
    if isinstance(condition, Sql):
        sql = _user_sql(source, columns, condition.text)
        return f"({sql} OR split = 'train')" if condition.narrows else sql
    name = condition.column
    check_column(source, columns, name)
    if isinstance(condition, Between):
        low, high = (_checked_literal(source, columns, name, value) for value in (condition.low, condition.high))
        return f"({identifier(name)} BETWEEN {low} AND {high})"
    literals = [_checked_literal(source, columns, name, value) for value in condition.values if value is not None]
    parts = [f"{identifier(name)} IN ({', '.join(literals)})"] if literals else []
    parts += [f"{identifier(name)} IS NULL"] if None in condition.values else []
    return f"({' OR '.join(parts) or 'FALSE'})"


def check_column(source: Source, columns: Mapping[str, str], name: str) -> None:
    """Raise if a name isn't one of the columns.

    Raises:
        ArgumentError: The column is unknown. The message lists near names.
    """
    if name not in columns:
        raise ArgumentError.unknown_value(
            f"where({name}=…): scenario {source.scenario!r} has no column {name!r}", name, listed_names(columns)
        )


def listed_names(columns: Iterable[str]) -> list[str]:
    """Return the column names to list in an error: `data_NAME` only where the bare name means another column.

    >>> listed_names(["input", "data_subject", "data_input", "subject"])
    ['input', 'data_input', 'subject']
    """
    names = list(columns)
    bare = {source_column(name) for name in names if name not in INSTANCES.schema}
    return [name for name in names if name not in bare]


def _user_sql(source: Source, columns: Mapping[str, str], text: str) -> str:
    def refused(why: str) -> ArgumentError:
        return ArgumentError(f"where({text!r}): invalid SQL condition: {why}\n{_columns_hint(columns)}")

    check_text(text)
    # Without brackets around it, a text that closes our bracket is an error, as are several statements. The line break
    # ends a comment.
    source.understood(lambda: source.types(f"SELECT {text}\nFROM instances"), refused)
    sql = f"({text}\n)"
    kind = source.understood(lambda: source.types(f"SELECT {sql} AS condition FROM instances WHERE {sql}"), refused)
    if set(kind.values()) != {"BOOLEAN"}:
        raise refused(f"it must be true or false for each instance, not {', '.join(kind.values())}.")
    return sql


def _columns_hint(columns: Iterable[str]) -> str:
    """Return a line with at most five columns for an error, the scenario's own first."""
    names = sorted(listed_names(columns), key=lambda name: name in INSTANCES.schema)
    more = f", … ({len(names)} in all). plan.instances() has all." if len(names) > 5 else "."
    return f"Columns: {', '.join(names[:5])}{more}"


def _checked_literal(source: Source, columns: Mapping[str, str], name: str, value: Scalar) -> str:
    def refused(_: str = "") -> ArgumentError:
        return ArgumentError(
            f"where({name}={value!r}): column {name!r} of scenario {source.scenario!r} has type {columns[name]}. "
            "The value must have the same type."
        )

    if value is None:
        raise refused()
    literal = _literal(str(value) if columns[name] == "VARCHAR" else value)
    cast = f"SELECT CAST({literal} AS {columns[name]})"
    source.understood(lambda: source.connection.sql(cast).fetchall(), refused)
    return literal


def _literal(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        check_text(value)
        return text_literal(value)
    return repr(value)
