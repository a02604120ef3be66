"""Records from the processes that a model function starts."""

import logging
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from helmframe.engines.child_logs import child_logging
from helmframe.engines.logs import recording


def work(number: int) -> int:
    logging.getLogger("child").warning("number %d", number)
    return number


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_records_of_children_arrive_and_are_shown(method: str, caplog: pytest.LogCaptureFixture) -> None:
    frames: list[pl.DataFrame] = []
    processes = multiprocessing.get_context(method)
    with recording("r", frames.append), child_logging() as how, processes.Pool(1, **how) as pool:
        assert pool.map(work, [1, 2]) == [1, 2]
        pool.close()
        pool.join()
    found = pl.concat(frames)
    assert found["message"].to_list() == ["number 1", "number 2"]
    assert found["logger"].unique().to_list() == ["child"]
    assert multiprocessing.current_process().name not in found["process"]
    assert [record.message for record in caplog.records] == ["number 1", "number 2"]


MODEL = """
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
import helmframe as hf

def one(prompt):
    logging.getLogger("child").warning("asked in %s", multiprocessing.current_process().name)
    return "A"

def model(prompts: list[str]) -> list[str]:
    spawn = multiprocessing.get_context("spawn")
    with hf.engines.child_logging() as how, ProcessPoolExecutor(2, mp_context=spawn, **how) as pool:
        return list(pool.map(one, prompts))

if __name__ == "__main__":
    logging.basicConfig(format="%(name)s shown")
    run = hf.scenario("sampler").where(subject="music").limit(4).generate(model).submit()
    run.wait()
    found = run.logs().filter(logger="child")
    print(found.select("scenario", "model", "level").unique().rows(), found.height)
"""


def test_a_model_that_spawns_processes_has_their_records_in_the_log_of_its_run(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    done = subprocess.run([sys.executable, "model.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[('sampler', 'model', 'WARNING')] 4", done.stderr
    assert done.stderr.count("child shown") == 4


def test_a_forked_child_prints_and_logs_without_harm() -> None:
    with recording("r", lambda frame: None):
        child = os.fork()
        if not child:
            logging.getLogger("child").warning("to nobody")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
