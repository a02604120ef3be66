"""The table of faults: each disturbs one run, in its own way, and says how that ended."""

import hashlib
import importlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest

from helmframe.store import files, listing
from tests.faults.disturbed import CANARIES, Bench, ModelFault, Outcome, Undisturbed
from tests.faults.proxy import Proxy, Trouble
from tests.s3_server import BUCKET, S3Server


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    `where` the store is: "disk", or "bucket" on a server that the fault may harm. `disturb` runs the sentence once and
    says how that ended. `plan` is the sentence, of `disturbed.PLANS`.
    """

    name: str
    disturb: Callable[..., str]
    where: str = "disk"
    plan: str = "sampler"

    def __str__(self) -> str:
        return self.name


def tried(
    fault: Fault, folder: Path, undisturbed: Undisturbed, server: "Server | None", patch: pytest.MonkeyPatch
) -> Outcome:
    """Disturb a run, with a store of its own, then see what became of it."""
    store = str(folder / "store")
    if fault.where == "bucket":
        assert server is not None
        store = f"s3://{BUCKET}/stores/{uuid4().hex}"
        for name, value in {**server.running.environment, "HELMFRAME_DATA": f"s3://{BUCKET}"}.items():
            patch.setenv(name, value)
    bench = Bench(folder, store, undisturbed, patch)
    return bench.outcome(fault.disturb(bench, server) if fault.where == "bucket" else fault.disturb(bench))


class Server:
    """The server of a test, which may be killed and started again on its port, with its data."""

    def __init__(self, running: S3Server) -> None:
        self.running = running

    def freeze(self) -> None:
        """Have it take connections, and answer none."""
        self.running.process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        self.running.kill()

    def again(self) -> None:
        self.running = self.running.again()


# -- the model -------------------------------------------------------------------------------------------------------


def unlucky(prompt: str, share: int = 8) -> bool:
    """One prompt in so many, always the same ones."""
    return hashlib.sha256(prompt.encode()).digest()[0] % share == 0


def _raises() -> ModelFault:
    draws = random.Random(7)

    def fault(prompts: list[str], answers: list[Any]) -> Any:
        if draws.random() < 0.3:
            raise ValueError("a bad day")
        return answers

    return fault


def _too_few(prompts: list[str], answers: list[Any]) -> Any:
    return [answer for prompt, answer in zip(prompts, answers, strict=True) if not unlucky(prompt)]


def _wrong_types(prompts: list[str], answers: list[Any]) -> Any:
    wrong = ({"no": "text"}, 3, b"A", ["A"], {"text": 4})
    return [
        wrong[len(prompt) % 5] if unlucky(prompt) else answer for prompt, answer in zip(prompts, answers, strict=True)
    ]


def _none(prompts: list[str], answers: list[Any]) -> Any:
    return [None if unlucky(prompt) else answer for prompt, answer in zip(prompts, answers, strict=True)]


def _no_list(prompts: list[str], answers: list[Any]) -> Any:
    return None if any(map(unlucky, prompts)) else answers


def _ten_megabytes(prompts: list[str], answers: list[Any]) -> Any:
    # blanks, which do not count when the answer is read
    return [
        {**answer, "text": answer["text"] + " " * 10_000_000} if unlucky(prompt, 128) else answer
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def _hangs(prompts: list[str], answers: list[Any]) -> Any:
    if any(unlucky(prompt, 128) for prompt in prompts):
        time.sleep(2)
        raise ValueError("nobody waits for this any more")
    return answers


def _model(fault: ModelFault, **how: Any) -> Callable[[Bench], str]:
    return lambda bench: bench.run(fault, **how)


def _secrets(bench: Bench) -> str:
    """A model function that prints, logs, warns of and raises its keys: none is written or shown by us."""
    for name, key in CANARIES.items():
        bench.patch.setenv(name, key)
    process = bench.child("secrets")
    errors = process.communicate(timeout=60)[1]
    assert "StoreError" in errors
    kept = [path for path in bench.folder.rglob("*") if path.is_file()]
    texts = [errors.encode(), *(path.read_bytes() for path in kept)]
    texts += [str(pl.read_parquet(path).rows()).encode() for path in kept if path.suffix == ".parquet"]
    found = [key for key in CANARIES.values() if any(key.encode() in text for text in texts)]
    assert found == []
    assert any(b"the keys are ***" in text for text in texts)
    return f"done, 0 of {len(CANARIES)} canaries in {len(kept)} files, reprs, logs and tracebacks"


# -- the process -----------------------------------------------------------------------------------------------------


def _killed(at: str, seconds: float = 0.02) -> Callable[..., str]:
    def disturb(bench: Bench, _: Server | None = None) -> str:
        process = bench.child(at, seconds)
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == -signal.SIGKILL, errors
        bench.killed = True
        return "killed"

    return disturb


def _interrupted(times: int, pause: float, seconds: float = 0.03) -> Callable[[Bench], str]:
    def disturb(bench: Bench) -> str:
        process = bench.child(seconds=seconds)
        bench.wait_for_answers(100, process)
        bench.died_at = time.monotonic() - 0.03  # what was not on its way yet may be gone
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(pause)
        errors = process.communicate(timeout=60)[1]
        assert process.returncode in (-signal.SIGINT, 1), errors
        # two lines, or a traceback if the second Ctrl-C came after them
        assert "Interrupted: " in errors or "KeyboardInterrupt" in errors, errors
        return "KeyboardInterrupt"

    return disturb


def _two_writers(bench: Bench, _: Server | None = None) -> str:
    process = bench.child(seconds=0.01)
    bench.wait_for_answers(8, process)
    ended = bench.run(seconds=0.01)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 0, errors
    return f"{ended} and done"


# -- disk and clock --------------------------------------------------------------------------------------------------


def _full_disk(at: str) -> Callable[[Bench], str]:
    def disturb(bench: Bench) -> str:
        process = bench.child(at, 0.01)
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 1, errors
        assert "StoreError: can't write to " in errors
        assert not list(bench.folder.rglob("*.part"))
        bench.killed = True  # what found no room may be gone
        return "StoreError"

    return disturb


def _truncated(share: float) -> Callable[[Bench], str]:
    def disturb(bench: Bench) -> str:
        ended = bench.run(seconds=0.01)
        before = bench.stored()
        parts = [file for file in listing(bench.root) if file.name.startswith("completions/") and "/0" in file.name]
        part = parts[len(parts) // 2].address
        data = files.read(part)
        files.remove([part])
        bench.destroyed = before.keys() - bench.stored().keys()
        assert 0 < len(bench.destroyed) < len(before)
        files.write(data[: int(len(data) * share)], part)
        return f"{ended}, then {len(bench.destroyed)} answers destroyed"

    return disturb


def _clock(jump: float) -> Callable[[Bench], str]:
    def disturb(bench: Bench) -> str:
        now, nanoseconds, calls = time.time, time.time_ns, iter(range(10))

        def fault(prompts: list[str], answers: list[Any]) -> Any:
            if next(calls, None) is None and time.time is now:
                bench.patch.setattr(time, "time", lambda: now() + jump)
                bench.patch.setattr(time, "time_ns", lambda: nanoseconds() + int(jump * 1e9))
            return answers

        return bench.run(fault, seconds=0.01)

    return disturb


# -- the bucket ------------------------------------------------------------------------------------------------------


def _dies(module: str, function: str, number: int, *, down: float = 1.5) -> Callable[[Bench, Server], str]:
    """The server is killed in the middle of this call of the store, and is back after a while."""

    def disturb(bench: Bench, server: Server) -> str:
        reached, calls = threading.Event(), iter(range(1, number))
        owner: Any = importlib.import_module(f"helmframe.store.{module}")
        does = getattr(owner, function)

        def frozen(*args: Any, **kwargs: Any) -> Any:
            if next(calls, None) is None and not reached.is_set():
                server.freeze()
                reached.set()
            return does(*args, **kwargs)

        bench.patch.setattr(owner, function, frozen)
        run = bench.plan(seconds=0.01).submit()
        assert reached.wait(60)
        time.sleep(0.2)  # the request is on its way by now
        server.kill()
        time.sleep(down)
        server.again()
        bench.marked = run.wait(120).errors().height
        return run.status

    return disturb


def _dies_while_scenario_is_read(bench: Bench, server: Server) -> str:
    reached = threading.Event()
    query: Any = importlib.import_module("helmframe.scenarios.query").Query
    stream = query.stream

    def frozen(*args: Any, **kwargs: Any) -> Iterator[Any]:
        if not reached.is_set():
            server.freeze()
            reached.set()
        yield from stream(*args, **kwargs)

    bench.patch.setattr(query, "stream", frozen)
    run = bench.plan().submit()
    assert reached.wait(60)
    time.sleep(0.2)
    server.kill()
    time.sleep(1.5)
    server.again()
    try:
        run.wait(120)
    except OSError as error:
        return type(error).__name__
    return run.status


def _through(kind: str, trouble: Trouble) -> Callable[[Bench, Server], str]:
    """The run's requests to the bucket go through a proxy that gives some of them trouble."""

    def disturb(bench: Bench, server: Server) -> str:
        with _proxied(bench, server, trouble) as proxy:
            ended = bench.run(seconds=0.01)
        assert proxy.met[kind] > 0
        return f"{ended} with {proxy.met[kind]} × {kind}"

    return disturb


