"""The stage `perturb`: every instance unperturbed and under each variant."""

from collections.abc import Collection, Sequence

import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.config import reading_from
from helmframe.perturbations.by_model import Ask
from helmframe.perturbations.parsing import Variant

_PLACE = "\0place"


def perturb(
    instances: pl.LazyFrame,
    variants: Sequence[Variant],
    ask: Ask | None = None,
    data: str | None = None,
    *,
    keep_unchanged: Collection[str] = (),
) -> pl.LazyFrame:
    """Every instance unperturbed and under each variant.

    Args:
        instances: `INSTANCES`.
        variants: the chains asked for; `original` need not be among them.
        ask: answers for what a model makes (`translate`); what has none is left out, and so is all of it by default.
        data: where word tables and contrast sets are looked for before the configured root.
        keep_unchanged: Names of scenarios. Under HELM's rules their unchanged copies count as changed, references
            included, because HELM keeps them: it compares a passage with a question to a plain text.

    Returns:
        `VARIANTS`, one row per (instance, perturbation, seed); `perturbed_input`, `changed` and the like added.
        The variants of an instance stand side by side: near-copies, they take half the room in a Parquet part.
        What HELM drops as unchanged (its input is as it was) stays here, with `changed` false and the references as
        they were.

    Raises:
        PlanError: when it is collected: a perturbation raises, or gives null where there was a text; names it.
        ArgumentError: likewise, it gives something other than text.
    """
    plain = instances.with_row_index(_PLACE).with_columns(
        perturbation=pl.lit(ORIGINAL),
        perturbation_parameters=pl.lit(None, dtype=pl.String),
        perturbation_seed=pl.lit(0, dtype=pl.Int64),
        perturbed_input=pl.col("input"),
        perturbed_references=pl.col("references"),
        adapter_change=pl.lit(None, dtype=pl.String),
        changed=pl.lit(value=False),
        repeat=pl.lit(0, dtype=pl.Int64),
    )
    with reading_from(data):
        changed = [_variant(plain, each, seed, ask, keep_unchanged) for each in variants for seed in range(each.draws)]
    return pl.concat([plain, *changed]).sort(_PLACE, maintain_order=True).drop(_PLACE)


def _variant(
    plain: pl.LazyFrame, variant: Variant, seed: int, ask: Ask | None, keep_unchanged: Collection[str]
) -> pl.LazyFrame:
    frame = plain
    for place, each in enumerate(variant.chain):
        # A chain may hold a perturbation twice; its place keeps the draws apart.
        ids = pl.concat_str("scenario", pl.lit(f"\x1f{place}\x1f"), "instance_id")
        frame = each.through(frame, ids, seed, ask)
    changed = pl.col("perturbed_input").ne_missing(pl.col("input"))
    if variant.compat:
        # HELM's contrast sets alone return the very input, which equals itself
        if keep_unchanged and all(each.entry.takes == "text" for each in variant.chain):
            changed = changed | pl.col("scenario").is_in(list(keep_unchanged))
        kept = pl.when(changed).then("perturbed_references").otherwise("references")
        frame = frame.with_columns(perturbed_references=kept)
    elif any(each.entry.takes == "frame" or each.fields != "input" for each in variant.chain):
        other = pl.col("perturbed_references").ne_missing(pl.col("references"))
        changed = changed | other | pl.col("adapter_change").is_not_null()
    return frame.with_columns(
        perturbation=pl.lit(variant.name),
        perturbation_parameters=pl.lit(variant.parameters),
        perturbation_seed=pl.lit(seed, dtype=pl.Int64),
        changed=changed,
        repeat=pl.lit(seed + 1 if variant.repeats else 0, dtype=pl.Int64),
    )
