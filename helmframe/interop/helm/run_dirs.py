"""HELM's run directories in a folder, a bucket, or behind a URL: list them and open their files.

Public runs: https://storage.googleapis.com/crfm-helm-public/lite/benchmark_output/releases/v1.0.0 (or `gs://…`).
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

from helmframe._core.yaml import LONGEST_JSON, decode_json, reading
from helmframe.config import S3Options, from_home, s3_options
from helmframe.errors import SourceBrokenError, SourceError, SourceMissingError, StoreError
from helmframe.store import Address
from helmframe.store.files import below, listing, name_of

RUN_SPEC, STATE, INSTANCE_STATS = "run_spec.json", "scenario_state.json", "per_instance_stats.json"
SCENARIO, STATS = "scenario.json", "stats.json"
_TIMEOUT = 60  # seconds, per request
_TRIES = 4
_GCS = "https://storage.googleapis.com/"


@dataclass(frozen=True)
class RunDir:
    """One run directory; messages show `name`."""

    name: str
    address: Address


def parse_address(path: str | Path) -> Address:
    """Return the address in one form: a Path, an `s3://` text, or a URL."""
    text = str(path).rstrip("/")
    if text.startswith("gs://"):
        return _GCS + quote(text.removeprefix("gs://"))
    return text if "://" in text else from_home(text)


def runs_at(address: Address) -> list[RunDir]:
    """Return the run directories of a run, a suite, a release, or of all suites below a folder; by name.

    Raises:
        SourceMissingError: The address has no run.
        SourceError: The address can't be read.
    """
    if _has(address, RUN_SPEC):
        return [RunDir(_unquoted(name_of(address)), address)]
    if (suites := _json(address, "runs_to_run_suites.json")) is not None:
        root = _parent(_parent(address))
        with reading(f"{address}: runs_to_run_suites.json", "in HELM's format"):
            return [
                RunDir(f"{suite}/{run}", _below(root, "runs", str(suite), str(run)))
                for run, suite in sorted(suites.items())
            ]
    if _is_url(address):
        if (specs := _json(address, "run_specs.json")) is None:
            raise _no_run(address)
        with reading(f"{address}: run_specs.json", "in HELM's format"):
            return [RunDir(str(spec["name"]), _below(address, str(spec["name"]))) for spec in specs]
    try:
        names = [file.name for file in listing(address)]
    except StoreError as error:
        raise SourceError(f"{address} can't be read: {error}") from None
    run_names = [name.removesuffix(f"/{RUN_SPEC}") for name in names if name.endswith(f"/{RUN_SPEC}")]
    if not run_names:
        raise _no_run(address)
    return [RunDir(name, below(address, *name.split("/"))) for name in run_names]


@contextmanager
def open_file(folder: Address, name: str) -> Iterator[BinaryIO]:
    """Open a file of a run; a remote file is downloaded to disk first.

    Raises:
        SourceMissingError: The file doesn't exist.
        SourceError: The file can't be read.
    """
    if isinstance(folder, Path):
        try:
            with (folder / name).open("rb") as file:
                yield file
        except FileNotFoundError:
            raise SourceMissingError(f"{folder / name} not found.") from None
        return
    with tempfile.TemporaryFile(prefix="helmframe-") as file:
        (_download if _is_url(folder) else _get)(_below(folder, name), file)
        file.seek(0)
        yield file


def _has(folder: Address, name: str) -> bool:
    try:
        with open_file(folder, name):
            return True
    except SourceMissingError:
        return False


def _json(folder: Address, name: str) -> Any:
    """Return the content of a JSON file; None if it doesn't exist."""
    try:
        with open_file(folder, name) as file:
            return decode_json(file.read(LONGEST_JSON + 1))
    except SourceMissingError:
        return None
    except ValueError as error:
        raise SourceBrokenError(f"{_below(folder, name)} isn't valid JSON: {error}") from None


def _no_run(address: Address) -> SourceMissingError:
    return SourceMissingError(
        f"No HELM run found at {address}.\n"
        f"Write the path of a run directory (with {RUN_SPEC} and {STATE}), of a suite (benchmark_output/runs/NAME), or "
        "of a release (benchmark_output/releases/VERSION)."
    )


def _is_url(address: Address) -> bool:
    return str(address).startswith(("http://", "https://"))


def _below(folder: Address, *names: str) -> Address:
    # names of runs contain characters with a meaning in URLs
    return below(folder, *(map(quote, names) if _is_url(folder) else names))


def _parent(address: Address) -> Address:
    return address.parent if isinstance(address, Path) else address.rpartition("/")[0]


def _unquoted(name: str) -> str:
    return unquote(name)


def _download(address: Address, file: BinaryIO) -> None:
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

    @retry(
        retry=retry_if_exception_type(OSError),
        stop=stop_after_attempt(_TRIES),
        wait=wait_exponential(multiplier=0.5, max=8),
        reraise=True,
    )
    def fetch() -> int:
        import urllib.error
        import urllib.request

        file.seek(0)
        file.truncate()
        try:
            with urllib.request.urlopen(str(address), timeout=_TIMEOUT) as answer:  # noqa: S310 - http(s) only
                shutil.copyfileobj(answer, file, 1 << 20)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code != 429:
                return error.code
            raise
        return 200

    try:
        status = fetch()
    except OSError as error:
        raise SourceError(
            f"{address} can't be read ({type(error).__name__}: {error}). Check the address and the network."
        ) from None
    if status in (403, 404):  # a public bucket without listing returns 403 for a missing file
        raise SourceMissingError(f"{address} not found: the server returned status {status}.")
    if status != 200:
        raise SourceError(f"{address} can't be read: the server returned status {status}.")


def _get(address: Address, file: BinaryIO) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    filesystem = _filesystem(s3_options())
    path = str(address).partition("://")[2]
    try:
        with filesystem.open(path, "rb", block_size=8 << 20, cache_type="readahead") as remote:
            shutil.copyfileobj(remote, file, 8 << 20)
        return
    except FileNotFoundError:
        problem = ""
    except (OSError, BotoCoreError, ClientError) as error:
        problem = f"{type(error).__name__}: {error}"
    # raised outside the handler, so that no traceback references the client and its credentials
    if not problem:
        raise SourceMissingError(f"{address} not found.")
    for secret in s3_options().secrets:
        problem = problem.replace(secret, "…") if secret else problem
    raise SourceError(f"{address} can't be read: {problem}.")


@lru_cache(maxsize=4)
def _filesystem(options: S3Options) -> Any:
    import s3fs

    return s3fs.S3FileSystem(**options.client(_TIMEOUT), use_listings_cache=False)
