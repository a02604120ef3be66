"""Claims: short leases by which processes that share a store divide their requests.

    STORE/completions/MODEL/SCENARIO/.BLOCK.claim.part     a block of requests that a process sends now

A process claims a block before it sends the requests, and releases the claim once the completions are stored. Other
processes send other blocks first, and then wait for the completions. A claim is a hint: without it, the results are the
same, but some requests are sent twice.

A claim is removed if its process has ended, or did not renew it for 30 s. Two clocks are never compared: the age of a
claim is the difference of two times of the store, or the time for which a process sees it unchanged.
"""

import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

import polars as pl

from helmframe._core.safe_text import get_logger
from helmframe.errors import StoreError
from helmframe.store.completions import ParquetCompletions
from helmframe.store.files import (
    Address,
    File,
    below,
    create,
    has_ended,
    is_orphan,
    process_token,
    read_all,
    remove,
    scan,
    stat,
    store_time,
    touch,
)

SUFFIX = ".claim.part"
LEASE_SECONDS = 30.0
RENEW_SECONDS = 8.0
ORPHAN_SECONDS = 3600.0
# A claim is no longer renewed if no completion was stored for this time: its model may hang.
PROGRESS_SECONDS = 600.0
# The seconds between looks for the completions of other processes, the first and the longest.
PAUSES = (0.05, 1.0)
# A block has at least this number of requests, and at most this share of the requests of a shard.
MIN_ROWS = 16
MAX_BLOCKS = 64
_AT_ONCE = 32  # claims written to a bucket together
_ID_BYTES = 16
_TOKEN = re.compile(r"[0-9a-f]{24}")

log = get_logger("helmframe.store")

# Requests to send, completions of other processes, and the names of the claims of the requests.
Taken = tuple[pl.DataFrame, pl.DataFrame, list[str]]


class Claim(NamedTuple):
    """The claim of another process, as it was when it was read."""

    file: File
    seen: float  # by this process's monotonic clock
    owner: str  # the token of its process; empty if it is unreadable
    run: str
    ids: frozenset[bytes]


