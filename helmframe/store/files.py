"""Files by address, in a folder (a Path) or in a bucket (an `s3://` text): only this module distinguishes them.

A file is written whole or not at all: on disk under a temporary name, then synced and renamed; a put into a bucket is
atomic. A failure is a `StoreError` with the address and without credentials. Requests to a bucket are retried for about
15 s first.
"""

import importlib
import importlib.util
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from uuid import uuid4

from helmframe import config
from helmframe.config import S3Options, from_home
from helmframe.errors import StoreError

T = TypeVar("T")
Address: TypeAlias = Path | str

# Seconds between attempts: long enough for a server to restart.
WAITS: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
_TIMEOUT = 30  # seconds, per request
_AT_ONCE = 64  # files read together
# A temporary file has the identity of its process in its name.
_TEMPORARY = re.compile(r"\..*\.([0-9a-f]{24})[0-9a-f]{8}\.part")
_UNKNOWN = "0" * 8
# Error codes of a conditional put: the file exists, or the server has no conditional puts.
_EXISTS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_NO_CONDITION = ("NotImplemented", "InvalidArgument", "InvalidRequest")


@dataclass(frozen=True)
class File:
    """A file as its folder lists it; `name` is its path below that folder, `modified` in seconds since 1970.

    `tag` is the ETag of a file in a bucket, which changes with the content; `inode` is that of a file on disk.
    """

    address: Address
    name: str
    size: int
    modified: float
    tag: str = ""
    inode: int = 0


def address_of(address: Address) -> Address:
    """Return an address in one form: a Path, or a text with a scheme and no slash at its end.

    >>> address_of("s3://bucket/runs/")
    's3://bucket/runs'
    """
    return str(address).rstrip("/") if "://" in str(address) else from_home(address)


def below(folder: Address, *names: str) -> Address:
    """Return the address of a file or folder in a folder.

    >>> below("s3://bucket", "runs", "1")
    's3://bucket/runs/1'
    """
    return folder.joinpath(*names) if isinstance(folder, Path) else "/".join((folder, *names))


def name_of(address: Address) -> str:
    """Return the last part of an address."""
    return address.name if isinstance(address, Path) else address.rpartition("/")[2]


def listing(folder: Address) -> list[File]:
    """Return the files in a folder and below, sorted by name; without temporary files.

    A missing folder has no files.
    """
    return scan(folder)[0]


def scan(folder: Address) -> tuple[list[File], list[File]]:
    """Return the files in a folder and below, and the temporary files, both sorted by name.

    Temporary files are hidden and end in `.part`: half-written files, and claims (`helmframe.store.claims`).
    """
    if isinstance(folder, Path):
        files = _attempt(lambda: list(_walk(folder)), folder, "read")
    else:
        files = _attempt(lambda: _find(folder), folder, "read")
    files.sort(key=lambda file: file.name)
    unfinished = [file for file in files if _unfinished(file.name)]
    return [file for file in files if not _unfinished(file.name)] if unfinished else files, unfinished


def settled_listing(folder: Address) -> list[File]:
    """Return the files as `listing` does, including files by which another process replaces others meanwhile.

    While a folder is listed, new files can appear in its listed part and old files be removed from the rest. Then a
    file that was listed before is missing, and the folder is listed again.
    """
    before = _names(folder)
    while True:
        files = listing(folder)
        after = {file.name for file in files}
        if before <= after:
            return files
        before = after


def _names(folder: Address) -> set[str]:
    # on disk the names alone cost much less than a listing
    if isinstance(folder, Path):
        names = _attempt(lambda: [name for _, name in _entries(folder, "")], folder, "read")
        return {name for name in names if not _unfinished(name)}
    return {file.name for file in listing(folder)}


def exists(folder: Address) -> bool:
    """Return whether a folder exists; one in a bucket exists once it has a file."""
    if isinstance(folder, Path):
        return folder.exists()
    filesystem, path = _bucket(folder)
    # `exists` would first look for a file with this name
    return bool(_attempt(lambda: filesystem.isdir(path), folder, "read"))


def read(address: Address) -> bytes:
    """Return the content of a file.

    Raises:
        StoreError: The file doesn't exist, or reading fails.
    """
    (data,) = read_all([address])
    if data is None:
        raise StoreError(f"{address} doesn't exist.")
    return data


def read_all(addresses: Sequence[Address]) -> Iterator[bytes | None]:
    """Yield the content of each file, in this order; None for a missing file."""
    for start in range(0, len(addresses), _AT_ONCE):
        some = addresses[start : start + _AT_ONCE]
        paths = [address for address in some if isinstance(address, Path)]
        if len(paths) == len(some):
            for path in paths:
                yield _attempt(lambda path=path: _read(path), path, "read")  # type: ignore[misc]
        else:
            yield from _fetch([str(address) for address in some])


def write(data: bytes, address: Address) -> None:
    """Write a file whole or not at all.

    Raises:
        StoreError: Writing fails.
    """
    if isinstance(address, Path):
        _attempt(lambda: _replace(address, data), address, "write to")
    else:
        filesystem, path = _bucket(address)
        _attempt(lambda: filesystem.pipe_file(path, data), address, "write to")


def create(data: bytes, address: Address) -> bool:
    """Write a new file, and return True; return False if it exists. Only one of several processes creates a file.

    A server without conditional puts replaces an existing file.

    Raises:
        StoreError: Writing fails.
    """
    if isinstance(address, Path):
        return _attempt(lambda: _create(address, data), address, "write to")
    filesystem, path = _bucket(address)

    def put() -> bool:
        try:
            filesystem.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            response = getattr(error.__cause__, "response", None) or {}
            code = str(response.get("Error", {}).get("Code", ""))
            if code in _EXISTS:
                return False
            if code not in _NO_CONDITION:
                raise
            filesystem.pipe_file(path, data)
        return True

    return _attempt(put, address, "write to")


def touch(data: bytes, address: Address) -> None:
    """Set the modification time of a file with this content to the present; a missing file on disk is ignored.

    Raises:
        StoreError: Writing fails.
    """
    if isinstance(address, Path):
        with suppress(FileNotFoundError):
            _attempt(lambda: os.utime(address), address, "write to", missing_ok=True)
    else:
        write(data, address)


@lru_cache(maxsize=4)
def _token_of(process: int) -> str:
    return f"{_machine()}{process:08x}{_started(process)}"


def process_token() -> str:
    """Return 24 hex digits that identify this process: its machine, its number and its start."""
    return _token_of(os.getpid())


def has_ended(token: str) -> bool:
    """Return whether the process of a token ran on this machine and has ended."""
    machine, process, started = token[:8], int(token[8:16], 16), token[16:24]
    return machine == _machine() and _started(process) not in (started, _UNKNOWN)


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return 8 hex digits of this boot of this machine and, in a container, its own numbering of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        identity = boot + str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux
        identity = platform.node()
    return sha256(identity.encode()).hexdigest()[:8]


def _started(process: int) -> str:
    """Return when a process started, as 8 hex digits; empty if it has ended, `_UNKNOWN` if the system hides it."""
    try:
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
        return "" if fields[0] in (b"Z", b"X") else f"{int(fields[19]) & 0xFFFFFFFF:08x}"
    except OSError:  # not Linux, or the process of another user
        pass
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return ""
    except PermissionError:
        pass
    return _UNKNOWN


def is_orphan(file: File) -> bool:
    """Return whether the process that writes a temporary file ran on this machine and has ended."""
    match = _TEMPORARY.fullmatch(file.name.rpartition("/")[2])
    return match is not None and has_ended(match[1])


def temporary_name(name: str) -> str:
    """Return a new name of a temporary file, with the identity of this process."""
    return f".{name[:120]}.{process_token()}{uuid4().hex[:8]}.part"


def store_time(folder: Address) -> float:
    """Return the time of the store's own clock, from a file that is written for this.

    Raises:
        StoreError: The folder isn't writable.
    """
    address = below(folder, temporary_name("clock"))
    create(b"", address)
    try:
        if isinstance(address, Path):
            return stat(address, address.name).modified
        filesystem, path = _bucket(address)
        modified = _attempt(lambda: filesystem.info(path)["LastModified"], address, "read")
        return float(modified.timestamp())
    finally:
        remove([address])


def stat(path: Path, name: str) -> File:
    """Return the file on disk under this name, as a listing of its folder would.

    Raises:
        StoreError: The file doesn't exist, or reading fails.
    """
    return _file(path, name, _attempt(path.stat, path, "read"))


def move(address: Address, target: Address) -> None:
    """Move a file within the store; a missing file is ignored."""
    with suppress(FileNotFoundError):
        if isinstance(address, Path):
            destination = Path(target)
            _attempt(lambda: destination.parent.mkdir(parents=True, exist_ok=True), target, "write to")
            _attempt(lambda: address.replace(destination), address, "write to", missing_ok=True)
        else:
            filesystem, path = _bucket(address)
            _attempt(lambda: filesystem.mv(path, _bucket(target)[1]), address, "write to", missing_ok=True)


def remove(addresses: Sequence[Address]) -> None:
    """Remove files; missing ones are ignored."""
    remote = [str(address) for address in addresses if not isinstance(address, Path)]
    for address in addresses:
        if isinstance(address, Path):
            _attempt(lambda address=address: address.unlink(missing_ok=True), address, "write to")  # type: ignore[misc]
    if remote:
        filesystem, _ = _bucket(remote[0])
        paths = [_bucket(address)[1] for address in remote]
        with suppress(FileNotFoundError):
            _attempt(lambda: filesystem.rm(paths), remote[0], "write to", missing_ok=True)


def is_on_hub(address: Address) -> bool:
    """Return whether an address is on the Hugging Face Hub."""
    return isinstance(address, str) and address.startswith("hf://")


def upload(folder: Path, address: str) -> None:
    """Upload a folder to a data set on the Hugging Face Hub, in one commit.

    A data set that doesn't exist is created as a private one.

    Raises:
        StoreError: The address isn't a folder of a data set, or isn't empty; or the Hub refuses or can't be reached.
    """
    from huggingface_hub import HfApi

    repository, path = _hub_folder(address)

    def send() -> None:
        api = HfApi(endpoint=config.hub_endpoint())
        api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
        if api.file_exists(repository, f"{path}/manifest.json".lstrip("/"), repo_type="dataset"):
            raise StoreError(f"{address} isn't empty. Write another folder.")
        api.upload_folder(
            repo_id=repository, repo_type="dataset", folder_path=folder, path_in_repo=path or None,
            commit_message="Add results of helmframe",
        )  # fmt: skip

    _attempt_hub(send, address, "write")


def download(address: str) -> Path:
    """Return the cached copy of a folder on the Hugging Face Hub, which is downloaded if it has changed.

    Raises:
        StoreError: The address isn't a folder of a data set, or the Hub refuses or can't be reached.
    """
    from huggingface_hub import snapshot_download

    repository, path = _hub_folder(address)

    def fetch() -> str:
        patterns = f"{path}/*" if path else "*"
        return snapshot_download(
            repository, repo_type="dataset", endpoint=config.hub_endpoint(), allow_patterns=patterns
        )

    return Path(_attempt_hub(fetch, address, "read"), path)


def _hub_folder(address: str) -> tuple[str, str]:
    """Return the repository of an address, and the folder in it."""
    match = re.fullmatch(r"hf://datasets/([^/@]+/[^/@]+)((?:/(?!\.\.?(?:/|$))[^/]+)*)", address)
    if match is None:
        raise StoreError(
            f"Invalid address {address}. Write hf://datasets/OWNER/NAME or hf://datasets/OWNER/NAME/FOLDER."
        )
    return match[1], match[2].lstrip("/")


def _attempt_hub(action: Callable[[], T], address: str, doing: str) -> T:
    """Return the result of an action on the Hub, whose client retries transient failures."""
    # a RuntimeError has the failure of an upload as its cause
    failures: tuple[type[BaseException], ...] = (RuntimeError, *_failures(address))
    try:
        return action()
    except StoreError:
        raise
    except failures as error:
        message = _error_line(error.__cause__ or error)
    # Raised outside of `except`: traceback and context must not hold the client's frames with credentials.
    raise StoreError(f"can't {doing} {address}: {message}.\n{_HUB_ADVICE}")


def _walk(folder: Path) -> Iterator[File]:
    for entry, name in _entries(folder, ""):
        with suppress(FileNotFoundError):
            status = entry.stat()
            yield _file(Path(entry.path), name, status)


def _file(path: Path, name: str, status: os.stat_result) -> File:
    return File(path, name, status.st_size, status.st_mtime, inode=status.st_ino)


def _entries(folder: Path | str, prefix: str) -> Iterator[tuple["os.DirEntry[str]", str]]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=True):
            yield from _entries(entry.path, f"{prefix}{entry.name}/")
        else:
            yield entry, prefix + entry.name


def _find(folder: str) -> list[File]:
    filesystem, path = _bucket(folder)
    bucket, _, key = path.partition("/")
    # by prefix: an empty listing of the folder itself would be followed by a search for a file of this name
    listed = filesystem.find(bucket, prefix=key and f"{key}/", detail=True)
    return [
        File(
            f"s3://{key}",
            key[len(path) + 1 :],
            int(details["size"]),
            details["LastModified"].timestamp(),
            str(details.get("ETag", "")).strip('"'),
        )
        for key, details in listed.items()
        if key.startswith(f"{path}/")
    ]


def _unfinished(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith(".") and name.endswith(".part")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _fetch(addresses: list[str]) -> list[bytes | None]:
    """Return the contents of files, fetched together; failed ones are fetched again."""
    filesystem, _ = _bucket(addresses[0])
    paths = [_bucket(address)[1] for address in addresses]
    have: dict[str, bytes | None] = {}

    def fetch() -> None:
        missing = [path for path in paths if path not in have]
        got = filesystem.cat(missing, on_error="return")
        failed = None
        for path, data in got.items():
            if isinstance(data, FileNotFoundError):
                have[path] = None
            elif isinstance(data, BaseException):
                failed = data
            else:
                have[path] = data
        if failed is not None:
            raise failed

    _attempt(fetch, addresses[0], "read")
    return [have.get(path) for path in paths]


def _create(path: Path, data: bytes) -> bool:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    try:
        handle = os.open(path, flags, 0o666)
    except FileExistsError:
        return False
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, flags, 0o666)
        except FileExistsError:
            return False
    try:
        os.write(handle, data)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    return True


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(temporary_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _attempt(action: Callable[[], T], address: Address, doing: str, *, missing_ok: bool = False) -> T:
    """Return the result of an action; in a bucket it is retried after transient failures.

    With `missing_ok`, a FileNotFoundError is raised as it is.
    """
    waits = [*WAITS] if isinstance(address, str) else []
    while True:
        try:
            return action()
        except StoreError:
            raise
        except _failures(address) as error:
            if missing_ok and isinstance(error, FileNotFoundError):
                raise
            wait = waits.pop(0) if waits and _passes(error) else None
            message = _error_line(error)
        if wait is None:
            break
        time.sleep(wait)
    # Raised outside of `except`: traceback and context must not hold the client's frames with credentials.
    advice = (
        _ADVICE
        if isinstance(address, str)
        else "Choose another folder. For the store: HELMFRAME_STORE or hf.configure(store=…)."
    )
    where = address if isinstance(address, str) or doing == "read" else address.parent
    raise StoreError(f"can't {doing} {where}: {message}.\n{advice}")


def _passes(error: BaseException) -> bool:
    """Return whether a failure may be transient."""
    lasting = ("NoCredentials", "PartialCredentials", "ParamValidation", "InvalidAccessKeyId", "SignatureDoesNotMatch")
    denied = isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError)
    return not denied and not any(name in f"{type(error).__name__}: {error}" for name in lasting)


def _error_line(error: BaseException) -> str:
    """Return an error as one short line, without credentials."""
    strerror = error.strerror if isinstance(error, OSError) else None
    text = strerror or f"{type(error).__name__}: {' '.join(str(error).split())}"
    for secret in config.s3_options().secrets:
        text = text.replace(secret, "…") if secret else text
    text = config.redacted(text)
    return text.rstrip(".") if len(text) <= 240 else text[:240] + "…"


@lru_cache(maxsize=1)
def _remote_failures() -> tuple[type[BaseException], ...]:
    kinds: list[type[BaseException]] = []
    if importlib.util.find_spec("s3fs") is not None:
        from botocore.exceptions import BotoCoreError, ClientError

        kinds += [BotoCoreError, ClientError]
    for library, name in (
        ("aiohttp", "ClientError"),
        ("httpx", "HTTPError"),
        ("httpx2", "HTTPError"),
        ("urllib3.exceptions", "HTTPError"),
    ):
        if importlib.util.find_spec(library.partition(".")[0]) is not None:
            kinds.append(getattr(importlib.import_module(library), name))
    return tuple(kinds)


def _failures(address: Address) -> tuple[type[BaseException], ...]:
    return (OSError, *_remote_failures()) if isinstance(address, str) else (OSError,)


def _bucket(address: Address) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    scheme, _, path = str(address).partition("://")
    if scheme != "s3":
        raise StoreError(f"Invalid store {address}. HELMFRAME_STORE must be a folder or s3://bucket/prefix.")
    # a child process must not use its parent's connections
    return _filesystem(config.s3_options(), os.getpid()), path


@lru_cache(maxsize=8)
def _filesystem(options: S3Options, process: int) -> Any:  # noqa: ARG001
    import s3fs

    # max_concurrency=1: otherwise a request for the size precedes each read
    filesystem = s3fs.S3FileSystem(**options.client(_TIMEOUT), use_listings_cache=False, max_concurrency=1)
    filesystem.retries = 1  # `_attempt` retries
    return filesystem


_HUB_ADVICE = "Set HF_TOKEN to a token that may use this data set, or run: hf auth login."
_ADVICE = (
    "Check HELMFRAME_STORE, the server's address in AWS_ENDPOINT_URL or hf.configure(s3_endpoint=…), and "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE). Then rerun the plan to resume."
)
