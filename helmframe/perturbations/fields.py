"""Changes of an instance's texts (the input, the references, and unprotected spans) and of its images."""

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from random import Random
from typing import Any

import polars as pl

from helmframe._core.checks import regex_problem
from helmframe._core.expressions import keyed_draws
from helmframe._core.images import as_png, decoded
from helmframe._core.safe_text import error_message, get_logger, type_name
from helmframe._schema import REFERENCE
from helmframe.errors import ArgumentError, HelmframeError, ImageError
from helmframe.perturbations.registry import PERTURBATIONS, Stream

# The names that `protect=` takes, as regular expressions.
PROTECTED = {
    "numbers": r"[+\-−]?\d+(?:[.,:/]\d+)*%?",
    "urls": r"(?i:\b(?:https?|ftp)://|\bwww\.)[^\s<>\"]+|(?i:\b[\w.+-]+@[\w-]+\.[\w.-]*\w)",
    "code": r"```(?s:.*?)```|`[^`\n]+`",
    "latex": r"\$\$(?s:.+?)\$\$|\$[^\s$](?:[^$\n]*[^\s$])?\$|\\\((?s:.+?)\\\)|\\\[(?s:.+?)\\\]"
    r"|\\begin\{(?s:.+?)\\end\{\w+\*?\}|\\[A-Za-z]+(?:\{[^{}]*\})*",
}
_REGEX_HINT = "Write a regular expression as 're:…'."
# Marks a protected span while a text is split. A text that contains the mark itself has a protected span there.
_MARK = "\x00"

# Changes a text by its key or id.
Change = Callable[[pl.Expr, pl.Expr], pl.Expr]
# Runs the prompts of a perturbation (a `PerturbationCall`). Missing completions are null.
ModelQuery = Callable[[Any, pl.Series], pl.Series]

logger = get_logger("helmframe.perturbations")


def protected_pattern(protect: str | Sequence[str], perturbation: str) -> str:
    """Return one regular expression for the value of `protect=`: names, a list of names, or `re:…`.

    Raises:
        ArgumentError: A name is unknown, or a regular expression is invalid.
    """
    if not isinstance(protect, Sequence):
        raise ArgumentError.unknown_value(f"{perturbation}(protect={protect!r})", protect, PROTECTED, hint=_REGEX_HINT)
    patterns = []
    for name in [protect] if isinstance(protect, str) else protect:
        where = f"{perturbation}(protect={name!r})"
        if isinstance(name, str) and name.startswith("re:"):
            try:
                pl.select(pl.lit("").str.contains(name[3:]))
            except pl.exceptions.ComputeError as error:
                raise ArgumentError(f"{where}: invalid regular expression: {regex_problem(error)}.") from None
            patterns.append(name[3:])
        elif name in PROTECTED:
            patterns.append(PROTECTED[name])
        else:
            raise ArgumentError.unknown_value(f"{where}", name, PROTECTED, hint=_REGEX_HINT)
    return "|".join(f"(?:{pattern})" for pattern in [*patterns, _MARK])


def change_unprotected(text: pl.Expr, key: pl.Expr, pattern: str, change: Change, *, one_key: bool) -> pl.Expr:
    """Return the text with `change(piece, key)` applied to the pieces between the matches of `pattern`.

    Args:
        text: The text column.
        key: An UInt64 column, one key per text.
        pattern: A regular expression for the spans to keep.
        change: The change of a piece.
        one_key: True gives all pieces the text's key. False gives it to the first piece, and other keys to all others.
    """
    changed = change(pl.col("piece"), pl.col("key"))

    def change_batch(columns: list[pl.Series] | Any) -> pl.Series:
        import numpy as np  # an import at the top would slow down `import helmframe`

        texts, keys = columns
        pieces = (
            pl.DataFrame({"text": texts, "key": _broadcast(keys, texts)})
            .with_row_index("row")
            .filter(pl.col("text").is_not_null())
            .select(
                "row",
                "key",
                piece=pl.col("text").str.replace_all(pattern, _MARK).str.split(_MARK),
                span=pl.concat_list(pl.col("text").str.extract_all(pattern), pl.lit([""], dtype=pl.List(pl.String))),
            )
            .explode("piece", "span")
            .with_columns(number=pl.int_range(pl.len(), dtype=pl.UInt64).over("row"))
        )
        if not one_key:
            draws = keyed_draws(pieces["key"].to_numpy(), pieces["number"].to_numpy())
            pieces = pieces.with_columns(
                key=np.where(pieces["number"].to_numpy() == 0, pieces["key"].to_numpy(), draws)
            )
        whole = (
            pieces.with_columns(piece=changed + pl.col("span"))
            .group_by("row", maintain_order=True)
            .agg(pl.col("piece").str.join(""))
        )
        rows = pl.DataFrame({"row": pl.int_range(len(texts), dtype=pl.UInt32, eager=True)})
        return rows.join(whole, on="row", how="left", maintain_order="left")["piece"].alias(texts.name)

    return pl.map_batches([text, key], change_batch, return_dtype=pl.String, is_elementwise=True)


