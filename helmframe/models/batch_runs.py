"""The batches of a run: their records in the store, submission, polling, and storage of their completions.

Each batch has a record in the store, which is written before anything is sent:

    STORE/batches/MODEL/NAME.json               ids at the provider, counts, and the process that submits the batch
    STORE/batches/MODEL/NAME-requests.parquet   its requests
    STORE/batches/MODEL/NAME-prefixes.parquet   the prefixes of their prompts

OpenAI's API stores NAME with the file and the batch. So a run finds the batches of a process that was killed.
"""

import io
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import polars as pl

from helmframe._core.cache_files import digest
from helmframe._core.safe_text import get_logger
from helmframe.errors import AnswerError, HelmframeError
from helmframe.models.batch_api import (
    ENDED,
    SUBMISSION_SECONDS,
    BatchApi,
    Record,
    Result,
    State,
    UnavailableError,
    folder_of,
    read_records,
    retried,
)
from helmframe.models.callers import Outcome
from helmframe.models.endpoint_client import RefusedError
from helmframe.models.endpoint_replies import completion_of
from helmframe.models.model import Prompt
from helmframe.models.tokenizing import stops_of
from helmframe.store import REQUEST_COLUMNS, Address, ParquetCompletions, below, write_parquet, write_text
from helmframe.store.files import read, remove

# The seconds between two polls of a batch: the first, and the most.
POLL_SECONDS = (5.0, 60.0)
# The run ends if the provider does not respond for this long. The batch continues.
PATIENCE = 3600.0
# The record of a batch is removed this long after its completions were stored.
RECORD_SECONDS = 3600.0
# The number of results that are stored at a time.
STORED_ROWS = 8192

_INDEX: dict[str, Any] = {"scenario": pl.String, "request_id": pl.Binary}
_ERRORS: dict[str, Any] = {**_INDEX, "error": pl.String}

logger = get_logger("helmframe.models")

# A function that stores outcomes of requests of one scenario and setting, and returns them as a frame.
Store = Callable[[pl.DataFrame, ParquetCompletions, pl.DataFrame, list[Outcome]], pl.DataFrame]


@dataclass(eq=False)
class Batch:
    """One batch: its record in the store, and the ids of its requests.

    Attributes:
        folder: The folder of the record.
        record: The record.
        index: The scenario and request_id of each request.
        reserved: The estimated cost that this run has reserved for the batch.
        errors: The failed requests (`_ERRORS`); None until the completions are stored.
    """

    folder: Address
    record: Record
    index: pl.DataFrame
    reserved: float = 0.0
    errors: pl.DataFrame | None = None
    next_poll: float = 0.0
    interval: float = 0.0
    responded: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def id(self) -> str:
        """Return the id at the provider; "" before the batch is submitted."""
        return self.record["batch"] or ""

    @property
    def ended(self) -> bool:
        """Return whether the batch has ended and its completions are stored."""
        return self.errors is not None

    def keys(self) -> frozenset[str]:
        """Return the custom_ids of the requests."""
        return frozenset(_keys(self.index))

    def save(self) -> None:
        """Write the record to the store."""
        write_text(json.dumps(self.record), below(self.folder, f"{self.record['name']}.json"))

    def path(self, table: str) -> Address:
        """Return the address of the requests or the prefixes."""
        return below(self.folder, f"{self.record['name']}-{table}.parquet")

    def table(self, table: str) -> pl.DataFrame:
        """Return the requests or the prefixes."""
        return pl.read_parquet(io.BytesIO(read(self.path(table))))

    def remove(self) -> None:
        """Remove the record, and then the tables."""
        remove([below(self.folder, f"{self.record['name']}.json")])
        remove([self.path("requests"), self.path("prefixes")])


