"""One run of some evals by one engine, in a process of its own: what it took, and what it wrote.

`python -m tests.acceptance.ray_scale_child FOLDER ENGINE`: the scenarios that `made` wrote into the folder, whose rows
are in HELMFRAME_DATA; one request an instance, four metrics, a model that answers at once. Prints a line of JSON:

- seconds of `score()`, and cpu, CPU seconds of driver and replicas (not of Ray's own processes)
- driver_mb, worker_mb: VmHWM of this process when `score()` was done, and of the largest replica (local: of the same)
- parts, written_mb: Parquet files in the store, and their bytes; answers, answers_mb: those with answers alone
- table_seconds, table_mb: of reading the score table afterwards, and VmHWM of this process then
- counts: of requests, as the manifest has them
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helmframe as hf
from tests.acceptance.overhead_child import SPEC, repeated

REPLICAS = 2
ENGINES: dict[str, Any] = {"local": "local", "ray": hf.engines.Ray(replicas=REPLICAS, num_cpus=0.5)}
LOOK_SECONDS = 0.1


class Letters:
    """Answers at once, by the prompt alone; each process that gets it leaves a note."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        self.__setstate__(vars(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.notes.mkdir(parents=True, exist_ok=True)
        (self.notes / str(os.getpid())).touch()

    def generate(self, prompts: list[str]) -> list[str]:
        return ["ABCD"[len(each) % 4] for each in prompts]


class Watch(threading.Thread):
    """Looks at some processes ten times a second until `end`: MB of VmHWM, and CPU seconds."""

    def __init__(self, processes: Callable[[], list[int]]) -> None:
        super().__init__(daemon=True)
        self.processes = processes
        self.seen: dict[int, tuple[float, float]] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        for process in self.processes():
            try:
                status = Path(f"/proc/{process}/status").read_text()
                times = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
            if "VmHWM:" in status:
                peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
                self.seen[process] = (peak, sum(map(int, times)) / os.sysconf("SC_CLK_TCK"))

    def end(self) -> None:
        self._ended.set()
        self.join()
        self.look()


def made(shared: Path, folder: Path, instances: int, evals: int) -> None:
    """So many instances in all, as scenarios of one size that read the same rows and ask in words of their own."""
    repeated(shared, folder, instances // evals)
    for number in range(evals):
        spec = SPEC.replace("scenario: repeated", f"scenario: eval{number}").replace("answers).", f"answers) {number}.")
        (folder / f"eval{number}.yaml").write_text(spec)


def main(folder: Path, engine: str) -> dict[str, Any]:
    store = folder / f"store-{engine}"
    os.environ["HELMFRAME_STORE"] = str(store)
    letters = Letters(folder / f"notes-{engine}")
    model = hf.model(letters, name="letters", version="1", batch=512)
    plan = hf.suite(*map(hf.scenario, sorted(folder.glob("eval*.yaml")))).generate(model)
    watch = Watch(lambda: [int(note.name) for note in letters.notes.iterdir()])
    watch.start()
    started = time.perf_counter()
    results = plan.score(engine=ENGINES[engine])
    seconds = time.perf_counter() - started
    watch.end()
    driver = watch.seen.pop(os.getpid())
    workers = list(watch.seen.values()) or [driver]
    assert len(workers) == {"local": 1, "ray": REPLICAS}[engine]
    parts, answers = list(store.rglob("*.parquet")), list((store / "completions").rglob("*.parquet"))
    told = {
        "seconds": seconds,
        "cpu": driver[1] + sum(cpu for _, cpu in watch.seen.values()),
        "driver_mb": driver[0],
        "worker_mb": max(peak for peak, _ in workers),
        "parts": len(parts),
        "written_mb": megabytes(parts),
        "answers": len(answers),
        "answers_mb": megabytes(answers),
        "counts": results.manifest["counts"],
    }
    started = time.perf_counter()
    results.table().write_parquet(folder / f"table-{engine}.parquet")
    told["table_seconds"] = time.perf_counter() - started
    watch.look()
    return {**told, "table_mb": watch.seen[os.getpid()][0]}


def megabytes(files: list[Path]) -> float:
    return sum(file.stat().st_size for file in files) / 1e6


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