def change_references(references: pl.Expr, ids: pl.Expr, change: Change, *, one_id: bool) -> pl.Expr:
    """Return the lists of references with `change(text, id)` applied to each text; all else stays the same.

    Args:
        references: A list column of structs with a field `text`.
        ids: A text column, one id per list.
        change: The change of a text by its id.
        one_id: True gives every text the list's id. False gives each text its own id, by its index.
    """
    text_id = pl.col("id") if one_id else pl.concat_str("id", pl.lit("\x1freference\x1f"), "index")
    changed = change(pl.col("text"), text_id)

    def change_batch(columns: list[pl.Series] | Any) -> pl.Series:
        lists, keys = columns
        frame = pl.DataFrame({"references": lists.cast(pl.List(REFERENCE)), "id": _broadcast(keys, lists)})
        frame = frame.with_row_index("row")
        long = (
            frame.filter(pl.col("references").list.len() > 0)
            .explode("references")
            .with_columns(text=pl.col("references").struct.field("text"))
            .with_columns(index=pl.int_range(pl.len()).over("row"))
            .with_columns(text=changed)
            .with_columns(new=pl.col("references").struct.with_fields(pl.col("text")))
        )
        folded = long.group_by("row", maintain_order=True).agg("new")
        joined = frame.join(folded, on="row", how="left", maintain_order="left")
        # empty and null lists stay unchanged
        return joined.select(pl.coalesce("new", "references")).to_series().alias(lists.name)

    return pl.map_batches([references, ids], change_batch, return_dtype=pl.List(REFERENCE), is_elementwise=True)


def replace_by_completions(
    frame: pl.LazyFrame, fields: str, prompt: Callable[[pl.Expr], pl.Expr], query: Callable[[pl.Series], pl.Series]
) -> pl.LazyFrame:
    """Return the frame with its texts replaced by completions.

    Rows whose text has no completion are skipped and logged.

    Args:
        frame: A frame with perturbed_input and perturbed_references.
        fields: The texts to replace: "input", "references" or "both".
        prompt: A function from a text to its prompt.
        query: A function from prompts to completions.
    """
    of_references = pl.col("perturbed_references").list.eval(pl.element().struct.field("text"))
    texts_of = {"input": pl.concat_list("perturbed_input"), "references": of_references}
    replaced = [texts for field, texts in texts_of.items() if fields in (field, "both")]

    def change_rows(rows: pl.DataFrame) -> pl.DataFrame:
        row_texts = rows.select(texts=pl.concat_list(replaced))
        texts = row_texts.select(text=pl.col("texts").explode()).drop_nulls().unique(maintain_order=True)
        completions = query(texts.select(prompt(pl.col("text")).alias("prompt")).to_series())
        table = texts.with_columns(completion=completions)
        missing = table.filter(pl.col("completion").is_null())["text"]
        incomplete = pl.col("texts").list.eval(pl.element().is_in(missing.to_list())).list.any()
        complete = ~row_texts.select(incomplete).to_series()
        if missing.len():
            logger.warning("%d of %d texts have no completion: their variants are skipped", missing.len(), texts.height)

        def look_up(text: pl.Expr) -> pl.Expr:
            return text.replace_strict(table["text"], table["completion"], default=None, return_dtype=pl.String)

        new = {}
        if fields != "references":
            new["perturbed_input"] = look_up(pl.col("perturbed_input"))
        if fields != "input":
            lists = pl.col("perturbed_references")
            new["perturbed_references"] = change_references(
                lists, pl.lit(""), lambda text, _: look_up(text), one_id=True
            )
        return rows.with_columns(**new).filter(complete.fill_null(value=True))

    return frame.map_batches(change_rows, schema=frame.collect_schema())


_CHANGED = pl.Struct({"perturbed_input": pl.String, "perturbed_references": pl.List(REFERENCE)})


