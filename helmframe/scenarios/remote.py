"""Access of DuckDB to buckets and the Hub, through its httpfs extension or else Python's file systems."""

import importlib.util
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from helmframe._core.safe_text import ACCEPT_ENCODING, BodyDecoder, get_logger, read_reply, with_content
from helmframe.config import HUB, S3Options, hub_endpoint, hub_token, s3_options, s3_reader
from helmframe.errors import CapabilityError, SourceError
from helmframe.scenarios.sql import text_literal

if TYPE_CHECKING:
    import duckdb

# A function that lists the files of a glob pattern: path → size in bytes.
Listing: TypeAlias = Callable[[str], dict[str, int]]

logger = get_logger("helmframe.scenarios")

# Remote reads wait for the network: threads hide the latency.
_THREADS = 16
_TIMEOUT = 10  # seconds, per request
_CONVERTED = "refs/convert/parquet"  # the branch with the Parquet that the Hub makes from other formats
_RETRIED = (408, 429, 500, 502, 503, 504)
_RETRIES = 5
# The longest wait that a server may request, in seconds: the Hub counts requests in windows of five minutes.
_LONGEST_WAIT = 300.0
_PIECE = 1 << 18


def reach_s3(connection: "duckdb.DuckDBPyConnection", options: S3Options, where: str) -> Listing:
    """Let the connection read s3://; return a function that lists the files of a glob pattern.

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
    """Let the connection read hf://; return a function that lists the files of a glob pattern.

    DuckDB's own reader knows only huggingface.co, and reports a denied access as a failure of the server. So Python
    lists the files, and requests the first file before DuckDB reads.
    """
    _prepare(connection)
    extension = httpfs_file()

    class Hub(_ManyThreads, _hub_filesystem_type()):  # type: ignore[misc]
        pass

    filesystem = Hub(skip_instance_cache=True)
    if extension is not None and hub_endpoint() == HUB:
        _load_httpfs(connection, extension)
        # the wait before a retry is multiplied by 4: at most 70 seconds in all
        connection.execute(f"SET http_retries = {_RETRIES + 1}")
        # the variable with the certificates of a company's proxy, which Python's client reads too
        if certificates := os.environ.get("SSL_CERT_FILE"):
            connection.execute(f"SET ca_cert_file = {text_literal(certificates)}")
        token = hub_token()
        if token is not None:
            connection.execute(f"CREATE SECRET (TYPE huggingface, TOKEN {text_literal(token.reveal())})")
    else:
        connection.register_filesystem(filesystem)
    return partial(_find_on_hub, filesystem, set())


def filesystem_of(address: str) -> Any:
    """Return the Python file system of an address: of a bucket, of the Hub, or of this machine."""
    if address.startswith("s3://"):
        import s3fs

        return s3fs.S3FileSystem(**s3_options().client(_TIMEOUT))
    if address.startswith("hf://"):
        return _hub_filesystem_type()(skip_instance_cache=True)
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


def _find_in_bucket(filesystem: Any, pattern: str) -> dict[str, int]:
    """List the longest literal folder recursively, in one request; a glob sends one per folder."""
    folder = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
    try:
        return {f"s3://{path}": file["size"] for path, file in filesystem.find(folder, detail=True).items()}
    except FileNotFoundError:
        return {}  # a folder in a bucket exists once it has a file


def _list_bucket(connection: "duckdb.DuckDBPyConnection", pattern: str) -> dict[str, int]:
    """List paths with their sizes, which DuckDB then caches: it sends no HEAD request when it opens a file."""
    import duckdb

    query = f"SELECT filename, size FROM read_blob({text_literal(pattern)})"
    try:
        return dict(connection.execute(query).fetchall())
    except duckdb.IOException as error:
        if "No files found" in str(error):
            return {}
        raise


def _find_on_hub(filesystem: Any, readable: set[str], pattern: str) -> dict[str, int]:
    """List the longest literal folder recursively; check once for each data set that its files can be read."""
    folder = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
    sizes = {f"hf://{path}": file["size"] for path, file in filesystem.find(folder, detail=True).items()}
    repository = HubPath.parse(pattern).repository
    if sizes and repository not in readable:
        _hub_size(next(iter(sizes)))
        readable.add(repository)
    return sizes


@dataclass(frozen=True)
class HubPath:
    """The parts of `hf://datasets/OWNER/NAME@REVISION/PATH`, which may have no revision.

    >>> HubPath.parse("hf://datasets/ybisk/piqa@~parquet/plain_text/test/0000.parquet").revision
    'refs/convert/parquet'
    """

    repository: str
    revision: str
    path: str

    @classmethod
    def parse(cls, address: str) -> "HubPath":
        """Return the parts of an address, with or without `hf://`.

        Raises:
            SourceError: The address isn't one of a data set.
        """
        pattern = r"(?:hf://)?datasets/([\w.\-]+/[\w.\-]+)(?:@(refs/(?:convert|pr)/[\w.\-]+|[^/]+))?(?:/(.*))?"
        match = re.fullmatch(pattern, address)
        if match is None:
            raise SourceError(
                f"{address} must be hf://datasets/OWNER/NAME/PATH, or hf://datasets/OWNER/NAME@REVISION/PATH."
            )
        repository, revision, path = match[1], unquote(match[2] or "main"), match[3] or ""
        return cls(repository, _CONVERTED if revision == "~parquet" else revision, path)

    @property
    def url(self) -> str:
        """The address of the file at the configured endpoint."""
        revision = quote(self.revision, safe="")
        return f"{hub_endpoint()}/datasets/{self.repository}/resolve/{revision}/{quote(self.path)}"

    @property
    def page(self) -> str:
        """The page of the data set, with its terms."""
        return f"{without_user(hub_endpoint())}/datasets/{self.repository}"

    def api(self, call: str) -> str:
        """Return the address of a call of the Hub's API: "tree" or "revision"."""
        path = f"/{quote(self.path)}" if call == "tree" and self.path else ""
        return f"{hub_endpoint()}/api/datasets/{self.repository}/{call}/{quote(self.revision, safe='')}{path}"


