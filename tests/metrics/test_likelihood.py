"""Metrics of log-probabilities, by values worked by hand."""

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helmframe.errors import ArgumentError
from helmframe.metrics.options import SCALES
from helmframe.metrics.protocol import list_metrics, resolve_metrics
from helmframe.stats import aggregate_set
from tests.frames import completions, right
from tests.metrics.options import asked, of_instances, of_set, why

TEXTS = ["ab", "Zoë cd"]  # 2 and 7 bytes
PAIR = completions(
    TEXTS,
    [right("x")] * 2,
    logprob=[-2.0, -4.0],
    token_logprobs=pl.Series([[-1.5, -0.5], [-4.0]]),
    output_tokens=[2, 1],
)
OF_TEXTS = ["logprob", "max_prob"]
OF_SETS = ["perplexity", "byte_perplexity", "bits_per_byte", "logprob_per_byte", "logprob_per_token"]
OF_OPTIONS = [
    "option_accuracy", "option_accuracy_per_token", "option_accuracy_per_character", "option_accuracy_per_byte",
    "predicted_index", "option_max_prob", "correct_probability", "option_brier",
]  # fmt: skip


# -- texts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("logprob", [-2.0, -4.0]),
        ("max_prob", [math.exp(-2), math.exp(-4)]),
        ("num_perplexity_tokens", [2.0, 1.0]),
        ("num_bytes", [2.0, 7.0]),
    ],
)
def test_of_each_text(name: str, expected: list[float]) -> None:
    assert of_instances(PAIR, name) == pytest.approx(expected, abs=1e-12)


def test_bytes_are_those_of_the_completion_as_it_came() -> None:
    assert of_instances(completions([" Zoë\n"], [right("x")]), "num_bytes") == [6.0]


def test_tokens_are_as_the_model_counted_where_none_has_a_log_probability() -> None:
    assert of_instances(completions(["a b"], [right("x")], output_tokens=[2]), "num_perplexity_tokens") == [2.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("perplexity", math.exp(6 / 3)),
        ("logprob_per_token", -6 / 3),
        ("byte_perplexity", math.exp(6 / 9)),
        ("bits_per_byte", 6 / 9 / math.log(2)),
        ("logprob_per_byte", -6 / 9),
    ],
)
def test_of_a_set_they_are_ratios_of_sums(name: str, expected: float) -> None:
    assert of_set(PAIR, name) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", OF_TEXTS)
def test_a_text_without_a_log_probability_has_no_score_and_a_reason(name: str) -> None:
    frame = completions(["ab"], [right("x")], output_tokens=[2])
    assert why(frame, name) == (None, "the model returned no log-probability")


@pytest.mark.parametrize("name", OF_SETS)
@pytest.mark.parametrize("logprobs", [[None, None], [-2.0, None]])
def test_a_set_with_a_text_without_one_has_no_value(name: str, logprobs: list[float | None]) -> None:
    frame = PAIR.with_columns(logprob=pl.Series(logprobs, dtype=pl.Float64))
    assert of_set(frame, name) is None


@pytest.mark.parametrize("name", OF_SETS)
def test_failed_requests_and_nothing_at_all_count_in_no_sum(name: str) -> None:
    failed = completions([None], [right("x")], instance_id=["id9"], cluster="id9")
    assert of_set(pl.concat([PAIR, failed]), name) == of_set(PAIR, name)
    assert of_set(failed, name) is None
    assert of_set(completions([]), name) is None


@pytest.mark.parametrize("name", OF_SETS)
def test_texts_of_no_length_have_no_value(name: str) -> None:
    frame = completions([""], [right("x")], logprob=[0.0], output_tokens=[0])
    assert of_set(frame, name) is None


def test_the_interval_is_the_jackknife_of_the_ratio() -> None:
    frame = completions(["ab", "abcd", "abc"], [right("x")] * 3, logprob=[-1.0, -4.0, -2.0], output_tokens=[2, 4, 3])
    (perplexity,) = resolve_metrics(["perplexity"])
    row = aggregate_set(frame, perplexity.expression(), [], metric="perplexity").row(0, named=True)
    left_out = [math.exp(6 / 7), math.exp(3 / 5), math.exp(5 / 6)]
    mean = sum(left_out) / 3
    assert row["value"] == pytest.approx(math.exp(7 / 9))
    assert row["stderr"] == pytest.approx(math.sqrt(2 / 3 * sum((each - mean) ** 2 for each in left_out)))
    assert row["interval"] == "jackknife, n small"


