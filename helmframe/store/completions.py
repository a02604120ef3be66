"""Completions by request_id: in Parquet parts of the store, or in this process for models without a version.

Any number of processes and hosts can add to one store. Each part has a new name, and parts never change. If a request
has two completions, the one with the higher version counts. Versions are counters of a folder, not times.
"""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b, sha256
from typing import ClassVar, Protocol

import polars as pl

from helmframe._schema import COMPLETIONS
from helmframe.store.files import Address, File, below, scan, settled_listing, write
from helmframe.store.parts import Part, encode, mark_of, part_path, read_parts, sealed, unmatched

COMPLETION_SCHEMA = {
    name: COMPLETIONS.schema[name]
    for name in (
        "request_id", "completion", "reasoning", "logprob", "token_logprobs", "is_greedy", "finish_reason",
        "prompt_tokens", "cached_prompt_tokens", "output_tokens", "reasoning_tokens", "latency",
    )
}  # fmt: skip
# The request, stored with its completion: readable without the scenario.
REQUEST_COLUMNS = (
    "model", "scenario", "scenario_version", "instance_id", "perturbation", "perturbation_seed", "setting", "trial",
    "output_index", "decoding", "prefix_id", "suffix",
)  # fmt: skip
# Written by the store itself, and preserved in merged parts: the version decides which of two completions counts;
# `written` (nanoseconds since 1970) is information.
VERSION: dict[str, pl.DataType] = {"row_index": pl.Int64(), "version": pl.Int64()}
WRITTEN: dict[str, pl.DataType] = {"written": pl.Int64()}


class CompletionStore(Protocol):
    """The stored completions of one model and scenario."""

    def read(self, low: int, high: int, wanted: pl.Series | None = None) -> pl.DataFrame:
        """Return the completions of instances between two values of row_index, as columns `COMPLETION_SCHEMA`.

        Args:
            low: The lowest row_index.
            high: The highest row_index, included. Completions of neighbouring instances may be returned too.
            wanted: request_ids; most completions of other requests are skipped.
        """

    def append(self, answers: pl.DataFrame, prefixes: pl.DataFrame) -> None:
        """Store completions (`COMPLETION_SCHEMA`, `REQUEST_COLUMNS`, row_index) and the prefixes of their prompts."""


