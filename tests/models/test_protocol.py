"""What counts as a model, and what its answers may be."""

import asyncio
import functools
import math
from collections import Counter, deque
from collections.abc import Awaitable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import AnswerError, ArgumentError, NotAModelError
from helmframe.models import Completion, Model, echo, event_loop, noisy
from helmframe.models.model import Pair, as_completion
from helmframe.models.protocol import check_spelling, from_any
from tests.models.tiny import gpt2_folder


def shout(prompt: str) -> str:
    return prompt.upper()


def shout_all(prompts: list[str]) -> list[str]:
    return [prompt.upper() for prompt in prompts]


async def shout_later(prompt: str) -> str:
    await asyncio.sleep(0)
    return prompt.upper()


class Speaker:
    def generate(self, prompts: list[str], **decoding: Any) -> list[str]:
        return [f"{prompt} {sorted(decoding)}" for prompt in prompts]


def answers(model: Model, prompts: Sequence[str], **decoding: Any) -> list[Any]:
    return list(model.generate(prompts, decoding))


def test_a_function_of_str_receives_one_prompt_at_a_time() -> None:
    model = from_any(shout)
    assert (model.name, model.batch, model.workers, answers(model, ["a"])) == ("shout", 1, 1, ["A"])


def test_a_function_of_list_receives_a_batch() -> None:
    model = from_any(shout_all)
    assert (model.batch, answers(model, ["a", "b"])) == (32, ["A", "B"])


def test_an_annotation_written_as_text_is_read() -> None:
    def many(prompts: "Sequence[str]") -> "list[str]":
        return list(prompts)

    assert from_any(many).batch == 32


def test_an_unannotated_function_gets_one_prompt() -> None:
    assert from_any(lambda prompt: prompt).batch == 1


def test_batch_says_that_an_unannotated_function_takes_a_list() -> None:
    model = from_any(lambda prompts: [f"{prompt}!" for prompt in prompts], batch=True)
    assert answers(model, ["a", "b"]) == ["a!", "b!"]


def test_batch_as_a_number_is_the_length_of_the_list() -> None:
    assert from_any(shout_all, batch=7).batch == 7


def test_a_lambda_is_named_lambda() -> None:
    assert from_any(lambda prompt: prompt).name == "lambda"


def test_a_partial_is_named_by_its_function() -> None:
    def prefixed(prompt: str, before: str) -> str:
        return before + prompt

    model = from_any(functools.partial(prefixed, before=">"))
    assert (model.name, answers(model, ["a"])) == ("prefixed", [">a"])


def test_an_async_function_has_as_many_workers_as_it_stands_and_ten_minutes_for_a_call() -> None:
    model = from_any(shout_later)
    assert (model.workers, model.adaptive, model.timeout, answers(model, ["a"])) == (64, True, 600.0, ["A"])


def test_an_async_function_runs_on_the_event_loop() -> None:
    model = from_any(shout_later)
    assert model.generate_async is not None
    assert event_loop.run(_as_coroutine(model.generate_async(["a"], {}))) == ["A"]


def test_an_async_function_of_a_list_receives_a_batch() -> None:
    async def many(prompts: list[str]) -> list[str]:
        return prompts[::-1]

    model = from_any(many)
    assert model.generate_async is not None
    assert event_loop.run(_as_coroutine(model.generate_async(["a", "b"], {}))) == ["b", "a"]


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def test_a_lambda_around_an_async_function_answers() -> None:
    assert answers(from_any(lambda prompt: shout_later(prompt)), ["a"]) == ["A"]


def test_an_object_with_generate_gets_a_list_and_all_decoding() -> None:
    model = from_any(Speaker())
    assert (model.name, model.takes) == ("Speaker", None)
    assert answers(model, ["a"], temperature=0, stop=["x"]) == ["a ['stop', 'temperature']"]


def test_a_callable_object_answers() -> None:
    class Upper:
        name = "upper"

        def __call__(self, prompt: str) -> str:
            return prompt.upper()

    model = from_any(Upper())
    assert (model.name, answers(model, ["a"])) == ("upper", ["A"])


def test_takes_are_the_other_parameters() -> None:
    def answer(prompt: str, max_tokens: int, temperature: float = 0) -> str:
        return f"{prompt} {max_tokens} {temperature}"

    model = from_any(answer)
    assert model.takes == frozenset({"max_tokens", "temperature"})
    assert answers(model, ["a"], max_tokens=5, stop=["x"]) == ["a 5 0"]


def test_a_decoding_argument_of_ones_own_is_no_slip_of_the_keys() -> None:
    takes_any = from_any(Speaker())
    check_spelling(["min_tokens", "repetition_penalty", "max_tokens"], [takes_any])
    with pytest.raises(ArgumentError, match=r"generate\(\) has no argument 'temprature'. Did you mean 'temperature'"):
        check_spelling(["temprature"], [takes_any])


def test_a_model_is_given_back_with_what_changes() -> None:
    assert from_any(echo(), name="mirror").name == "mirror"


def test_workers_are_an_option() -> None:
    assert (from_any(shout, workers=4).workers, from_any(shout_later, workers=4).adaptive) == (4, False)


