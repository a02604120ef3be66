"""The adapter `generation`: the model continues the prompt with the answer's text."""

import polars as pl

from helmframe._core.expressions import correct_references
from helmframe._core.specs import AdapterSpec
from helmframe.adapters.adapt import adapter


@adapter("generation", decoding={"max_tokens": 100, "temperature": 0.0})
def generation(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """`{input_prefix}{input}{input_suffix}{output_prefix}`; an example ends with its first correct reference, or n/a.

    With `multi_label` it ends with all of them, a comma between.

    Source: HELM `GenerationAdapter`.
    """
    correct = correct_references()
    answer = correct.list.join(", ") if spec.multi_label else correct.list.first()
    return variants.with_columns(
        question=pl.concat_str(
            pl.lit(spec.input_prefix), "perturbed_input", pl.lit(spec.input_suffix), pl.lit(spec.output_prefix)
        ),
        answer=pl.when(correct.list.len() > 0).then(answer).otherwise(pl.lit("n/a")),
        choices=pl.lit(None, dtype=pl.List(pl.String)),
    )