class Claims:
    """The claims of one run on the completions of one model and scenario."""

    def __init__(self, folder: Address, run: str = "") -> None:
        """`run`: the id of the run; the processes of one run, such as Ray's workers, don't wait for one another."""
        self._folder = folder
        self._run = run
        self._held: dict[str, bytes] = {}
        self._released: set[str] = set()
        self._foreign: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._progress = time.monotonic()
        # a bucket answers slowly, so the next block is claimed, and claims are removed, while the model works
        self._background = ThreadPoolExecutor(1, "helmframe-claims") if isinstance(folder, str) else None

    def take_in_background(self, take: Callable[[], Taken]) -> Future[Taken] | None:
        """Take the next block in the background if the store is a bucket; return None if it is a folder."""
        return None if self._background is None else self._background.submit(take)

    def acquire(self, blocks: Mapping[str, Sequence[bytes]]) -> set[str]:
        """Claim blocks, and return the names of the claimed blocks, without blocks of other processes.

        Args:
            blocks: The request_ids of each block, by its name.

        Raises:
            StoreError: The store isn't writable.
        """
        if not blocks:
            return set()
        header = json.dumps({"owner": process_token(), "run": self._run}).encode() + b"\n"
        contents = [(name, header + b"".join(ids)) for name, ids in blocks.items()]
        if isinstance(self._folder, str) and len(contents) > 1:
            with ThreadPoolExecutor(min(_AT_ONCE, len(contents)), thread_name_prefix="helmframe-claim") as pool:
                acquired = list(pool.map(self._create, contents))
        else:
            acquired = [self._create(content) for content in contents]
        self._progress = time.monotonic()
        with self._lock:
            self._schedule()
        return {name for (name, _), is_mine in zip(contents, acquired, strict=True) if is_mine}

    def foreign(self, files: Sequence[File], wanted: Collection[str]) -> dict[str, Claim]:
        """Return the claims of other processes by name, and remove those that have expired.

        Args:
            files: The temporary files in the folder, as they were listed last.
            wanted: The names of the blocks that this process has not sent yet.

        Raises:
            StoreError: The store is unreachable, or isn't writable.
        """
        remove([file.address for file in files if is_orphan(file)])
        claims = [file for file in files if file.name.endswith(SUFFIX)]
        newest = max((file.modified for file in claims), default=0.0)
        # a claim that was just released may still be listed; of the same block, another process's claim blocks nothing
        ignored = {*self._held, *self._released.difference(wanted)}
        candidates = [file for file in claims if file.name not in ignored]
        changed = [file for file in candidates if not self._is_known(file)]
        for file, data in zip(changed, read_all([file.address for file in changed]), strict=True):
            if data is None:
                self._foreign.pop(file.name, None)
            else:
                self._foreign[file.name] = _parse(file, data)
        self._foreign = {file.name: self._foreign[file.name] for file in candidates if file.name in self._foreign}
        live = {}
        for name, claim in list(self._foreign.items()):
            if self._is_expired(claim, newest, wanted):
                _remove_unchanged(claim.file)
                del self._foreign[name]
            elif claim.run != self._run or not self._run or claim.owner == process_token():
                live[name] = claim
        return live

    def release(self, names: Collection[str]) -> None:
        """Release claims of this run."""
        with self._lock:
            released = [name for name in names if self._held.pop(name, None) is not None]
            self._released.update(released)
        addresses = [below(self._folder, name) for name in released]
        try:
            remove(addresses)
        except StoreError as error:  # they expire
            log.warning("Could not release claims: %s", error)
        for address in addresses:
            _held_here.pop((os.getpid(), str(address)), None)

    def release_soon(self, names: Collection[str]) -> None:
        """Release claims of blocks that are completed; in a bucket, in the background, at the latest by `close`."""
        try:
            if self._background is not None:
                self._background.submit(self.release, names)
                return
        except RuntimeError:  # closed already, after a second Ctrl-C; a writer may still store completions
            pass
        self.release(names)

    def note_progress(self) -> None:
        """Note that completions were stored, so that claims are renewed."""
        self._progress = time.monotonic()

    def close(self) -> None:
        """Release all claims."""
        if self._background is not None:
            self._background.shutdown()
        with self._lock:
            timer, self._timer = self._timer, None
            names = list(self._held)
        if timer is not None:
            timer.cancel()
        if names:
            self.release(names)

    def _create(self, content: tuple[str, bytes]) -> bool:
        name, data = content
        address = below(self._folder, name)
        key = (os.getpid(), str(address))
        # first, because another thread of this process may see the file before `create` returns
        if _held_here.setdefault(key, self) is not self:
            return False
        created = False
        try:
            created = create(data, address)
        finally:
            if created:
                with self._lock:
                    self._held[name] = data
            else:
                _held_here.pop(key, None)
        return created

    def _is_known(self, file: File) -> bool:
        claim = self._foreign.get(file.name)
        return claim is not None and _stamp(claim.file) == _stamp(file)

    def _is_expired(self, claim: Claim, newest: float, wanted: Collection[str]) -> bool:
        if claim.owner == process_token():
            return (os.getpid(), str(claim.file.address)) not in _held_here
        if claim.owner and has_ended(claim.owner):
            return True
        if self._run and claim.run == self._run and claim.file.name in wanted:
            return True  # this process runs the requests of a worker that the run has lost
        return max(newest - claim.file.modified, time.monotonic() - claim.seen) > LEASE_SECONDS

    def _schedule(self) -> None:
        """Start the timer of the next renewal; called with the lock held."""
        if self._held and self._timer is None:
            self._timer = threading.Timer(RENEW_SECONDS, self._renew)
            self._timer.name, self._timer.daemon = "helmframe-claims", True
            self._timer.start()

    def _renew(self) -> None:
        with self._lock:
            if self._timer is None:
                return
            held = dict(self._held)
        if time.monotonic() - self._progress < PROGRESS_SECONDS:
            for name, data in held.items():
                address = below(self._folder, name)
                try:
                    touch(data, address)
                    if name not in self._held:  # released meanwhile, and written again in a bucket
                        remove([address])
                except StoreError as error:  # the next renewal retries it
                    log.warning("Could not renew a claim: %s", error)
                    break
        with self._lock:
            if self._timer is not None:
                self._timer = None
                self._schedule()