def test_workers_follow_what_the_model_stands() -> None:
    model = from_any(shout, workers="auto")
    assert (model.workers, model.adaptive) == (64, True)


def test_a_timeout_is_an_option_and_infinity_is_none() -> None:
    assert (from_any(shout).timeout, from_any(shout, timeout=60).timeout) == (None, 60.0)
    assert from_any(shout_later, timeout=math.inf).timeout is None


@pytest.mark.parametrize("timeout", [0, -1, True, "1", math.nan])
def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(ArgumentError, match="timeout"):
        from_any(shout, timeout=timeout)


@pytest.mark.parametrize("given", [42, None, ["a"], {"a": "b"}, b"x"])
def test_what_can_not_answer_is_refused(given: object) -> None:
    with pytest.raises(NotAModelError, match="isn't a model"):
        from_any(given)


def test_a_class_is_refused() -> None:
    with pytest.raises(NotAModelError, match="Speaker isn't a model: it is a class"):
        from_any(Speaker)


def test_a_function_without_a_prompt_is_refused() -> None:
    with pytest.raises(NotAModelError, match="its first argument must be a prompt"):
        from_any(lambda: "a")


def test_a_function_that_needs_something_else_is_refused() -> None:
    def answer(prompt: str, client: object) -> str:
        return f"{client}{prompt}"

    with pytest.raises(NotAModelError, match="also needs client"):
        from_any(answer)


def test_an_address_of_no_model_server_is_refused() -> None:
    with pytest.raises(NotAModelError, match="is an address"):
        from_any("s3://bucket/model")


def test_a_version_needs_a_name() -> None:
    with pytest.raises(ArgumentError, match="needs name="):
        from_any(shout, version="1")


@pytest.mark.parametrize("workers", [0, -1, True, 1.5, "many"])
def test_workers_are_a_number(workers: Any) -> None:
    with pytest.raises(ArgumentError, match="workers"):
        from_any(shout, workers=workers)


def test_a_vouched_function_is_durable_and_known_by_name_and_version() -> None:
    one, other = (from_any(shout, name="loud", version=version) for version in ("1", "2"))
    assert one.durable
    assert one.fingerprint() == from_any(shout, name="loud", version="1").fingerprint() != other.fingerprint()
    assert one != other


def test_other_code_under_one_version_is_refused() -> None:
    from_any(shout, name="twice", version="1")
    with pytest.raises(ArgumentError, match="belongs to other code already"):
        from_any(lambda prompt: prompt.lower(), name="twice", version="1")


def test_the_same_code_defined_again_is_the_same_version() -> None:
    first, second = (lambda prompt: prompt[::-1] for _ in range(2))
    assert from_any(first, name="cell", version="1") != from_any(second, name="cell", version="1")


def test_other_methods_of_one_class_are_other_code() -> None:
    class Two:
        def ask(self, prompt: str) -> str:
            return prompt

        def tell(self, prompt: str) -> str:
            return prompt + "!"

    from_any(Two().ask, name="two", version="1")
    with pytest.raises(ArgumentError, match="belongs to other code already"):
        from_any(Two().tell, name="two", version="1")


def test_models_of_one_function_are_equal() -> None:
    assert from_any(shout) == from_any(shout)
    assert len({from_any(shout), from_any(shout), from_any(shout_all)}) == 2


def test_toys_with_equal_arguments_are_equal() -> None:
    assert noisy(0.5) == noisy(0.5) != noisy(0.6)


def test_bound_methods_of_one_object_are_equal() -> None:
    class Mind:
        def ask(self, prompt: str) -> str:
            return prompt

    mind = Mind()
    assert from_any(mind.ask) == from_any(mind.ask) != from_any(Mind().ask)


def test_too_few_answers_are_an_error_that_says_so() -> None:
    with pytest.raises(AnswerError, match=r"'lambda' returned 1 completion for 2 prompts\. Return a list with one"):
        answers(from_any(lambda prompts: prompts[:1], batch=True), ["a", "b"])


def test_text_in_place_of_a_list_is_an_error() -> None:
    with pytest.raises(AnswerError, match=r"'lambda' returned a value of type str for 3 prompts\. Return a list"):
        answers(from_any(lambda prompts: "yes", batch=True), ["a", "b", "c"])


UNORDERED: list[Any] = [set, frozenset, dict.fromkeys, Counter, lambda texts: dict.fromkeys(texts).keys(), iter]
UNORDERED += [lambda texts: dict(enumerate(texts)).values(), lambda texts: (text for text in texts), tuple.__iter__]


@pytest.mark.parametrize("container", UNORDERED)
def test_containers_without_a_guaranteed_order_are_an_error_that_names_their_type(container: Any) -> None:
    given = container(("x", "y"))
    error = f"Model 'lambda' returned a value of type {type(given).__name__} for 2 prompts. Return a list with one "
    with pytest.raises(AnswerError) as raised:
        answers(from_any(lambda prompts: given, batch=True), ["a", "b"])
    assert str(raised.value) == f"{error}completion per prompt, in the order of the prompts."