class _Upload:
    """The requests of a batch that is not submitted yet, in a temporary file, and their rows."""

    def __init__(self, parts: tuple[bytes, bytes, bytes]) -> None:
        self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed after the upload
        self.rows: list[pl.DataFrame] = []
        self.prefixes: list[pl.DataFrame] = []
        self.n = self.size = 0
        self._parts = parts
        self._indices: list[int] = []

    def fits(self, entry: bytes, api: BatchApi) -> bool:
        """Return whether one more request is within the provider's limits."""
        size = self.size + sum(map(len, (entry, *self._parts)))
        return not self.n or (self.n < api.MAX_REQUESTS and size <= api.MAX_BYTES)

    def add(self, entry: bytes, index: int) -> None:
        """Add a request; `index` is its row in the group that `end_group` receives."""
        self.size += self.file.write((self._parts[1] if self.n else self._parts[0]) + entry)
        self.n += 1
        self._indices.append(index)

    def end_group(self, group: pl.DataFrame, prefixes: pl.DataFrame) -> None:
        """Add the rows of the requests that were added since the last call."""
        if self._indices:
            columns = [*REQUEST_COLUMNS, "row_index", "request_id", "scored", "reserved"]
            self.rows.append(group.select(columns)[self._indices])
            self.prefixes.append(prefixes.join(self.rows[-1], on="prefix_id", how="semi"))
            self._indices = []

    def end(self) -> None:
        """Write the end of the upload."""
        self.file.write(self._parts[2])
        self.file.flush()


