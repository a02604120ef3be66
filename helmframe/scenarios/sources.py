"""How a scenario's rows are reached: on disk, in an S3 bucket, on the hub. No other file knows.

A bucket is read by DuckDB's httpfs extension where a build for exactly this DuckDB is installed, else through s3fs.
Every failure is a `SourceError` that names scenario and address; none waits for long, none holds a credential.
"""

import glob
import importlib.util
import itertools
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from helmframe.errors import SourceBrokenError, SourceDeniedError, SourceError, SourceMissingError, SpecError
from helmframe.scenarios.find import specs_root
from helmframe.settings import S3Options, data_root, s3_options, s3_reader
from helmframe.specs import Frame, ScenarioSpec

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")

# Remote reads wait for the network, not for the processor: threads hide the latency.
_REMOTE_THREADS = 16
_MEMORY_LIMIT = "1GB"
_TIMEOUT = 10  # seconds, per request
_MOST_PATTERNS = 16
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class SourceFile:
    """One Parquet file; `values` are the columns that its path says."""

    path: str
    values: dict[str, str]


@dataclass(frozen=True)
class Source:
    """An open way to a scenario's rows.

    `address` still has its `{column}` placeholders; `listing` gives the paths that match a glob pattern.
    """

    scenario: str
    address: str
    connection: "duckdb.DuckDBPyConnection" = field(repr=False)
    listing: Callable[[str], list[str]] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def files(self, wanted: Mapping[str, Sequence[str]] | None = None) -> list[SourceFile]:
        """The files at the address, by path; only those whose path says one of the `wanted` values of a column."""
        wanted = wanted or {}
        pattern = _path_regex(self.address)
        patterns = self._patterns(wanted)
        paths = self.guarded(lambda: {path for each in patterns for path in self.listing(each)})
        matches = [(path, pattern.fullmatch(path)) for path in sorted(paths)]
        found = [SourceFile(path, match.groupdict()) for path, match in matches if match is not None]
        return [each for each in found if all(each.values.get(name) in values for name, values in wanted.items())]

    def heights(self, paths: Sequence[str]) -> dict[str, int]:
        """The number of rows in each file, from its footer."""
        if not paths:
            return {}
        query = f"SELECT file_name, num_rows FROM parquet_file_metadata({path_list(paths)})"
        return dict(self.guarded(lambda: self.connection.sql(query).fetchall()))

    def guarded(self, action: Callable[[], T], address: str = "") -> T:
        """What `action` gives; if it fails, the typed error of what went wrong here."""
        try:
            return action()
        except _failures() as error:
            failure = self._typed(error, address or self.address)
        # Raised out here, so that neither traceback nor context hold the reader's frames, where credentials may be.
        raise failure

    def missing(self) -> SourceMissingError:
        """No file is at the address."""
        return SourceMissingError(f"scenario {self.scenario!r}: no file is at {self.address}.\n{_advice(self.address)}")

    def close(self) -> None:
        """Let go of the connection."""
        self.connection.close()

    def _patterns(self, wanted: Mapping[str, Sequence[str]]) -> list[str]:
        """Glob patterns that narrow the listing where the wanted values are few and plain."""
        names = dict.fromkeys(_PLACEHOLDER.findall(self.address))
        choices = [
            [(name, value) for value in wanted[name]]
            if name in wanted and all(re.fullmatch(r"[\w .\-]+", value) for value in wanted[name])
            else [(name, "*")]
            for name in names
        ]
        combinations = list(itertools.islice(itertools.product(*choices), _MOST_PATTERNS + 1))
        if len(combinations) > _MOST_PATTERNS:
            return [_PLACEHOLDER.sub("*", self.address)]
        return [_filled(self.address, dict(each)) for each in combinations]

    def _typed(self, error: BaseException, address: str) -> SourceError:
        import duckdb

        said = _said(error, self.secrets)
        where = f"scenario {self.scenario!r}: {address}"
        if _DENIED.search(said):
            return SourceDeniedError(f"{where} can't be read: access denied ({said}).\n{_KEYS}")
        if _BROKEN.search(said) or isinstance(error, duckdb.InvalidInputException):
            return SourceBrokenError(f"{where} is no readable Parquet ({said}).\nCopy the file again from its origin.")
        if isinstance(error, duckdb.OutOfMemoryException):
            return SourceError(
                f"{where} needs more than {_MEMORY_LIMIT} at once ({said}).\nWrite it in smaller row groups."
            )
        if isinstance(error, duckdb.DataError):
            return SourceBrokenError(f"{where}: a value is not what the spec's SELECT or the where expects ({said}).")
        if _MISSING.search(said):
            return SourceMissingError(f"{where}: there is no such bucket, folder or file ({said}).\n{_advice(address)}")
        return SourceError(f"{where} can't be reached ({said}).\n{_advice(address)}")


def connect(spec: ScenarioSpec, data: str | None = None) -> Source:
    """A way to the rows of a spec: below `data`, else the configured root, else on the hub.

    Raises:
        SourceMissingError: no root is configured and the spec has no hub address.
        SourceError: the root's scheme is unknown, or nothing that is installed reads it.
    """
    import duckdb

    address = _expanded(spec, data)
    scheme = address.partition("://")[0] if "://" in address else ""
    connection = duckdb.connect(config=_CONFIG)
    source = Source(spec.scenario, address, connection, _on_disk)
    if not scheme:
        return source
    # a connection lives for one read: what it has fetched of a file it need not fetch again
    connection.execute(f"SET threads = {_REMOTE_THREADS}; SET validate_external_file_cache = 'NO_VALIDATION'")
    if scheme == "s3":
        return _with_s3(source, s3_options())
    if scheme == "hf":
        return _with_hub(source)
    raise SourceError(
        f"scenario {spec.scenario!r}: {address} can't be read: {scheme}:// is no kind of root.\n"
        "Write a folder or s3://bucket/prefix."
    )


def connect_frame(scenario: str, frame: Frame) -> Source:
    """A frame as the table `rows`."""
    import duckdb

    connection = duckdb.connect(config=_CONFIG)
    connection.register("rows", frame.rows.to_arrow())
    return Source(scenario, "the frame", connection, lambda _: [])


def path_list(paths: Iterable[str]) -> str:
    """The paths as a DuckDB list."""
    return f"[{', '.join(text_literal(path) for path in paths)}]"


