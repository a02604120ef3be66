"""Access of DuckDB to buckets and the Hub, through its httpfs extension or else Python's file systems."""

import importlib.util
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from helmframe.config import S3Options, s3_options, s3_reader
from helmframe.errors import CapabilityError
from helmframe.scenarios.sql import text_literal

if TYPE_CHECKING:
    import duckdb

Listing: TypeAlias = Callable[[str], list[str]]

# Remote reads wait for the network: threads hide the latency.
_THREADS = 16
_TIMEOUT = 10  # seconds, per request


def reach_s3(connection: "duckdb.DuckDBPyConnection", options: S3Options, where: str) -> Listing:
    """Let the connection read s3://; return a function that lists the paths of a glob pattern.

    Raises:
        CapabilityError: HELMFRAME_S3_READER requires httpfs, which isn't installed.
    """
    import duckdb

    _prepare(connection)
    extension, reader = httpfs_file(), s3_reader()
    if reader == "httpfs" and extension is None:
        raise CapabilityError(
            f"{where} can't be read with httpfs: no build for DuckDB {duckdb.__version__} is installed.\n"
            "Run pip install 'helmframe[httpfs]', or unset HELMFRAME_S3_READER."
        )
    if extension is not None and reader != "s3fs":
        _load_httpfs(connection, extension)
        connection.execute(_secret_statement(options))
        return partial(_list_bucket, connection)
    filesystem = _s3fs(options)
    connection.register_filesystem(filesystem)
    return partial(_find_in_bucket, filesystem)


def reach_hub(connection: "duckdb.DuckDBPyConnection") -> Listing:
    """Let the connection read hf://; return a function that lists the paths of a glob pattern."""
    _prepare(connection)
    extension = httpfs_file()
    if extension is not None:
        _load_httpfs(connection, extension)
        return partial(_duckdb_glob, connection)
    from huggingface_hub import HfFileSystem

    class Hub(_ManyThreads, HfFileSystem):
        def modified(self, path: str, **options: Any) -> datetime:  # noqa: ARG002
            # DuckDB needs a time, and the hub's file system has none; during one read a file doesn't change
            return datetime.fromtimestamp(0, UTC)

    filesystem = Hub(skip_instance_cache=True)
    connection.register_filesystem(filesystem)
    return lambda pattern: [f"hf://{path}" for path in filesystem.glob(pattern)]


def hub_address(address: str) -> str:
    """Return an address as the available reader spells it: only DuckDB and the hub's server know `@~parquet`."""
    return address if httpfs_file() is not None else address.replace("@~parquet/", "@refs/convert/parquet/")


def filesystem_of(address: str) -> Any:
    """Return the Python file system of an address: of a bucket, of the Hub, or of this machine."""
    if address.startswith("s3://"):
        import s3fs

        return s3fs.S3FileSystem(**s3_options().client(_TIMEOUT))
    if address.startswith("hf://"):
        from huggingface_hub import HfFileSystem

        return HfFileSystem(skip_instance_cache=True)
    from fsspec.implementations.local import LocalFileSystem

    return LocalFileSystem()


def httpfs_file() -> Path | None:
    """Return the httpfs extension for exactly this DuckDB, if its package is installed."""
    import duckdb

    spec = importlib.util.find_spec("duckdb_extension_httpfs")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}" / "httpfs.duckdb_extension"
    return file if file.is_file() else None


class _ManyThreads:
    """A mixin for file systems of fsspec: several threads can read a file at once, as DuckDB 2 does."""

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        # DuckDB requests the byte ranges that it needs; read-ahead multiplies the traffic
        options = {"cache_type": "none", **options}
        return _HandlePerThread(partial(super().open, path, mode, **options))  # type: ignore[misc]


class _HandlePerThread:
    """A file with one handle for each thread: with a shared one, seeks of threads would interfere."""

    def __init__(self, opened: Callable[[], Any]) -> None:
        self._opened = opened
        self._handles = threading.local()
        self._handles.file = opened()  # a missing file is an error here, not at the first read

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file().seek(offset, whence))

    def tell(self) -> int:
        return int(self._file().tell())

    def read(self, size: int = -1) -> bytes:
        return bytes(self._file().read(size))

    def close(self) -> None:
        """Do nothing: a handle holds no connection."""

    def _file(self) -> Any:
        if not hasattr(self._handles, "file"):
            self._handles.file = self._opened()
        return self._handles.file


