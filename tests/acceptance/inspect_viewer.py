"""Inspect's viewer in Chromium: logs of the same run, and ten questions that are answered by what its pages show."""

import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tests.acceptance.eval_peers import asked, peers_python
from tests.demo import ROOT

WAIT = 60_000  # milliseconds
SAMPLE = re.compile(r"/id\d+ \w+")  # the name of a sample
SETTLED = 1_000  # milliseconds until a filter has changed the table


def write_logs(rows: pl.DataFrame, prices: Mapping[str, tuple[float, float]], folder: Path) -> dict[str, float]:
    """Run Inspect's evaluation with the prompts and completions of a run, and return the cost of each model."""
    options = [json.dumps(_options(prompt)) for prompt in rows["prompt"]]
    path = folder / "rows.parquet"
    rows.with_columns(options=pl.Series(options)).write_parquet(path)
    costs = asked("inspect_viewer_log.py", str(path), json.dumps(prices), str(folder / "logs"))
    return {str(model): float(cost) for model, cost in costs.items()}


def _options(prompt: str) -> dict[str, str]:
    """Return the options of the last question of a prompt, by letter."""
    return dict(re.findall(r"^([A-Z])\. (.*)$", prompt.rpartition("Question:")[2], re.MULTILINE))


@contextmanager
def serving_logs(folder: Path) -> Iterator[str]:
    """Run `inspect view` on the logs of a folder, and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["view", "start", "--host", "127.0.0.1", "--port", str(port), "--log-dir", str(folder / "logs")]
    with (folder / "view.log").open("wb") as log:
        process = subprocess.Popen(
            [peers_python(), "-m", "inspect_ai", *arguments],
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + WAIT / 1000
        while True:
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "view.log").read_text(encoding="utf-8")
                assert time.monotonic() < deadline, "inspect view did not start"
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@dataclass
class InspectPages:
    """The pages of Inspect's viewer, used as a person uses them."""

    page: Any
    address: str

    def open_list(self) -> list[list[str]]:
        """Open the list of logs, and return the lines of each row."""
        self.page.goto(f"{self.address}/#/tasks")
        rows = self.page.get_by_role("row").filter(has_text="mockllm/")
        rows.filter(has_text=re.compile(r"\d\.\d{3}")).nth(2).wait_for()
        return [str(text).split("\n") for text in rows.all_inner_texts()]

    def open_log(self, model: str) -> None:
        """Open the log of a model."""
        self.open_list()
        deadline = time.monotonic() + WAIT / 1000
        while not self.page.locator(".cm-content").count():
            assert time.monotonic() < deadline, f"the log of {model} did not open"
            row = self.page.get_by_text(f"mockllm/{model}", exact=True).first
            if "/samples" not in self.page.url and row.is_visible():
                row.click()  # a click while the list is drawn is lost
            self.page.wait_for_timeout(500)

    def filter(self, expression: str) -> list[list[str]]:
        """Type a filter of samples, scroll through the table, and return the lines of each row."""
        self.page.locator(".cm-content").first.click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(expression)
        self.page.wait_for_timeout(SETTLED)
        self.page.keyboard.press("Escape")  # the suggestions
        count = self.page.get_by_text(re.compile(r"^\d+ / \d+ Samples$")).first.inner_text()
        n_rows, rows = int(count.partition(" ")[0]), dict[str, list[str]]()
        table = self.page.get_by_role("row").filter(has_text=SAMPLE)
        deadline = time.monotonic() + WAIT / 1000
        while len(rows) < n_rows:
            assert time.monotonic() < deadline, f"{len(rows)} of {n_rows} rows are shown"
            n_before = len(rows)
            for text in table.all_inner_texts():
                lines = str(text).split("\n")
                rows[lines[0]] = lines
            self.page.mouse.move(600, 600)  # so that the wheel scrolls the table
            self.page.mouse.wheel(0, 400 if len(rows) > n_before else -100_000)
            self.page.wait_for_timeout(200)
        return list(rows.values())

    def open_sample(self, name: str) -> None:
        """Filter for a sample, and open it."""
        self.filter(f'id == "{name}"')
        self.page.get_by_text(name, exact=True).first.click()
        self.page.get_by_role("tab", name="Transcript").wait_for()
        self.page.get_by_text("model call").first.wait_for()

    def open_tab(self, name: str) -> None:
        """Open a tab of a log or of a sample."""
        self.page.get_by_role("tab", name=name).first.click()
        self.page.wait_for_timeout(SETTLED)

    def text(self) -> str:
        """Return the text of the page, with single spaces."""
        return " ".join(str(self.page.locator("body").inner_text()).split())

    def photograph(self, name: str) -> None:
        """Write a screenshot to build/seen."""
        folder = ROOT / "build" / "seen"
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"inspect-{name}.png")


