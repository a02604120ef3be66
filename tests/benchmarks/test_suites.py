"""Seconds of whole suites: HELM's .conf files as plans and as runs, and the commands that only print."""

import asyncio
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

import helmframe as hf
from helmframe.interop.helm import EntryState, parse_entry, plans_of, read_conf
from tests.acceptance.figures import shown

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
ROUNDS = 5
COMMANDS = {
    "import helmframe": ["-c", "import helmframe"],
    "helmframe --help": ["-m", "helmframe", "--help"],
    "helmframe show mmlu": ["-m", "helmframe", "show", "mmlu"],
    "helmframe list": ["-m", "helmframe", "list"],
    "helmframe explain": ["-m", "helmframe", "explain", "sampler:subject=music,model=noisy(accuracy=0.6)", "-m", "10"],
}
# In times of `import polars`, whatever the machine.
MOST_TIMES = {
    "import helmframe": 2.2, "helmframe --help": 4, "helmframe show mmlu": 4, "helmframe list": 5,
    "helmframe explain": 8,
}  # fmt: skip
CONFS = ("run_entries.conf", "run_entries_lite.conf")  # classic, lite
MOST_PLANS_TIMES = 80
TOGETHER = (
    *("mmlu:subject=philosophy,model=text", "boolq:model=text", "gsm:model=text", "imdb:model=text"),
    *(
        "commonsense:dataset=openbookqa,method=multiple_choice_joint,model=text",
        "truthful_qa:task=mc_single,model=text",
    ),
)
MODEL, N = "noisy(accuracy=0.5)", 50
WAIT = 0.02


@pytest.fixture
def compiled(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes read compiled modules, as those that pip installs."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("compiled")))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HELMFRAME_PROGRESS", "0")


def process_seconds(*arguments: str) -> float:
    """Return the CPU seconds of a process of Python."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def polars_seconds() -> float:
    return process_seconds("-c", "import polars")


@pytest.mark.usefixtures("compiled")
def test_commands_start_at_once() -> None:
    for arguments in COMMANDS.values():
        process_seconds(*arguments)  # compiles
    rounds = [
        (polars_seconds(), *(process_seconds(*arguments) for arguments in COMMANDS.values())) for _ in range(ROUNDS)
    ]
    polars, *commands = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    shown("suites", "CPU seconds of `import polars`", f"{polars:.2f}", "printed")
    for name, seconds in zip(COMMANDS, commands, strict=True):
        figure = f"{seconds:.2f}, {seconds / polars:.1f} × import polars"
        shown("suites", f"CPU seconds of `{name}`", figure, f"{MOST_TIMES[name]} ×")
        assert seconds < MOST_TIMES[name] * polars


@pytest.mark.usefixtures("compiled")
def test_conf_files_become_plans(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    entries = [entry for conf in CONFS for entry in read_conf(shared / "helm_conf" / conf, trusted=True)]
    skipped: list[EntryState] = []
    plans, seconds, wall = timed(lambda: plans_of(entries, models=[MODEL], max_eval_instances=N, skipped=skipped))
    text = f"CPU seconds for {len(entries)} run entries: {len(plans)} plans, {len(skipped)} entries without rows"
    shown("suites", text, f"{seconds:.1f} ({wall:.1f} s)", f"{MOST_PLANS_TIMES} × import polars")
    assert len(entries) == 746
    assert seconds < MOST_PLANS_TIMES * polars_seconds()


@pytest.mark.usefixtures("compiled")
def test_a_suite_takes_less_than_single_runs(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    options = ["--model", MODEL, "-m", str(N)]
    together = process_seconds("-m", "helmframe", "run", *TOGETHER, *options)
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "other"))
    single = [process_seconds("-m", "helmframe", "run", entry, *options) for entry in TOGETHER]
    figure = f"{together:.1f}, {together / sum(single):.2f} of the sum of single runs"
    shown("suites", f"CPU seconds of {len(TOGETHER)} run entries in one process", figure, "0.75")
    assert together < 0.75 * sum(single)


def waits(prompt: str) -> str:
    time.sleep(WAIT)
    return "A"


async def answers_many(prompt: str) -> str:
    await asyncio.sleep(WAIT)
    return "A"


@pytest.mark.parametrize("function", [waits, answers_many])
def test_a_suite_waits_less_than_single_runs(
    shared: Path, monkeypatch: pytest.MonkeyPatch, function: Callable[[str], object]
) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    suite = (
        hf.suite(*plans_of([parse_entry(text) for text in TOGETHER]))
        .sample(N, order="helm")
        .generate(hf.model(function, name=function.__name__))
    )
    single = [timed(partial(plan.score, fresh=True))[2] for plan in suite.plans]
    _, _, wall = timed(partial(suite.score, fresh=True))
    figure = f"{wall:.1f}, {wall / max(single):.1f} × the slowest of single runs, {wall / sum(single):.2f} of their sum"
    case = f"seconds of {len(TOGETHER)} plans, {1000 * WAIT:.0f} ms per request, {function.__name__}"
    shown("suites", case, figure, "1 of the sum")
    assert wall < sum(single)


def test_mmlu_of_two_models_in_one_process(shared: Path) -> None:
    models = {"half": hf.models.noisy(0.5), "best": hf.models.oracle()}
    plan = hf.scenario("mmlu", data=shared / "scenarios", compat="helm").sample(N, order="helm").generate(models)
    results, seconds, wall = timed(plan.score)
    planned = results.manifest["counts"]["planned"]
    figure = f"{seconds:.1f} ({wall:.1f} s), {1000 * seconds / planned:.2f} ms per request"
    shown("suites", "CPU seconds of MMLU, 57 subjects, two models", figure, "5 ms per request")
    assert planned == 2 * 57 * N
    assert seconds < 0.005 * planned


def timed(work: Callable[[], T]) -> tuple[T, float, float]:
    """Return the result, the CPU seconds and the seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall
