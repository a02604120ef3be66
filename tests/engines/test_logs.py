"""The log of a run: what arrives, in whose log, and that nothing is left behind."""

import asyncio
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe._schema import LOGS
from helmframe.engines import logs
from helmframe.engines.logs import RunLog, child_logging, read_logs, recording
from helmframe.errors import ArgumentError, StoreError
from helmframe.models.protocol import from_any
from helmframe.models.scheduler import ModelQueue, Outcome, queue_of
from helmframe.store import RunFolder

Frames = list[pl.DataFrame]


@contextmanager
def recorded(run_id: str, frames: Frames) -> Iterator[RunLog]:
    with recording(run_id, frames.append) as log:
        yield log


def rows(frames: Frames, *columns: str) -> list[tuple[object, ...]]:
    return pl.concat([pl.DataFrame(schema=LOGS.schema), *frames]).select(columns or "message").rows()


def messages(frames: Frames) -> list[object]:
    return [message for (message,) in rows(frames)]


def ask(queue: ModelQueue, prompts: Sequence[str], scenario: str = "s") -> list[Outcome]:
    def labels(index: int) -> dict[str, str]:
        return {"scenario": scenario, "instance_id": f"id{index}", "model": "m"}

    return [outcome for batch in queue.run(prompts, {}, labels=labels) for outcome in batch]


def logs_of(function: object, prompts: Sequence[str] = ("a",), **said: object) -> Frames:
    """The log of a run in which a model function is asked."""
    frames: Frames = []
    model = from_any(function, **said)  # type: ignore[arg-type]  # what tests say of it
    with recorded("r", frames):
        ask(queue_of(model, model.fingerprint()), prompts)
    return frames


def hooks() -> tuple[object, ...]:
    ours = logging.getLogger("helmframe")
    of_logging = (logging.getLogRecordFactory(), tuple(logging.getLogger().handlers), logging.getLogger().level)
    of_ours = (tuple(ours.handlers), ours.level, ours.propagate)
    return (sys.stdout, sys.stderr, warnings.showwarning, *of_logging, *of_ours)


def test_records_of_any_logger_made_in_a_model_function_arrive_with_their_request() -> None:
    def model(prompt: str) -> str:
        logging.getLogger("mine").warning("about %s", prompt)
        return prompt

    frames = logs_of(model, ["a", "b"])
    columns = ("level", "logger", "run", "scenario", "instance_id", "model", "prompts", "message")
    assert rows(frames, *columns) == [
        ("WARNING", "mine", "r", "s", "id0", "m", 1, "about a"),
        ("WARNING", "mine", "r", "s", "id1", "m", 1, "about b"),
    ]


def test_a_logger_that_does_not_propagate_is_recorded_too() -> None:
    def model(prompt: str) -> str:
        quiet = logging.getLogger("quiet")
        quiet.propagate = False
        quiet.warning("heard")
        return prompt

    assert messages(logs_of(model)) == ["heard"]


def test_what_the_configuration_holds_back_is_not_recorded() -> None:
    def model(prompt: str) -> str:
        logging.getLogger("mine").debug("no")
        return prompt

    assert messages(logs_of(model)) == []


def test_what_a_model_function_prints_is_a_record_per_line_and_still_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def model(prompt: str) -> str:
        print("one\ntwo", end="")
        print(" more")
        print("wrong", file=sys.stderr)
        print("no end", end="")
        return prompt

    frames = logs_of(model)
    assert rows(frames, "level", "logger", "instance_id", "message") == [
        ("INFO", "helmframe.model.stdout", "id0", "one"),
        ("INFO", "helmframe.model.stdout", "id0", "two more"),
        ("INFO", "helmframe.model.stderr", "id0", "wrong"),
        ("INFO", "helmframe.model.stdout", "id0", "no end"),
    ]
    assert capsys.readouterr() == ("one\ntwo more\nno end", "wrong\n")


def test_only_the_last_state_of_a_rewritten_line_is_stored() -> None:
    def model(prompt: str) -> str:
        for percent in (0, 50, 100):
            print(f"\r{percent} %", end="")
        print()
        return prompt

    assert messages(logs_of(model)) == ["100 %"]


def test_what_is_printed_outside_a_model_function_is_not_recorded() -> None:
    frames: Frames = []
    with recorded("r", frames):
        print("a notebook's own output")
    assert messages(frames) == []


def test_a_warning_is_recorded_and_still_shown() -> None:
    def model(prompt: str) -> str:
        warnings.warn("careful", UserWarning, stacklevel=1)
        return prompt

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        frames = logs_of(model)
    ((level, logger, instance, message),) = rows(frames, "level", "logger", "instance_id", "message")
    assert (level, logger, instance) == ("WARNING", "py.warnings", "id0")
    assert str(message).startswith("UserWarning: careful (")
    assert [str(each.message) for each in shown] == ["careful"]


