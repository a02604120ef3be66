"""Perturbations that a model makes: each text replaced by what it answers to a prompt about the text."""

import logging
from collections.abc import Callable
from typing import Any

import polars as pl

from helmframe.perturbations.fields import in_references

# Answers to prompts, null where there is none (yet), given the perturbation as said. Running it is the plan's.
Ask = Callable[[Any, pl.Series], pl.Series]

logger = logging.getLogger("helmframe.perturbations")


def answered(
    frame: pl.LazyFrame, fields: str, prompt: Callable[[pl.Expr], pl.Expr], ask: Callable[[pl.Series], pl.Series]
) -> pl.LazyFrame:
    """The frame with its texts replaced by answers; a row with a text that has none is left out, and told.

    Args:
        frame: with perturbed_input and perturbed_references.
        fields: what is replaced: "input", "references" or "both".
        prompt: what asks about a text.
        ask: the answers to some prompts.
    """
    of_references = pl.col("perturbed_references").list.eval(pl.element().struct.field("text"))
    texts_of = {"input": pl.concat_list("perturbed_input"), "references": of_references}
    wanted = [texts for field, texts in texts_of.items() if fields in (field, "both")]

    def over_rows(rows: pl.DataFrame) -> pl.DataFrame:
        own = rows.select(texts=pl.concat_list(wanted))
        texts = own.select(text=pl.col("texts").explode()).drop_nulls().unique(maintain_order=True)
        answers = ask(texts.select(prompt(pl.col("text")).alias("prompt")).to_series())
        table = texts.with_columns(answer=answers)
        lacking = table.filter(pl.col("answer").is_null())["text"]
        has_all = ~own.select(pl.col("texts").list.eval(pl.element().is_in(lacking.to_list())).list.any()).to_series()
        if lacking.len():
            logger.warning("%d of %d texts have no answer: their variants are left out", lacking.len(), texts.height)

        def look_up(text: pl.Expr) -> pl.Expr:
            return text.replace_strict(table["text"], table["answer"], default=None, return_dtype=pl.String)

        new = {}
        if fields != "references":
            new["perturbed_input"] = look_up(pl.col("perturbed_input"))
        if fields != "input":
            lists = pl.col("perturbed_references")
            new["perturbed_references"] = in_references(lists, pl.lit(""), lambda text, _: look_up(text), one_id=True)
        return rows.with_columns(**new).filter(has_all.fill_null(value=True))

    return frame.map_batches(over_rows, schema=frame.collect_schema())
