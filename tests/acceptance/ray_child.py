"""Models and a run for the checks of the cluster: what is asked is written down, and answers can be told apart."""

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import helmframe as hf


class Asked:
    """Answers by the prompt alone, in so many seconds each; in `notes`, by process, what it was asked.

    Each answer carries an id of its own, as reasoning.
    """

    def __init__(self, notes: Path, seconds: float = 0.0, poison: str = "") -> None:
        self.notes = notes
        self.seconds = seconds
        self.poison = poison

    def generate(self, prompts: list[str]) -> list[dict[str, Any]]:
        if self.poison and any(self.poison in each for each in prompts):
            os._exit(1)
        time.sleep(self.seconds * len(prompts))
        with (self.notes / str(os.getpid())).open("a") as notes:
            notes.write("".join(f"{hashlib.sha256(each.encode()).hexdigest()}\n" for each in prompts))
        return [{"text": "ABCD"[len(each) % 4], "reasoning": uuid4().hex} for each in prompts]


def model(notes: Path, seconds: float = 0.0, *, name: str = "asked", poison: str = "") -> hf.Model:
    notes.mkdir(parents=True, exist_ok=True)
    found = hf.model(Asked(Path(), 0.0), name=name, version="1", batch=4)
    # only now: how fast it is, and what it does to its process, is not the code that the version stands for
    asked: Any = found.source
    asked.notes, asked.seconds, asked.poison = notes, seconds, poison
    return found


def plan() -> hf.Suite:
    """Two scenarios, each instance as it is and changed in three ways."""
    mmlu = hf.scenario("mmlu").where(subject="philosophy").limit(100)
    return hf.suite(
        *(each.perturb(["lowercase", "typos", "extra_space"]) for each in (mmlu, hf.scenario("boolq").limit(50)))
    )


def notes_of(folder: Path) -> list[str]:
    """What was asked, in no order."""
    return [line for each in folder.iterdir() for line in each.read_text().split("\n")[:-1]]


if __name__ == "__main__":
    address, notes, seconds = sys.argv[1:]
    engine = hf.engines.Ray(address=address, replicas=2, num_cpus=0.5)
    plan().generate(model(Path(notes), float(seconds))).score(engine=engine)
