"""Toys answer as they promise."""

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, HelmframeError
from helmframe.models import Completion, Model, echo, noisy, oracle, replay
from helmframe.models.model import Row
from helmframe.models.protocol import from_any


def row(**changes: Any) -> Row:
    made: Any = {
        "prompt": "p",
        "scenario": "s",
        "instance_id": "id0",
        "perturbation": "original",
        "perturbation_seed": 0,
        "output_index": 0,
        "right": ["B"],
        "wrong": ["A", "C"],
        "content": None,
        **changes,
    }
    return made  # type: ignore[no-any-return]


def asked(model: Model, rows: Sequence[Row]) -> list[Any]:
    return list(model.generate(rows, {}))


def test_echo_gives_the_last_line_back() -> None:
    assert list(echo().generate(["one\ntwo\n\n"], {})) == ["two"]


def test_oracle_is_right() -> None:
    assert asked(oracle(), [row(), row(right=["D", "E"])]) == ["B", "D"]


def test_oracle_without_a_right_answer_is_an_error_of_that_row() -> None:
    answers = asked(oracle(), [row(right=[]), row()])
    assert isinstance(answers[0], LookupError)
    assert answers[1] == "B"


def test_noisy_has_the_requested_accuracy() -> None:
    answers = asked(noisy(0.7), [row(prompt=f"p{number}") for number in range(10_000)])
    assert abs(answers.count("B") / 10_000 - 0.7) < 0.02
    assert abs(answers.count("A") - answers.count("C")) < 200


@pytest.mark.parametrize(("accuracy", "expected"), [(0, {"A", "C"}), (1, {"B"})])
def test_noisy_at_the_ends(accuracy: float, expected: set[str]) -> None:
    assert set(asked(noisy(accuracy), [row(prompt=f"p{number}") for number in range(100)])) == expected


def test_noisy_answers_the_same_again() -> None:
    rows = [row(prompt=f"p{number}") for number in range(100)]
    assert asked(noisy(0.5), rows) == asked(noisy(0.5), rows) != asked(noisy(0.5, seed=1), rows)


def test_noisy_by_instance_answers_all_variants_alike() -> None:
    rows = [row(prompt=f"p{number}", perturbation_seed=number) for number in range(50)]
    assert len(set(asked(noisy(0.5, by="instance"), rows))) == 1
    assert len(set(asked(noisy(0.5, by="prompt"), rows))) > 1


@pytest.mark.parametrize("by", ["prompt", "instance"])
def test_noisy_has_its_accuracy_where_all_prompts_are_equal(by: str) -> None:
    answers = asked(noisy(0.6, by=by), [row(instance_id=f"id{number}") for number in range(10_000)])
    assert abs(answers.count("B") / 10_000 - 0.6) < 0.02


def test_noisy_draws_anew_for_another_scenario_or_output_and_alike_for_the_same_prompt() -> None:
    def draws(**changes: Any) -> list[Any]:
        return asked(noisy(0.5), [row(instance_id=f"id{number}", **changes) for number in range(100)])

    assert draws() == draws(perturbation="rerun", perturbation_seed=1)
    assert draws() != draws(scenario="t")
    assert draws() != draws(output_index=1)


@pytest.mark.parametrize("model", [oracle(), noisy(0.5), noisy(1.0, by="instance")])
def test_an_instance_without_a_correct_reference_is_an_error_that_was_never_raised(model: Model) -> None:
    answers = asked(model, [row(instance_id=f"id{number}", right=[]) for number in range(20)])
    assert {(type(answer), answer.__traceback__) for answer in answers} == {(LookupError, None)}
    assert str(answers[3]) == "instance 'id3' has no correct reference."


