"""A checksum of the rows that a scenario is read from, for the manifest of a run."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import TypedDict

from helmframe._core.specs import Condition, ScenarioSpec
from helmframe.scenarios.query import matching_files, rows_root, with_default_subsets
from helmframe.scenarios.sources import connect
from helmframe.store import Address, address_of, listing

# The most bytes of files on disk that are read for a checksum: it takes a second or two.
MOST_BYTES = 1 << 30
_BLOCK = 1 << 20


class Data(TypedDict):
    """The address of a scenario's rows, the size of their files, and a checksum that is equal for equal rows."""

    address: str
    files: int
    bytes: int | None
    checksum: str | None


def data_checksum(
    spec: ScenarioSpec,
    *,
    where: Sequence[Condition] = (),
    splits: Sequence[str] = ("test",),
    data: str | None = None,
    stop: threading.Event | None = None,
) -> Data:
    """Return the checksum of the files that may hold rows of these splits under these conditions.

    The checksum is a BLAKE2b over the names of the files and, on disk, over their bytes, or over their sizes and times
    if they have more than a gigabyte; in a bucket over their sizes and ETags; of a frame over its rows. It is null on
    the Hub, whose address contains the revision, and for generated scenarios, whose rows depend only on the version.

    Args:
        spec: The scenario.
        where: The conditions.
        splits: Some of train, valid and test.
        data: The root of the rows, instead of the configured one.
        stop: Once it is set, reading stops and the checksum is null.

    Raises:
        SourceError: Reaching the rows fails.
        StoreError: Listing the bucket fails.
    """
    if spec.frame is not None:
        return Data(address="a frame", files=0, bytes=None, checksum=spec.frame.digest)
    if spec.generated:
        return Data(address=f"generated: {spec.generated}", files=0, bytes=None, checksum=None)
    with closing(connect(spec, rows_root(spec, data))) as source:
        paths = [file.path for file in matching_files(spec, source, with_default_subsets(spec, where), splits)]
        address = source.address
    if address.startswith("hf://") or not paths:
        return Data(address=address, files=len(paths), bytes=None, checksum=None)
    root = _folder(paths)
    states = list(_in_bucket(root, paths) if "://" in address else _on_disk(root, paths, stop))
    whole = len(states) == len(paths)
    state = blake2b("\n".join(f"{name}\0{size}\0{digest}" for name, size, digest in states).encode(), digest_size=16)
    return Data(
        address=address,
        files=len(paths),
        bytes=sum(size for _, size, _ in states) if whole else None,
        checksum=state.hexdigest() if whole else None,
    )


def _on_disk(root: str, paths: Sequence[str], stop: threading.Event | None) -> Iterator[tuple[str, int, str]]:
    stats = {path: Path(path).stat() for path in paths}
    many = sum(stat.st_size for stat in stats.values()) > MOST_BYTES
    for path in paths:
        if many:
            yield path.removeprefix(root), stats[path].st_size, str(stats[path].st_mtime_ns)
            continue
        state, size = blake2b(digest_size=16), 0
        with Path(path).open("rb") as file:
            while block := file.read(_BLOCK):
                if stop is not None and stop.is_set():
                    return
                state.update(block)
                size += len(block)
        yield path.removeprefix(root), size, state.hexdigest()


def _in_bucket(root: str, paths: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    folder: Address = address_of(root)
    files = {str(file.address): file for file in listing(folder)}
    for path in paths:
        if path in files and files[path].tag:
            yield path.removeprefix(root), files[path].size, files[path].tag


def _folder(paths: Sequence[str]) -> str:
    """Return the folder that contains all paths, with its slash: the same files may be stored elsewhere."""
    first, last = min(paths), max(paths)
    same = next(
        (position for position, (one, two) in enumerate(zip(first, last, strict=False)) if one != two), len(first)
    )
    return first[: first.rfind("/", 0, same) + 1]