# -- options ---------------------------------------------------------------------------------------------------------


def test_the_likeliest_option_counts() -> None:
    assert of_instances(asked({"Paris": (-1.0, True), "Lyon": (-2.0, False)}), "option_accuracy") == [1.0]
    assert of_instances(asked({"Paris": (-3.0, True), "Lyon": (-2.0, False)}), "option_accuracy") == [0.0]


def test_of_several_as_likely_the_share_that_is_correct() -> None:
    frame = asked({"Paris": (-4.0, True), "Lyon": (-5.0, False), "Nice": (-4.0, False)})
    assert of_instances(frame, "option_accuracy") == [0.5]
    assert of_instances(frame, "predicted_index(by='sum')") == [0.0]


# each way prefers another option; of 2, 3, 5 and 1 tokens; of 4, 3, 3 and 2 characters; of 4, 6, 3 and 4 bytes
FOUR = {
    "abcd": (-5.0, True, -5.0),
    "äöü": (-6.0, True, -7.0),
    "xyz": (-5.5, True, -5.6),
    "ßß": (-4.9, True, -1.0),
}


@pytest.mark.parametrize(("by", "index"), [("sum", 3), ("token", 2), ("character", 0), ("byte", 1), ("calibrated", 1)])
def test_options_are_compared_by(by: str, index: int) -> None:
    frame = asked(FOUR, tokens=[2, 3, 5, 1])
    assert of_instances(frame, f"predicted_index(by={by!r})") == [index]
    name = {"sum": "", "calibrated": "_calibrated"}.get(by, f"_per_{by}")
    only = frame.with_columns(
        perturbed_references=pl.col("perturbed_references").list.eval(
            pl.struct(
                pl.element().struct.field("text"),
                correct=pl.element().struct.field("text") == list(FOUR)[index],
                tags=pl.element().struct.field("tags"),
            )
        )
    )
    assert of_instances(only, f"option_accuracy{name}") == [1.0]


def test_tokens_of_an_option_are_those_with_log_probabilities() -> None:
    frame = asked({"a": (-4.0, True), "b": (-3.0, False)}, tokens=[1, 1])
    listed = pl.Series([[-2.0, -2.0], [-3.0]])
    assert of_instances(frame, "option_accuracy_per_token") == [0.0]
    assert of_instances(frame.with_columns(token_logprobs=listed), "option_accuracy_per_token") == [1.0]


def test_helms_exact_match_of_separate_options() -> None:
    # HELM: scores -4/2, -3/1, softmax of them
    frame = asked({"two tokens": (-4.0, True), "one": (-3.0, False)}, tokens=[2, 1])
    assert of_instances(frame, "option_accuracy_per_token") == [1.0]
    assert of_instances(frame, "predicted_index") == [0.0]
    assert of_instances(frame, "option_max_prob") == pytest.approx([1 / (1 + math.exp(-1))])


def test_probabilities_among_the_options() -> None:
    frame = asked({"a": (math.log(0.2), True), "b": (math.log(0.3), False), "c": (math.log(0.1), True)})
    assert of_instances(frame, "option_max_prob(by='sum')") == pytest.approx([0.5])
    assert of_instances(frame, "correct_probability") == pytest.approx([0.5])


def test_the_brier_score_of_options_is_that_of_all() -> None:
    frame = asked({"a": (math.log(0.07), True), "b": (math.log(0.02), False), "c": (math.log(0.01), False)})
    assert of_instances(frame, "option_brier") == pytest.approx([0.09 + 0.04 + 0.01])


def test_very_unlikely_options_have_probabilities_too() -> None:
    frame = asked({"a": (-2000.0, True), "b": (-2001.0, False)})
    assert of_instances(frame, "option_max_prob(by='sum')") == pytest.approx([1 / (1 + math.exp(-1))])


@pytest.mark.parametrize("name", [*OF_OPTIONS, "option_accuracy_calibrated"])
def test_an_option_without_a_log_probability_leaves_no_score_and_a_reason(name: str) -> None:
    frame = asked({"a": (-1.0, True, -1.0), "b": (None, False, -1.0)})
    assert why(frame, name) == (None, "the model returned no log-probability")


@pytest.mark.parametrize("name", OF_OPTIONS)
def test_a_completion_that_is_no_option_has_no_score_and_a_reason(name: str) -> None:
    frame = completions(["a"], [[("a", True)]], logprob=[-1.0])
    assert why(frame, name) == (None, "options were not requested one by one")