def change_instances(frame: pl.LazyFrame, stream: Stream, fields: str, seed: int) -> pl.LazyFrame:
    """Return the frame with perturbed_input and perturbed_references as HELM's perturbation changes them, row by row.

    Args:
        frame: `INSTANCES` with both columns. The random stream depends on the part of `instance_id` after the slash.
        stream: The perturbation.
        fields: The texts to change: "input", "references" or "both". References are changed before the input.
        seed: The number of the sample; 0 is HELM's unseeded sample.
    """

    def change_batch(columns: list[pl.Series] | Any) -> pl.Series:
        rows = []
        for instance_id, text, references in zip(*(column.to_list() for column in columns), strict=True):
            options = [reference["text"] for reference in references or ()] if fields != "input" else []
            texts = [*options, text] if fields != "references" else options
            changed = _streamed(stream, texts, instance_random(instance_id, seed))
            new = changed.pop() if fields != "references" else text
            lifted = [
                reference | {"text": option} for reference, option in zip(references or (), changed, strict=False)
            ]
            rows.append({"perturbed_input": new, "perturbed_references": lifted or references})
        return pl.Series(rows, dtype=_CHANGED)

    columns = [pl.col("instance_id"), pl.col("perturbed_input"), pl.col("perturbed_references")]
    both = pl.map_batches(columns, change_batch, return_dtype=_CHANGED, is_elementwise=True).alias("_both")
    return (
        frame.with_columns(both)
        .with_columns(
            perturbed_input=pl.col("_both").struct.field("perturbed_input"),
            perturbed_references=pl.col("_both").struct.field("perturbed_references"),
        )
        .drop("_both")
    )


def change_texts(stream: Stream, text: pl.Expr, ids: pl.Expr, seed: int) -> pl.Expr:
    """Return one text column as HELM's perturbation changes it, without references."""

    def change_batch(columns: list[pl.Series] | Any) -> pl.Series:
        texts, keys = columns
        rows = zip(texts, _broadcast(keys, texts).cast(pl.String), strict=True)
        changed = [_streamed(stream, [text], instance_random(name, seed))[0] for text, name in rows]
        return pl.Series(texts.name, changed, dtype=pl.String)

    return pl.map_batches([text, ids], change_batch, return_dtype=pl.String, is_elementwise=True)


def instance_random(id: str | None, seed: int = 0) -> Random:
    """Return HELM's random numbers for an instance; seed 0 is its unseeded sample."""
    name = (id or "").rpartition("/")[2]
    return Random(f"{seed}{name}" if seed else name)  # noqa: S311 - not for secrets


def _streamed(stream: Stream, texts: Sequence[str | None], random: Random) -> list[str | None]:
    """Return the changed texts; nulls stay null and use no random numbers."""
    changed = iter(stream([text for text in texts if text is not None], random))
    return [None if text is None else next(changed) for text in texts]


def _broadcast(keys: pl.Series, rows: pl.Series) -> pl.Series:
    """Return one key per row; a literal is one key for all rows."""
    return keys if len(keys) == len(rows) else keys.new_from_index(0, len(rows))


def perturbed_image(data: bytes, changes: str, position: int) -> bytes:
    """Return an image with the changes of `content_change`, as PNG.

    Args:
        data: The image.
        changes: The perturbations with all arguments, as JSON.
        position: The number of the image in its instance, which gives each image its own random numbers.

    Raises:
        ImageError: The image is damaged, or a perturbation fails.
    """
    image = decoded(data)
    for change in json.loads(changes):
        try:
            image = change_image(image, change, position)
        except HelmframeError:
            raise
        except Exception as error:
            name = change["perturbation"]
            problem = f"{type_name(type(error))}: {error_message(error)}"
            raise ImageError(f"Perturbation {name!r} raised {problem}") from error
    return as_png(image)


def change_image(image: Any, change: Mapping[str, Any], position: int) -> Any:
    """Return an image of Pillow with one change, a perturbation with its arguments and its key.

    Raises:
        ArgumentError: An argument is invalid, or the perturbation does not return an image.
    """
    arguments = dict(change)
    entry = PERTURBATIONS[arguments.pop("perturbation")]
    key = arguments.pop("key", None)
    keys = [int.from_bytes(blake2b(f"{key}/{position}".encode(), digest_size=8).digest(), "little")]
    changed = entry.function(image, *(keys if entry.draws else ()), **arguments)
    if not all(hasattr(changed, name) for name in ("save", "convert", "size")):
        raise ArgumentError(
            f"Perturbation {entry.name!r} returned a value of type {type_name(type(changed))}. It must return an image "
            "of Pillow."
        )
    return changed.convert("RGB")
