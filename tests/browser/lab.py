"""A real JupyterLab on a free port, and notebooks in it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOKEN = "only-for-these-tests"
SECONDS = 90  # that starting may take on a busy machine


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab whose notebooks lie in `folder`."""

    port: int
    folder: Path

    def open(self, page: Any, cells: Sequence[str]) -> None:
        """A new notebook with these cells, its kernel ready."""
        name = f"notebook-{time.time_ns()}.ipynb"
        made: list[dict[str, Any]] = [
            {"id": f"c{place}", "cell_type": "code", "source": text, "metadata": {}, "outputs": [],
             "execution_count": None}
            for place, text in enumerate(cells)
        ]  # fmt: skip
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        about = {"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        (self.folder / name).write_text(json.dumps(about), encoding="utf-8")
        page.goto(f"http://127.0.0.1:{self.port}/lab/tree/{name}?token={TOKEN}")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=SECONDS * 1000)
        page.wait_for_selector(".jp-NotebookPanel-toolbar [data-status='idle']", timeout=SECONDS * 1000)

    def run(self, page: Any, cell: int) -> None:
        """Run one cell, to its end."""
        code = page.locator(".jp-Notebook .jp-CodeCell").nth(cell)
        prompt = code.locator(".jp-InputPrompt")
        before = prompt.inner_text()
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            now = prompt.inner_text()
            if now != before and now.strip("[]: \xa0").isdecimal():
                return
            asked = page.locator(".jp-Dialog .jp-mod-accept")
            if asked.count():  # a slow kernel has the notebook ask which one is meant
                print(page.locator(".jp-Dialog").first.inner_text())
                asked.first.click()
            elif "*" not in now:  # what is pressed before the kernel is connected is lost
                code.locator(".cm-content").click()
                page.keyboard.press("Control+Enter")
            page.wait_for_timeout(200)
        raise AssertionError(f"cell {cell} was not run: {now}")


@contextmanager
def started_lab(folder: Path, *, progress: bool = False) -> Iterator[Lab]:
    """JupyterLab with settings of its own, until the block ends; `progress` shows the progress of runs."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    notebooks = folder / "notebooks"
    notebooks.mkdir(parents=True)
    own = {name: str(folder / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    own |= {
        "HELMFRAME_STORE": str(folder / "store"),
        "HELMFRAME_PROGRESS": str(int(progress)),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    options = [f"--ServerApp.port={port}", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={notebooks}"]
    options += ["--no-browser", "--ServerApp.ip=127.0.0.1", "--LabApp.extension_manager=readonly", "--allow-root"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "lab", *options], env={**os.environ, **own}, stdout=log, stderr=log
        )
    try:
        _wait(port, process, folder / "log")
        yield Lab(port, notebooks)
    finally:
        process.terminate()
        process.wait(30)


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token={TOKEN}", timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
