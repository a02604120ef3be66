"""Log-probabilities asked of any object, through the queue, the store and the scores."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import AnswerError, CapabilityError
from helmframe.models.completion_cache import request_ids
from helmframe.models.model import Completion, Pair, as_scored
from helmframe.models.protocol import from_any
from tests.models.test_fit import ASKED, both, scoring

PAIR = Pair("Ice is", " cold")


class Scorer:
    """Longer options are likelier."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []
        self.at_once = 0
        self.most = 0

    def generate(self, prompts: list[str]) -> list[str]:
        return ["A" for _ in prompts]

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Any]:
        self.pairs += pairs
        return [(-100.0 + len(continuation), 1) for _, continuation in pairs]


def options(model: object, **said: Any) -> hf.Plan:
    frame = pl.DataFrame({"q": ["one", "two"], "options": [["a", "bbb"], ["aaa", "b"]], "right": [1, 0]})
    plan = hf.scenario(frame, input="q", choices="options", answer="right")
    return plan.adapt(**{"method": "multiple_choice_separate_original", **said}).generate(model)


# -- what may be given -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "logprob", "tokens", "of_tokens"),
    [
        (-2.5, -2.5, None, None),
        (-3, -3.0, None, None),
        (0.0, 0.0, None, None),
        ((-2.5, 4), -2.5, 4, None),
        ((-2.5, True), -2.5, None, None),
        ((-2.5, [-1.0, -1.5]), -2.5, None, (-1.0, -1.5)),
        ({"logprob": -2.5, "output_tokens": 4}, -2.5, 4, None),
        ({"token_logprobs": [-1.0, -1.5]}, -2.5, None, (-1.0, -1.5)),
        (Completion("other", logprob=-1.0), -1.0, None, None),
    ],
)
def test_forms_of_a_log_probability(
    given: object, logprob: float, tokens: int | None, of_tokens: tuple[float, ...] | None
) -> None:
    answer = as_scored(given, PAIR, "m")
    assert (answer.text, answer.logprob) == (" cold", logprob)
    assert (answer.output_tokens, answer.token_logprobs) == (tokens, of_tokens)


@pytest.mark.parametrize("given", [0.5, float("nan"), "−2", None, True, (), {"text": "x"}, (-1.0, 2, 3)])
def test_an_invalid_log_probability_raises(given: object) -> None:
    with pytest.raises(AnswerError, match=r"[Mm]odel 'm'"):
        as_scored(given, PAIR, "m")


def test_an_impossible_text_has_minus_infinity() -> None:
    assert as_scored(float("-inf"), PAIR, "m").logprob == float("-inf")


# -- through the sentence --------------------------------------------------------------------------------------------


def test_the_object_receives_pairs_and_the_likeliest_option_scores() -> None:
    model = Scorer()
    results = options(model, shots=0, input_prefix="", output_prefix=" ").score()
    assert sorted(model.pairs) == [("one", " a"), ("one", " bbb"), ("two", " aaa"), ("two", " b")]
    assert results.value("exact_match") == 1.0


def test_scores_are_cached() -> None:
    model = Scorer()
    options(model).score()
    options(model).score()
    assert len(model.pairs) == 4


def test_several_outputs_need_one_request() -> None:
    model = Scorer()
    plan = options(model).generate(model, n=3)
    assert plan.score().completions.collect().height == len(model.pairs) == 4


def test_what_is_decoded_and_what_is_scored_share_the_models_queue() -> None:
    class Busy(Scorer):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

        def enter(self) -> None:
            assert self.lock.acquire(blocking=False), "two calls at once"

        def generate(self, prompts: list[str]) -> list[str]:
            self.enter()
            self.lock.release()
            return ["A" for _ in prompts]

        def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Any]:
            self.enter()
            self.lock.release()
            return super().loglikelihood(pairs)

    model = Busy()
    results = options(model, method=["multiple_choice_joint", "multiple_choice_separate_original"]).score()
    assert results.table()["n_error"].sum() == 0


def test_an_async_object_scores_too() -> None:
    class Async:
        async def generate(self, prompts: list[str]) -> list[str]:
            return ["A" for _ in prompts]

        async def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
            await asyncio.sleep(0)
            return [-100.0 + len(continuation) for _, continuation in pairs]

    assert options(Async()).score().value("exact_match") == 1.0