def _prepare(connection: "duckdb.DuckDBPyConnection") -> None:
    connection.execute(f"SET threads = {_THREADS}")
    # a connection lasts for one read: fetched parts of a file are valid meanwhile
    connection.execute("SET validate_external_file_cache = 'NO_VALIDATION'")
    connection.execute("SET parquet_metadata_cache = true")
    # DuckDB 2 reads small files whole, and a million bytes per row group of a nested column. Without prefetching it
    # would read only the needed bytes, in 3 to 6 times as many requests, which is slower.


def _load_httpfs(connection: "duckdb.DuckDBPyConnection", extension: Path) -> None:
    connection.execute(f"LOAD {text_literal(str(extension))}")
    connection.execute(f"SET http_timeout = {_TIMEOUT}; SET http_retries = 2; SET http_retry_wait_ms = 200")
    # as for the file cache: during one read a file doesn't change
    connection.execute("SET enable_http_metadata_cache = true")


def _secret_statement(options: S3Options) -> str:
    """Return a CREATE SECRET statement, which stores it only in this connection's memory.

    It sets all three texts, even empty ones: httpfs takes missing ones from AWS_* variables, also for anonymous access.
    """
    texts = {"KEY_ID": options.key, "SECRET": options.secret, "SESSION_TOKEN": options.token}
    options_sql = [
        "TYPE s3",
        *(f"{name} {text_literal(text.reveal() if text else '')}" for name, text in texts.items()),
    ]
    if options.region:
        options_sql.append(f"REGION {text_literal(options.region)}")
    if options.endpoint:
        scheme, _, host = options.endpoint.rstrip("/").partition("://")
        options_sql += [
            f"ENDPOINT {text_literal(host)}",
            "URL_STYLE 'path'",
            f"USE_SSL {'true' if scheme == 'https' else 'false'}",
        ]
    return f"CREATE SECRET ({', '.join(options_sql)})"


def _s3fs(options: S3Options) -> Any:
    import s3fs

    class Bucket(_ManyThreads, s3fs.S3FileSystem):  # type: ignore[misc]
        pass

    return Bucket(**options.client(_TIMEOUT), use_listings_cache=True)


def _find_in_bucket(filesystem: Any, pattern: str) -> list[str]:
    """List the longest literal folder recursively, in one request; a glob sends one per folder."""
    folder = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
    try:
        return [f"s3://{path}" for path in filesystem.find(folder)]
    except FileNotFoundError:
        return []  # a folder in a bucket exists once it has a file


def _list_bucket(connection: "duckdb.DuckDBPyConnection", pattern: str) -> list[str]:
    """List paths with their sizes, which DuckDB then caches: it sends no HEAD request when it opens a file."""
    import duckdb

    query = f"SELECT filename, size FROM read_blob({text_literal(pattern)})"
    try:
        return [path for path, _ in connection.execute(query).fetchall()]
    except duckdb.IOException as error:
        if "No files found" in str(error):
            return []
        raise


def _duckdb_glob(connection: "duckdb.DuckDBPyConnection", pattern: str) -> list[str]:
    return [row[0] for row in connection.sql(f"SELECT file FROM glob({text_literal(pattern)})").fetchall()]


def pin_revision(address: str) -> tuple[str, str | None]:
    """Return an address at the current commit of its branch, and the commit; unchanged if that is unknown.

    `hf://datasets/cais/mmlu/…` → `hf://datasets/cais/mmlu@c30699e…/…`
    """
    match = re.fullmatch(r"hf://datasets/([\w.\-]+/[\w.\-]+)(?:@([^/]+))?(/.*)", address)
    if match is None:
        return address, None
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    name, branch, path = match.groups()
    revision = "refs/convert/parquet" if branch == "~parquet" else branch
    try:
        commit = HfApi().dataset_info(name, revision=revision, timeout=30).sha
    except (HfHubHTTPError, OSError):
        return address, None  # reading raises the error, with the scenario's name
    return (f"hf://datasets/{name}@{commit}{path}", commit) if commit else (address, None)
