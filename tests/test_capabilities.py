"""What a plan needs and a model lacks: said as soon as both are said, with what to say instead."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._plan import spec_of
from helmframe.errors import CapabilityError

SAMPLER = hf.scenario("sampler").limit(1).adapt(shots=0)


def says_a(prompt: str) -> str:
    return "A"


class Scorer:
    """Says how likely texts are, and generates none."""

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        return [-float(len(continuation)) for _, continuation in pairs]


# A model that says of itself that it gives no log-probabilities.
MUTE = replace(hf.model(says_a), name="mute", token_logprobs=False)


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        (says_a, "Model('says_a': generates)"),
        (Scorer(), "Model('Scorer': scores)"),
        (hf.models.oracle(), "Model('oracle': generates, scores)"),
        ("http://localhost:1/v1#m", "Model('m': generates, scores, chat)"),
        (hf.models.http("http://localhost:1/v1", "m", chat=True), "Model('m': generates, chat)"),
    ],
)
def test_what_a_model_can_do_is_shown(model: Any, shown: str) -> None:
    assert repr(hf.model(model)) == shown


@pytest.mark.parametrize(
    ("say", "message"),
    [
        (
            lambda: SAMPLER.adapt(method="multiple_choice_separate_original").generate(says_a),
            r"'says_a' doesn't compute log-probabilities of texts.*\.adapt\(method='multiple_choice_joint'\)",
        ),
        (
            lambda: SAMPLER.generate(says_a).adapt(method="multiple_choice_separate_original"),
            "'says_a' doesn't compute log-probabilities of texts",
        ),
        (
            lambda: SAMPLER.generate(Scorer()).adapt(method="multiple_choice_joint"),
            r"'Scorer' doesn't generate text.*\.adapt\(method='multiple_choice_separate_original'\)",
        ),
        (
            lambda: SAMPLER.generate(says_a).adapt(chat_template=True),
            r"adapt\(chat_template=True\): model 'says_a' has no chat template. Remove chat_template=True",
        ),
        (
            lambda: SAMPLER.generate(MUTE).metrics("ece_10_bin"),
            r"'mute' doesn't return log-probabilities of .* tokens .*, which metric 'ece_10_bin' needs.*exact_match",
        ),
        (
            lambda: SAMPLER.metrics("max_prob").generate(MUTE),
            "metric 'max_prob' needs",
        ),
    ],
)
def test_an_unsupported_plan_raises_at_once(say: Any, message: str) -> None:
    with pytest.raises(CapabilityError, match=message):
        say()


def test_whether_answers_hold_log_probabilities_may_be_unknown() -> None:
    assert spec_of(SAMPLER.generate(says_a).metrics("ece_10_bin")).models[0].token_logprobs is None


def test_log_probabilities_of_given_texts_are_no_matter_of_what_is_generated() -> None:
    scoring = SAMPLER.adapt(method="multiple_choice_separate_original")
    assert spec_of(scoring.generate(Scorer()).metrics("option_accuracy")).metrics == ("option_accuracy",)


def test_a_model_that_only_scores_receives_scoring_requests() -> None:
    frame = pl.DataFrame({"q": ["one", "two"], "options": [["a", "bbb"], ["aaa", "b"]], "right": [0, 1]})
    plan = hf.scenario(frame, input="q", choices="options", answer="right").generate(Scorer())
    scored = plan.adapt(shots=0, method="multiple_choice_separate_original").metrics("option_accuracy").score()
    assert scored.value("option_accuracy") == 1.0


def test_needs_of_a_scenario_raise_in_explain() -> None:
    with pytest.raises(CapabilityError, match=r"'Scorer' doesn't generate text, which scenario 'sampler' needs"):
        SAMPLER.generate(Scorer()).explain()
