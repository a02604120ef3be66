"""A root that is written to, in a folder or in a bucket: files appear whole or not at all."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from helmframe.config import S3Options, s3_options
from helmframe.errors import HelmframeError, SourceError
from helmframe.store import Address, address_of, below, listing
from helmframe.store.files import read, write

T = TypeVar("T")

_TIMEOUT = 60  # seconds, per request
_CHUNK = 8 << 20


class Target:
    """A root; `sizes` are those of the files that are there, by path."""

    def __init__(self, said: str | Path) -> None:
        self.root: Address = address_of(said)
        if isinstance(self.root, str) and not self.root.startswith("s3://"):
            raise SourceError(f"{said} can't be mirrored to: write a folder or s3://bucket/prefix.")

    def sizes(self, below_it: str) -> dict[str, int]:
        """The files below a folder of the root, by path."""
        folder = below(self.root, *below_it.split("/"))
        return self._done(lambda: {f"{below_it}/{each.name}": each.size for each in listing(folder)})

    def text(self, path: str) -> str | None:
        """What a small file says; None where there is none."""
        try:
            return read(self._address(path)).decode()
        except (HelmframeError, OSError):
            return None

    def keep(self, text: str, path: str) -> None:
        """Write or replace a small file."""
        self._done(lambda: write(text.encode(), self._address(path)))

    def sha256(self, path: str) -> str:
        """Of a file, read in a stream."""
        address = self._address(path)

        def digest() -> str:
            found = hashlib.sha256()
            with address.open("rb") if isinstance(address, Path) else _bucket().open(_key(address), "rb") as file:
                while chunk := file.read(_CHUNK):
                    found.update(chunk)
            return found.hexdigest()

        return self._done(digest)

    @contextmanager
    def new(self, path: str) -> Iterator[Path]:
        """A file to write, which is put into its place once it is whole."""
        address = self._address(path)
        if isinstance(address, Path):
            self._done(lambda: address.parent.mkdir(parents=True, exist_ok=True))
            part = address.with_name(f".{address.name}.{uuid4().hex[:8]}.part")
            try:
                yield part
                self._done(lambda: _synced(part).replace(address))
            finally:
                with suppress(OSError):
                    part.unlink()
            return
        with tempfile.TemporaryDirectory(prefix="helmframe-mirror-") as folder:
            part = Path(folder) / "rows.parquet"
            yield part
            self._done(lambda: _bucket().put_file(str(part), _key(address), chunksize=16 << 20))

    def _address(self, path: str) -> Address:
        return below(self.root, *path.split("/"))

    def _done(self, action: Callable[[], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return action()
        except (HelmframeError, OSError, BotoCoreError, ClientError) as error:
            problem = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        for secret in s3_options().secrets:
            problem = problem.replace(secret, "…") if secret else problem
        # raised out here, so that no traceback holds the client, and with it credentials
        raise SourceError(f"the mirror at {self.root} can't be read or written: {problem}")


def _bucket() -> Any:
    return _filesystem(s3_options())


@lru_cache(maxsize=4)
def _filesystem(options: S3Options) -> Any:
    import s3fs

    return s3fs.S3FileSystem(**options.client(_TIMEOUT), use_listings_cache=False)


def _key(address: str) -> str:
    return address.partition("://")[2]


def _synced(path: Path) -> Path:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return path