def text_literal(text: str) -> str:
    """The text as a DuckDB literal.

    >>> text_literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": _MEMORY_LIMIT,
    "temp_directory": str(Path(tempfile.gettempdir()) / "helmframe-duckdb"),
    # without a network an install on demand waits and then fails with a message about extensions
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_DENIED = re.compile(
    r"\b403\b|Forbidden|AccessDenied|Access Denied|SignatureDoesNotMatch|InvalidAccessKeyId|PermissionError"
    r"|Permission denied|NoCredentials|Unable to locate credentials|InvalidToken|ExpiredToken",
    re.IGNORECASE,
)
_BROKEN = re.compile(
    r"magic bytes|not a parquet file|too small to be a Parquet|corrupt|deserialize|decompress|ZSTD|Snappy|footer"
    r"|read more data than|bytes returned|Thrift|unexpected end|could not read enough",
    re.IGNORECASE,
)
_MISSING = re.compile(
    r"\b404\b|NoSuchBucket|NoSuchKey|No files found|FileNotFound|does not exist|No such file|Cannot open file",
    re.IGNORECASE,
)
_KEYS = (
    "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), or say "
    "hf.configure(s3_key=…, s3_secret=…); for an open bucket hf.configure(s3_anonymous=True)."
)


def _on_disk(pattern: str) -> list[str]:
    return glob.glob(pattern)  # noqa: PTH207 - Path.glob has no absolute patterns


def _expanded(spec: ScenarioSpec, data: str | None) -> str:
    said, hub = dict(spec.source).get("rows"), dict(spec.hub).get("rows")
    if not isinstance(said, str):
        raise SpecError.at(spec.origin or spec.scenario, "source.rows", "is missing: the address of the rows.")
    address = said.replace("{package}", glob.escape(str(specs_root())))
    if "{data}" not in address:
        return address
    root = (data or data_root() or "").rstrip("/")
    if root and "://" not in root:
        root = glob.escape(str(Path(root).expanduser().absolute()))
    if root:
        return address.replace("{data}", root)
    if not isinstance(hub, str):
        raise SourceMissingError(
            f"scenario {spec.scenario!r}: {said} has no {{data}} yet.\n"
            "Set HELMFRAME_DATA, or say hf.configure(data=…): a folder or s3://bucket/prefix that holds its rows."
        )
    return hub


def _with_s3(source: Source, options: S3Options) -> Source:
    import duckdb

    extension = _httpfs()
    reader = s3_reader()
    source = replace(source, secrets=options.secrets)
    if reader == "httpfs" and extension is None:
        raise SourceError(
            f"scenario {source.scenario!r}: {source.address} can't be read with httpfs: no build for DuckDB "
            f"{duckdb.__version__} is installed.\npip install 'helmframe[httpfs]', or unset HELMFRAME_S3_READER."
        )
    if extension is not None and reader != "s3fs":
        source.guarded(lambda: _load_httpfs(source.connection, extension))
        source.guarded(lambda: source.connection.execute(_secret_statement(options)))
        return replace(source, listing=lambda pattern: _duckdb_glob(source.connection, pattern))
    filesystem = _s3fs(options)
    source.connection.register_filesystem(filesystem)
    return replace(source, listing=lambda pattern: _find_in_bucket(filesystem, pattern))


def _httpfs() -> Path | None:
    """The httpfs extension built for exactly this DuckDB, if its package is installed."""
    import duckdb

    found = importlib.util.find_spec("duckdb_extension_httpfs")
    if found is None or found.origin is None:
        return None
    file = Path(found.origin).parent / "extensions" / f"v{duckdb.__version__}" / "httpfs.duckdb_extension"
    return file if file.is_file() else None


def _load_httpfs(connection: "duckdb.DuckDBPyConnection", extension: Path) -> None:
    connection.execute(f"LOAD {text_literal(str(extension))}")
    connection.execute(f"SET http_timeout = {_TIMEOUT}; SET http_retries = 2; SET http_retry_wait_ms = 200")
    # as for the file cache: within one read a file stays what it is
    connection.execute("SET enable_http_metadata_cache = true")


def _secret_statement(options: S3Options) -> str:
    """CREATE SECRET, kept in this connection's memory only.

    All three texts are said, empty ones too: what is left out httpfs takes from AWS_* variables, anonymous or not.
    """
    texts = {"KEY_ID": options.key, "SECRET": options.secret, "SESSION_TOKEN": options.token}
    said = ["TYPE s3", *(f"{name} {text_literal(text.reveal() if text else '')}" for name, text in texts.items())]
    if options.region:
        said.append(f"REGION {text_literal(options.region)}")
    if options.endpoint:
        scheme, _, host = options.endpoint.rstrip("/").partition("://")
        said += [
            f"ENDPOINT {text_literal(host)}",
            "URL_STYLE 'path'",
            f"USE_SSL {'true' if scheme == 'https' else 'false'}",
        ]
    return f"CREATE SECRET ({', '.join(said)})"


def _s3fs(options: S3Options) -> Any:
    import s3fs

    client = {"endpoint_url": options.endpoint, "region_name": options.region}
    return s3fs.S3FileSystem(
        key=options.key.reveal() if options.key else None,
        secret=options.secret.reveal() if options.secret else None,
        token=options.token.reveal() if options.token else None,
        anon=options.anonymous,
        client_kwargs={key: value for key, value in client.items() if value},
        config_kwargs={"connect_timeout": 5, "read_timeout": _TIMEOUT, "retries": {"max_attempts": 1}},
        # DuckDB asks for the byte ranges it needs; read-ahead multiplies the traffic
        default_cache_type="none",
        use_listings_cache=True,
        skip_instance_cache=True,
    )


def _find_in_bucket(filesystem: Any, pattern: str) -> list[str]:
    """One recursive listing of the longest literal folder: a glob would ask once per folder."""
    folder = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
    return [f"s3://{path}" for path in filesystem.find(folder)]


def _duckdb_glob(connection: "duckdb.DuckDBPyConnection", pattern: str) -> list[str]:
    return [row[0] for row in connection.sql(f"SELECT file FROM glob({text_literal(pattern)})").fetchall()]


def _with_hub(source: Source) -> Source:
    extension = _httpfs()
    if extension is not None:
        source.guarded(lambda: _load_httpfs(source.connection, extension))
        return replace(source, listing=lambda pattern: _duckdb_glob(source.connection, pattern))
    if importlib.util.find_spec("huggingface_hub") is None:
        raise SourceError(
            f"scenario {source.scenario!r}: {source.address} can't be read: no httpfs, no huggingface_hub.\n"
            f"{_advice(source.address)}"
        )
    from huggingface_hub import HfFileSystem

    filesystem = HfFileSystem()
    source.connection.register_filesystem(filesystem)
    return replace(source, listing=lambda pattern: [f"hf://{path}" for path in filesystem.glob(pattern)])


def _path_regex(address: str) -> re.Pattern[str]:
    """Matches the paths of an address; each placeholder is a group."""
    seen: set[str] = set()
    # [*], [?] and [[] are how glob.escape writes a literal character of the root
    pieces = re.split(r"(\{\w+\}|\*+|\?|\[[*?\[]\])", address)

    def regex(piece: str) -> str:
        placeholder = _PLACEHOLDER.fullmatch(piece)
        if placeholder is None:
            if re.fullmatch(r"\[.\]", piece):
                return re.escape(piece[1])
            return {"*": "[^/]*", "**": ".*", "?": "[^/]"}.get(piece, re.escape(piece))
        name = placeholder[1]
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>[^/]+?)"

    return re.compile("".join(regex(piece) for piece in pieces))


def _filled(address: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], address)


def _failures() -> tuple[type[BaseException], ...]:
    """What readers raise when rows can't be had; DuckDB passes some of them on as they are."""
    import duckdb
    import pyarrow as pa

    kinds: list[type[BaseException]] = [duckdb.Error, OSError, pa.ArrowException]
    if importlib.util.find_spec("botocore") is not None:
        from botocore.exceptions import BotoCoreError, ClientError

        kinds += [BotoCoreError, ClientError]
    for library, name in (("aiohttp", "ClientError"), ("httpx", "HTTPError"), ("httpx2", "HTTPError")):
        if importlib.util.find_spec(library) is not None:
            kinds.append(getattr(importlib.import_module(library), name))
    return tuple(kinds)


def _said(error: BaseException, secrets: Sequence[str]) -> str:
    """The first line of the error, short, without credentials."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    for secret in secrets:
        text = text.replace(secret, "…") if secret else text
    return text if len(text) <= 240 else text[:240] + "…"


def _advice(address: str) -> str:
    if address.startswith("hf://"):
        return (
            "Set HELMFRAME_DATA, or say hf.configure(data=…): a folder or s3://bucket/prefix with a copy of its rows."
        )
    if address.startswith("s3://"):
        return (
            "Check bucket and prefix in HELMFRAME_DATA or hf.configure(data=…), and the server's address in "
            "AWS_ENDPOINT_URL or hf.configure(s3_endpoint=…)."
        )
    return "Check HELMFRAME_DATA or hf.configure(data=…): the folder that holds the scenarios' folders."
