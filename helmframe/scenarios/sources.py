"""The rows of a scenario on disk, in an S3 bucket, on the Hub, or in a frame.

A failure is a `SourceError` with scenario and address, raised early and without credentials.
"""

import glob
import importlib
import importlib.util
import itertools
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from helmframe._core.specs import DeferredFrame, Frame, ScenarioSpec
from helmframe._core.yaml import specs_root
from helmframe.config import data_root, download_enabled, from_home, hub_endpoint, hub_token, redacted, s3_options
from helmframe.errors import (
    HelmframeError,
    SourceBrokenError,
    SourceDeniedError,
    SourceError,
    SourceMissingError,
    SpecError,
)
from helmframe.scenarios.remote import HubPath, Listing, reach_hub, reach_s3, without_user
from helmframe.scenarios.sql import text_list

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")

_MEMORY_LIMIT = "1GB"
# The settings that a locked connection can change.
_UNLOCKED = ("threads", "memory_limit", "enable_external_file_cache", "preserve_insertion_order")
_MOST_PATTERNS = 16
# More files than this in a bucket, of at most these bytes together, are read at once, by these threads.
_FEW_FILES, _SMALL_BYTES, _SMALL_THREADS = 16, 16 << 20, 64
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class SourceFile:
    """A Parquet file; `values` are the columns in its path, `size` its bytes, 0 for a local file."""

    path: str
    values: dict[str, str]
    size: int = 0


@dataclass(frozen=True)
class Source:
    """An open connection to a scenario's rows.

    `address` has `{column}` placeholders; `listing` returns the files that match a glob pattern.
    """

    scenario: str
    address: str
    connection: "duckdb.DuckDBPyConnection" = field(repr=False)
    listing: Listing = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    terms: str = ""  # the page with the terms of a gated data set, if it isn't the data set's own
    fetch_hint: str = ""  # how to fetch the rows into the root, if the spec has a source

    def files(self, wanted: Mapping[str, Sequence[str]] | None = None) -> list[SourceFile]:
        """Return the files at the address, sorted by path, whose columns have one of the `wanted` values."""
        wanted = wanted or {}
        pattern = _path_regex(self.address)
        patterns = self._patterns(wanted)
        sizes = self.guarded(lambda: {path: size for glob in patterns for path, size in self.listing(glob).items()})
        matches = [(path, pattern.fullmatch(path)) for path in sorted(sizes)]
        files = [SourceFile(path, match.groupdict(), sizes[path]) for path, match in matches if match is not None]
        return [file for file in files if all(file.values.get(name) in values for name, values in wanted.items())]

    def heights(self, paths: Sequence[str]) -> dict[str, int]:
        """Return the number of rows in each file, from its footer; empty files may be missing."""
        if not paths:
            return {}
        # counting reads footers in parallel, parquet_file_metadata() one after the other
        query = f"SELECT file_index, count(*) FROM read_parquet({text_list(paths)}) GROUP BY ALL"
        counts = self.guarded(lambda: self.connection.execute(query).fetchall())
        return {paths[index]: count for index, count in counts}

    def read_ahead(self, files: Sequence[SourceFile]) -> None:
        """Let queries read these files together if they are remote, many and small.

        Otherwise DuckDB fills a small buffer from the first files, and opens the others one after the other.
        """
        if len(files) > _FEW_FILES and 0 < sum(file.size for file in files) <= _SMALL_BYTES:
            self.connection.execute(f"SET streaming_buffer_size = '{_SMALL_BYTES}B'; SET threads = {_SMALL_THREADS}")

    def guarded(self, action: Callable[[], T], address: str = "") -> T:
        """Return the result of `action`; if it fails, raise the typed error of the failure."""
        import duckdb

        failure: HelmframeError
        try:
            return action()
        except SourceError:
            raise
        except duckdb.PermissionException as error:
            failure = SpecError.at(self.scenario, "", _only_its_files(error))
        except reader_errors() as error:
            failure = source_error(error, self.scenario, address or self.address, self.secrets, self.terms)
        # Raised outside of `except`: traceback and context must not hold the reader's frames with credentials.
        raise failure

    def lock(self, paths: Iterable[str] = (), folders: Iterable[str] = ()) -> None:
        """Let the connection read these files only, before SQL of a spec, a plan or a condition runs.

        Then no SQL reads, lists or writes other files, loads extensions or changes settings, except those that bound
        memory and speed.
        """
        self.connection.execute(
            f"SET allowed_paths = {text_list(paths)}; SET allowed_directories = {text_list(folders)}; "
            f"SET enable_external_access = false; SET allowed_configs = {text_list(_UNLOCKED)}; "
            "SET lock_configuration = true"
        )

    def execute(self, statement: str) -> None:
        """Execute one statement with parts of a spec; several raise."""
        execute_one(self.connection, statement)

    def relation(self, select: str) -> Any:
        """Return the relation of one SELECT with parts of a spec or a condition; several statements raise."""
        check_statement(self.connection, select)
        return self.connection.sql(select)

    def types(self, select: str) -> dict[str, str]:
        """Return the columns of a SELECT and their DuckDB types, without running it."""
        relation = self.relation(select)
        return dict(zip(relation.columns, map(str, relation.types), strict=True))

    def understood(self, action: Callable[[], T], refused: Callable[[str], HelmframeError]) -> T:
        """Return the result of `action`; raise `refused(reason)` if DuckDB refuses the SQL."""
        import duckdb

        def attempt() -> T:
            try:
                return action()
            except (duckdb.ProgrammingError, duckdb.NotSupportedError, duckdb.DataError) as error:
                problem = sql_problem(error)
            except duckdb.PermissionException as error:
                problem = _only_its_files(error)
            raise refused(problem)

        return self.guarded(attempt)

    def missing(self) -> SourceMissingError:
        """Return the error that no file is at the address."""
        return SourceMissingError(
            f"scenario {self.scenario!r}: no file found at {self.address}.\n{advice(self.address)}"
            + (f"\n{self.fetch_hint}" if self.fetch_hint else "")
        )

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _patterns(self, wanted: Mapping[str, Sequence[str]]) -> list[str]:
        """Return glob patterns that narrow the listing if the wanted values are few and plain."""
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
        return [_filled(self.address, dict(combination)) for combination in combinations]


def connect(spec: ScenarioSpec, data: str | None = None) -> Source:
    """Connect to the rows of a spec: below `data`, else below the configured root, else on the hub.

    Raises:
        SourceMissingError: No root is configured and the spec has no hub address.
        SourceError: The root's scheme is unsupported, or no installed package reads it.
    """
    address = _expanded(spec, data)
    scheme = address.partition("://")[0] if "://" in address else ""
    connection = open_connection()
    root = data or data_root()
    hint = fetch_hint(spec, root) if root and not address.startswith("hf://") else ""
    source = Source(spec.scenario, address, connection, _on_disk, fetch_hint=hint)
    if not scheme:
        return source
    where = f"scenario {spec.scenario!r}: {address}"
    if scheme == "s3":
        options = s3_options()
        source = replace(source, secrets=options.secrets)
        return replace(source, listing=source.guarded(lambda: reach_s3(connection, options, where)))
    if scheme == "hf":
        token = hub_token()
        source = replace(source, secrets=(token.reveal(),) if token else (), terms=spec.terms)
        return replace(source, listing=source.guarded(lambda: reach_hub(connection)))
    raise SourceError(f"{where} can't be read: {scheme}:// is unsupported.\nWrite a folder or s3://bucket/prefix.")


def hosts_of(spec: ScenarioSpec, data: str | None = None) -> list[str]:
    """Return the hosts that a plan may read the rows of a scenario from; [] for rows on this machine."""
    if spec.generated or (spec.frame is not None and not isinstance(spec.frame, DeferredFrame)):
        return []
    root = data or data_root() or ""
    try:
        # the rows of another tool's task are below the root or on the Hub
        address = (root or "hf://") if spec.frame is not None else _expanded(spec, data)
    except SourceMissingError:
        address = ""
    addresses = [address, *(entry.url for entry in spec.download if download_enabled())]
    return list(dict.fromkeys(filter(None, map(_host, addresses))))