def pin_revision(address: str) -> tuple[str, str | None]:
    """Return an address at the current commit of its branch, and the commit; unchanged if that is unknown.

    `hf://datasets/cais/mmlu/…` → `hf://datasets/cais/mmlu@c30699e…/…`
    """
    if not address.startswith("hf://datasets/"):
        return address, None
    parts = HubPath.parse(address)
    try:
        commit = str(request_hub("GET", parts.api("revision")).json().get("sha") or "")
    except OSError:
        return address, None  # reading raises the error, with the scenario's name
    return (f"hf://datasets/{parts.repository}@{commit}/{parts.path}", commit) if commit else (address, None)


def request_hub(
    method: str, url: str, headers: Mapping[str, str] | None = None, span: tuple[int, int] | None = None
) -> Any:
    """Send a request to the Hub with the user's token, follow redirects, and return the response.

    A rate limit is waited for, at most `_LONGEST_WAIT` seconds; failures of the server are retried with backoff.

    Args:
        method: The HTTP method.
        url: The address.
        headers: Further headers.
        span: The start and the end of the bytes to return, also if the server sends the whole file. By default the
            whole response, at most 32 MB.

    Raises:
        HfHubHTTPError: The Hub refuses the request. It is an OSError, and its message has no credentials.
        ConnectionError: The Hub can't be reached.
        ReplyError: The response is too large.
    """
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

    ranged = {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}", "Accept-Encoding": "identity"}
    sent = {**build_hf_headers(), **ACCEPT_ENCODING, **(headers or {}), **ranged}
    for attempt in range(_RETRIES + 1):
        session = get_session()
        http = _http_library(session)
        try:
            with session.stream(method, url, headers=sent, timeout=_TIMEOUT, follow_redirects=True) as streamed:
                response = read_reply(streamed) if span is None else _read_span(streamed, *span)
        except http.TransportError as error:
            problem, wait = f"{type(error).__name__}: {error}", 0.0
            if not isinstance(error, http.ReadError | http.ReadTimeout | http.RemoteProtocolError):
                break
        else:
            wait = _requested_wait(response.headers)
            if response.status_code not in _RETRIED or attempt == _RETRIES or wait > _LONGEST_WAIT:
                hf_raise_for_status(response)
                return response
            problem = f"status {response.status_code}"
        if attempt < _RETRIES:
            wait = wait or 0.5 * 2**attempt
            logger.warning("The Hub: %s. The request is sent again in %.1f seconds.", problem, wait)
            time.sleep(wait)
    # raised outside of `except`, so that no traceback has the request, which has the token
    raise ConnectionError(f"{hub_endpoint()}: {problem}")


