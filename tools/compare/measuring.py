"""Run the cases in interleaved order, each in a process of its own, and write the figures to a Parquet file."""

import ast
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tokenize
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import copy2
from typing import Any

import polars as pl

from tools.compare.cases import Case, cases
from tools.compare.environments import (
    BUILD,
    ROOT,
    TOOLS,
    InstallError,
    base_model,
    installed,
    machine,
    python_of,
    versions,
)
from tools.compare.rows import QUICK, Sizes, data_folder, prepare, write_questions

STORIES = Path(__file__).parent / "stories"
# A small process between this one and the case: the peak memory of a process starts at that of its parent.
_LAUNCHER = """
import json, os, resource, subprocess, sys, time
started = time.time()
code = subprocess.run(sys.argv[2:]).returncode
wall = time.time() - started
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = used.ru_utime + used.ru_stime
with open(sys.argv[1], "w") as file:
    json.dump({"started": started, "wall_s": wall, "cpu_s": cpu, "peak_mb": used.ru_maxrss / 1024, "code": code}, file)
"""
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HELMFRAME_PROGRESS": "0",
    "PYTHONDONTWRITEBYTECODE": "",  # the modules of a working tree are compiled once, as those that pip installs
}
_FAILED = "the process failed"
_CRASH = 0.5  # the share of the requests before the process is killed
_REQUEST_SECONDS = 0.05
SCHEMA: dict[str, Any] = {
    "sitting": pl.Datetime("us", "UTC"),
    "case": pl.String,
    "title": pl.String,
    "group": pl.String,
    "tool": pl.String,
    "repeat": pl.Int64,
    "figure": pl.String,
    "value": pl.Float64,
    "compared": pl.Boolean,
    "lower": pl.Boolean,
    "n": pl.Int64,
    "note": pl.String,
    "versions": pl.String,
    "cpu": pl.String,
    "cores": pl.Int64,
    "memory_gb": pl.Float64,
    "system": pl.String,
    "other_load": pl.Float64,
}


class ProcessFailedError(RuntimeError):
    """A process of a case failed; the message is the end of its output."""


@dataclass(frozen=True)
class Outcome:
    """The figures of one process, and its output."""

    figures: Mapping[str, float]
    output: str


@dataclass
class Sitting:
    """One sitting: the tools, the rows, and the measurements so far.

    Attributes:
        pythons: Tool → Python, from `--python`.
        sizes: How many rows each case has.
        repeats: How often each case runs.
    """

    pythons: Mapping[str, Path]
    sizes: Sizes
    repeats: int
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    rows: list[dict[str, object]] = field(default_factory=list)
    tables: dict[str, Path] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=machine)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def python(self, tool: str) -> Path:
        """Return the Python of a tool, and record its versions."""
        name = tool.removesuffix("_filters")
        python = python_of(name, self.pythons)
        if name not in self.versions:
            self.versions[name] = versions(name, python)
        return python

    def add(self, case: Case, tool: str, repeat: int, figures: Mapping[str, float], load: float) -> None:
        """Add the figures of one process."""
        for figure, value in figures.items():
            if figure in ("n", "started", "code"):
                continue
            # a case with an empty figure has one per perturbation or metric, all of them compared
            process = figure in ("wall_s", "cpu_s", "peak_mb")
            compared = figure == case.figure or (not case.figure and not process)
            self._row(case, tool, repeat, figure, value, load, n=int(figures.get("n", case.n[tool])), compared=compared)

    def add_absent(self, case: Case, reasons: Mapping[str, str]) -> None:
        """Add a row without value for each tool that has no figure."""
        for tool, reason in reasons.items():
            self._row(case, tool, 0, case.figure, None, 0.0, note=reason)

    def _row(
        self,
        case: Case,
        tool: str,
        repeat: int,
        figure: str,
        value: float | None,
        load: float,
        *,
        n: int = 0,
        compared: bool = True,
        note: str = "",
    ) -> None:
        self.rows.append(
            {
                "sitting": self.started,
                "case": case.name,
                "title": case.title.format(n=n) if n else case.title.format(n=max(case.n.values())),
                "group": case.group,
                "tool": tool,
                "repeat": repeat,
                "figure": figure,
                "value": value,
                "compared": compared,
                "lower": case.lower,
                "n": n,
                "note": note,
                "versions": json.dumps(self.versions.get(tool.removesuffix("_filters"), {})),
                **self.facts,
                "other_load": load,
            }
        )