def _host(address: str) -> str:
    scheme, _, rest = address.partition("://")
    if scheme == "hf":
        return urlsplit(hub_endpoint()).hostname or ""
    if scheme == "s3":
        endpoint = s3_options().endpoint
        return (urlsplit(endpoint).netloc.rpartition("@")[2] if endpoint else "") or f"s3://{rest.partition('/')[0]}"
    return urlsplit(address).netloc.rpartition("@")[2] if rest else ""


def is_reachable(spec: ScenarioSpec, data: str | None = None) -> bool:
    """Return whether the root has files of a scenario; without a root, whether the Hub or helmframe has them.

    Raises:
        SourceError: The root can't be read.
    """
    if not (data or data_root()):
        return "{data}" not in str(dict(spec.source).get("rows")) or isinstance(dict(spec.hub).get("rows"), str)
    source = connect(spec, data)
    try:
        return bool(source.files())
    finally:
        source.close()


def fetch_hint(spec: ScenarioSpec, root: str | None = None) -> str:
    """Return how to fetch the rows of a scenario; "" if its spec has no public source."""
    if not spec.download and not dict(spec.hub).get("rows"):
        return ""
    name = spec.scenario if Path(spec.origin).parent == specs_root() / "scenarios" else spec.origin
    return (
        f"Fetch its rows: helmframe mirror {name} --to {root or 'ROOT'}\n"
        "Or write hf.configure(download=True): the first plan that needs them fetches them."
    )


def connect_frame(scenario: str, frame: Frame) -> Source:
    """Connect to a frame as the table `rows`."""
    connection = open_connection()
    connection.register("rows", frame.rows.to_arrow())
    source = Source(scenario, "the frame", connection, lambda _: {})
    source.lock()
    return source


_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": _MEMORY_LIMIT,
    "temp_directory": str(Path(tempfile.gettempdir()) / "helmframe-duckdb"),
    # without a network an install on demand waits and then fails with a message about extensions
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    # credentials come from our settings, not from files of DuckDB
    "allow_persistent_secrets": False,
}


@contextmanager
def open_files(address: str, scenario: str = "") -> Iterator[Source]:
    """Yield a connection that reads the files at one address: on disk, in a bucket or on the Hub.

    Args:
        address: A path or glob pattern, `s3://…` or `hf://…`.
        scenario: The name of the scenario, for errors; "" for a corpus.
    """
    path = address if "://" in address else str(from_home(address))
    source = Source(scenario, path, open_connection(), lambda _: {})
    try:
        if path.startswith("s3://"):
            options = s3_options()
            source = replace(source, secrets=options.secrets)
            where = f"scenario {scenario!r}: {path}" if scenario else f"corpus {path}"
            source.guarded(lambda: reach_s3(source.connection, options, where))
        elif path.startswith("hf://"):
            source.guarded(lambda: reach_hub(source.connection))
        yield source
    finally:
        source.close()


def open_connection() -> "duckdb.DuckDBPyConnection":
    """Return a new connection, with bounded memory and without downloads of extensions."""
    import duckdb

    connection = duckdb.connect(config=_CONFIG)
    # It would be written to a notebook or a pipe; a kernel without ipywidgets has none to turn off.
    with suppress(duckdb.InvalidInputException):
        connection.execute("SET enable_progress_bar = false")
    # The read-ahead: DuckDB counts a text as 16 bytes, so its default of 1 MB may be very much with long texts.
    connection.execute("SET streaming_buffer_size = '64KB'")
    # otherwise DuckDB resolves unknown tables to Python variables
    connection.execute("SET python_enable_replacements = false")
    return connection


def execute_one(connection: "duckdb.DuckDBPyConnection", sql: str) -> "duckdb.DuckDBPyConnection":
    """Execute one statement with parts of a spec, and return the connection with its result; several raise."""
    check_statement(connection, sql)
    return connection.execute(sql)