def _interrupted_while_sending(times: int, pause: float) -> Callable[[Bench, Server], str]:
    """Every upload takes a while: Ctrl-C comes in the middle of one."""

    def disturb(bench: Bench, server: Server) -> str:
        with _proxied(bench, server, lambda method, *_: "slow" if method == "PUT" else None):
            return _interrupted(times, pause)(bench)

    return disturb


@contextmanager
def _proxied(bench: Bench, server: Server, trouble: Trouble) -> Iterator[Proxy]:
    with Proxy(server.running.endpoint, trouble) as proxy:
        bench.patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy
    bench.patch.setenv("AWS_ENDPOINT_URL", server.running.endpoint)


def _some(kind: str, methods: str, every: int) -> Trouble:
    return lambda method, path, number: kind if method in methods.split() and number % every == 1 else None


FAULTS = (
    Fault("model raises at random", _model(_raises())),
    Fault("model gives too few answers", _model(_too_few)),
    Fault("model gives wrong types", _model(_wrong_types)),
    Fault("model gives None for a row", _model(_none)),
    Fault("model gives None for a batch", _model(_no_list)),
    Fault("model gives 10 MB", _model(_ten_megabytes)),
    Fault("model hangs", _model(_hangs, timeout=0.2)),
    Fault("model tells its keys", _secrets),
    Fault("kill -9 while loading", _killed("load")),
    Fault("kill -9 while asking", _killed("generate")),
    Fault("kill -9 while prefixes are written", _killed("half store/completions 1")),
    Fault("kill -9 while answers are written", _killed("half store/completions 3")),
    Fault("kill -9 after answers were written", _killed("written store/completions 3")),
    Fault("kill -9 while scores are written", _killed("half scores 1")),
    Fault("kill -9 after scores were written", _killed("written scores 1")),
    Fault("kill -9 while the manifest is written", _killed("half manifest.json 1")),
    Fault("kill -9 while the log is written", _killed("half logs 1")),
    Fault("kill -9 while aggregating", _killed("aggregate")),
    Fault("kill -9 while asking, bucket", _killed("generate"), "bucket"),
    Fault("kill -9 while answers are sent, bucket", _killed("sending completions 3"), "bucket"),
    Fault("Ctrl-C", _interrupted(1, 0.0)),
    Fault("Ctrl-C twice, at once", _interrupted(2, 0.0)),
    Fault("Ctrl-C twice", _interrupted(2, 0.05)),
    Fault("Ctrl-C twice, two scenarios", _interrupted(2, 0.05), plan="both"),
    Fault("Ctrl-C six times, two scenarios", _interrupted(6, 0.01), plan="both"),
    Fault("Ctrl-C, slow bucket", _interrupted_while_sending(1, 0.0), "bucket"),
    Fault("Ctrl-C twice, slow bucket", _interrupted_while_sending(2, 0.2), "bucket"),
    Fault("Ctrl-C twice, slow bucket, two scenarios", _interrupted_while_sending(2, 0.2), "bucket", "both"),
    Fault("two writers", _two_writers),
    Fault("two writers, bucket", _two_writers, "bucket"),
    Fault("disk full while answers are written", _full_disk("full store/completions 4")),
    Fault("disk full while scores are written", _full_disk("full scores 1")),
    Fault("a part cut in the middle", _truncated(0.5)),
    Fault("a part emptied", _truncated(0)),
    Fault("clock an hour back", _clock(-3600)),
    Fault("clock an hour ahead", _clock(3600)),
    Fault("server dies while the scenario is read", _dies_while_scenario_is_read, "bucket", "mmlu"),
    Fault("server dies while the store is read", _dies("parts", "read_all", 1), "bucket"),
    Fault("server dies while the store is listed", _dies("completions", "settled_listing", 1), "bucket"),
    Fault("server dies while answers are written", _dies("completions", "write", 3), "bucket"),
    Fault("server dies while scores are written", _dies("runs", "write", 4), "bucket"),
    Fault("server is slow", _through("slow", _some("slow", "GET PUT", 5)), "bucket"),
    Fault("server says 503", _through("503", _some("503", "GET PUT", 4)), "bucket"),
    Fault("uploads are torn", _through("torn upload", _some("torn upload", "PUT", 2)), "bucket"),
    Fault("answers of the server are lost", _through("lost answer", _some("lost answer", "GET PUT", 3)), "bucket"),
    Fault("downloads are torn", _through("torn answer", _some("torn answer", "GET", 3)), "bucket", "mmlu"),
)
