"""How sure a model was, answer by answer."""

import polars as pl
import pytest

import helmframe as hf
from helmframe.metrics.confidence import confident_answers
from helmframe.metrics.score import parse
from tests.frames import completions


def test_answers_are_those_that_the_metrics_see() -> None:
    plan = hf.scenario("sampler").where(subject="music").adapt(method="multiple_choice_separate_original")
    results = plan.generate(hf.models.noisy(0.6)).score().rescore("brier_score")
    answers = confident_answers(parse(results.completions))
    assert answers["instance_id"].n_unique() == answers.height == 32
    brier = ((answers["confidence"] - answers["right"]) ** 2).mean()
    assert brier == pytest.approx(results.value("brier_score"))


def test_a_column_can_say_it() -> None:
    frame = completions(["a", "b", None], [[("a", True)]] * 3, sure=pl.Series([0.9, 0.6, 0.5]))
    answers = confident_answers(parse(frame.lazy()), "sure")
    assert answers.select("instance_id", "confidence", "right").rows() == [("id0", 0.9, 1.0), ("id1", 0.6, 0.0)]


def test_without_separately_scored_options_there_is_no_confidence() -> None:
    answers = confident_answers(parse(completions(["a"], [[("a", True)]], logprob=-0.1).lazy()))
    assert answers.is_empty()
    assert {"model", "cluster", "confidence", "right"} <= set(answers.columns)
