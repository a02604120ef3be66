"""What the adapters that ask about one reference at a time share."""

import polars as pl


def each_reference(variants: pl.LazyFrame) -> pl.LazyFrame:
    """One row per reference, in order: `reference_index`, and its text as `reference`; a row without any goes."""
    count = pl.col("perturbed_references").list.len()
    rows = variants.filter(count > 0).with_columns(reference_index=pl.int_ranges(0, count, dtype=pl.Int64))
    place = pl.col("perturbed_references").list.get(pl.col("reference_index"))
    return rows.explode("reference_index").with_columns(reference=place.struct.field("text"))
