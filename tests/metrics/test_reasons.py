"""Nothing is null without a reason that says what to do, and every score has a key of its own."""

import polars as pl
import pytest

import helmframe as hf
from helmframe._schema import SCORES
from helmframe.metrics.protocol import METRICS, resolve_metrics
from helmframe.metrics.score import missing_reason, prepare_set_metric, score
from tests.frames import completions, right
from tests.metrics.options import asked, why

OPTIONS = asked({"Paris": (-1.0, True, -1.0), "Lyon": (-2.0, False, -3.0)})
PLAIN = OPTIONS.filter(pl.col("request_mode") == "original")
OF_OPTIONS = [
    f"{name[:-1]}2" if name.endswith("@k") else name
    for name in METRICS
    if METRICS[name].level != "set"
    and METRICS[name].function.__module__.startswith("helmframe.")
    and {"logprob", "reference_index", "choices"} & {*METRICS[name].needs}
]


@pytest.mark.parametrize(
    "frame",
    [
        PLAIN,
        OPTIONS.filter(pl.col("request_mode") == "calibration"),
        OPTIONS.filter((pl.col("reference_index") == 0) | (pl.col("request_mode") == "original")),
        PLAIN.with_columns(output_tokens=pl.lit(None, dtype=pl.Int64)),
        PLAIN.with_columns(logprob=pl.lit(None, dtype=pl.Float64)),
        PLAIN.with_columns(logprob=float("-inf")),
        PLAIN.with_columns(reference_index=pl.lit(7, dtype=pl.Int64)),
        completions(["Paris"], [right("Paris")]),
    ],
    ids=["plain", "calibration", "half", "no tokens", "no logprob", "impossible", "no reference", "text"],
)
def test_a_score_of_options_is_a_number_or_has_a_reason(frame: pl.DataFrame) -> None:
    scores = score(frame.lazy(), OF_OPTIONS).collect()
    assert scores.filter(pl.col("score").is_null() & pl.col("reason").is_null())["metric"].to_list() == []


def test_the_reason_says_what_to_write() -> None:
    value, reason = why(PLAIN, "option_accuracy_calibrated")
    assert value is None
    assert reason is not None
    assert "adapt(method='multiple_choice_separate_calibrated')" in reason
    assert why(PLAIN.with_columns(output_tokens=pl.lit(None, dtype=pl.Int64)), "option_accuracy_per_token") == (
        None,
        "the model returned no token counts; option_accuracy needs none",
    )
    assert why(completions(["a"], [right("a")]), "predicted_index")[1] == "options were not requested one by one"


def test_a_failed_request_needs_no_reason_but_its_error() -> None:
    failed = PLAIN.with_columns(
        completion=pl.lit(None, dtype=pl.String), logprob=pl.lit(None, dtype=pl.Float64), error=pl.lit("Timeout")
    )
    assert why(failed, "option_accuracy") == (None, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("perplexity", "the model returned no log-probability"),
        ("ece", "no answer has a probability"),
    ],
)
def test_metrics_of_sets_say_why_there_is_no_value(name: str, expected: str) -> None:
    (each,) = resolve_metrics([name])
    rows, value = prepare_set_metric(completions(["a"], [right("a")]).lazy(), each)
    found, reason = rows.select(value=value, reason=missing_reason(rows, each)).collect().row(0)
    assert found is None
    assert reason.startswith(expected)


def test_the_table_shows_it() -> None:
    frame = pl.DataFrame({"input": ["1+1?", "2+2?"], "references": ["2", "4"]})
    table = hf.scenario(frame).generate(hf.models.echo()).metrics("perplexity").score().table()
    assert table.select("value", "interval").rows() == [(None, "no value: the model returned no log-probability")]


def test_scores_of_options_have_keys_of_their_own() -> None:
    scores = score(OPTIONS.lazy(), ["logprob", "num_bytes", "option_accuracy", "exact_match"]).collect()
    assert not scores.select(SCORES.key).is_duplicated().any()
    one = scores.filter(metric="logprob").select("reference_index", "request_mode", "score").rows()
    assert one == [(0, "original", -1.0), (1, "original", -2.0), (0, "calibration", -1.0), (1, "calibration", -3.0)]
    assert scores.filter(metric="option_accuracy").select("reference_index", "output_index").row(0) == (None, None)
