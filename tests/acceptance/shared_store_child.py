"""A run in its own process, with a model whose completions depend on the prompt only; prints its table and counts.

`python -m tests.acceptance.shared_store_child JSON`, with the fields of `Child`. The model appends a line per
completion to the log, when it returns: the time and the hash of the prompt. Without arguments, each line of stdin is
`[fields, variables, file]`: a run is forked, which saves imports, and prints to the file; stdout has its process id.
"""

import hashlib
import importlib
import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import helmframe as hf

SUBJECTS = ["philosophy", "anatomy", "abstract_algebra", "high_school_us_history"]


@dataclass(frozen=True)
class Child:
    """The fields: `seconds` per call of `batch` prompts; `go` is a file whose existence starts the run."""

    log: str
    plan: str = "sampler"
    seconds: float = 0.0
    batch: int = 4
    go: str = ""
    ready: str = ""

    @property
    def json(self) -> str:
        """Return the fields as JSON."""
        return json.dumps(asdict(self))


def plans(name: str) -> list[hf.Plan]:
    """Return the plans of a name: one, or the plans of a suite."""
    if name == "sampler":
        return [hf.scenario("sampler").perturb("typos")]
    if name == "philosophy":
        return [hf.scenario("mmlu").where(subject="philosophy").perturb(["typos", "lowercase"])]
    if name == "mmlu":
        return [hf.scenario("mmlu").where(subject=SUBJECTS).perturb("typos")]
    return [hf.scenario("mmlu").where(subject=subject).limit(100) for subject in SUBJECTS]


def digest(prompt: str) -> str:
    """Return the name of a prompt in the log."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:32]


def model(log: Path, seconds: float, batch: int) -> hf.Model:
    """Return the model."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def generate(prompts: list[str]) -> list[str]:
        time.sleep(seconds)
        digests = [digest(prompt) for prompt in prompts]
        # one write per call, so that a kill leaves whole lines
        os.write(handle, "".join(f"{time.monotonic()} {name}\n" for name in digests).encode())
        return ["ABCD"[int(name, 16) % 4] for name in digests]

    return hf.model(generate, name="watched", version="1", batch=batch)


def table(name: str, child: Child) -> tuple[str, dict[str, int]]:
    """Return the table of a plan or a suite as CSV, and the counts of the run."""
    made: list[Any] = [plan.generate(model(Path(child.log), child.seconds, child.batch)) for plan in plans(name)]
    results = made[0].score() if len(made) == 1 else hf.suite(*made).score()
    return results.table().write_csv(), dict(results.manifest["counts"])


def main(child: Child) -> None:
    """Wait for the start, run, and print the result."""
    if child.ready:
        Path(child.ready).touch()
    while child.go and not Path(child.go).exists():
        time.sleep(0.001)
    print(json.dumps(table(child.plan, child)))


def serve() -> None:
    """Fork a run for each line of stdin."""
    for module in ("helmframe._pipeline", "helmframe.results", "s3fs"):
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended runs leave no zombies
    for line in sys.stdin:
        fields, variables, file = json.loads(line)
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.update(variables)
        with Path(file).open("w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        try:
            main(Child(**fields))
            sys.stdout.flush()
        finally:
            os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Child(**json.loads(sys.argv[1])))
    else:
        serve()
