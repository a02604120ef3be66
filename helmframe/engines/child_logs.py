"""Log records from the processes that a model function starts."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from helmframe.engines.capture import captured
from helmframe.engines.logs import whose_now


@contextmanager
def child_logging() -> Iterator[dict[str, Any]]:
    """What a pool of processes needs for its records and warnings to arrive in the log of the run, and on the console.

    `with child_logging() as how, multiprocessing.Pool(4, **how) as pool:`, inside the model function; with
    `ProcessPoolExecutor(4, **how)` likewise. Close and join a `Pool`: one that is terminated takes its last records
    with it. What children print goes to the terminal, and is not captured.
    """
    import multiprocessing
    from logging.handlers import QueueListener

    # a queue made for spawned children serves forked ones, too
    queue = multiprocessing.get_context("spawn").Queue()
    listener = QueueListener(queue, _Arrivals())
    listener.start()
    try:
        yield {"initializer": _send, "initargs": (queue, logging.getLogger().getEffectiveLevel())}
    finally:
        listener.stop()
        queue.close()
        queue.join_thread()


class _Arrivals(logging.Handler):
    """Takes the children's records for who opened it."""

    def __init__(self) -> None:
        super().__init__()
        self._whose = whose_now() or ()

    def emit(self, record: logging.LogRecord) -> None:
        """Into the log of the run, and to the handlers of this process."""
        for log, place in self._whose:
            log.add(captured(record), place)
        logging.getLogger(record.name).handle(record)


def _send(queue: Any, level: int) -> None:
    """In a child: send its records to the queue, and nowhere else."""
    from logging.handlers import QueueHandler

    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    for handler in list(root.handlers):  # inherited by a forked child
        root.removeHandler(handler)
    root.addHandler(QueueHandler(queue))
    root.setLevel(level)
