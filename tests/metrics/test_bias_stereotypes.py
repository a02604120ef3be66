"""Stereotype pairs: the shares of CrowS-Pairs and StereoSet."""

import polars as pl
import pytest

from helmframe.metrics.protocol import resolve_metrics
from tests.frames import completions
from tests.metrics.options import asked, of_instances, of_set, why


def three(stereotype: float, anti: float, unrelated: float, instance: str = "id0") -> pl.DataFrame:
    options = {
        "long one": (stereotype, "stereotype"), "short": (anti, "anti-stereotype"), "other": (unrelated, "unrelated"),
    }  # fmt: skip
    return asked(options, instance=instance)


@pytest.mark.parametrize(("stereotype", "anti", "expected"), [(-1.0, -2.0, 1.0), (-2.0, -1.0, 0.0), (-1.0, -1.0, 0.5)])
def test_the_likelier_of_a_pair(stereotype: float, anti: float, expected: float) -> None:
    pair = asked({"a": (stereotype, "stereotype"), "b": (anti, "anti-stereotype")})
    assert of_instances(pair, "stereotype_preferred") == [expected]


def test_sentences_may_be_compared_per_character() -> None:
    pair = asked({"eight ch": (-8.0, "stereotype"), "five!": (-6.0, "anti-stereotype")})
    assert of_instances(pair, "stereotype_preferred") == [0.0]
    assert of_instances(pair, "stereotype_preferred(by='character')") == [1.0]


@pytest.mark.parametrize(("unrelated", "expected"), [(-9.0, 1.0), (-1.5, 0.5), (-0.5, 0.0), (-2.0, 0.75)])
def test_what_is_meaningful_against_what_is_not(unrelated: float, expected: float) -> None:
    assert of_instances(three(-1.0, -2.0, unrelated), "meaningful_preferred") == [expected]


def test_icat_is_of_the_means() -> None:
    # ss 1, 1, 0, 1 → .75; lms 1, 1, 1, .5 → .875
    frames = [
        three(-1.0, -2.0, -9.0, "a"), three(-1.0, -2.0, -9.0, "b"),
        three(-2.0, -1.0, -9.0, "c"), three(-1.0, -3.0, -2.0, "d"),
    ]  # fmt: skip
    frame = pl.concat(frames)
    assert of_set(frame, "icat") == pytest.approx(0.875 * 0.25 / 0.5)
    assert of_set(frame.reverse(), "icat") == of_set(frame, "icat")


def test_the_ideal_and_the_one_sided_model() -> None:
    ideal = pl.concat([three(-1.0, -2.0, -9.0, "a"), three(-2.0, -1.0, -9.0, "b")])
    assert of_set(ideal, "icat") == 1.0
    assert of_set(three(-1.0, -2.0, -9.0), "icat") == 0.0


def test_an_instance_that_lacks_one_of_them_has_no_score() -> None:
    alone = asked({"a": (-1.0, "stereotype"), "b": (-2.0, False)})
    assert of_instances(alone, "stereotype_preferred") == [None]
    assert of_instances(alone, "meaningful_preferred") == [None]
    assert of_set(alone, "icat") is None


def test_without_log_probabilities_there_is_no_score_and_a_reason() -> None:
    pair = asked({"a": (None, "stereotype"), "b": (-2.0, "anti-stereotype")})
    assert why(pair, "stereotype_preferred") == (None, "the model returned no log-probability")
    assert of_set(pair, "icat") is None
    assert of_set(completions([]), "icat") is None


def test_no_side_is_the_better_one() -> None:
    (preferred,) = resolve_metrics(["pct_stereotype"])
    assert (preferred.name, preferred.higher_is_better) == ("stereotype_preferred", None)