def best_model(pages: InspectPages) -> str:
    """Return the model with the best score in the list of logs."""
    rows = pages.open_list()
    pages.photograph("logs")
    scores = {}
    for lines in rows:
        (model,) = [line for line in lines if line.startswith("mockllm/")]
        scores[model.removeprefix("mockllm/")] = next(line for line in lines if re.fullmatch(r"\d\.\d{3}", line))
    return max(scores, key=lambda model: float(scores[model]))


def change_under_typos(pages: InspectPages, model: str) -> float:
    """Return the difference of two accuracies of a log in points, subtracted by hand."""
    pages.open_log(model)
    pages.page.get_by_text("All scoring...").first.click()
    pages.page.get_by_text("Scoring Detail").wait_for()
    pages.photograph("scoring")
    text = pages.text().rpartition("uppercase exact_match (accuracy)")[2]
    pages.page.get_by_role("button", name="Close").last.click()
    original, typos, *_ = map(float, re.findall(r"\d\.\d{3}", text))
    return 100 * (typos - original)


def failed_requests(pages: InspectPages, models: list[str]) -> tuple[int, str]:
    """Return the number of samples with an error in all logs, and the error of the first."""
    n_errors, error = 0, ""
    for model in models:
        pages.open_log(model)
        rows = pages.filter("has_error")
        n_errors += len(rows)
        if rows and not error:
            pages.photograph("errors")
            pages.open_sample(rows[0][0])
            pages.photograph("error")
            error = re.findall(r"(\w+Error\('.*?'\))", pages.text())[0]
    return n_errors, error


def cost_of(pages: InspectPages, model: str) -> str:
    """Return the cost of a model."""
    pages.open_log(model)
    pages.open_tab("Models")
    pages.photograph("cost")
    return str(re.findall(r"\$[\d.]+", pages.text())[0])


def wrong_under_typos(pages: InspectPages, model: str) -> list[str]:
    """Return the instances that are wrong under typos only, from two lists that are compared by hand."""
    pages.open_log(model)
    wrong = {}
    for name in ("typos", "original"):
        rows = pages.filter(f'metadata.perturbation == "{name}" and exact_match == "I"')
        pages.photograph(f"wrong-{name}")
        wrong[name] = [lines[0].partition(" ")[0] for lines in rows]
    return [name for name in wrong["typos"] if name not in wrong["original"]]


def both_inputs(pages: InspectPages, sample: str) -> str:
    """Return the text of the page with the metadata of a sample, which has both inputs without marks."""
    pages.open_sample(sample)
    pages.open_tab("Info")
    pages.photograph("metadata")
    return pages.text()


def right_answer(pages: InspectPages) -> str:
    """Return the target of the open sample."""
    return str(re.findall(r"TARGET (.*?) (?:ANSWER|SCORE)\b", pages.text())[0])


def prompt_of(pages: InspectPages) -> str:
    """Return the text of the page with the messages of the open sample."""
    pages.open_tab("Messages")
    pages.photograph("messages")
    return pages.text()


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of an action, and its seconds."""
    start = time.perf_counter()
    return action(), time.perf_counter() - start
