"""A run in a process of its own that ends itself, as `kill -9` does, at the place that is said."""

import json
import logging
import os
import resource
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import helmframe as hf
from helmframe import _pipeline, config
from helmframe._plan import spec_of
from helmframe.results import _tables as tables
from helmframe.store import completions, files
from tests.faults import disturbed


def main(plan: str, folder: str, fault: str, seconds: float) -> None:
    """Say `fault` as `STAGE`, or as `MOMENT FOLDER NUMBER` for the writing of a file."""
    patch = pytest.MonkeyPatch()
    disturbed.often(patch)
    disturbed.watch_appends(patch, Path(folder, "acknowledged"))
    model_fault = None
    if fault == "generate":
        model_fault = _die_after(12)
    elif fault == "secrets":
        model_fault = _tells
        files.WAITS = ()
        hf.configure(s3_key=os.environ["SAID_ACCESS_KEY_ID"], s3_secret=os.environ["SAID_SECRET"])
    elif fault in STAGES:
        STAGES[fault](patch)
    elif fault:
        moment, where, number = fault.split()
        WRITES[moment](patch, where, int(number))
    asked = disturbed.model(Path(folder, "answered"), model_fault, seconds)
    sentence = disturbed.PLANS[plan]().generate(asked)
    results = sentence.score()
    print(results.table())
    if fault == "secrets":
        _show(sentence, results, Path(folder, "shown"))


def _tells(prompts: list[str], answers: list[Any]) -> Any:
    """What a careless model function does with its keys."""
    keys = " ".join(os.environ[name] for name in disturbed.CANARIES)
    print(f"the keys are {keys}")
    logging.getLogger("mine").error("the keys are %s", keys)
    warnings.warn(f"the keys are {keys}", stacklevel=2)
    if len(prompts[0]) % 8 == 0:
        raise ValueError(f"401: no such key: {keys}")
    return answers


def _show(plan: hf.Plan, results: hf.Results, file: Path) -> None:
    """Everything that can be looked at, in a file; then an error that nobody catches."""
    run = hf.run(hf.runs()["run"][0])
    texts = [repr(plan), plan.explain(), plan.to_yaml() if not spec_of(plan).models else "", str(spec_of(plan).models)]
    texts += [repr(results), results._repr_html_(), str(results.manifest), str(results.errors().rows())]
    texts += [repr(run), run._repr_html_(), str(run.manifest()), str(run.logs().rows()), str(hf.runs().rows())]
    texts += [repr(config._settings), repr(config.s3_options())]
    try:
        hf.load("s3://no-such-bucket/runs/1")
    except hf.HelmframeError as error:
        texts += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    file.write_text("\n".join(texts))
    hf.load("s3://no-such-bucket/runs/1")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_after(calls: int) -> disturbed.ModelFault:
    left = iter(range(calls))

    def fault(prompts: list[str], answers: list[Any]) -> Any:
        if next(left, None) is None:
            _die()
        return answers

    return fault


def _in_load(patch: pytest.MonkeyPatch) -> None:
    load = _pipeline.load_instances

    def dying(*args: Any, **kwargs: Any) -> Any:
        for shard in load(*args, **kwargs):
            _die()
            yield shard

    patch.setattr(_pipeline, "load_instances", dying)


def _in_aggregate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tables, "aggregate", lambda *_, **__: _die())


STAGES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {"load": _in_load, "aggregate": _in_aggregate}


def _half_written(patch: pytest.MonkeyPatch, where: str, number: int) -> None:
    replace = files._replace

    def dying(path: Path, data: bytes) -> None:
        if _is_the_one(path, where, number):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f".{path.name}.00000000.part").write_bytes(data[: len(data) // 2])
            _die()
        replace(path, data)

    patch.setattr(files, "_replace", dying)


def _written(patch: pytest.MonkeyPatch, where: str, number: int) -> None:
    replace = files._replace

    def dying(path: Path, data: bytes) -> None:
        replace(path, data)
        if _is_the_one(path, where, number):
            _die()

    patch.setattr(files, "_replace", dying)


def _sending(patch: pytest.MonkeyPatch, where: str, number: int) -> None:
    """In the middle of a put to a bucket."""
    write = files.write

    def dying(data: bytes, address: Any) -> None:
        if _is_the_one(address, where, number):
            threading.Timer(0.002, _die).start()
        write(data, address)

    patch.setattr(completions, "write", dying)


def _full(patch: pytest.MonkeyPatch, where: str, number: int) -> None:
    """From then on no file of the store grows beyond 1 kB."""
    replace = files._replace
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    there_is_room = [True]

    def full(path: Path, data: bytes) -> None:
        if _is_the_one(path, where, number):
            there_is_room.clear()
        with disturbed.NOTING:  # the limit holds for the whole process, and for its notes it must not
            try:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most if there_is_room else 1024, most))
                replace(path, data)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    patch.setattr(files, "_replace", full)


WRITES = {"full": _full, "half": _half_written, "written": _written, "sending": _sending}
_seen: set[str] = set()


def _is_the_one(address: Any, where: str, number: int) -> bool:
    """Whether this is the file of that number, from 1 on, below a folder of the store."""
    if f"/{where}/" in str(address) or str(address).endswith(f"/{where}"):
        _seen.add(f"{address} {len(_seen)}")
    return len(_seen) == number


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