def measure(
    output: Path, *, data: Path | None, pythons: Mapping[str, Path], only: Sequence[str], repeats: int, quick: bool
) -> None:
    """Measure cases, and replace their rows in the output file.

    Args:
        output: The Parquet file.
        data: The rows in the Hub's layout; by default they are downloaded.
        pythons: Tool → Python; missing environments are created.
        only: Names of cases, or starts of names; empty for all cases.
        repeats: How often each case runs.
        quick: Whether to run a few rows per case, to see that all cases run.
    """
    sizes = QUICK if quick else Sizes()
    names = [case.name for case in cases(sizes)]
    selected = [case for case in cases(sizes) if not only or case.name.startswith(tuple(only))]
    if not selected:
        raise SystemExit(f"No case starts with {', '.join(only)}. Cases: {', '.join(names)}")
    sitting = Sitting(pythons, sizes, repeats)
    folder = data_folder(data, sitting.python("helmframe"))
    rows = prepare(folder, BUILD / "rows", sizes)
    missing = _install(sitting, selected)  # before anything is timed
    selected = [_without(case, missing) for case in selected]
    _write_word_table(sitting, rows)
    for case in selected:
        if case.name == "table":
            _make_tables(sitting, case, rows)
        sitting.add_absent(case, case.absent)
    for repeat in range(1, repeats + 1):
        for case in selected:
            _run_case(sitting, case, rows, repeat)
            _write(output, sitting.rows, names)
    if any(row["note"] == _FAILED for row in sitting.rows):
        raise SystemExit("Some processes failed; their output is above.")


def _install(sitting: Sitting, selected: Sequence[Case]) -> set[str]:
    """Install the tools of cases, and return the optional tools that pip can't install."""
    missing = set()
    for tool in dict.fromkeys(tool for case in selected for tool in case.commands):
        try:
            sitting.python(tool)
        except InstallError as error:
            if tool not in TOOLS or not TOOLS[tool].optional:
                raise
            print(f"{error} The other tools are measured.", flush=True)
            missing.add(tool)
    return missing


def _without(case: Case, missing: Collection[str]) -> Case:
    """Return a case in which missing tools are absent, with the reason."""
    commands = {tool: command for tool, command in case.commands.items() if tool not in missing}
    reasons = {tool: "pip can't install it" for tool in case.commands if tool in missing}
    return replace(case, commands=commands, absent={**case.absent, **reasons})


def _run_case(sitting: Sitting, case: Case, rows: Path, repeat: int) -> None:
    if case.group == "install":
        if repeat == 1:
            _measure_install(sitting, case)
        return
    with _server(rows) if case.group == "bucket" else _nothing() as server:
        for tool in case.commands:
            before = _busy_seconds()
            start = time.perf_counter()
            sent = server.traffic() if server else None
            try:
                if case.group in ("stories", "resume"):
                    figures = _story(sitting, case, tool)
                else:
                    figures = dict(_run_worker(sitting, case, tool, rows, server).figures)
            except ProcessFailedError as error:  # the other tools run nevertheless
                print(f"{repeat} {case.name} {tool} failed: {error}", flush=True)
                sitting.add_absent(case, {tool: _FAILED})
                continue
            if server and sent:
                figures["megabytes_read"] = (server.traffic() - sent).sent / 1e6
            seconds = time.perf_counter() - start
            other = max(0.0, _busy_seconds() - before - figures["cpu_s"]) / seconds
            sitting.add(case, tool, repeat, figures, other)
            print(f"{repeat} {case.name} {tool}: " + _shown(figures), flush=True)


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Outcome:
    """Run a command in a folder: wall and CPU seconds, peak memory, and the figures that it printed.

    Raises:
        ProcessFailedError: The command failed.
    """
    used = folder / "used.json"
    launch = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(used), *command]
    with tempfile.TemporaryFile() as log:
        subprocess.run(launch, cwd=folder, env={**os.environ, **environment}, stdout=log, stderr=log, check=False)
        log.seek(0)
        output = log.read().decode(errors="replace")
    figures: dict[str, float] = json.loads(used.read_text(encoding="utf-8"))
    if figures["code"] not in (0, -9):
        raise ProcessFailedError(f"{' '.join(map(str, command))}\n{output[-4000:]}")
    for line in output.splitlines():
        if re.fullmatch(r'\{"\w+": [\d.e+-]+(?:, "\w+": [\d.e+-]+)*\}', line):
            figures.update(json.loads(line))
    first = folder / "first_request"
    if first.exists():
        figures["first_request_s"] = float(first.read_text(encoding="utf-8")) - figures["started"]
    return Outcome(figures, output)


