"""The stage `perturb`: every instance unperturbed and under each variant."""

from collections.abc import Collection, Sequence

import polars as pl

from helmframe._schema import CONVERSATION, ORIGINAL, TURN
from helmframe.perturbations.fields import ModelQuery
from helmframe.perturbations.parsing import Variant
from helmframe.perturbations.tables import Tables

_ROW = "\0row"
# The placeholders of images, and private characters in their place while a text is perturbed: no perturbation of texts
# changes these.
_PLACEHOLDERS = {f"<image {number}>": chr(0xF8E0 + number) for number in range(1, 10)}
_HAS_IMAGE = pl.col("content").list.eval(pl.element().struct.field("type") == "image").list.any().fill_null(value=False)


def perturb(
    instances: pl.LazyFrame,
    variants: Sequence[Variant],
    query: ModelQuery | None = None,
    data: str | None = None,
    *,
    keep_unchanged: Collection[str] = (),
) -> pl.LazyFrame:
    """Return every instance unperturbed and under each variant.

    Args:
        instances: `INSTANCES`.
        variants: The requested chains. `original` need not be among them.
        query: A function that runs the prompts of perturbations that use a model (`translate`). Rows whose text has no
            completion are skipped. By default no text has one.
        data: The root of word tables and contrast sets, which has priority over the configured root.
        keep_unchanged: Names of scenarios. Under HELM's rules, their unchanged copies count as changed, references
            included. HELM keeps them because it compares a passage with a question to a plain text.

    Returns:
        `VARIANTS`, one row per (instance, perturbation, seed), with `perturbed_input`, `changed` and other columns
        added. The variants of an instance are next to each other: near-copies take half the space in a Parquet file.
        Variants that HELM drops because the input is unchanged are included, with `changed` false and the original
        references. A turn of a conversation counts as changed if an earlier turn is, because its prompt contains both.

    Raises:
        PlanError: On collection: a perturbation raises, or returns null for a text; the message names it.
        ArgumentError: On collection: a perturbation does not return text.
    """
    with_images = bool(variants) and bool(instances.select(_HAS_IMAGE.any()).collect().item())
    plain = instances.with_row_index(_ROW).with_columns(
        perturbation=pl.lit(ORIGINAL),
        perturbation_parameters=pl.lit(None, dtype=pl.String),
        perturbation_seed=pl.lit(0, dtype=pl.Int64),
        perturbed_input=pl.col("input"),
        perturbed_references=pl.col("references"),
        adapter_change=pl.lit(None, dtype=pl.String),
        content_change=pl.lit(None, dtype=pl.String),
        changed=pl.lit(value=False),
        repeat=pl.lit(0, dtype=pl.Int64),
    )
    tables = Tables.of(data)
    changed = [
        _apply_variant(plain, variant, seed, query, keep_unchanged, tables, with_images=with_images)
        for variant in variants
        for seed in range(variant.draws)
    ]
    rows = pl.concat([plain, *changed]).sort(_ROW, maintain_order=True).drop(_ROW)
    if TURN not in rows.collect_schema():
        return rows
    conversation = ["scenario", CONVERSATION, "perturbation", "perturbation_seed"]
    return rows.with_columns(pl.col("changed").cum_max().over(conversation, order_by=TURN))


def _apply_variant(
    plain: pl.LazyFrame,
    variant: Variant,
    seed: int,
    query: ModelQuery | None,
    keep_unchanged: Collection[str],
    tables: Tables,
    *,
    with_images: bool,
) -> pl.LazyFrame:
    frame = _hidden_placeholders(plain) if with_images else plain
    has_turns = CONVERSATION in plain.collect_schema()
    for position, link in enumerate(variant.chain):
        # all turns of a conversation have the same instructions
        instance = CONVERSATION if has_turns and link.entry.takes == "frame" else "instance_id"
        # A chain may contain a perturbation twice; its position makes the random numbers different.
        ids = pl.concat_str("scenario", pl.lit(f"\x1f{position}\x1f"), instance)
        frame = link.apply(frame, ids, seed, query, tables=tables)
    if with_images:
        shown = pl.col("perturbed_input").str.replace_many(list(_PLACEHOLDERS.values()), list(_PLACEHOLDERS))
        frame = frame.with_columns(perturbed_input=pl.when(_HAS_IMAGE).then(shown).otherwise("perturbed_input"))
    changed = pl.col("perturbed_input").ne_missing(pl.col("input"))
    if variant.compat:
        # only HELM's contrast sets return the same input object, which is equal to itself
        if keep_unchanged and all(link.entry.takes == "text" for link in variant.chain):
            changed = changed | pl.col("scenario").is_in(list(keep_unchanged))
        references = pl.when(changed).then("perturbed_references").otherwise("references")
        frame = frame.with_columns(perturbed_references=references)
    elif any(link.entry.takes == "frame" or link.fields != "input" for link in variant.chain):
        other = pl.col("perturbed_references").ne_missing(pl.col("references"))
        changed = changed | other | pl.col("adapter_change").is_not_null()
    if any(link.entry.takes == "image" for link in variant.chain):
        changed = changed | pl.col("content_change").is_not_null()
    return frame.with_columns(
        perturbation=pl.lit(variant.name),
        perturbation_parameters=pl.lit(variant.parameters),
        perturbation_seed=pl.lit(seed, dtype=pl.Int64),
        changed=changed,
        repeat=pl.lit(seed + 1 if variant.repeats else 0, dtype=pl.Int64),
    )


def _hidden_placeholders(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return the frame with private characters for the placeholders of images, for rows with images."""
    hidden = pl.col("perturbed_input").str.replace_many(list(_PLACEHOLDERS), list(_PLACEHOLDERS.values()))
    return frame.with_columns(perturbed_input=pl.when(_HAS_IMAGE).then(hidden).otherwise("perturbed_input"))