@pytest.mark.parametrize("container", [list, tuple, deque, np.array, pl.Series])
def test_containers_that_keep_their_order_are_accepted(container: Any) -> None:
    found = answers(from_any(lambda prompts: container(prompts), batch=True), ["b", "a"])
    assert found == ["b", "a"]


@pytest.mark.parametrize("given", [{"x"}, ["x"], [["x"]], ("x", "y")])
def test_a_list_or_set_in_place_of_one_completion_is_an_error_of_its_row(given: object) -> None:
    with pytest.raises(AnswerError, match=f"Model 'm' returned .* \\({type(given).__name__}\\)"):
        as_completion(given, "m")


def test_an_async_function_that_returns_a_set_is_an_error_too() -> None:
    async def answer(prompts: list[str]) -> set[str]:
        return set(prompts)

    with pytest.raises(AnswerError, match="returned a value of type set for 2 prompts"):
        answers(from_any(answer), ["a", "b"])


def test_log_probabilities_without_an_order_are_an_error() -> None:
    class Scorer:
        def loglikelihood(self, pairs: list[tuple[str, str]]) -> set[float]:
            return {-1.0, -2.0}

    model = from_any(Scorer())
    assert model.loglikelihood is not None
    with pytest.raises(AnswerError, match=r"type set for 2 pairs\. Return a list with one log-probability per pair"):
        model.loglikelihood([Pair("a", "b"), Pair("c", "d")], {})


def test_an_object_reports_whether_a_continuation_is_greedy() -> None:
    class Scorer:
        def loglikelihood(self, pairs: list[tuple[str, str]]) -> list[object]:
            return [(-1.0, True), (-2.0, np.bool_(0)), (-3.0, 2), -4.0]

    model = from_any(Scorer())
    assert model.loglikelihood is not None
    scored = model.loglikelihood([Pair("a", text) for text in "bcde"], {})
    assert [completion.is_greedy for completion in scored if isinstance(completion, Completion)] == [
        True, False, None, None,
    ]  # fmt: skip


class Color(str, Enum):  # noqa: UP042 - a StrEnum has another text
    """Text that is no plain `str`: `str(Color.RED)` is "Color.RED"."""

    RED = "red"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("yes", Completion("yes")),
        (Completion("yes", logprob=-1), Completion("yes", logprob=-1)),
        ({"text": "yes", "finish_reason": "stop", "id": 3}, Completion("yes", finish_reason="stop")),
        (np.str_("yes"), Completion("yes")),
        ("\ud83d\ude00", Completion("😀")),
        ("a\ud800", Completion("a\ufffd")),
        (Color.RED, Completion("red")),
    ],
)
def test_an_answer_may_be(given: object, expected: Completion) -> None:
    assert as_completion(given, "m") == expected


@pytest.mark.parametrize(
    "given", [None, 3, b"yes", ["yes"], {"txt": "yes"}, {"text": None}, Completion("a", logprob=True)]
)
def test_an_answer_may_not_be(given: object) -> None:
    with pytest.raises(AnswerError, match="Model 'm' returned"):
        as_completion(given, "m")


def test_an_exception_as_answer_is_raised() -> None:
    with pytest.raises(KeyError):
        as_completion(KeyError("x"), "m")


def test_the_fingerprint_of_a_function_follows_its_helper() -> None:
    helpers: Mapping[str, Any] = {"help": lambda text: text}
    scope: dict[str, Any] = dict(helpers)
    exec("def answer(prompt): return help(prompt)", scope)
    before = from_any(scope["answer"]).fingerprint()
    scope["help"] = lambda text: text + "!"
    assert from_any(scope["answer"]).fingerprint() != before


@pytest.mark.parametrize("most", [0, True, 1.5, "1024"])
def test_a_limit_of_requests_is_a_number(most: Any) -> None:
    assert from_any(lambda prompt: prompt, max_request_length=1024).max_request_length == 1024
    with pytest.raises(ArgumentError, match=r"max_request_length=.*must be an integer ≥ 1"):
        from_any(lambda prompt: prompt, max_request_length=most)


def test_functions_of_the_namespace_are_listed_with_their_arguments() -> None:
    table = hf.list_models().filter(kind="mock")
    assert table["name"].to_list() == ["echo", "noisy", "oracle", "replay"]
    assert table.filter(name="noisy")["arguments"].item() == "accuracy, seed=0, by='prompt'"
    functions = {name for name in hf.models.__all__ if name.islower()}
    assert set(hf.list_models().filter(pl.col("kind").is_in(["mock", "backend"]))["name"]) == functions
    assert "groq:" in hf.list_models().filter(kind="provider")["name"]


def test_checkpoints_below_the_models_folder_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_MODELS", str(tmp_path))
    gpt2_folder(tmp_path / "tiny")
    gpt2_folder(tmp_path / "org" / "tiny")
    (tmp_path / "no_weights").mkdir()
    (tmp_path / "no_weights" / "config.json").write_text("{}")
    table = hf.list_models().filter(kind="checkpoint")
    assert table["name"].to_list() == [str(tmp_path / "org" / "tiny"), str(tmp_path / "tiny")]