class Batches:
    """The batches of one model in one run: it submits, polls and collects them.

    Args:
        api: The batch API.
        model: The name of the model.
        fingerprint: The fingerprint of the model.
        root: The store.
        store: A function that stores completions.
        release: A function that receives the reserved cost of a batch when it has ended.

    Batches of earlier runs that have ended are collected at once. So their completions are cached, and the requests
    without a completion are sent again.
    """

    def __init__(
        self,
        api: BatchApi,
        model: str,
        fingerprint: str,
        root: Address,
        store: Store,
        release: Callable[[float], None],
    ) -> None:
        self.model = model
        self.lock = threading.RLock()
        self.settings: set[str] = set()  # the decoding parameters for which a request was sent live
        self._api = api
        self._fingerprint = fingerprint
        self._root = root
        self._folder = folder_of(root, fingerprint)
        self._store = store
        self._release = release
        self._batches: list[Batch] = []
        self._live: list[pl.DataFrame] = []  # requests that were sent live
        self._delivered: list[pl.DataFrame] = []
        self._seen: list[pl.DataFrame] = []
        self._uploads: dict[str, _Upload] = {}
        self._resume()

    def requested(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows whose requests are in a batch, or are about to be submitted."""
        with self.lock:
            uploads = [frame.select(*_INDEX) for upload in self._uploads.values() for frame in upload.rows]
            return _semi(rows, [*(batch.index for batch in self._batches), *uploads, *self._live])

    def unseen(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that were passed for the first time, and whose requests are not in a batch.

        A request that exceeds the limits of the run is not submitted later, when it would delay the run.
        """
        with self.lock:
            seen = [self.requested(rows).select(*_INDEX), _semi(rows, self._seen).select(*_INDEX)]
            self._seen.append(rows.select(*_INDEX))
            return rows.join(pl.concat(seen), on=list(_INDEX), how="anti", maintain_order="left")

    def sent_in_batches(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows whose requests are in a batch, without those that were sent live."""
        with self.lock:
            return _semi(rows, [batch.index for batch in self._batches])

    def pending(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that were requested by this run, and whose results were not delivered yet."""
        with self.lock:
            delivered = _semi(rows, self._delivered)
            return self.requested(rows).join(delivered, on=list(_INDEX), how="anti", maintain_order="left")

    def deliver(self, rows: pl.DataFrame) -> None:
        """Note that the results of these requests were delivered."""
        with self.lock:
            self._delivered.append(rows.select(*_INDEX))

    def add_live(self, rows: pl.DataFrame) -> None:
        """Note that these requests were sent live, and that their completions are stored."""
        with self.lock:
            self._live.append(rows.select(*_INDEX))

    def add(
        self, group: pl.DataFrame, prefixes: pl.DataFrame, prompts: Sequence[Prompt], decoding: Mapping[str, Any]
    ) -> None:
        """Add requests with the same decoding parameters; a batch that is full is submitted.

        Args:
            group: The requests, with their estimated cost in `reserved`.
            prefixes: `PREFIXES`.
            prompts: The prompts.
            decoding: The decoding parameters.
        """
        with self.lock:
            for index, key in enumerate(_keys(group)):
                route, body = self._api.request(prompts[index], decoding)
                entry = json.dumps(self._api.entry(key, route, body), ensure_ascii=False).encode("utf-8", "replace")
                if route in self._uploads and not self._uploads[route].fits(entry, self._api):
                    self._uploads[route].end_group(group, prefixes)
                    self._submit(route)
                if route not in self._uploads:
                    self._uploads[route] = _Upload(self._api.PARTS)
                self._uploads[route].add(entry, index)
            for upload in self._uploads.values():
                upload.end_group(group, prefixes)

    def submit(self) -> None:
        """Submit all requests that were added."""
        with self.lock:
            for route in list(self._uploads):
                self._submit(route)

    def close(self) -> None:
        """Discard the requests that were not submitted, because the run was stopped."""
        with self.lock:
            while self._uploads:
                self._uploads.popitem()[1].file.close()

    def wait(self, rows: pl.DataFrame, stop: threading.Event) -> None:
        """Wait until the batches of these requests have ended, and store their completions; `stop` ends the waiting."""
        with self.lock:
            batches = [batch for batch in self._batches if rows.join(batch.index, on=list(_INDEX), how="semi").height]
        for batch in batches:
            while not batch.ended and not stop.is_set():
                self._poll(batch)
                if not batch.ended:
                    # a short wait, because this thread sees signals only when it wakes
                    stop.wait(min(0.1, max(batch.next_poll - time.monotonic(), 0.01)))

    def ended(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the rows of batches that have ended, and the errors (`_ERRORS`) of the failed ones."""
        with self.lock:
            ended = [(batch.index, batch.errors) for batch in self._batches if batch.errors is not None]
            live = list(self._live)
        errors = pl.concat([pl.DataFrame(schema=_ERRORS), *(failed for _, failed in ended)])
        return _semi(rows, [*(index for index, _ in ended), *live]), _semi(errors, [rows.select(*_INDEX)])

    def progress(self) -> list[dict[str, Any]]:
        """Return id, status, submitted, completed, failed and age (s) of each batch."""
        records = [batch.record for batch in list(self._batches)]  # without the lock, which an upload holds
        return [
            {
                "id": record["batch"],
                "status": record["status"],
                "submitted": record["requests"],
                "completed": record["completed"],
                "failed": record["failed"],
                "age": max(0.0, (record["ended"] or time.time()) - record["created"]),
            }
            for record in records
        ]

    def notes(self) -> list[str]:
        """Return a line for each batch in progress."""
        url = self._api.endpoint.url
        return [
            f"{self.model}: batch {entry['id']} with {entry['submitted']:,} requests is in progress at {url}. "
            "Rerun the plan to resume, or cancel the batch with model.cancel()."
            for entry in self.progress()
            if entry["id"] and entry["status"] not in ENDED
        ]

    def _resume(self) -> None:
        """Find the batches of earlier runs and other processes; collect those that have ended."""
        for record in read_records(self._folder):
            batch = Batch(self._folder, record, pl.DataFrame(schema=_INDEX))
            if record["collected"]:
                if time.time() - record["collected"] > RECORD_SECONDS:
                    batch.remove()
                continue
            batch.index = batch.table("requests").select(*_INDEX)
            if not batch.id and not _is_submitting(record) and not self._recover(batch):
                continue
            if batch.id:
                self._poll(batch)
            if not batch.ended:
                self._batches.append(batch)

    def _recover(self, batch: Batch) -> bool:
        """Find or submit the batch of a process that was killed, and return whether the provider has it."""
        self._api.find(batch.record, batch.keys(), self._taken())
        if not batch.id and batch.record["file"]:
            self._create(batch, None)
        if not batch.id:
            batch.remove()
            return False
        batch.record["status"] = "submitted"
        batch.save()
        logger.info("%s: found batch %s of an earlier run", self.model, batch.id)
        return True

    def _taken(self) -> list[str]:
        """Return the ids of all batches in the store, also those of other models."""
        return [record["batch"] for record in read_records(below(self._root, "batches")) if record["batch"]]

    def _submit(self, route: str) -> None:
        """Write the record of a batch, upload its requests, and create it."""
        upload = self._uploads.pop(route)
        upload.end()
        rows = pl.concat(upload.rows)
        record: Record = {
            "name": uuid4().hex,
            "model": self.model,
            "url": self._api.endpoint.url,
            "route": route,
            "requests": rows.height,
            "created": time.time(),
            "host": socket.gethostname(),
            "process": os.getpid(),
            "file": None,
            "batch": None,
            "status": "uploading",
            "completed": 0,
            "failed": 0,
            "ended": None,
            "collected": None,
        }
        batch = Batch(self._folder, record, rows.select(*_INDEX), float(rows["reserved"].sum()))
        _submitting.add(record["name"])
        try:
            write_parquet(rows, batch.path("requests"))
            write_parquet(pl.concat(upload.prefixes).unique("prefix_id", maintain_order=True), batch.path("prefixes"))
            batch.save()  # before anything is sent
            self._create(batch, upload.file)
        finally:
            _submitting.discard(record["name"])
            upload.file.close()
        batch.record["status"] = "submitted"
        self._batches.append(batch)
        logger.info("%s: submitted batch %s with %d requests", self.model, batch.id, rows.height)

    def _create(self, batch: Batch, upload: BinaryIO | None) -> None:
        """Create the batch; after a lost connection, look first whether the provider has it."""

        def attempt(number: int) -> None:
            if number > 1:
                self._api.find(batch.record, batch.keys(), self._taken())
            if not batch.id:
                self._api.create(batch.record, upload, batch.save)

        try:
            retried(attempt)
        except UnavailableError:  # the provider may have the batch
            raise
        except HelmframeError:
            batch.remove()
            raise

    def _poll(self, batch: Batch) -> None:
        """Update the state of a batch when it is time, and collect its completions once it has ended."""
        with batch.lock:
            if batch.ended or time.monotonic() < batch.next_poll:
                return
            first, longest = POLL_SECONDS
            batch.interval = min(longest, batch.interval * 1.5 or first)
            try:
                state = self._state(batch)
            except UnavailableError as error:
                if time.monotonic() - batch.responded > PATIENCE:
                    raise
                logger.warning("batch %s is polled again: %s", batch.id, error)
                batch.next_poll = time.monotonic() + longest
                return
            batch.responded = time.monotonic()
            batch.next_poll = batch.responded + batch.interval
            if state is None:
                batch.record |= {"status": "failed", "failed": batch.index.height, "ended": time.time()}
                batch.errors = batch.index.with_columns(error=pl.lit("another process did not submit the batch"))
                return
            batch.record |= {"status": state.status, "completed": state.completed, "failed": state.failed}
            if state.ended:
                self._collect(batch, state)

    def _state(self, batch: Batch) -> State | None:
        """Return the state of a batch; None if it will never be submitted."""
        if not batch.id:  # another process submits it
            records = [record for record in read_records(self._folder) if record["name"] == batch.record["name"]]
            if not records:
                return None
            batch.record = records[0]
            if not batch.id and _is_submitting(batch.record):
                return State("uploading", ended=False, completed=0, failed=0)
            if not batch.id and not self._recover(batch):
                return None
        try:
            return self._api.state(batch.record)
        except RefusedError as error:
            if error.status_code != 404:
                raise
            return State("failed", ended=True, completed=0, failed=0, reason="the provider no longer has it")

    def _collect(self, batch: Batch, state: State) -> None:
        """Store the completions of a batch that has ended."""
        groups = batch.table("requests").partition_by("scenario", "decoding", maintain_order=True)
        prefixes = batch.table("prefixes")
        missing = {key: (group, row) for group, rows in enumerate(groups) for row, key in enumerate(_keys(rows))}
        stops = [stops_of(json.loads(group["decoding"][0])) for group in groups]
        outcomes: list[list[Outcome]] = [[] for _ in groups]
        errors: list[pl.DataFrame] = [pl.DataFrame(schema=_ERRORS)]
        n_unknown = 0

        def write(number: int) -> None:
            scenario = groups[number]["scenario"][0]
            stored = ParquetCompletions(self._root, self._fingerprint, scenario)
            frame = self._store(prefixes, stored, groups[number], outcomes[number])
            failed = frame.filter(pl.col("error").is_not_null())
            errors.append(failed.select(pl.lit(scenario).alias("scenario"), "request_id", "error"))
            outcomes[number] = []

        with tempfile.TemporaryFile() as file:
            for route in state.files:
                for line in self._api.download(route, file, batch.index.height):
                    result = self._api.result(line)
                    position = None if result is None else missing.pop(result.key, None)
                    if result is None or position is None:
                        n_unknown += 1
                        continue
                    group, row = position
                    outcomes[group].append(self._outcome(row, result, stops[group]))
                    if len(outcomes[group]) >= STORED_ROWS:
                        write(group)
        reason = _REASONS.get(state.status, "has no result of this request")
        text = f"batch {batch.id} {reason}{f': {state.reason}' if state.reason else ''}"
        for group, row in missing.values():
            outcomes[group].append(Outcome(row, None, text, None, 1))
        for number in range(len(groups)):
            write(number)
        if n_unknown:
            logger.warning("batch %s: %d results without a request of this batch are ignored", batch.id, n_unknown)
        failures = pl.concat(errors)
        batch.record |= {"completed": batch.index.height - failures.height, "failed": failures.height}
        batch.record |= {"ended": time.time(), "collected": time.time()}
        batch.save()
        batch.errors = failures
        self._release(batch.reserved)

    def _outcome(self, row: int, result: Result, stops: Sequence[str]) -> Outcome:
        """Return the outcome of a request."""
        if result.error is not None:
            return Outcome(row, None, result.error, None, 1)
        try:
            return Outcome(row, completion_of(result.reply, self.model, stops), None, None, 1)
        except AnswerError as error:
            return Outcome(row, None, self._api.endpoint.safe(str(error)), None, 1)


_REASONS = {
    "expired": "expired before this request ran",
    "cancelled": "was cancelled before this request ran",
    "canceled": "was cancelled before this request ran",
    "failed": "failed",
}
# The names of the batches that this process is submitting.
_submitting: set[str] = set()


def _is_submitting(record: Record) -> bool:
    """Return whether a process is submitting the batch of a record."""
    if record["host"] != socket.gethostname():
        return bool(time.time() - record["created"] < SUBMISSION_SECONDS)
    if record["process"] == os.getpid():
        return record["name"] in _submitting
    return _is_alive(record["process"]) and bool(time.time() - record["created"] < SUBMISSION_SECONDS)


def _is_alive(process: int) -> bool:
    """Return whether a process of this host runs; a killed process may remain as a zombie."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:  # of another user, or without /proc
        return True


def _semi(rows: pl.DataFrame, indices: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the rows whose scenario and request_id are in one of the frames."""
    wanted = pl.concat([pl.DataFrame(schema=_INDEX), *indices])
    return rows.join(wanted, on=list(_INDEX), how="semi", maintain_order="left")


def _keys(rows: pl.DataFrame) -> list[str]:
    """Return the custom_id of each request: its request_id, and a digest of its scenario."""
    suffixes = {scenario: digest(scenario)[:8] for scenario in rows["scenario"].unique()}
    return [f"{request.hex()}-{suffixes[scenario]}" for scenario, request in rows.select(*_INDEX).iter_rows()]