def test_a_handler_that_writes_to_stderr_makes_no_second_record(capsys: pytest.CaptureFixture[str]) -> None:
    def model(prompt: str) -> str:
        handler = logging.StreamHandler(sys.stderr)  # bound to the captured stream
        logger = logging.getLogger("console")
        logger.addHandler(handler)
        logger.warning("once")
        logger.removeHandler(handler)
        return prompt

    assert messages(logs_of(model)) == ["once"]
    assert capsys.readouterr().err == "once\n"


def test_the_traceback_of_a_model_function_that_raises_arrives() -> None:
    def model(prompt: str) -> str:
        raise ValueError("no answer")

    ((logger, instance, message, trace),) = rows(logs_of(model), "logger", "instance_id", "message", "traceback")
    assert (logger, instance) == ("helmframe.models", "id0")
    assert str(message).startswith("ValueError: no answer")
    assert str(trace).endswith('raise ValueError("no answer")\nValueError: no answer')


def test_records_of_async_functions_arrive_with_their_request() -> None:
    async def model(prompt: str) -> str:
        await asyncio.sleep(0.01)
        logging.getLogger("mine").warning(prompt)
        return prompt

    assert sorted(rows(logs_of(model, ["a", "b"]), "instance_id", "message")) == [("id0", "a"), ("id1", "b")]


def test_a_call_of_several_prompts_is_known_by_its_first_and_their_number() -> None:
    def model(prompts: list[str]) -> list[str]:
        print("a batch")
        return prompts

    assert rows(logs_of(model, ["a", "b", "c"]), "instance_id", "prompts") == [("id0", 3)]


def test_a_thread_that_a_model_function_starts_belongs_to_the_run_that_is_open_alone() -> None:
    def model(prompt: str) -> str:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(print, "from a pool").result()
        return prompt

    assert messages(logs_of(model)) == ["from a pool"]


def test_a_thread_of_somebody_else_belongs_to_no_run() -> None:
    frames: Frames = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(time.sleep, 0).result()
        with recorded("r", frames):
            pool.submit(logging.getLogger("other").warning, "mine alone").result()
    assert messages(frames) == []


def test_engine_records_belong_to_the_run_of_their_thread() -> None:
    frames: Frames = []
    with recorded("r", frames):
        thread = threading.Thread(target=copy_context().run, args=(logging.getLogger("helmframe.x").info, "hello"))
        thread.start()
        thread.join()
    assert rows(frames, "level", "scenario", "message") == [("INFO", None, "hello")]


