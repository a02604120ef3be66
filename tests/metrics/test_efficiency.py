"""What an answer took."""

import pytest

from helmframe.metrics.protocol import resolve_metrics
from helmframe.metrics.score import prepare_set_metric
from tests.frames import completions, right, scored

PRICED = "cost(prices={'m': (0.5, 2)})"


def test_tokens_and_time_are_as_recorded() -> None:
    columns = {"prompt_tokens": [10, None], "output_tokens": [3, None], "latency": [0.5, None]}
    for name, value in (("num_prompt_tokens", 10.0), ("num_output_tokens", 3.0), ("inference_runtime", 0.5)):
        assert scored(["a", None], [right("a")] * 2, name, **columns) == [value, None]


def test_what_the_model_did_not_count_is_unknown_not_zero() -> None:
    assert scored(["a"], [right("a")], "num_output_tokens") == [None]
    assert scored(["a"], [right("a")], PRICED, prompt_tokens=[1], output_tokens=[None]) == [None]


def test_the_cost_follows_the_price_table() -> None:
    columns = {"prompt_tokens": [1000, 1000], "output_tokens": [100, 100], "model": ["m", "other"]}
    assert scored(["a", "b"], [right("a")] * 2, PRICED, **columns) == [pytest.approx(0.0007), None]


def test_speed_is_a_ratio_of_sums() -> None:
    frame = completions(["a", "b", None], output_tokens=[10, 30, None], latency=[1.0, 3.0, None])
    rows, value = prepare_set_metric(frame.lazy(), resolve_metrics(["output_tokens_per_second"])[0])
    assert rows.select(value).collect().item() == 10.0


def test_speed_needs_every_count() -> None:
    frame = completions(["a", "b"], output_tokens=[10, None], latency=[1.0, 3.0])
    rows, value = prepare_set_metric(frame.lazy(), resolve_metrics(["output_tokens_per_second"])[0])
    assert rows.select(value).collect().item() is None


def test_helms_bookkeeping() -> None:
    columns = {
        "finish_reason": ["length", "stop", None],
        "shots_used": [5, 4, 0],
        "prompt_truncated": [False, True, True],
    }
    expected = {
        "finish_reason_length": [1, 0, 0],
        "finish_reason_stop": [0, 1, 0],
        "finish_reason_unknown": [0, 0, 1],
        "num_train_instances": [5, 4, 0],
        "prompt_truncated": [0, 1, 1],
        "num_references": [2, 0, 1],
    }
    references = [right("a", "b"), [], [("a", False)]]
    assert {name: scored(["a"] * 3, references, name, **columns) for name in expected} == expected
