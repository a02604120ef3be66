"""Runs that are disturbed: a model whose answers can be told apart, and what became of them."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import helmframe as hf
from helmframe._schema import COMPLETIONS, SCORES
from helmframe.store import Address, ParquetCompletions, address_of
from helmframe.store.completions import newest
from helmframe.store.contents import PART_SCHEMA, list_entries
from helmframe.store.parts import read_parts

ROOT = Path(__file__).parents[2]
# Answers are written so often, in place of every two seconds: a short run has many parts.
FLUSH_SECONDS = 0.1
# Held while the tests note what was answered and kept.
NOTING = threading.Lock()
PLANS: dict[str, Callable[[], hf.Plan]] = {
    "sampler": lambda: hf.scenario("sampler").perturb("typos"),
    "both": lambda: hf.scenario(["sampler", "boolq"]).limit(20).perturb("typos"),
    "mmlu": lambda: hf.scenario("mmlu").where(subject="philosophy").perturb("typos"),
}
# Keys, by the variable that holds each; the last two are given to `hf.configure`.
CANARIES = {
    "OPENAI_API_KEY": "sk-proj-canary0123456789abcdefghij",
    "ANTHROPIC_API_KEY": "sk-ant-canary0123456789abcdefghij",
    "HF_TOKEN": "hf_canary0123456789abcdefghij",
    "AWS_SESSION_TOKEN": "FwoGcanary//0123456789+abcdefghij=",
    "SAID_ACCESS_KEY_ID": "AKIACANARY0123456789",
    "SAID_SECRET": "wJalrcanary/0123456789/bPxRfiCYabcdefghij",
}
# Given the prompts and the right answers to them, what the model answers instead.
ModelFault = Callable[[list[str], list[Any]], Any]


class Watched:
    """A model that writes down what it answers; each answer carries an id of its own, as reasoning."""

    def __init__(self) -> None:
        self.log = Path()
        self.fault: ModelFault | None = None
        self.seconds = 0.0

    def generate(self, prompts: list[str]) -> Any:
        print("asked")
        time.sleep(self.seconds)
        answers: list[Any] = [{"text": "ABCD"[len(each) % 4], "reasoning": uuid4().hex} for each in prompts]
        given = self.fault(prompts, answers) if self.fault else answers
        if isinstance(given, list) and len(given) == len(prompts):
            sound = [name(prompt) for prompt, each in zip(prompts, given, strict=True) if is_sound(each)]
            with NOTING, self.log.open("a") as log:
                log.write("".join(f"{time.monotonic()} {each}\n" for each in sound))
        return given


def name(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()


def is_sound(given: Any) -> bool:
    return isinstance(given, dict) and isinstance(given.get("text"), str)


def often(patch: pytest.MonkeyPatch) -> None:
    """Have answers written often."""
    patch.setenv("HELMFRAME_FLUSH_SECONDS", str(FLUSH_SECONDS))


def watch_appends(patch: pytest.MonkeyPatch, log: Path) -> None:
    """Write down the ids of the answers that the store has acknowledged."""
    append = ParquetCompletions.append

    def watched(self: ParquetCompletions, answers: pl.DataFrame, prefixes: pl.DataFrame) -> None:
        append(self, answers, prefixes)
        with NOTING, log.open("a") as lines:
            lines.write("".join(f"{each.hex()}\n" for each in answers["request_id"]))

    patch.setattr(ParquetCompletions, "append", watched)


@dataclass(frozen=True)
class Undisturbed:
    """The same sentence without a fault: its table and scores, and the request ids by prompt."""

    plan: str
    table: pl.DataFrame
    scores: pl.DataFrame
    ids: dict[str, set[str]]

    @classmethod
    def of(cls, plan: str, folder: Path, patch: pytest.MonkeyPatch) -> "Undisturbed":
        folder.mkdir(parents=True, exist_ok=True)
        patch.setenv("HELMFRAME_STORE", str(folder / "undisturbed"))
        results = PLANS[plan]().generate(model(folder / "undisturbed.log")).score()
        ids: dict[str, set[str]] = {}
        for prompt, request_id in results.requests.select("prompt", "request_id").collect().iter_rows():
            ids.setdefault(name(prompt), set()).add(request_id.hex())
        return cls(plan, results.table(), scores_of(results), ids)


class Outcome(NamedTuple):
    """What became of a disturbed run and of the one after it."""

    ended: str
    answered: int
    kept: int
    marked: int
    again: int
    lost: int
    doubled: int
    equal: bool

    def __str__(self) -> str:
        return (
            f"{self.ended}; {self.answered:,} answered, {self.kept:,} kept, {self.marked:,} marked, "
            f"{self.again:,} asked again; equal to undisturbed: {'yes' if self.equal else 'NO'}, "
            f"lost {self.lost}, doubled {self.doubled}"
        )


@dataclass
class Bench:
    """Where one fault is tried: a store of its own, and the logs of what was answered and acknowledged."""

    folder: Path
    store: str
    undisturbed: Undisturbed
    patch: pytest.MonkeyPatch
    marked: int = 0
    died_at: float | None = None  # answers given later, or not acknowledged by then, may be gone
    killed: bool = False
    destroyed: set[str] = field(default_factory=set)  # ids whose part the fault itself has destroyed

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.patch.setenv("HELMFRAME_STORE", self.store)
        self.patch.setenv("HELMFRAME_PROGRESS", "0")
        often(self.patch)
        watch_appends(self.patch, self.acknowledged)

    @property
    def answered(self) -> Path:
        return self.folder / "answered"

    @property
    def acknowledged(self) -> Path:
        return self.folder / "acknowledged"

    @property
    def root(self) -> Address:
        return address_of(self.store)

    def plan(self, fault: ModelFault | None = None, seconds: float = 0.0, **how: Any) -> hf.Plan:
        return PLANS[self.undisturbed.plan]().generate(model(self.answered, fault, seconds, **how))

    def run(self, fault: ModelFault | None = None, seconds: float = 0.0, **how: Any) -> str:
        """A run in this process; gives how it ended."""
        try:
            results = self.plan(fault, seconds, **how).score()
        except hf.HelmframeError as error:
            return type(error).__name__
        self.marked = results.errors().height
        return "done"

    def child(self, fault: str = "", seconds: float = 0.0) -> "subprocess.Popen[str]":
        """A run in a process of its own."""
        said = {"plan": self.undisturbed.plan, "folder": str(self.folder), "fault": fault, "seconds": seconds}
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.child", json.dumps(said)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_answers(self, count: int, process: "subprocess.Popen[str] | None" = None) -> None:
        until = time.monotonic() + 60
        while len(lines(self.answered)) < count:
            assert time.monotonic() < until
            assert process is None or process.poll() is None, process.communicate()
            time.sleep(0.005)

    def stored(self) -> dict[str, str]:
        """What the store has: id → the id that the answer carries."""
        parts = [part for shelf in list_entries(self.root) for part in shelf.parts]
        rows = newest(read_parts(self.root, parts, PART_SCHEMA).rows)
        return {each.hex(): text for each, text in rows.select("request_id", "reasoning").iter_rows()}

    def outcome(self, ended: str) -> Outcome:
        """Look at what the disturbed run has left, run again, and compare."""
        answered: set[str] = set()
        for line in lines(self.answered):
            when, prompt = line.split()
            if self.died_at is None or float(when) < self.died_at:
                answered |= self.undisturbed.ids[prompt]
        safe = set(lines(self.acknowledged)) | (set() if self.killed else answered)
        before = self.stored()
        lost = safe - before.keys() - self.destroyed
        self.answered.unlink(missing_ok=True)
        resumed = self.plan().score()
        asked = {each for line in lines(self.answered) for each in self.undisturbed.ids[line.split()[1]]}
        read = self.plan().results()
        equal = all(
            each.table().equals(self.undisturbed.table) and scores_of(each).equals(self.undisturbed.scores)
            for each in (resumed, read)
        )
        lost |= (asked & before.keys()) | (before.keys() - self.stored().keys())
        return Outcome(
            ended,
            len(answered),
            len(before),
            self.marked,
            len(asked),
            len(lost),
            doubled(resumed) + doubled(read),
            equal,
        )


def model(log: Path, fault: ModelFault | None = None, seconds: float = 0.0, **how: Any) -> hf.Model:
    watched = Watched()
    found = hf.model(watched, name="watched", version="1", **{"batch": 4, **how})
    # only now: a fault is not the code that the version stands for
    watched.log, watched.fault, watched.seconds = log, fault, seconds
    return found


def scores_of(results: hf.Results) -> pl.DataFrame:
    scores = results.scores.collect()
    return scores.sort([name for name in SCORES.key if name in scores.columns])


def same_tables(one: hf.Results, other: hf.Results) -> bool:
    """Whether the tables agree, but for the order in which floats were summed."""
    try:
        assert_frame_equal(one.table(), other.table(), rel_tol=1e-12, abs_tol=1e-12)
    except AssertionError:
        return False
    return True


def doubled(results: hf.Results) -> int:
    """Requests with two different answers in these results, and rows that stand there twice."""
    used = results.completions.filter(pl.col("completion").is_not_null())
    answers = used.group_by("request_id").agg(n=pl.struct("completion", "reasoning").n_unique())
    there = used.collect_schema()
    twice = used.group_by([name for name in COMPLETIONS.key if name in there]).len().filter(pl.col("len") > 1)
    return answers.filter(pl.col("n") > 1).collect().height + twice.collect().height


def lines(log: Path) -> list[str]:
    """Its lines, without one that is not whole."""
    return log.read_text().split("\n")[:-1] if log.exists() else []