def query_one(connection: "duckdb.DuckDBPyConnection", sql: str) -> "duckdb.DuckDBPyRelation":
    """Return the rows of one query with parts of a spec, which become Arrow without a copy; several raise."""
    check_statement(connection, sql)
    return connection.sql(sql)


def check_statement(connection: "duckdb.DuckDBPyConnection", sql: str) -> None:
    """Raise if a text with parts of a spec isn't one statement without parameters.

    Raises:
        duckdb.ParserException: It isn't.
    """
    import duckdb

    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].named_parameters:
        raise duckdb.ParserException("it must be one statement, without parameters.")


def _on_disk(pattern: str) -> dict[str, int]:
    return dict.fromkeys(glob.glob(pattern), 0)  # noqa: PTH207 - Path.glob has no absolute patterns


def _expanded(spec: ScenarioSpec, data: str | None) -> str:
    address_pattern, hub = dict(spec.source).get("rows"), dict(spec.hub).get("rows")
    if not isinstance(address_pattern, str):
        raise SpecError.at(spec.origin or spec.scenario, "source.rows", "is missing: the address of the rows.")
    address = address_pattern.replace("{package}", glob.escape(str(specs_root())))
    if "{data}" not in address:
        return address
    root = (data or data_root() or "").rstrip("/")
    if root and "://" not in root:
        root = glob.escape(str(from_home(root).absolute()))
    if root:
        return address.replace("{data}", root)
    if not isinstance(hub, str):
        hint = fetch_hint(spec)
        where = "Set HELMFRAME_DATA, or write hf.configure(data=…): a folder or s3://bucket/prefix with its rows."
        raise SourceMissingError(
            f"scenario {spec.scenario!r}: no data root is set for {address_pattern}.\n{where}"
            + (f"\n{hint}" if hint else "")
        )
    return hub


def _path_regex(address: str) -> re.Pattern[str]:
    """Return a pattern that matches the paths of an address; each placeholder is a group."""
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
    "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), or write "
    "hf.configure(s3_key=…, s3_secret=…). For a public bucket write hf.configure(s3_anonymous=True)."
)


def source_error(
    error: BaseException, scenario: str, address: str, secrets: Sequence[str] = (), terms: str = ""
) -> SourceError:
    """Return the typed error of a failure at the address; the message has none of the `secrets`.

    Args:
        error: The failure.
        scenario: The name of the scenario; "" if the address is that of a corpus.
        address: The address that was read.
        secrets: Credentials that the message must not have.
        terms: The page with the terms of a gated data set; default its page on the Hub.
    """
    import duckdb

    problem = _error_line(error, secrets)
    where = f"scenario {scenario!r}: {address}" if scenario else f"corpus {address}"
    response = getattr(error, "response", None)
    if address.startswith("hf://") and response is not None:
        return _hub_error(response.status_code, response.headers, where, terms or HubPath.parse(address).page, problem)
    remedies = advice(address) if scenario else "Check the address of the corpus, and of its server."
    if _DENIED.search(problem):
        return SourceDeniedError(f"{where} can't be read: access denied ({problem}).\n{_KEYS}")
    if _BROKEN.search(problem) or isinstance(error, duckdb.InvalidInputException):
        remedy = "Copy the file again from its origin."
        if not address.endswith(".parquet"):
            remedy = "Rows must be Parquet. Convert them: pl.read_ndjson(…).write_parquet(…)."
        return SourceBrokenError(f"{where} isn't readable as Parquet ({problem}).\n{remedy}")
    if isinstance(error, duckdb.OutOfMemoryException):
        return SourceError(f"{where} doesn't fit in memory ({problem}).\nWrite the file with smaller row groups.")
    if isinstance(error, duckdb.DataError):
        return SourceBrokenError(
            f"{where}: a value has another type than the spec's SELECT or the condition expects ({problem})."
        )
    if _MISSING.search(problem):
        return SourceMissingError(f"{where}: bucket, folder or file not found ({problem}).\n{remedies}")
    return SourceError(f"{where} can't be reached ({problem}).\n{remedies}")


