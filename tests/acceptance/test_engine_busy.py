"""The share of the time waited for it in which the local engine answers, over a run of some length."""

from pathlib import Path

import pytest

import helmframe as hf
from helmframe.engines.notes import utilization_notes
from tests.acceptance.figures import shown
from tests.demo import demo_model

pytestmark = [pytest.mark.shared, pytest.mark.model]

QUESTIONS = 60
LEAST = 0.9


def test_the_local_engine_is_busy_while_it_is_waited_for(shared: Path) -> None:
    model = hf.model(str(demo_model()))
    plan = hf.scenario("mmlu", data=str(shared / "scenarios")).where(subject="philosophy").generate(model)
    plan.limit(2).score()  # loading is over then, which would count as answering
    results = plan.limit(QUESTIONS).score(fresh=True)
    (note,) = utilization_notes(results.manifest)
    about = results.manifest["models"][model.name]
    shown("busy", "what a run says", note, "printed")
    shown("busy", f"share of {about['waited']} s for {QUESTIONS} questions", about["busy"], LEAST)
    assert results.manifest["counts"]["generated"] == QUESTIONS
    assert about["busy"] >= LEAST