@pytest.mark.parametrize("name", OF_OPTIONS)
def test_an_option_that_failed_leaves_no_score(name: str) -> None:
    frame = asked({"a": (-1.0, True), "b": (None, False)})
    failed = pl.when(pl.col("reference_index") == 0).then("completion")
    assert of_instances(frame.with_columns(completion=failed), name) == [None]


def test_without_a_request_without_the_question_there_is_nothing_to_calibrate_by() -> None:
    options = {"a": (-1.0, True, -1.0), "b": (-2.0, False, -3.0)}
    frame = asked(options)
    lacking = frame.filter(~((pl.col("request_mode") == "calibration") & (pl.col("reference_index") == 1)))
    assert of_instances(frame, "option_accuracy_calibrated") == [0.0]
    assert of_instances(lacking, "option_accuracy_calibrated") == [None]


@pytest.mark.parametrize("name", OF_OPTIONS)
def test_requests_without_the_question_count_only_there(name: str) -> None:
    both = asked({"a": (-1.0, True, -0.1), "b": (-2.0, False, -0.2)})
    assert of_instances(both, name) == of_instances(both.filter(pl.col("request_mode") == "original"), name)


@pytest.mark.parametrize("name", OF_OPTIONS)
def test_of_several_outputs_the_first_counts(name: str) -> None:
    frame = asked({"a": (-1.0, True), "b": (-2.0, False)})
    second = frame.with_columns(output_index=pl.lit(1, dtype=pl.Int64), logprob=-pl.col("logprob") - 9)
    assert of_instances(pl.concat([second, frame]), name) == of_instances(frame, name)


def test_instances_don_t_mix() -> None:
    frames = [
        asked({"a": (-1.0, True), "b": (-2.0, False)}, instance="one"),
        asked({"a": (-9.0, True), "b": (-8.0, False), "c": (-10.0, True)}, instance="two"),
    ]
    shuffled = pl.concat(frames).sample(fraction=1, shuffle=True, seed=3).sort("instance_id", maintain_order=True)
    assert of_instances(shuffled, "option_accuracy") == [1.0, 0.0]


@pytest.mark.parametrize("name", ["predicted_index(by='tokens')", "option_max_prob(by=1)"])
def test_an_unknown_way_to_compare_raises_when_the_plan_is_built(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"by=(?s:.*)calibrated"):
        resolve_metrics([name])


def test_lm_evals_names() -> None:
    names = [each.name for each in resolve_metrics(["acc_norm", "acc_bytes", "acc_mutual_info"])]
    assert names == ["option_accuracy_per_character", "option_accuracy_per_byte", "option_accuracy_calibrated"]


def test_the_table_of_metrics_says_what_they_need() -> None:
    table = list_metrics().filter(pl.col("name").is_in([*OF_TEXTS, *OF_SETS, *OF_OPTIONS]))
    assert table["needs"].str.contains("logprob").all()


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-8, -1), st.booleans(), st.integers(1, 4), st.integers(-8, -1)), min_size=2, max_size=6
    ),
    st.sampled_from(["token", "calibrated"]),
)
def test_options_are_scored_as_by_helms_code(options: list[tuple[int, bool, int, int]], by: str) -> None:
    asked_for = {
        str(place): (float(given), correct, float(without))
        for place, (given, correct, _, without) in enumerate(options)
    }
    frame = asked(asked_for, tokens=[each[2] for each in options])
    if by == "token":
        scores = [given / tokens for given, _, tokens, _ in options]
    else:
        scores = [float(given - without) for given, _, _, without in options]
    best = [place for place, each in enumerate(scores) if each >= max(scores)]
    answers = [place for place, each in enumerate(options) if each[1]]
    name = "option_accuracy_per_token" if by == "token" else "option_accuracy_calibrated"
    assert of_instances(frame, name) == pytest.approx([len(set(answers) & set(best)) / len(best)])
    assert of_instances(frame, f"predicted_index(by={by!r})") == [best[0]]
    exps = [math.exp(each - max(scores)) for each in scores]
    assert of_instances(frame, f"option_max_prob(by={by!r})") == pytest.approx([max(exps) / sum(exps)])


def test_every_way_to_compare_is_tested_above() -> None:
    assert SCALES == ("sum", "token", "character", "byte", "calibrated")
