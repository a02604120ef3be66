"""lm-eval's and Inspect's own model objects, and vLLM in the process, answer as the folder they hold does."""

from typing import Any

import pytest

from tests.acceptance.eval_peers import asked
from tests.acceptance.figures import shown
from tests.acceptance.vllm_peer import asked_of_vllm
from tests.demo import demo_model


@pytest.fixture(scope="module")
def lm_eval() -> Any:
    return asked("model_objects_child.py", "lm_eval", str(demo_model()))


@pytest.fixture(scope="module")
def inspect() -> Any:
    return asked("model_objects_child.py", "inspect", str(demo_model()))


@pytest.mark.model
def test_lm_evals_model_answers_as_the_folder(lm_eval: Any) -> None:
    ours, theirs = lm_eval["texts"]
    equal = sum(mine == other for mine, other in zip(ours, theirs, strict=True))
    shown("5", f"greedy answers of lm-eval's HFLM equal to the folder's, of {len(ours)}", equal, len(ours))
    assert ours == theirs
    assert lm_eval["window"][0] == lm_eval["window"][1]
    assert lm_eval["chat"][0] == lm_eval["chat"][1]
    assert lm_eval["repr"].endswith(": generates, scores, chat)")
    assert lm_eval["same"]


@pytest.mark.model
def test_lm_evals_model_scores_as_the_folder(lm_eval: Any) -> None:
    apart = farthest(*lm_eval["logprobs"])
    assert lm_eval["logprobs"][0].count(None) == 1
    shown("5", "largest difference of log-probabilities, lm-eval's HFLM and the folder", f"{apart:.1e}", 1e-4)
    assert apart < 1e-4
    assert lm_eval["plan"] == {"errors": 0, "rows": 4}


@pytest.mark.model
def test_lm_evals_dummy_generates_and_scores(lm_eval: Any) -> None:
    said, generated, scored = lm_eval["dummy"]
    assert "generates, scores" in said
    assert generated == {"errors": 0, "rows": 2}
    assert scored == {"errors": 0, "rows": 4}


@pytest.mark.model
def test_inspects_model_answers_as_the_folder(inspect: Any) -> None:
    ours, theirs = inspect["texts"]
    equal = sum(mine == other for mine, other in zip(ours, theirs, strict=True))
    shown("5", f"greedy answers of Inspect's hf provider equal to the folder's, of {len(ours)}", equal, len(ours))
    assert ours == theirs
    assert inspect["repr"] == "Model('hf/demo': generates, chat)"
    assert inspect["plan"] == {"errors": 0, "rows": 2}
    logprob, token_logprobs = inspect["told"][2:4]
    assert logprob == pytest.approx(sum(token_logprobs))


@pytest.mark.model
def test_details_of_inspects_completions_are_stored(inspect: Any) -> None:
    said, answer, scored = inspect["mock"]
    assert said == "Model('mockllm/model': generates, chat)"
    assert answer == ["A", "hm", None, None, "length", 3, 2]
    assert scored == {"errors": 0, "rows": 2}


@pytest.mark.model
def test_vllm_in_this_process_answers_and_rates_as_the_folder() -> None:
    """On a CPU; a GPU is another matter (tests/models/test_vllm_model.py)."""
    vllm = asked_of_vllm("model_objects_child.py", "vllm", str(demo_model()))
    ours, theirs = vllm["answered"]
    equal = sum(mine == other for mine, other in zip(ours, theirs, strict=True))
    shown("7", f"answers of vLLM in the process equal to the folder's, of {len(ours)}", equal, len(ours))
    apart = farthest(*vllm["logprobs"])
    shown("7", "largest difference of log-probabilities, vLLM and the folder", f"{apart:.1e}", 1e-4)
    first, second = vllm["generated"]
    assert [each and len(each) for each in first] == [each and len(each) for each in second]
    assert None in first  # the stop string was all that came
    told = farthest(*([value for each in answers if each for value in each] for answers in (first, second)))
    shown("7", "the same of generated tokens, until stop strings of several kinds", f"{told:.1e}", 1e-4)
    assert told < 1e-4
    assert ours == theirs
    assert vllm["texts"][0] == vllm["texts"][1]
    assert apart < 1e-4
    assert vllm["repr"].endswith(": generates, scores, token_logprobs, chat)")


def farthest(ours: list[float | None], theirs: list[float | None]) -> float:
    """How far two lists of log-probabilities are apart; where one has none, the other has none."""
    assert [each is None for each in ours] == [each is None for each in theirs]
    return max(abs(mine - other) for mine, other in zip(ours, theirs, strict=True) if mine is not None)  # type: ignore[operator]
