"""Whatever a model function raises or returns, a run ends: rows fail, no completion is given to another row."""

import asyncio
import concurrent.futures
import gc
import subprocess
import sys
import threading
import time
from collections import Counter, UserList, UserString, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import helmframe as hf
from tests.acceptance.figures import shown

pytestmark = pytest.mark.soak

ROWS = 40
BAD = 17


class NoText(Exception):  # noqa: N818 - the class name is part of the error rows
    """`str()` and `repr()` raise."""

    def __str__(self) -> str:
        raise SystemExit(1)

    __repr__ = __str__


class NoAttributes(Exception):  # noqa: N818
    """Attributes that do not exist raise another error than `AttributeError`."""

    def __getattr__(self, name: str) -> object:
        raise KeyError(name)


class NoName(type):
    """A class of classes whose name cannot be read."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise ValueError("no name")


NAMELESS = NoName("Nameless", (Exception,), {})
ERRORS: dict[str, tuple[str, Callable[[], BaseException]]] = {
    "no text": ("NoText: <str() raised SystemExit>", NoText),
    "no attributes": ("NoAttributes", NoAttributes),
    "no class name": ("Nameless", NAMELESS),
    "surrogate": ("ValueError: a\ufffd", lambda: ValueError("a\ud800")),
    "NUL": ("ValueError: a\0b", lambda: ValueError("a\0b")),
    "5 MB": ("ValueError: xxx", lambda: ValueError("x" * 5_000_000)),
    "broken syntax error": ("SyntaxError: x", lambda: SyntaxError("x", (None, None, None, 5))),  # type: ignore[arg-type]
    "asyncio": ("CancelledError", asyncio.CancelledError),
    "futures": ("CancelledError", concurrent.futures.CancelledError),
    "exit": ("SystemExit: 3", lambda: SystemExit(3)),
    "generator": ("GeneratorExit", GeneratorExit),
    "stop": ("StopIteration", StopIteration),
    "async stop": ("StopAsyncIteration", StopAsyncIteration),
    "group": ("BaseExceptionGroup: g", lambda: BaseExceptionGroup("g", [SystemExit(1)])),
    "recursion": ("RecursionError", RecursionError),
    "memory": ("MemoryError", MemoryError),
}


def kinds(make: Callable[[], BaseException]) -> dict[str, Any]:
    """A model of each kind, which fails for one question."""

    def one(prompt: str) -> str:
        if f"question {BAD}." in prompt:
            raise make()
        return prompt.rpartition("question ")[2]

    async def one_async(prompt: str) -> str:
        return one(prompt)

    def many(prompts: list[str]) -> list[str]:
        return [one(prompt) for prompt in prompts]

    async def many_async(prompts: list[str]) -> list[str]:
        return many(prompts)

    class Generates:
        def generate(self, prompts: list[str]) -> list[str]:
            return many(prompts)

    return {
        "function": one,
        "list function": many,
        "async function": one_async,
        "async list function": many_async,
        "object": Generates(),
        "coroutine of a lambda": hf.model(lambda prompt: one_async(prompt), name="m"),
        "timeout": hf.model(one, name="m", timeout=60.0),
        "threads": hf.model(one, name="m", workers=4),
    }


def plan() -> Any:
    """Questions that only their own completion answers."""
    frame = pl.DataFrame({"q": [f"question {number}." for number in range(ROWS)]})
    frame = frame.with_columns(a=pl.col("q").str.strip_prefix("question "))
    plan = hf.scenario(frame, input="q", references="a", name="numbers").metrics("exact_match")
    return plan.adapt(shots=0, input_prefix="", input_suffix="", output_prefix="")


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_fails_its_row_in_every_kind_of_model(error: str) -> None:
    text, make = ERRORS[error]
    for kind, model in kinds(make).items():
        results = plan().generate(model).score()
        errors = results.errors()
        assert errors["instance_id"].to_list() == [f"id{BAD}"], kind
        # asyncio raises two of them as errors of its own
        assert text.partition(":")[0] in errors["error"][0] or "async" in kind or kind.startswith("coroutine"), kind
        assert results.scores.collect()["score"].drop_nulls().to_list() == [1.0] * (ROWS - 1), kind
    shown("15", f"models that raise {text[:40]!r} for one of {ROWS} rows", f"{len(kinds(make))} runs ended", "8")


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_of_a_judge_or_a_translator_fails_its_row(error: str) -> None:
    text, make = ERRORS[error]

    def rates(prompt: str) -> str:
        if f"\n{BAD}.\n" in prompt:
            raise make()
        return "<score>yes</score>"

    judge = hf.judge(rates, "Is {completion} kind?", scale={"yes": 1, "no": 0}, retries=0, name="kind")
    verdicts = plan().generate(hf.models.oracle()).metrics(judge).score().scores.collect()
    assert verdicts["score"].null_count() == 1
    failed = verdicts.filter(pl.col("score").is_null())
    assert text.partition(":")[0] in failed["reason"][0]

    def translates(prompt: str) -> str:
        if f"question {BAD}." in prompt:
            raise make()
        return "une question"

    translation = hf.perturbations.translate(translator=translates, language="French")
    scores = plan().perturb(translation).generate(hf.models.oracle()).score().scores.collect()
    assert scores.filter(pl.col("perturbation") != "original").height == ROWS - 1


class Stop(BaseException):
    """Not an `Exception`, as KeyboardInterrupt."""


def misbehaving() -> dict[str, Any]:
    """Models that fail for one question, and whose failure could reach the others."""

    def bad(prompt: str) -> bool:
        return f"question {BAD}." in prompt

    def right(prompt: str) -> str:
        return prompt.rpartition("question ")[2]

    async def blocks(prompt: str) -> str:
        await asyncio.sleep(0.01)
        if bad(prompt):
            time.sleep(8)
        return right(prompt)

    async def spins(prompt: str) -> str:
        end = time.monotonic() + 8
        while bad(prompt) and time.monotonic() < end:
            pass
        return right(prompt)

    async def swallows(prompt: str) -> str:
        end = time.monotonic() + 8
        while bad(prompt) and time.monotonic() < end:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)
        return right(prompt)

    async def never(prompt: str) -> str:
        if bad(prompt):
            await asyncio.Event().wait()
        return right(prompt)

    def hangs(prompt: str) -> str:
        if bad(prompt):
            time.sleep(8)
        return right(prompt)

    def large(prompt: str) -> str:
        return "x" * 50_000_000 if bad(prompt) else right(prompt)

    def stops(prompt: str) -> str:
        if bad(prompt):
            raise Stop
        return right(prompt)

    async def stops_async(prompt: str) -> str:
        return stops(prompt)

    def wrong_type(prompt: str) -> Any:
        return 7 if bad(prompt) else right(prompt)

    def starts(prompt: str) -> str:
        threading.Thread(target=time.sleep, args=(0.5,), daemon=True).start()
        with subprocess.Popen([sys.executable, "-S", "-c", "pass"]) as process:
            process.wait()
        if bad(prompt):
            raise NoText
        return right(prompt)

    return {
        "blocks the loop": hf.model(blocks, name="m", timeout=1.0),
        "spins on the loop": hf.model(spins, name="m", timeout=1.0),
        "swallows its cancellation": hf.model(swallows, name="m", timeout=1.0),
        "never returns": hf.model(never, name="m", timeout=1.0),
        "hangs in a thread": hf.model(hangs, name="m", timeout=1.0),
        "returns 50 MB": large,
        "raises a BaseException": stops,
        "raises a BaseException, async": stops_async,
        "returns a number": wrong_type,
        "starts threads and processes": starts,
    }


def test_9_a_model_that_misbehaves_fails_one_row() -> None:
    errors, seconds = {}, {}
    for kind, model in misbehaving().items():
        start = time.perf_counter()
        results = plan().generate(model).score()
        seconds[kind] = round(time.perf_counter() - start, 1)
        failed = results.errors()
        errors[kind] = failed["error"].to_list()
        assert failed["instance_id"].to_list() == [f"id{BAD}"], kind
        assert results.scores.collect()["score"].drop_nulls().to_list() == [1.0] * (ROWS - 1), kind
    for kind, texts in errors.items():
        shown("9", f"a model that {kind} for one of {ROWS} rows, {seconds[kind]} s", texts[0][:80], "one row")


def test_9_finished_runs_are_released() -> None:
    submitted = plan().generate(hf.models.oracle())

    def submit(count: int) -> int:
        for _ in range(count):
            submitted.submit().wait()
        gc.collect()
        return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * 4  # KB

    submit(20)
    before = submit(20)
    each = (submit(100) - before) / 100
    alive = sum(isinstance(value, hf.Run) for value in gc.get_objects())
    shown("9", "memory of a finished run in KB, runs alive after 140", f"{each:.0f}, {alive}", "40, 1")
    assert alive <= 1
    assert each < 40


def results_of_threads(texts: list[str]) -> Iterator[str]:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        yield from (each.result() for each in concurrent.futures.as_completed([pool.submit(str, t) for t in texts]))


CONTAINERS: list[Callable[[list[str]], Any]] = [
    list, tuple, deque, UserList, set, frozenset, dict.fromkeys, Counter, iter, reversed, np.array, pl.Series,
    results_of_threads, " ".join, lambda texts: UserString("x" * len(texts)), lambda texts: b"x" * len(texts),
    lambda texts: dict.fromkeys(texts).keys(), lambda texts: {text: text for text in reversed(texts)}.values(),
    lambda texts: dict.fromkeys(texts).items(), lambda texts: map(str, texts), lambda texts: (t for t in set(texts)),
    lambda texts: np.array([texts]), lambda texts: [texts], lambda texts: [[text] for text in texts],
    lambda texts: [{text} for text in texts], lambda texts: pl.DataFrame({text: [text] for text in texts}),
    lambda texts: texts[1:], lambda texts: [*texts, "more"], lambda texts: None, len, lambda texts: "x" * len(texts),
]  # fmt: skip


def test_no_container_gives_a_completion_to_another_row() -> None:
    right = failed = 0
    for number, container in enumerate(CONTAINERS):

        def answers(prompts: list[str], container: Callable[[list[str]], Any] = container) -> Any:
            return container([prompt.rpartition("question ")[2] for prompt in prompts])

        completions = plan().generate(hf.model(answers, name=f"container {number}")).score().completions.collect()
        assert completions.height == ROWS
        wrong = completions.filter(pl.col("completion") != pl.col("data_a"))
        assert wrong.is_empty(), (number, wrong["completion"].head(3).to_list())
        right += completions["completion"].count()
        failed += completions["error"].count()
    assert right + failed == ROWS * len(CONTAINERS)
    shown("7", f"{len(CONTAINERS)} containers: right, failed, misassigned rows", f"{right}, {failed}, 0", "0 last")


def test_noisy_has_its_accuracy_over_equal_inputs_in_every_method() -> None:
    frame = pl.DataFrame({"q": ["the same"] * 429, "o": [["x", "y", "z"]] * 429, "k": [1] * 429})
    plan = hf.scenario(frame, input="q", choices="o", answer="k", name="same")
    values = []
    for method in ("generation", "multiple_choice_joint", "multiple_choice_separate_original"):
        for by in ("prompt", "instance"):
            results = plan.adapt(shots=0, method=method).generate(hf.models.noisy(0.6, by=by)).score()
            values.append(results.value(results.metric_names[0]))
    shown("11", "noisy(0.6) over 429 equal inputs", [round(value, 3) for value in values], "0.6 ± 0.1")
    assert all(abs(value - 0.6) < 0.1 for value in values)