@pytest.mark.parametrize("model", ["oracle()", "noisy(accuracy=0.6)"])
@pytest.mark.parametrize("method", ["generation", "multiple_choice_joint"])
def test_a_scenario_without_references_logs_no_traceback(
    model: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    frame = pl.DataFrame({"q": ["one", "two"], "a": pl.Series([[], []], dtype=pl.List(pl.String))})
    plan = hf.scenario(frame, input="q", references="a").adapt(shots=0, method=method)
    errors = plan.generate(model).score().errors()["error"].to_list()
    assert errors == [f"LookupError: instance 'id{number}' has no correct reference." for number in range(2)]
    assert [record.exc_info for record in caplog.records if record.levelname == "WARNING"] == [None]


def test_a_run_of_noisy_over_equal_inputs_has_its_accuracy() -> None:
    frame = pl.DataFrame({"q": ["the same question"] * 429, "a": "yes"})
    plan = hf.scenario(frame, input="q", references="a").adapt(shots=0).metrics("exact_match")
    value = plan.generate(hf.models.noisy(0.6)).score().value("exact_match")
    assert value is not None
    assert abs(value - 0.6) < 0.07  # three standard errors


def test_noisy_has_an_answer_that_is_never_right_where_no_wrong_one_is_known() -> None:
    assert asked(noisy(0), [row(wrong=[])]) == ["[wrong answer]"]


@pytest.mark.parametrize("accuracy", [-0.1, 1.1, "half", True])
def test_noisy_refuses_what_is_no_probability(accuracy: Any) -> None:
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        noisy(accuracy)


def test_noisy_refuses_another_unit() -> None:
    with pytest.raises(ArgumentError, match="Did you mean 'instance'"):
        noisy(0.5, by="instances")


def test_replay_of_a_mapping_answers_by_prompt() -> None:
    answers = list(replay({"a": "b"}).generate(["a", "c"], {}))
    assert answers[0] == "b"
    assert "no completion was recorded for the prompt that ends in 'c'" in str(answers[1])


def test_replay_of_a_frame_answers_by_its_keys() -> None:
    frame = pl.DataFrame(
        {
            "instance_id": ["id0", "id0", "id1"],
            "perturbation": ["original", "typos", "original"],
            "completion": ["x", "y", None],
            "finish_reason": ["stop", "length", None],
            "token_logprobs": [[-1.0], None, None],
        }
    )
    rows = [row(), row(perturbation="typos"), row(instance_id="id1"), row(instance_id="id2")]
    first, second, third, fourth = asked(replay(frame), rows)
    assert first == Completion("x", finish_reason="stop", token_logprobs=(-1.0,))
    assert second == Completion("y", finish_reason="length")
    assert "is null" in str(third)
    assert "instance_id='id2', perturbation='original'" in str(fourth)


def test_replay_lets_media_through() -> None:
    frame = pl.DataFrame({"instance_id": ["id0"], "completion": ["x"]})
    content = [{"type": "image", "text": None, "media": {"name": "i", "data": b"1"}}]
    assert replay(frame).media
    assert asked(replay(frame), [row(content=content)]) == [Completion("x")]


def test_replay_refuses_two_answers_to_one_row() -> None:
    with pytest.raises(ArgumentError, match="two rows have instance_id='a'"):
        replay(pl.DataFrame({"instance_id": ["a", "a"], "completion": ["x", "y"]}))


def test_replay_refuses_a_frame_without_completions() -> None:
    with pytest.raises(ArgumentError, match="no column 'completion'"):
        replay(pl.DataFrame({"instance_id": ["a"], "text": ["x"]}))


def test_replay_refuses_what_is_no_frame() -> None:
    with pytest.raises(ArgumentError, match=r"replay\(list\): recorded must be a mapping"):
        replay(["x"])  # type: ignore[arg-type]


def test_replays_of_other_content_have_other_fingerprints() -> None:
    one, other = (replay({"a": text}) for text in "xy")
    assert one.fingerprint() == replay({"a": "x"}).fingerprint() != other.fingerprint()
    assert one != other


def test_a_toy_that_looks_at_rows_is_not_durable() -> None:
    frame = pl.DataFrame({"instance_id": ["a"], "completion": ["x"]})
    assert [each.durable for each in (oracle(), noisy(0.5), replay(frame), replay({"a": "b"}))] == [
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("text", "toy"),
    [
        ("oracle()", oracle()),
        ("echo()", echo()),
        ("noisy(accuracy=0.6, seed=2)", noisy(0.6, seed=2)),
        ("noisy(0.6)", noisy(0.6)),
        ("hf.models.noisy(0.6, seed=2)", noisy(0.6, seed=2)),
    ],
)
def test_a_mock_model_may_be_a_text(text: str, toy: Model) -> None:
    assert from_any(text) == toy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("oracel()", "Unknown mock model 'oracel'. Did you mean 'oracle'?"),
        ("noisy(acuracy=0.6)", "noisy() has no argument 'acuracy'. Did you mean 'accuracy'?"),
        ("noisy()", "missing a required argument: 'accuracy'"),
        ("noisy(0.6, 1, 2, 3, 4, 5)", "write name or name(key=value)"),
    ],
)
def test_an_invalid_text_of_a_mock_model_raises(text: str, message: str) -> None:
    with pytest.raises(HelmframeError) as error:
        from_any(text)
    assert message in str(error.value)