class ParquetCompletions:
    """Completions in a folder or bucket."""

    TRIES = 5
    # The largest share of the time for listings, of those that take longer than 0.1 s.
    NEWS_SHARE = 0.2
    FAST_SECONDS = 0.1

    def __init__(self, root: Address, fingerprint: str, scenario: str, *, new: bool = False, run: str = "") -> None:
        """Open the completions of a model and scenario.

        Args:
            root: The root of the store.
            fingerprint: The model's fingerprint.
            scenario: The name of the scenario.
            new: Whether the folder is empty, so that no part replaces another.
            run: The id of the current run, if there is one.
        """
        self.root = root
        self.run = run
        self.temporary: list[File] = []  # the temporary files in the folder when it was listed last
        self._path = f"{fingerprint[:32]}/{file_name(scenario)}"
        self.folder = below(root, "completions", *self._path.split("/"))
        self._damaged = damaged_folder(root, self._path)
        self._footer = {"fingerprint": fingerprint[:32], "scenario": scenario}
        self._prefixes: set[str] = set()
        self._seen: set[str] = set()
        self._opened = time.monotonic()
        self._next_look = self._opened
        self._counted = False
        self._read_ids: list[pl.Series] | None = [] if new else None  # hashes of the request_ids read

    def read(self, low: int, high: int, wanted: pl.Series | None = None) -> pl.DataFrame:
        """See `CompletionStore`.

        Raises:
            StoreError: The store is unreachable, or a newer helmframe wrote it. A damaged part is set aside instead,
                with a warning.
        """
        _listings.list_together(self.folder, self._damaged)
        for _ in range(self.TRIES):
            near = [part for part in self._parts() if part.low <= high and low <= part.high]
            result = read_parts(self.root, near, COMPLETION_SCHEMA | VERSION)
            self._seen.update(part.file.name for part in near)
            if result.complete:
                break
            # another process has merged some parts since they were listed; their completions are in a new one
            _listings.forget(self.folder)
            _listings.forget(self._damaged)
        if result.damaged:
            _listings.forget(self._damaged)
        rows = result.rows
        lost = [*result.damaged, *_parts_in(self._damaged), *unmatched(_listings.files(self.folder))]
        if wanted is not None:
            # by hashes: several times as fast as by ids, and a rare collision does no harm
            rows = rows.filter(rows["request_id"].hash().is_in(wanted.hash().implode()))
        rows = current(rows, lost)
        self._read_ids = [*(self._read_ids or []), rows["request_id"].hash()]
        return rows.drop(VERSION)

    def read_new(self, low: int, high: int, *, always: bool = True) -> pl.DataFrame:
        """Return the completions between two values of row_index that other processes have added since the last read.

        Args:
            low: The lowest row_index.
            high: The highest row_index, included.
            always: Whether the store is listed in any case. If not, and listing it is slow, it is listed now and then
                only, and the result is empty in between.

        Raises:
            StoreError: as `read`.
        """
        started = time.monotonic()
        if started < self._next_look and not always:
            return pl.DataFrame(schema=COMPLETION_SCHEMA)
        files, self.temporary = scan(self.folder)
        # listing a bucket with ten thousands of parts takes seconds, and the model waits meanwhile
        listed = time.monotonic()
        pause = (listed - started) / self.NEWS_SHARE if listed - started > self.FAST_SECONDS else 0.0
        self._next_look = listed + pause
        # a run that reads the store next must see them too
        _listings.add(self.folder, *files)
        parts = [part for part in map(Part.named, files) if part is not None]
        _versions.see(self.folder, parts)
        near = [part for part in parts if part.low <= high and low <= part.high]
        new = [part for part in near if part.file.name not in self._seen]
        self._seen.update(part.file.name for part in new)
        return newest(read_parts(self.root, new, COMPLETION_SCHEMA | VERSION).rows).drop(VERSION)

    def oldest(self) -> int | None:
        """Return when the oldest completion was written, in nanoseconds since 1970; None if there is none.

        Raises:
            StoreError: as `read`.
        """
        first = read_parts(self.root, self._parts(), WRITTEN).rows["written"].min()
        return first if isinstance(first, int) else None

    def append(self, answers: pl.DataFrame, prefixes: pl.DataFrame) -> None:
        """See `CompletionStore`.

        Raises:
            StoreError: The store isn't writable.
        """
        if answers.is_empty():
            return
        self._write_prefixes(prefixes)
        version, at = self._next_version(), time.time_ns()
        low, high = answers.select(low=pl.col("row_index").min(), high=pl.col("row_index").max()).row(0)
        rows = answers.select(*REQUEST_COLUMNS, "row_index", *COMPLETION_SCHEMA).with_columns(
            version=pl.lit(version, dtype=pl.Int64), written=pl.lit(at, dtype=pl.Int64)
        )
        data = encode(rows, {**self._footer, "model": answers["model"][0]})
        ids = rows["request_id"].hash()
        replaces = self._read_ids is None or any(ids.is_in(hashes.implode()).any() for hashes in self._read_ids)
        path = part_path(self._path, low, high, version, at, rows.height, data, replaces=replaces)
        self._seen.add(path.rpartition("/")[2])
        self._write(path, data)
        if replaces:  # afterwards: a mark without its part tells other readers that a version is lost
            self._write(mark_of(path), b"")

    def _write_prefixes(self, prefixes: pl.DataFrame) -> None:
        new = prefixes.filter(~pl.col("prefix_id").is_in(list(self._prefixes)))
        if new.is_empty():
            return
        start = prefixes_name(new)
        if not any(file.name.startswith(start) for file in _listings.files(self.folder)):
            data = encode(new, self._footer)
            self._write(sealed(f"{self._path}/{start}", data), data)
        self._prefixes.update(new["prefix_id"])

    def _parts(self) -> list[Part]:
        """Return the parts in the folder, in a bucket as of some seconds ago."""
        parts = _parts_in(self.folder)
        _versions.see(self.folder, parts)
        return parts

    def _next_version(self) -> int:
        """Return a version above those of all parts in the folder when this object was made."""
        if not self._counted:
            _listings.renew(self.folder, self._opened)
            _versions.see(self.folder, [*self._parts(), *_parts_in(self._damaged)])
            self._counted = True
        return _versions.next(self.folder)

    def _write(self, path: str, data: bytes) -> None:
        name = path.rpartition("/")[2]
        address = below(self.folder, name)
        write(data, address)
        _listings.add(self.folder, File(address, name, len(data), time.time()))


