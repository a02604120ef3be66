"""The adapter `language_modeling`: how likely is the text?"""

import polars as pl

from helmframe._core.specs import AdapterSpec
from helmframe.adapters.adapt import adapter


@adapter(
    "language_modeling",
    defaults={"shots": 0, "input_prefix": "", "input_suffix": "", "output_prefix": "", "output_suffix": ""},
    scores=True,
    ignores=("shots", "instructions", "system", "global_prefix", "global_suffix"),
)
def language_modeling(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """The whole input is the `continuation` of nothing; the stage `fit` cuts it into windows of the model.

    It needs a model that gives log-probabilities of texts it is given (`loglikelihood`).

    Source: HELM `LanguageModelingAdapter`, which uses none of the adapter's texts either.
    """
    del spec
    return variants.with_columns(
        question=pl.lit(""),
        continuation=pl.col("perturbed_input"),
        answer=pl.lit(None, dtype=pl.String),
        choices=pl.lit(None, dtype=pl.List(pl.String)),
    )
