"""Many replicas of a model that takes a fixed time, and the driver's memory, each in a process of its own."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

import helmframe as hf
from helmframe._pipeline import plan_tasks, split_spans
from helmframe._plan import spec_of
from helmframe.engines.local import Execution
from helmframe.engines.progress import Progress
from helmframe.engines.ray.execution import connected
from helmframe.models.budget import Budget
from helmframe.models.completion_cache import store_root
from helmframe.scenarios.spans import spans
from helmframe.store import RunFolder, listing


class Sleeps:
    """Answers after so many seconds; notes when it did."""

    def __init__(self, notes: Path, seconds: float) -> None:
        self.notes = notes
        self.seconds = seconds

    def generate(self, prompts: list[str]) -> list[str]:
        import os

        started = time.time()
        time.sleep(self.seconds * len(prompts))
        with (self.notes / str(os.getpid())).open("a") as notes:
            notes.write(f"{started} {time.time()}\n")
        return ["A"] * len(prompts)


def rows(count: int) -> hf.Plan:
    frame = pl.DataFrame({"q": [f"what is {n}?" for n in range(count)], "a": "A"})
    return hf.scenario(frame, input="q", references="a", name="counted")


def scaling(replicas: int, folder: str, seconds: float, each: int) -> dict[str, Any]:
    """How much of their time the replicas answered, from when the last was up until the first had nothing to do."""
    notes = Path(folder)
    notes.mkdir()
    model = hf.model(Sleeps(notes, seconds), name="sleeps", batch=1)
    plan, engine = rows(replicas * each).generate(model), hf.engines.Ray(replicas=replicas, num_cpus=0.1)
    with connected(None):
        started = time.time()
        results = plan.score(engine=engine)
        ended = time.time()
    calls = [[tuple(map(float, line.split())) for line in file.read_text().splitlines()] for file in notes.iterdir()]
    begin = max(each[0][0] for each in calls)
    last = max(each[-1][1] for each in calls)
    busy = sum(max(0.0, end - max(start, begin)) for of_one in calls for start, end in of_one)
    return {
        "replicas": len(calls),
        "requests": results.manifest["counts"]["generated"],
        "efficiency": busy / (len(calls) * (last - begin)),
        "seconds": last - begin,
        "up": begin - started,
        "whole": ended - started,
    }


def cutting(path: str) -> dict[str, Any]:
    """The driver's part of a plan: spans of all instances."""
    before = _peak_mb()
    plan = hf.scenario(path)
    started = time.perf_counter()
    found = split_spans(spec_of(plan), spec_of(plan).scenarios[0], 64)
    seconds = time.perf_counter() - started
    return {
        "spans": len(found),
        "rows": sum(each.rows for each in found),
        "seconds": seconds,
        "mb": _peak_mb() - before,
    }


def span(path: str, rows: int) -> dict[str, Any]:
    """One span done as a replica does it, and what it leaves in the store."""
    plan = hf.scenario(path).generate(hf.model(answer, name="at_once", version="1"))
    (task,), (model,) = plan_tasks(spec_of(plan)), spec_of(plan).models
    (whole,) = spans(task.spec, most=rows, least=rows)
    first, *_ = spans(task.spec, most=1)
    folder = RunFolder.new(store_root())
    execution = Execution(
        plans=(spec_of(plan),),
        root=store_root(),
        send=True,
        fresh=False,
        budget=Budget(),
        until=None,
        folder=folder,
        progress=Progress(enabled=False),
        shard=0,
    )
    fingerprints = {model: model.fingerprint()}
    # with it, all that is done once in a process
    execution.run_task(replace(spec_of(plan), span=first), task, fingerprints)
    before = listing(store_root())
    wall, cpu = time.perf_counter(), time.process_time()
    execution.run_task(replace(spec_of(plan), span=whole), task, fingerprints)
    seconds, spent = time.perf_counter() - wall, time.process_time() - cpu
    names = {each.name for each in before}
    files = [each for each in listing(store_root()) if each.name not in names]
    return {
        "seconds": seconds,
        "cpu": spent,
        "parts": len(files),
        "bytes": sum(each.size for each in files),
        "mb": _peak_mb(),
    }


def _peak_mb() -> int:
    """The peak resident memory of this process alone: the kernel's other figure starts with that of its parent."""
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def answer(prompts: list[str]) -> list[str]:
    return ["four"] * len(prompts)


if __name__ == "__main__":
    what, *said = sys.argv[1:]
    if what == "scaling":
        print(json.dumps(scaling(int(said[0]), said[1], float(said[2]), int(said[3]))))
    elif what == "span":
        print(json.dumps(span(said[0], int(said[1]))))
    else:
        print(json.dumps(cutting(said[0])))
