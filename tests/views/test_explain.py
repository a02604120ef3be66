"""What a plan says about itself before it runs."""

import polars as pl
import pytest

import helmframe as hf
from helmframe import _pipeline
from helmframe.views import explain


def test_of_a_large_scenario_the_first_instances_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pipeline, "SHARD_ROWS", 10)
    monkeypatch.setattr(explain, "MOST_COUNTED", 20)
    frame = pl.DataFrame({"q": [f"Question {i}" for i in range(50)], "a": ["yes"] * 50})
    plan = hf.scenario(frame, input="q", references="a").perturb("lowercase").generate(lambda prompt: "yes")
    text = plan.explain()
    assert "counts are scaled up from the first 20 of 50 instances" in text
    assert "50 instances" in text
    assert "100 variants" in text
    assert "100 distinct requests" in text


def test_of_others_all_are_counted() -> None:
    frame = pl.DataFrame({"q": [f"Question {i}" for i in range(50)], "a": ["yes"] * 50})
    text = hf.scenario(frame, input="q", references="a").generate(lambda prompt: "yes").explain()
    assert "50 instances" in text
    assert "scaled" not in text