class ProcessCompletions:
    """Completions in memory, for models without a version; only those of the most recently used models are cached."""

    MAX_STORES = 32
    _frames: ClassVar["OrderedDict[tuple[str, str], list[pl.DataFrame]]"] = OrderedDict()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, fingerprint: str, scenario: str) -> None:
        self._key = (fingerprint, scenario)

    def read(self, low: int, high: int, wanted: pl.Series | None = None) -> pl.DataFrame:  # noqa: ARG002
        """See `CompletionStore`."""
        with self._lock:
            parts = self._frames.get(self._key, [])
            if len(parts) > 1:
                parts[:] = [pl.concat(parts).unique("request_id", keep="last", maintain_order=True)]
            return parts[0] if parts else pl.DataFrame(schema=COMPLETION_SCHEMA)

    def append(self, answers: pl.DataFrame, prefixes: pl.DataFrame) -> None:  # noqa: ARG002
        """See `CompletionStore`."""
        with self._lock:
            self._frames.setdefault(self._key, []).append(answers.select(list(COMPLETION_SCHEMA)))
            self._frames.move_to_end(self._key)
            while len(self._frames) > self.MAX_STORES:
                self._frames.popitem(last=False)


def file_name(name: str) -> str:
    """Return a name as a file name: letters, digits, `-`, `_` and `.`; a hash distinguishes names that were changed."""
    plain = re.sub(r"[^A-Za-z0-9_.\-]", "_", name)[:80]
    if plain == name and not plain.startswith("."):
        return plain
    return f"{plain.lstrip('.')}-{sha256(name.encode()).hexdigest()[:8]}"


def newest(rows: pl.DataFrame) -> pl.DataFrame:
    """Return one row per request_id: the highest version, and among equal versions the highest digest.

    The result does not depend on the order of the rows. Versions are equal if two writers did not see each other's
    parts, and in parts that are being merged.
    """
    # The hash of an id is enough to see that none repeats, which is the usual case, and six times as fast.
    if rows["request_id"].hash().n_unique() == rows.height:
        return rows
    tied = rows.select("request_id", "version").is_duplicated()
    content = rows.filter(tied).select(name for name in COMPLETION_SCHEMA if name != "request_id")
    digests = pl.Series([blake2b(repr(row).encode()).digest() for row in content.iter_rows()], dtype=pl.Binary)
    ranked = pl.concat([
        rows.filter(~tied).with_columns(digest=pl.lit(b"")), rows.filter(tied).with_columns(digest=digests)
    ])  # fmt: skip
    ranked = ranked.sort("version", "digest", maintain_order=True)
    return ranked.unique("request_id", keep="last", maintain_order=True).drop("digest")


def current(rows: pl.DataFrame, lost: Sequence[Part]) -> pl.DataFrame:
    """Return the newest rows, without those that a damaged part may have replaced.

    Args:
        rows: Completions with the columns `VERSION`.
        lost: Unreadable parts.
    """
    rows = newest(rows)
    for part in lost:
        if part.replaces:
            between = pl.col("row_index").is_between(part.low, part.high)
            rows = rows.filter(~(between & (pl.col("version") < part.version)))
    return rows