def together(*jobs: Callable[[], object]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


def test_two_runs_at_once_get_their_own_records_only() -> None:
    def model(prompt: str) -> str:
        time.sleep(0.001)
        print(prompt)
        return prompt

    asked = from_any(model)
    queue = queue_of(asked, asked.fingerprint())
    found: dict[str, Frames] = {"a": [], "b": []}

    def run(name: str) -> None:
        with recorded(name, found[name]):
            ask(queue, [f"{name}{number}" for number in range(50)], name)

    together(lambda: run("a"), lambda: run("b"))
    for name, frames in found.items():
        expected = [(name, name, f"id{number}", f"{name}{number}") for number in range(50)]
        assert sorted(rows(frames, "run", "scenario", "instance_id", "message")) == sorted(expected)


def test_a_call_that_two_runs_share_is_in_both_logs_each_with_its_own_request() -> None:
    sizes: list[int] = []
    first = threading.Event()

    def model(prompts: list[str]) -> list[str]:
        sizes.append(len(prompts))
        if prompts == ["hold"]:
            first.wait(30)
        else:
            print("shared")
        return prompts

    asked = from_any(model, batch=4)
    queue = queue_of(asked, asked.fingerprint())
    found: dict[str, Frames] = {"a": [], "b": []}

    def run(name: str) -> None:
        with recorded(name, found[name]):
            ask(queue, ["x", "y"], name)

    def release() -> None:
        while len(queue._open) < 2:
            time.sleep(0.001)
        first.set()

    def hold() -> None:
        ask(queue, ["hold"])

    holder = threading.Thread(target=hold)
    holder.start()
    while not sizes:
        time.sleep(0.001)
    together(lambda: run("a"), lambda: run("b"), release)
    holder.join()
    assert sizes == [1, 4]
    assert rows(found["a"], "scenario", "instance_id", "prompts", "message") == [("a", "id0", 2, "shared")]
    assert rows(found["b"], "scenario", "instance_id", "prompts", "message") == [("b", "id0", 2, "shared")]


def test_an_error_in_a_shared_call_is_in_the_log_of_whose_row_it_is() -> None:
    def model(prompt: str) -> str:
        time.sleep(0.001)
        raise ValueError(prompt)

    asked = from_any(model)
    queue = queue_of(asked, asked.fingerprint())
    found: dict[str, Frames] = {"a": [], "b": []}

    def run(name: str) -> None:
        with recorded(name, found[name]):
            ask(queue, [name] * 20, name)

    together(lambda: run("a"), lambda: run("b"))
    for name, frames in found.items():
        assert {scenario for (scenario,) in rows(frames, "scenario")} == {name}
        assert len(messages(frames)) == 20


def test_nothing_is_left_behind() -> None:
    before, threads = hooks(), threading.active_count()
    with recorded("r", []):
        assert hooks() != before
    assert hooks() == before
    assert threading.active_count() == threads


def test_nothing_is_left_behind_after_an_error() -> None:
    before = hooks()
    with pytest.raises(ZeroDivisionError), recorded("r", []):
        raise ZeroDivisionError
    assert hooks() == before


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_runs_that_overlap_may_end_in_any_order(order: tuple[int, int]) -> None:
    before = hooks()
    opened = [threading.Event(), threading.Event()]
    leave = [threading.Event(), threading.Event()]

    def run(number: int) -> None:
        with recorded(str(number), []):
            opened[number].set()
            leave[number].wait(30)

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread, event in zip(threads, opened, strict=True):
        thread.start()
        event.wait(30)
    for number in order:
        assert hooks() != before
        leave[number].set()
        threads[number].join(30)
    assert hooks() == before


def test_a_stream_that_somebody_else_put_in_place_stays() -> None:
    before = sys.stdout
    other = open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115, PTH123
    try:
        with recorded("r", []):
            sys.stdout = other
        assert sys.stdout is other
    finally:
        sys.stdout = before
        other.close()


def test_a_stream_can_do_whatever_it_could() -> None:
    expected = sys.stdout.encoding, sys.stdout.isatty()
    with recorded("r", []):
        assert (sys.stdout.encoding, sys.stdout.isatty()) == expected


def test_what_the_console_shows_does_not_change(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("helmframe.x").info("before")
    with recorded("r", []):
        logging.getLogger("helmframe.x").info("within")
    handlers = logging.getLogger().handlers
    shown = [record.getMessage() for each in handlers for record in getattr(each, "records", [])]
    assert shown == []
    assert capsys.readouterr().err == ""


def test_two_runs_of_one_id_are_refused() -> None:
    with recorded("r", []), pytest.raises(ArgumentError, match="'r' is already being recorded"), recorded("r", []):
        pass


def test_known_secrets_are_taken_out_of_messages_tracebacks_and_prints(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-1234")
    hf.configure(s3_key="public-key", s3_secret="s3-canary-5678")

    def model(prompt: str) -> str:
        print("key sk-canary-1234", "s3-canary-5678")
        logging.getLogger("mine").warning("with %s", "sk-canary-1234")
        raise ValueError("bad key sk-canary-1234")

    frames = logs_of(model)
    text = str(rows(frames, "message", "traceback"))
    assert "key *** ***" in text
    assert "with ***" in text
    assert "bad key ***" in text
    assert "canary" not in text
    assert "canary" not in caplog.text


def test_rows_are_written_while_the_run_goes_on() -> None:
    frames: Frames = []
    with recording("r", frames.append, flush_seconds=0.01):
        logging.getLogger("mine").warning("early")
        until = time.monotonic() + 10
        while not frames and time.monotonic() < until:
            time.sleep(0.01)
        assert messages(frames) == ["early"]


def test_what_can_not_be_written_waits_for_the_next_try() -> None:
    frames: Frames = []
    broken = [True]

    def sink(frame: pl.DataFrame) -> None:
        if broken.pop() if broken else False:
            raise StoreError("disk full")
        frames.append(frame)

    with recording("r", sink) as log:
        logging.getLogger("mine").warning("kept")
        with pytest.raises(StoreError):
            log.flush()
    assert messages(frames) == ["kept"]


def test_a_log_that_can_not_be_written_at_all_is_an_error() -> None:
    def sink(frame: pl.DataFrame) -> None:
        raise StoreError("disk full")

    with pytest.raises(StoreError, match="disk full"), recording("r", sink):
        logging.getLogger("mine").warning("lost")


def test_more_than_can_wait_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_WAITING", 3)
    frames: Frames = []
    with recorded("r", frames):
        for number in range(10):
            logging.getLogger("mine").warning(str(number))
    assert messages(frames) == [
        "0",
        "1",
        "2",
        "7 records were dropped here, because they came faster than they could be written",
    ]


def test_a_long_message_is_cut() -> None:
    def model(prompt: str) -> str:
        print("x" * 100_000)
        return prompt

    (message,) = messages(logs_of(model))
    assert str(message).endswith("x… (67,232 more characters)")


def test_a_record_whose_arguments_fail_to_format_is_stored() -> None:
    frames: Frames = []
    quiet = logging.getLogger("quiet.format")
    quiet.propagate = False
    quiet.addHandler(logging.NullHandler())
    with recorded("r", frames):
        quiet.warning("%d of", "three")
    assert messages(frames) == ["'%d of' (TypeError in its arguments)"]


def quiet_logger(name: str) -> logging.Logger:
    """A logger whose records no handler formats; pytest adds its own to those that exist when a test begins."""
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    return logger


class UnreadableError(Exception):
    """`str()` and `repr()` of it raise."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


def test_an_error_without_a_text_is_recorded() -> None:
    quiet = quiet_logger("quiet.unreadable")

    def answer(prompt: str) -> str:
        quiet.error(UnreadableError())
        raise UnreadableError

    unreadable = "<repr() of UnreadableError raised ValueError> (ValueError in its arguments)"
    raised = "UnreadableError: <str() raised ValueError> [scenario=s instance_id=id0 model=m]"
    assert messages(logs_of(answer)) == [unreadable, raised]


def test_an_error_whose_traceback_cannot_be_formatted_is_recorded() -> None:
    quiet = quiet_logger("quiet.broken")

    def answer(prompt: str) -> str:
        error = SyntaxError("bad", (None, None, None, 5))  # type: ignore[arg-type]  # a text that is a number
        quiet.error("failed", exc_info=error)
        raise error

    logged, raised = rows(logs_of(answer), "message", "traceback")
    assert str(logged[1]).startswith("SyntaxError: bad (no traceback: formatting it raised AttributeError")
    assert raised == ("SyntaxError: bad [scenario=s instance_id=id0 model=m]", None)


def test_single_surrogates_are_replaced_in_the_log() -> None:
    quiet = quiet_logger("quiet.surrogates")

    def answer(prompt: str) -> str:
        quiet.warning("logged \ud800")
        raise ValueError("raised \ud800")

    frames = logs_of(answer)
    assert messages(frames) == ["logged \ufffd", "ValueError: raised \ufffd [scenario=s instance_id=id0 model=m]"]
    assert "ValueError: raised \ufffd" in str(rows(frames, "traceback")[1])


def test_the_log_is_read_back_by_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with recording("r", lambda frame: folder.add("logs", "all", frame)) as log:
        logging.getLogger("mine").warning("first")
        log.flush()
        logging.getLogger("mine").warning("second")
    found = read_logs(folder)
    assert dict(found.schema) == LOGS.schema
    assert found["message"].to_list() == ["first", "second"]


def test_a_run_without_records_has_an_empty_log(tmp_path: Path) -> None:
    assert dict(read_logs(RunFolder(tmp_path)).schema) == LOGS.schema


def work(number: int) -> int:
    logging.getLogger("child").warning("number %d", number)
    return number


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_records_of_children_arrive_and_are_shown(method: str, caplog: pytest.LogCaptureFixture) -> None:
    frames: list[pl.DataFrame] = []
    processes = multiprocessing.get_context(method)
    with recording("r", frames.append), child_logging() as how, processes.Pool(1, **how) as pool:
        assert pool.map(work, [1, 2]) == [1, 2]
        pool.close()
        pool.join()
    found = pl.concat(frames)
    assert found["message"].to_list() == ["number 1", "number 2"]
    assert found["logger"].unique().to_list() == ["child"]
    assert multiprocessing.current_process().name not in found["process"]
    assert [record.message for record in caplog.records] == ["number 1", "number 2"]


MODEL = """
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
import helmframe as hf

def one(prompt):
    logging.getLogger("child").warning("asked in %s", multiprocessing.current_process().name)
    return "A"

def model(prompts: list[str]) -> list[str]:
    spawn = multiprocessing.get_context("spawn")
    with hf.engines.child_logging() as how, ProcessPoolExecutor(2, mp_context=spawn, **how) as pool:
        return list(pool.map(one, prompts))

if __name__ == "__main__":
    logging.basicConfig(format="%(name)s shown")
    run = hf.scenario("sampler").where(subject="music").limit(4).generate(model).submit()
    run.wait()
    found = run.logs().filter(logger="child")
    print(found.select("scenario", "model", "level").unique().rows(), found.height)
"""


def test_a_model_that_spawns_processes_has_their_records_in_the_log_of_its_run(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    done = subprocess.run([sys.executable, "model.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[('sampler', 'model', 'WARNING')] 4", done.stderr
    assert done.stderr.count("child shown") == 4


def test_a_forked_child_prints_and_logs_without_harm() -> None:
    with recording("r", lambda frame: None):
        child = os.fork()
        if not child:
            logging.getLogger("child").warning("to nobody")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
