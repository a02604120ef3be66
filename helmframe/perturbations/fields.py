"""What of an instance a perturbation reaches: references lifted out of their lists, spans of a text left alone."""

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from helmframe._core.expressions import keyed_draws
from helmframe._schema import REFERENCE
from helmframe.errors import ArgumentError

# What `protect=` knows by name, as regular expressions.
PROTECTED = {
    "numbers": r"[+\-−]?\d+(?:[.,:/]\d+)*%?",
    "urls": r"(?i:\b(?:https?|ftp)://|\bwww\.)[^\s<>\"]+|(?i:\b[\w.+-]+@[\w-]+\.[\w.-]*\w)",
    "code": r"```(?s:.*?)```|`[^`\n]+`",
    "latex": r"\$\$(?s:.+?)\$\$|\$[^\s$](?:[^$\n]*[^\s$])?\$|\\\((?s:.+?)\\\)|\\\[(?s:.+?)\\\]"
    r"|\\begin\{(?s:.+?)\\end\{\w+\*?\}|\\[A-Za-z]+(?:\{[^{}]*\})*",
}
# Stands for a protected span while a text is cut; where a text holds it, it is such a span itself.
_MARK = "\x00"

Change = Callable[[pl.Expr, pl.Expr], pl.Expr]


def protected_pattern(said: str | Sequence[str], where: str) -> str:
    """One regular expression for what `protect=` says: names, a list of them, or `re:…`.

    Raises:
        ArgumentError: no such name, or no regular expression.
    """
    if not isinstance(said, Sequence):
        raise ArgumentError.unknown_value(f"{where}: protect={said!r}", said, PROTECTED, hint="Or write 're:…'.")
    patterns = []
    for each in [said] if isinstance(said, str) else said:
        if isinstance(each, str) and each.startswith("re:"):
            try:
                pl.select(pl.lit("").str.contains(each[3:]))
            except pl.exceptions.ComputeError as error:
                raise ArgumentError(f"{where}: protect={each!r} is no regular expression: {error}") from None
            patterns.append(each[3:])
        elif each in PROTECTED:
            patterns.append(PROTECTED[each])
        else:
            raise ArgumentError.unknown_value(
                f"{where}: protect={each!r} is none of what can be protected", each, PROTECTED, hint="Or write 're:…'."
            )
    return "|".join(f"(?:{each})" for each in [*patterns, _MARK])


def around(text: pl.Expr, key: pl.Expr, pattern: str, change: Change, *, one_key: bool) -> pl.Expr:
    """The text with `change(piece, key)` applied to the pieces between what `pattern` matches; the matches stay.

    Args:
        text: the text column.
        key: an UInt64 column, one key per text.
        pattern: what is left alone.
        change: what is done with a piece.
        one_key: True gives all pieces the text's key; else the first has it, and the others have keys of their own.
    """
    changed = change(pl.col("piece"), pl.col("key"))

    def over_batch(columns: list[pl.Series] | Any) -> pl.Series:
        import numpy as np

        texts, keys = columns
        cut = (
            pl.DataFrame({"text": texts, "key": _for_each(keys, texts)})
            .with_row_index("row")
            .filter(pl.col("text").is_not_null())
            .select(
                "row",
                "key",
                piece=pl.col("text").str.replace_all(pattern, _MARK).str.split(_MARK),
                kept=pl.concat_list(pl.col("text").str.extract_all(pattern), pl.lit([""], dtype=pl.List(pl.String))),
            )
            .explode("piece", "kept")
            .with_columns(place=pl.int_range(pl.len(), dtype=pl.UInt64).over("row"))
        )
        if not one_key:
            own = keyed_draws(cut["key"].to_numpy(), cut["place"].to_numpy())
            cut = cut.with_columns(key=np.where(cut["place"].to_numpy() == 0, cut["key"].to_numpy(), own))
        whole = (
            cut.with_columns(piece=changed + pl.col("kept"))
            .group_by("row", maintain_order=True)
            .agg(pl.col("piece").str.join(""))
        )
        rows = pl.DataFrame({"row": pl.int_range(len(texts), dtype=pl.UInt32, eager=True)})
        return rows.join(whole, on="row", how="left", maintain_order="left")["piece"].alias(texts.name)

    return pl.map_batches([text, key], over_batch, return_dtype=pl.String, is_elementwise=True)


def in_references(references: pl.Expr, ids: pl.Expr, change: Change, *, one_id: bool) -> pl.Expr:
    """The list of references with `change(text, id)` applied to each one's text; order, tags and `correct` stay.

    Args:
        references: a list column of structs with a field `text`.
        ids: a text column, one id per list.
        change: what is done with a text, by its id.
        one_id: True gives every text the list's id; else each has its own, by its place.
    """
    own = pl.col("id") if one_id else pl.concat_str("id", pl.lit("\x1freference\x1f"), "place")
    changed = change(pl.col("text"), own)

    def over_batch(columns: list[pl.Series] | Any) -> pl.Series:
        lists, keys = columns
        frame = pl.DataFrame({"references": lists.cast(pl.List(REFERENCE)), "id": _for_each(keys, lists)})
        frame = frame.with_row_index("row")
        long = (
            frame.filter(pl.col("references").list.len() > 0)
            .explode("references")
            .with_columns(text=pl.col("references").struct.field("text"))
            .with_columns(place=pl.int_range(pl.len()).over("row"))
            .with_columns(text=changed)
            .with_columns(new=pl.col("references").struct.with_fields(pl.col("text")))
        )
        folded = long.group_by("row", maintain_order=True).agg("new")
        joined = frame.join(folded, on="row", how="left", maintain_order="left")
        # an empty list, and none at all, have nothing to change
        return joined.select(pl.coalesce("new", "references")).to_series().alias(lists.name)

    return pl.map_batches([references, ids], over_batch, return_dtype=pl.List(REFERENCE), is_elementwise=True)


def _for_each(keys: pl.Series, rows: pl.Series) -> pl.Series:
    """One key per row; a literal is one for all."""
    return keys if len(keys) == len(rows) else keys.new_from_index(0, len(rows))