def damaged_folder(root: Address, path: str) -> Address:
    """Return the folder for the damaged parts of a folder below `completions`."""
    return below(root, "damaged", "completions", *path.split("/"))


def set_aside_parts(root: Address, path: str) -> list[Part]:
    """Return the damaged parts that were set aside from a folder below `completions`."""
    return _parts_in(damaged_folder(root, path))


def _parts_in(folder: Address) -> list[Part]:
    return [part for part in map(Part.named, _listings.files(folder)) if part is not None]


def prefixes_name(prefixes: pl.DataFrame) -> str:
    """Return the start of the name of a file with these prefixes: the same in every process, so it is written once."""
    ids = "\0".join(prefixes["prefix_id"].unique().sort())
    return f"prefixes-{blake2b(ids.encode(), digest_size=16).hexdigest()}"


class _Versions:
    """The highest version of each folder that this process has read or written."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}
        self._lock = threading.Lock()

    def see(self, folder: Address, parts: Sequence[Part]) -> None:
        """Note the versions of these parts."""
        highest = max((part.version for part in parts), default=0)
        with self._lock:
            self._highest[str(folder)] = max(highest, self._highest.get(str(folder), 0))

    def next(self, folder: Address) -> int:
        """Return a version above all that were read or written."""
        with self._lock:
            self._highest[str(folder)] = self._highest.get(str(folder), 0) + 1
            return self._highest[str(folder)]


class _Listings:
    """The files in folders; listings of buckets are cached for some seconds, to share them between shards."""

    SECONDS = 5.0
    SHARE = 0.2  # the largest share of the time for listings that `renew` causes
    MAX_FOLDERS = 256

    def __init__(self) -> None:
        self._folders: OrderedDict[str, tuple[float, dict[str, File]]] = OrderedDict()
        self._took: dict[str, float] = {}  # seconds of the last listing
        self._lock = threading.Lock()

    def files(self, folder: Address) -> list[File]:
        """Return the files, in a bucket as of some seconds ago; files that this process wrote are always included."""
        if not isinstance(folder, str):
            return settled_listing(folder)
        with self._lock:
            listed, files = self._folders.get(folder, (_NEVER, {}))
            if time.monotonic() - listed < self.SECONDS:
                return list(files.values())
        started, at = time.monotonic(), time.time()
        contents = {file.name: file for file in settled_listing(folder)}
        with self._lock:
            _, files = self._folders.get(folder, (_NEVER, {}))
            # files that this process wrote while the bucket was listed may not be in the list
            contents = {name: file for name, file in files.items() if file.modified >= at} | contents
            self._folders[folder] = (started, contents)
            self._took[folder] = time.monotonic() - started
            self._folders.move_to_end(folder)
            while len(self._folders) > self.MAX_FOLDERS:
                self._took.pop(self._folders.popitem(last=False)[0], None)
            return list(contents.values())

    def list_together(self, *folders: Address) -> None:
        """List folders of a bucket at the same time."""
        if any(isinstance(folder, str) for folder in folders):
            with ThreadPoolExecutor(len(folders), thread_name_prefix="helmframe-list") as threads:
                list(threads.map(self.files, folders))

    def add(self, folder: Address, *files: File) -> None:
        """Add files that this process wrote, or found."""
        if isinstance(folder, str):
            with self._lock:
                self._folders.setdefault(folder, (_NEVER, {}))[1].update((file.name, file) for file in files)

    def forget(self, folder: Address) -> None:
        """Drop the cached listing of a folder."""
        with self._lock:
            self._folders.pop(str(folder), None)

    def renew(self, folder: Address, since: float) -> None:
        """List the folder next time unless that was done after `since`, or a moment ago in view of its cost."""
        with self._lock:
            listed, _ = self._folders.get(str(folder), (_NEVER, {}))
            enough = self._took.get(str(folder), 0.0) / self.SHARE
            stale = listed < since and time.monotonic() - listed > enough
        if stale:
            self.forget(folder)


_NEVER = float("-inf")
_listings = _Listings()
_versions = _Versions()