def _read_span(response: Any, start: int, end: int) -> Any:
    """Return a streamed response with these bytes of a file as content."""
    if not response.is_success:
        return read_reply(response)
    # a mirror of the Hub may send the whole file
    position = start if response.status_code == 206 else 0
    content = bytearray()
    decoder = BodyDecoder(response.headers.get("Content-Encoding", ""), end + _PIECE)
    for piece in (piece for chunk in response.iter_raw(_PIECE) for piece in decoder.decode(chunk)):
        content += piece[max(0, start - position) : max(0, end - position)]
        position += len(piece)
        if position >= end:
            break
    return with_content(response, bytes(content))


def without_user(text: str) -> str:
    """Return a text with addresses that have no user and password.

    >>> without_user("https://me:secret@hub.example.org/api")
    'https://hub.example.org/api'
    """
    return re.sub(r"://[^/@\s]*@", "://", text)


def _http_library(session: Any) -> Any:
    """Return the library of a client, which the user may have derived: httpx, or its successor httpx2."""
    names = (base.__module__.partition(".")[0] for base in type(session).__mro__)
    return sys.modules[next(name for name in names if name in ("httpx", "httpx2"))]


def _requested_wait(headers: Mapping[str, str]) -> float:
    """Return the seconds to wait that the server requests, else 0: `Retry-After`, or the Hub's `RateLimit`."""
    value = headers.get("Retry-After", "").strip()
    window = re.search(r"\br=0;\s*t=(\d+)", headers.get("RateLimit", ""))
    if value.isdecimal():
        return float(value)
    if value:
        try:
            return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError):
            return 0.0
    return float(window[1]) if window else 0.0


@cache
def _hub_filesystem_type() -> Any:
    """Return the class of Python file systems of data sets on the Hub; fsspec is imported only if the Hub is read."""
    from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

    class HubFile(AbstractBufferedFile):  # type: ignore[misc]
        def _fetch_range(self, start: int, end: int) -> bytes:
            return bytes(request_hub("GET", HubPath.parse(self.path).url, span=(start, end)).content)

    class HubFiles(AbstractFileSystem):  # type: ignore[misc]
        protocol = "hf"

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._sizes: dict[str, int] = {}

        def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
            entries = list(self._entries(path, recursive=False))
            return entries if detail else [entry["name"] for entry in entries]

        def find(self, path: str, withdirs: bool = False, detail: bool = False, **_: Any) -> Any:
            entries = {entry["name"]: entry for entry in self._entries(path, recursive=True)}
            files = {name: entry for name, entry in sorted(entries.items()) if withdirs or entry["type"] == "file"}
            return files if detail else list(files)

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            name = self._strip_protocol(path)
            if name not in self._sizes:
                self._sizes[name] = _hub_size(name)
            return {"name": name, "size": self._sizes[name], "type": "file"}

        def modified(self, path: str, **_: Any) -> datetime:  # noqa: ARG002
            # DuckDB needs a time, and a tree has none; during one read a file doesn't change
            return datetime.fromtimestamp(0, UTC)

        def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
            return HubFile(self, path, mode, **options)

        def _entries(self, path: str, *, recursive: bool) -> Iterator[dict[str, Any]]:
            name = self._strip_protocol(path)
            parts = HubPath.parse(name)
            root = name.removesuffix(parts.path).rstrip("/")
            query = f"recursive={str(recursive).lower()}"
            while query:
                response = request_hub("GET", f"{parts.api('tree')}?{query}")
                for entry in response.json():
                    child = f"{root}/{entry['path']}"
                    if entry["type"] == "file":
                        self._sizes[child] = entry["size"]
                    yield {"name": child, "size": entry.get("size", 0), "type": entry["type"]}
                # a mirror of the Hub may send links to the Hub itself
                query = urlsplit(response.links.get("next", {}).get("url", "")).query

    return HubFiles


def _hub_size(name: str) -> int:
    """Return the size of a file on the Hub, from a request for its first byte: signed addresses may refuse HEAD.

    Raises:
        FileNotFoundError: The data set has no such file.
        HfHubHTTPError: The Hub refuses the request.
        ConnectionError: The Hub can't be reached.
    """
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        response = request_hub("GET", HubPath.parse(name).url, span=(0, 1))
    except EntryNotFoundError:
        response = None
    except HfHubHTTPError as error:
        if error.response.status_code != 416:  # the status of an empty file
            raise
        return 0
    if response is None:
        raise FileNotFoundError(f"hf://{name.removeprefix('hf://')}")
    whole = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(whole or response.headers["Content-Length"])