def run_story(
    python: Path, tool: str, name: str, folder: Path, environment: Mapping[str, str] | None = None
) -> Outcome:
    """Run the file of a story in a folder with questions.csv.

    Args:
        python: The tool's Python.
        tool: The folder below stories/.
        name: The story.
        folder: Where it runs; `questions.csv` is written if it is missing.
        environment: Further variables.
    """
    if not (folder / "questions.csv").exists():
        write_questions(folder / "questions.csv")
    paths = [str(Path(__file__).parent / "inputs"), *([str(ROOT)] if tool == "helmframe" else [])]
    variables = {**_variables(folder), "PYTHONPATH": os.pathsep.join(paths), **(environment or {})}
    return run([str(python), str(STORIES / tool / f"{name}.py")], folder, variables)


def code_lines(file: Path) -> int:
    """Count the lines of code of a module: without docstrings, comments, blank lines and its imports from typing."""
    text = file.read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                lines -= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return len(lines)


_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def support(file: Path) -> str:
    """Return what the docstring of a story states: built in, by hand, or not possible."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    stated = re.search(r"Support: (built in|by hand|not possible)\.", docstring)
    if stated is None:
        raise SystemExit(f"{file}: the docstring needs 'Support: built in.', 'by hand.' or 'not possible.'")
    return stated[1]


def _run_worker(sitting: Sitting, case: Case, tool: str, rows: Path, server: Any) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="compare-") as name:
        folder = Path(name)
        settings = {"rows": str(rows), "model": str(base_model()), "n": case.n[tool]}
        variables = {**_variables(folder), "PYTHONPATH": str(ROOT), "COMPARE": json.dumps(settings)}
        # the package datasets caches a local folder by its name, so folders of other sizes would be mixed up
        variables["HF_DATASETS_CACHE"] = str(rows / "datasets")
        if server:
            variables.update(server.environment)
        if tool in sitting.tables:
            variables["COMPARE_TABLE"] = str(sitting.tables[tool])
        return run([str(sitting.python(tool)), *case.commands[tool]], folder, variables)


def _story(sitting: Sitting, case: Case, tool: str) -> dict[str, float]:
    python = sitting.python(tool)
    with tempfile.TemporaryDirectory(prefix="compare-") as name:
        folder = Path(name)
        if case.group == "resume":
            return _resume(python, tool, folder, sitting.sizes.questions)
        story = case.name.removeprefix("story_")
        if story == "resume":
            run_story(python, tool, story, folder, {"CRASH_AFTER": "100"})
        figures = dict(run_story(python, tool, story, folder).figures)
    file = STORIES / tool / f"{story}.py"
    by_hand = {"built in": 0.0, "by hand": 1.0, "not possible": 2.0}[support(file)]
    return {**figures, "lines": code_lines(file), "by_hand": by_hand}


def _resume(python: Path, tool: str, folder: Path, n: int) -> dict[str, float]:
    """Kill a run at half of its requests and run it again: requests sent twice, and rows that the result lacks."""
    write_questions(folder / "questions.csv", n)
    log = folder / "requests.log"
    variables = {"REQUESTS_LOG": str(log), "REQUEST_SECONDS": str(_REQUEST_SECONDS)}
    run_story(python, tool, "resume", folder, {**variables, "CRASH_AFTER": str(int(n * _CRASH))})
    outcome = run_story(python, tool, "resume", folder, variables)
    requests = log.read_text(encoding="utf-8").splitlines()
    # the request at which the process was killed has no completion, so its repetition is no loss
    repeated = max(0, len(requests) - len(set(requests)) - 1)
    rows = int(re.findall(r"^(\d+)\s*$", outcome.output, re.MULTILINE)[-1])
    return {**outcome.figures, "repeated": repeated, "rows_lost": n - rows}


def _measure_install(sitting: Sitting, case: Case) -> None:
    for tool in case.commands:
        python = sitting.python(tool)
        figures: dict[str, float] = {}
        for kind in ("local", "core"):
            facts = installed(getattr(TOOLS[tool], kind), python)
            if facts["missing"]:
                print(f"install {tool}: not counted, {python} lacks {', '.join(facts['missing'])}", flush=True)
                continue
            suffix = "" if kind == "local" else "_core"
            figures |= {f"megabytes{suffix}": facts["megabytes"], f"packages{suffix}": facts["packages"]}
        sitting.add(case, tool, 1, figures, 0.0)


def _make_tables(sitting: Sitting, case: Case, rows: Path) -> None:
    for tool, n in case.n.items():
        folder = BUILD / "tables" / f"{tool}_{n}"
        if not (folder / "table").exists():
            folder.mkdir(parents=True, exist_ok=True)
            settings = {"rows": str(rows), "model": "", "n": n}
            variables = {**_variables(folder), "PYTHONPATH": str(ROOT), "COMPARE": json.dumps(settings)}
            run([str(sitting.python(tool)), "-m", f"tools.compare.workers.{tool}", "make_table"], folder, variables)
        sitting.tables[tool] = folder / "table"


def _write_word_table(sitting: Sitting, rows: Path) -> None:
    """Copy HELM's table of misspellings to where helmframe reads it, so that both use the same words."""
    if "helm" not in sitting.versions:
        return
    code = "import helm.benchmark.augmentations as package; print(package.__path__[0])"
    command = [str(sitting.python("helm")), "-c", code]
    folder = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    (rows / "tables").mkdir(exist_ok=True)
    copy2(Path(folder) / "correct_to_misspelling.json", rows / "tables")