def _hub_error(status: int, headers: Mapping[str, str], where: str, page: str, problem: str) -> SourceError:
    """Return the typed error of a request that the Hub refused."""
    code = headers.get("X-Error-Code", "")
    if code == "GatedRepo":
        return SourceDeniedError(
            f"{where} is gated. Accept the terms at {page}, then set HF_TOKEN to a token of the same account, or run "
            "'hf auth login'."
        )
    if headers.get("X-Error-Message") == "Invalid credentials in Authorization header":
        return SourceDeniedError(
            f"{where} can't be read: the token is invalid or expired. Set HF_TOKEN to a token from "
            f"{without_user(hub_endpoint())}/settings/tokens, or run 'hf auth login'."
        )
    if code == "RepoNotFound":
        return SourceMissingError(
            f"{where}: data set not found, or private. Set HF_TOKEN if it is private.\n{advice('hf://')}"
        )
    if status in (404, 410):
        return SourceMissingError(f"{where}: revision, folder or file not found ({problem}).\n{advice('hf://')}")
    if status in (401, 403):
        return SourceDeniedError(f"{where} can't be read: access denied ({problem}). See {page}, and set HF_TOKEN.")
    if status == 429:
        return SourceError(
            f"{where}: the Hub's limit of requests is reached ({problem}). Try again later, or set HF_TOKEN: the limit "
            "of an account is higher."
        )
    return SourceError(f"{where} can't be reached ({problem}).\n{advice('hf://')}")


def sql_problem(error: BaseException) -> str:
    """Return the first line of DuckDB's error as a sentence, without its kind.

    >>> sql_problem(ValueError("Catalog Error: Scalar Function with name f does not exist!"))
    'Scalar Function with name f does not exist.'
    """
    line = str(error).strip().partition("\n")[0]
    return re.sub(r"^(?:\w+ )+Error: ", "", line).rstrip("!. ") + "."


def _only_its_files(error: BaseException) -> str:
    return f"SQL may only read the files of its source: {sql_problem(error)}"


def reader_errors() -> tuple[type[BaseException], ...]:
    """Return the types of errors that readers raise, also through DuckDB."""
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


def advice(address: str) -> str:
    """Return what to check if nothing is found at the address."""
    if address.startswith("hf://"):
        return (
            "Set HELMFRAME_DATA, or write hf.configure(data=…): a folder or s3://bucket/prefix with a copy of its rows."
        )
    if address.startswith("s3://"):
        return (
            "Check bucket and prefix in HELMFRAME_DATA or hf.configure(data=…), and the server's address in "
            "AWS_ENDPOINT_URL or hf.configure(s3_endpoint=…)."
        )
    return "Check HELMFRAME_DATA or hf.configure(data=…): it must be the folder with the scenarios' folders."


def _error_line(error: BaseException, secrets: Sequence[str]) -> str:
    """Return an error as one short line, without the statement that DuckDB quotes and without credentials."""
    text = f"{type(error).__name__}: {' '.join(str(error).partition('LINE 1:')[0].split())}"
    text = without_user(text)
    for secret in secrets:
        text = text.replace(secret, "…") if secret else text
    text = redacted(text)
    return text if len(text) <= 240 else text[:240] + "…"


def read_guarded(scenario: str, address: str, action: Callable[[], Any]) -> Any:
    """Return the result of `action`; if it fails, raise the typed error of the failure."""
    import duckdb

    try:
        return action()
    except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as error:
        failure: Exception = SourceBrokenError(
            f"scenario {scenario!r}: {address} doesn't match the spec's columns or --select: {sql_problem(error)}"
        )
    except duckdb.PermissionException as error:
        failure = SourceBrokenError(f"scenario {scenario!r}: {_only_its_files(error)}")
    except reader_errors() as error:
        failure = source_error(error, scenario, address, ())
    # raised outside of `except`, so that no traceback holds the reader's frames, which may have credentials
    raise failure