class SharedRequests:
    """The requests of a shard that this process has not sent yet, in blocks that other processes may send too."""

    def __init__(
        self, missing: pl.DataFrame, planned: pl.DataFrame, stored: ParquetCompletions, claims: Claims, batch: int
    ) -> None:
        """Divide requests into blocks.

        Args:
            missing: The requests without a completion, in the order of `planned`.
            planned: All requests, cached ones too: equal plans have equal blocks in all processes.
            stored: The stored completions.
            claims: The claims of the run.
            batch: The number of requests in a model call.
        """
        self._stored = stored
        self._claims = claims
        self._names = block_names(planned["request_id"].to_list(), batch)
        self._numbers = {name: number for number, name in enumerate(self._names)}
        rows = block_rows(planned.height, batch)
        number = pl.int_range(pl.len()) // rows
        if missing.height == planned.height:  # the usual case, without a join
            missing = missing.with_columns(_block=number)
        else:
            numbers = planned.select("request_id", _block=number)
            missing = missing.join(numbers, on="request_id", how="left", maintain_order="left", validate="1:1")
        start = secrets.randbelow(len(self._names)) if self._names else 0
        # processes start at different blocks
        requests = pl.concat([missing.filter(pl.col("_block") >= start), missing.filter(pl.col("_block") < start)])
        self._requests = requests.drop("_block")
        # filtered and joined many times, so without the texts; `_row` is the position in `_requests`
        self._rows = requests.select("request_id", "row_index", "_block", _row=pl.int_range(pl.len()))
        self._busy: dict[str, Claim] = {}
        self._is_shared = False  # whether other processes run requests of this group
        self._waits = False
        self._next: Future[Taken] | None = None

    @property
    def height(self) -> int:
        """The number of requests that are not taken yet. While a block is taken in the background, at least 1."""
        return max(self._rows.height, self._next is not None)

    def take(self, size: int, stopped: threading.Event) -> Taken:
        """Return about `size` requests to send, completions of other processes, and the claims of the requests.

        If other processes have claimed all requests, wait for their completions. All are empty after `stopped`.

        Raises:
            StoreError: The store is unreachable, or isn't writable.
        """
        following, self._next = self._next, None
        taken = self._take(size, stopped) if following is None else following.result()
        # if there are other processes, they would wait for a block that is claimed too early
        if self._rows.height and not self._is_shared:
            self._next = self._claims.take_in_background(partial(self._take, size))
        return taken

    def _take(self, size: int, stopped: threading.Event | None = None) -> Taken:
        """Return what `take` returns; without `stopped`, don't wait for the completions of other processes."""
        pause, longest = PAUSES
        while True:
            free = self._free()
            chosen = self._choose(free, size)
            names = {self._names[number]: ids for number, ids in chosen.items()}
            acquired = self._claims.acquire(names)
            self._is_shared = self._is_shared or len(acquired) < len(names)
            # after the claim: whoever held it before has stored its completions by now
            new = self._look()
            block = free.filter(pl.col("_block").is_in([self._numbers[name] for name in acquired]))
            block = self._without(block, new, acquired)
            unused = acquired - {self._names[number] for number in block["_block"].unique()}
            if unused:
                self._claims.release(unused)
            self._remove(block, acquired)
            if block.height or new.height or not self._rows.height:
                return self._requests[block["_row"]], new, sorted(acquired - unused)
            if not self._free().height:
                if stopped is None:
                    return self._requests.clear(), new, []
                self._note_wait()
                if stopped.wait(pause):
                    return self._requests.clear(), new, []
                pause = min(2 * pause, longest)

    def _free(self) -> pl.DataFrame:
        """Return the requests that no other process has claimed."""
        if not self._busy:
            return self._rows
        numbers = [self._numbers[name] for name in self._busy if name in self._numbers]
        ids = _ids_of([claim for name, claim in self._busy.items() if name not in self._numbers])
        is_busy = pl.col("_block").is_in(numbers) | pl.col("request_id").is_in(ids.implode())
        return self._rows.filter(~is_busy)

    def _choose(self, free: pl.DataFrame, size: int) -> dict[int, list[bytes]]:
        """Return the ids of the first blocks that have `size` requests together."""
        counts = free.group_by("_block", maintain_order=True).len()
        before = counts["len"].cum_sum() - counts["len"]
        numbers = counts["_block"].filter(before < size)
        chosen = free.filter(pl.col("_block").is_in(numbers.implode()))
        groups = chosen.group_by("_block", maintain_order=True).agg("request_id")
        return dict(groups.iter_rows())

    def _look(self) -> pl.DataFrame:
        """Return new completions of other processes, and note their claims."""
        low, high = self._rows.select(low=pl.col("row_index").min(), high=pl.col("row_index").max()).row(0)
        new = self._stored.read_new(low, high, always=self._is_shared)
        if new.height:
            new = new.join(self._rows, on="request_id", how="semi")
            self._rows = self._rows.join(new, on="request_id", how="anti", maintain_order="left")
        files = self._stored.temporary
        wanted = {self._names[number] for number in self._rows["_block"].unique()} if files else set()
        self._busy = self._claims.foreign(files, wanted)
        self._is_shared = self._is_shared or bool(self._busy or new.height)
        return new

    def _without(self, block: pl.DataFrame, new: pl.DataFrame, acquired: Collection[str]) -> pl.DataFrame:
        """Return requests without those that are completed, or that an older claim with other blocks contains."""
        if new.height:
            block = block.join(new, on="request_id", how="anti", maintain_order="left")
        times = [file.modified for file in self._stored.temporary if file.name in acquired]
        # of two claims of the same moment, which is a second long in a bucket, both give way
        older = [claim for claim in self._busy.values() if times and claim.file.modified <= min(times)]
        if older:
            block = block.filter(~pl.col("request_id").is_in(_ids_of(older).implode()))
        return block

    def _remove(self, block: pl.DataFrame, acquired: Collection[str]) -> None:
        """Remove requests that are about to be sent; they are all or some requests of the acquired blocks."""
        is_acquired = pl.col("_block").is_in([self._numbers[name] for name in acquired])
        rest, rows = self._rows.filter(~is_acquired), self._rows.filter(is_acquired)
        if rows.height > block.height:
            rest = pl.concat([rows.join(block, on="request_id", how="anti", maintain_order="left"), rest])
        self._rows = rest

    def _note_wait(self) -> None:
        if not self._waits:
            self._waits = True
            log.info("Waiting for %s completions that other processes generate.", f"{self._rows.height:,}")


