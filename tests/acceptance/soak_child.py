"""Random small plans for some minutes in one process: `python -m tests.acceptance.soak_child FOLDER MINUTES`.

Prints a line of JSON: the number of plans, of kinds of plan, of different tables and of reruns after errors, and memory
(MB) and open descriptors after the first plans and at the end.
"""

import gc
import json
import random
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helmframe as hf
from tests.acceptance.shared_store_child import digest

WARM_UP = 60  # plans


def resident_mb() -> float:
    """Return the resident memory of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def descriptors() -> int:
    """Return the number of open file descriptors."""
    return len([*Path("/proc/self/fd").iterdir()])


def random_plans(draws: random.Random) -> Iterator[tuple[str, hf.Plan]]:
    """Yield random plans, each with a name that its table depends on."""
    while True:
        subject = draws.choice(["music", "biology", "astronomy", "english"])
        perturbation = draws.choice(["typos", "lowercase", "extra_space"])
        shots = draws.choice([0, 1])
        plan = hf.scenario("sampler").where(subject=subject).perturb(perturbation).adapt(shots=shots)
        yield f"{subject} {perturbation} {shots}", plan


class Model:
    """A model that fails at random while `fails` is set."""

    def __init__(self, draws: random.Random) -> None:
        self.draws = draws
        self.fails = False

    def generate(self, prompts: list[str]) -> list[str]:
        """Return a letter that depends on the prompt."""
        if self.fails and self.draws.random() < 0.1:
            raise ValueError("storm")
        return ["ABCD"[int(digest(prompt), 16) % 4] for prompt in prompts]


def finished(plan: hf.Plan, draws: random.Random) -> tuple[str, int]:
    """Run a plan until no request has an error; return its table and the number of reruns."""
    model = Model(draws)
    version = "1" if draws.random() < 0.7 else None
    ready = plan.generate(hf.model(model, name="soaked", version=version, batch=8))
    model.fails = draws.random() < 0.2
    results = ready.submit().wait(300) if draws.random() < 0.4 else ready.score()
    model.fails, reruns = False, 0
    while results.errors().height:
        results, reruns = ready.score(), reruns + 1
    return results.table().write_csv(), reruns


def main(folder: Path, minutes: float) -> dict[str, Any]:
    """Run plans, in a store that is replaced every 50 plans."""
    draws, tables = random.Random(5), dict[str, str]()
    different = reruns = number = 0
    first: tuple[float, int] | None = None
    started = time.monotonic()
    for name, plan in random_plans(draws):
        if number % 50 == 0:
            shutil.rmtree(folder, ignore_errors=True)
        hf.configure(store=folder)
        table, more = finished(plan, draws)
        different += tables.setdefault(name, table) != table
        number, reruns = number + 1, reruns + more
        if number % WARM_UP == 0:
            gc.collect()
            print(number, round(time.monotonic() - started), resident_mb(), descriptors(), file=sys.stderr, flush=True)
            first = first or (resident_mb(), descriptors())
        if first is not None and time.monotonic() - started > 60 * minutes:
            break
    gc.collect()
    counts = {"plans": number, "kinds": len(tables), "different": different, "reruns": reruns}
    return {**counts, "first": first, "last": (resident_mb(), descriptors())}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), float(sys.argv[2]))))