@contextmanager
def _server(rows: Path) -> Iterator[Any]:
    from tests.s3_server import BUCKET, start_server

    server = start_server()
    try:
        server.filesystem().put(f"{rows}/bucket/", f"{BUCKET}/", recursive=True)
        yield server
    finally:
        server.stop()


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


def _variables(folder: Path) -> dict[str, str]:
    caches = {"HF_HOME": str(BUILD / "hf"), "HELMFRAME_STORE": str(folder / "store")}
    return {**_OFFLINE, **caches, "INSPECT_DISPLAY": "none", "XDG_DATA_HOME": str(folder / "share")}


def _busy_seconds() -> float:
    """Return the CPU seconds that all processes of this machine have used."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _shown(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:,.2f}" for name, value in figures.items() if name not in ("started", "code"))


def _write(output: Path, rows: Sequence[Mapping[str, object]], names: Collection[str]) -> None:
    """Write the rows, in place of earlier rows of the same cases, and of cases whose names no longer exist."""
    table = pl.DataFrame(rows, schema=SCHEMA)
    if output.exists():
        earlier = pl.read_parquet(output)
        kept = set(names) - set(table["case"])
        table = pl.concat([earlier.filter(pl.col("case").is_in(sorted(kept))), table])
    output.parent.mkdir(parents=True, exist_ok=True)
    table.write_parquet(output, compression="zstd", compression_level=15)