def block_rows(height: int, batch: int) -> int:
    """Return the number of requests in a block, a multiple of the batch.

    >>> block_rows(100, 1), block_rows(60_000, 1), block_rows(100, 12)
    (16, 938, 24)
    """
    return batch * -(-max(MIN_ROWS, -(-height // MAX_BLOCKS)) // batch)


def block_names(ids: Sequence[bytes], batch: int) -> list[str]:
    """Return the names of the claims of blocks: a hash of the request_ids."""
    rows = block_rows(len(ids), batch)
    return [
        f".{blake2b(b''.join(ids[start : start + rows]), digest_size=16).hexdigest()}{SUFFIX}"
        for start in range(0, len(ids), rows)
    ]


def remove_orphans(root: Address) -> list[File]:
    """Remove the half-written files and the claims of ended processes from a store; return them.

    A process on this machine is looked up. A file from another machine is removed an hour after its last change, by the
    clock of the store.

    Raises:
        StoreError: The store is unreachable, or isn't writable.
    """
    unfinished = scan(root)[1]
    claims = [file for file in unfinished if file.name.endswith(SUFFIX)]
    contents = zip(claims, read_all([file.address for file in claims]), strict=True)
    owners = {file: _parse(file, data or b"").owner for file, data in contents}
    orphans = [file for file in unfinished if is_orphan(file) or (owners.get(file) and has_ended(owners[file]))]
    rest = [file for file in unfinished if file not in orphans]
    if rest:
        now = store_time(root)
        orphans += [file for file in rest if now - file.modified > ORPHAN_SECONDS]
    remove([file.address for file in orphans])
    return orphans


def _parse(file: File, data: bytes) -> Claim:
    """Return a claim; one that is damaged, or not written yet, has no owner."""
    header, _, ids = data.partition(b"\n")
    try:
        fields = json.loads(header)
        owner, run = fields["owner"], fields["run"]
    except (ValueError, KeyError, TypeError, RecursionError):
        owner = run = ""
    if not (isinstance(owner, str) and isinstance(run, str) and _TOKEN.fullmatch(owner)):
        owner = run = ""
    parts = frozenset(ids[start : start + _ID_BYTES] for start in range(0, len(ids), _ID_BYTES))
    return Claim(file, time.monotonic(), owner, run, parts)


def _ids_of(claims: Collection[Claim]) -> pl.Series:
    return pl.Series([identity for claim in claims for identity in claim.ids], dtype=pl.Binary)


def _stamp(file: File) -> tuple[object, ...]:
    return file.tag, file.inode, file.size, file.modified


def _remove_unchanged(file: File) -> None:
    """Remove an expired claim, unless another process has replaced it."""
    if not isinstance(file.address, str):
        try:
            if _stamp(stat(file.address, file.name)) != _stamp(file):
                return
        except StoreError:  # it is removed already
            return
    remove([file.address])


# The claims that this process holds: (process, address) → its owner.
_held_here: dict[tuple[int, str], Claims] = {}
