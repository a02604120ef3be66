"""Records from the processes that a model function starts."""

import logging
import multiprocessing
import os

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


def test_a_forked_child_prints_and_logs_without_harm() -> None:
    with recording("r", lambda frame: None):
        child = os.fork()
        if not child:
            logging.getLogger("child").warning("to nobody")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
