"""The adapter `generation`: the model continues the prompt with the answer's text."""

import polars as pl

from helmframe.adapters.adapt import adapter
from helmframe.expressions import correct_references
from helmframe.specs import AdapterSpec


@adapter("generation", decoding={"max_tokens": 100, "temperature": 0.0})
def generation(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """`{input_prefix}{input}{input_suffix}{output_prefix}`; an example ends with its first correct reference, or n/a.

    Source: HELM `GenerationAdapter`.
    """
    return variants.with_columns(
        question=pl.concat_str(
            pl.lit(spec.input_prefix), "perturbed_input", pl.lit(spec.input_suffix), pl.lit(spec.output_prefix)
        ),
        answer=correct_references().list.first().fill_null("n/a"),
        choices=pl.lit(None, dtype=pl.List(pl.String)),
    )