def test_an_error_of_one_pair_is_an_error_of_one_instance() -> None:
    class Picky(Scorer):
        def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Any]:
            return [
                ValueError("no") if "aaa" in text else value
                for (_, text), value in zip(pairs, super().loglikelihood(pairs), strict=True)
            ]

    table = options(Picky()).score().table(metrics="exact_match")
    assert table.select("n", "n_error").row(0) == (1, 1)


@pytest.mark.parametrize("given", ["text", 3, [-1.0]])
def test_too_few_results_or_another_type_raise(given: object) -> None:
    class Wrong(Scorer):
        def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> Any:
            return given

    completions = options(Wrong()).score().completions.collect()
    assert completions["error"].str.contains("loglikelihood of model 'Wrong'").all()


def test_a_stop_sequence_does_not_cut_the_continuation() -> None:
    frame = pl.DataFrame({"q": ["one"], "options": [["a\nb", "<think>c"]], "right": [0]})
    plan = hf.scenario(frame, input="q", choices="options", answer="right")
    plan = plan.adapt(method="multiple_choice_separate_original").generate(Scorer(), stop=["\n"])
    kept = plan.score().completions.collect()
    assert sorted(kept["completion"]) == [" <think>c", " a\nb"]


def test_a_function_raises_when_the_method_is_set() -> None:
    with pytest.raises(CapabilityError, match="doesn't compute log-probabilities of texts"):
        options(lambda prompt: prompt)
    plan = hf.scenario("sampler").generate(lambda prompt: prompt)
    with pytest.raises(CapabilityError, match="doesn't compute log-probabilities of texts"):
        plan.adapt(method="multiple_choice_separate_original")


def test_only_an_object_with_the_method_gives_them() -> None:
    assert from_any(Scorer()).loglikelihood is not None
    assert from_any(lambda prompt: prompt).loglikelihood is None


# -- toys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["multiple_choice_separate_original", "multiple_choice_separate_calibrated"])
def test_the_oracle_finds_right_options_likelier(method: str) -> None:
    assert options("oracle()", method=method).score().value("exact_match") == 1.0


def test_a_noisy_mock_model_has_its_accuracy() -> None:
    plan = hf.scenario("sampler").adapt(method="multiple_choice_separate_original")
    assert plan.generate("noisy(accuracy=1.0)").score().value("exact_match") == 1.0
    assert plan.generate("noisy(accuracy=0.0)").score().value("exact_match") == 0.0


def test_to_the_echo_all_texts_are_as_likely_a_word() -> None:
    plan = (
        hf.scenario("sampler").where(subject="music").limit(2).adapt(method="language_modeling").metrics("perplexity")
    )
    assert plan.generate("echo()").score().value("perplexity") == pytest.approx(7.389, abs=1e-3)


def test_recorded_log_probabilities_are_given_back() -> None:
    recorded = pl.DataFrame(
        {
            "instance_id": ["id0", "id0", "id1", "id1"],
            "reference_index": [0, 1, 0, 1],
            "completion": [" a", " bbb", " aaa", " b"],
            "logprob": [-1.0, -2.0, -1.0, -2.0],
        }
    )
    assert options(hf.models.replay(recorded)).score().value("exact_match") == 0.5


def test_ranking_toys_say_yes_to_the_right_passage() -> None:
    results = options("oracle()", method="ranking_binary").score()
    said = results.completions.collect().sort("instance_id", "reference_index")
    assert said["completion"].to_list() == ["No", "Yes", "Yes", "No"]


# -- ids -------------------------------------------------------------------------------------------------------------


def test_a_continuation_tells_requests_apart_and_its_lack_changes_no_id() -> None:
    rows, prefixes = both(scoring(), ASKED)
    old = request_ids(rows.drop("continuation"), prefixes, "f", 1)["request_id"].to_list()
    assert request_ids(rows, prefixes, "f", 1)["request_id"].to_list() == old
    yes, no = (
        request_ids(rows.with_columns(continuation=pl.lit(text)), prefixes, "f", 1)["request_id"][0]
        for text in ("yes", "no")
    )
    assert len({yes, no, *old}) == 3
