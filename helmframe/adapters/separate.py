"""The adapters that ask about each option on its own: how likely is it as the answer?

They need a model that gives log-probabilities of texts it is given (`loglikelihood`).
"""

import polars as pl

from helmframe._core.specs import AdapterSpec
from helmframe.adapters.adapt import adapter
from helmframe.adapters.generation import generation
from helmframe.adapters.layout import cue_end
from helmframe.adapters.references import each_reference

ORIGINAL, CALIBRATION = "original", "calibration"
# What stands for the question where it is left out.
NOTHING_ASKED = "Answer:"
_BARE = {"shots": 0, "input_prefix": "", "input_suffix": "", "output_prefix": " ", "output_suffix": ""}


@adapter("multiple_choice_separate_original", defaults=_BARE, examples=generation, scores=True)
def multiple_choice_separate_original(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """One request per option: `{input_prefix}{input}{input_suffix}{output_prefix}`, and the option as `continuation`.

    What is asked about starts with the space that `output_prefix` ends with, as words do, and ends with
    `output_suffix`. An example is one of `generation`.

    Source: HELM `MultipleChoiceSeparateAdapter`, whose prompt is ours and the continuation.
    """
    return (
        each_reference(variants)
        .with_columns(
            question=pl.concat_str(
                pl.lit(spec.input_prefix), "perturbed_input", pl.lit(spec.input_suffix), pl.lit(spec.output_prefix)
            ),
            continuation=pl.concat_str(
                pl.lit(cue_end(spec)), "reference", pl.lit(spec.output_suffix), pl.lit(spec.global_suffix)
            ),
            request_mode=pl.lit(ORIGINAL),
        )
        .with_columns(answer=pl.lit(None, dtype=pl.String), choices=pl.lit(None, dtype=pl.List(pl.String)))
        .drop("reference")
    )


@adapter("multiple_choice_separate_calibrated", defaults=_BARE, examples=generation, scores=True)
def multiple_choice_separate_calibrated(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """As `multiple_choice_separate_original`, and each option once more without examples and question.

    `Answer:` stands for the question there (`request_mode` "calibration"); what an option is likely by itself is taken
    off (metric `option_accuracy_calibrated`).

    Source: HELM `MultipleChoiceCalibratedAdapter`; Brown et al. 2020, section 2.4.
    """
    asked = multiple_choice_separate_original(variants, spec)
    without = pl.lit(spec.input_prefix + NOTHING_ASKED + spec.input_suffix + spec.output_prefix)
    modes = pl.concat_list(pl.lit(ORIGINAL), pl.lit(CALIBRATION))
    return (
        asked.with_columns(request_mode=modes)
        .explode("request_mode")
        .with_columns(
            question=pl.when(pl.col("request_mode") == CALIBRATION).then(without).otherwise(pl.col("question"))
        )
    )
