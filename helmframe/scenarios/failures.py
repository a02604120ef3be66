"""What readers raise when rows can't be had, as our own errors: which kind, where, what to do; no credential in it."""

import importlib
import importlib.util
import re
from collections.abc import Sequence

from helmframe.errors import SourceBrokenError, SourceDeniedError, SourceError, SourceMissingError

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


def source_error(error: BaseException, scenario: str, address: str, secrets: Sequence[str] = ()) -> SourceError:
    """The typed error of what went wrong at the address; `secrets` are the texts it must not hold."""
    import duckdb

    said = _said(error, secrets)
    where = f"scenario {scenario!r}: {address}"
    if _DENIED.search(said):
        return SourceDeniedError(f"{where} can't be read: access denied ({said}).\n{_KEYS}")
    if _BROKEN.search(said) or isinstance(error, duckdb.InvalidInputException):
        cure = "Copy the file again from its origin."
        if not address.endswith(".parquet"):
            cure = "Sources are Parquet; write it as that, such as pl.read_ndjson(…).write_parquet(…)."
        return SourceBrokenError(f"{where} is no readable Parquet ({said}).\n{cure}")
    if isinstance(error, duckdb.OutOfMemoryException):
        return SourceError(f"{where} needs too much memory at once ({said}).\nWrite it in smaller row groups.")
    if isinstance(error, duckdb.DataError):
        return SourceBrokenError(f"{where}: a value is not what the spec's SELECT or the where expects ({said}).")
    if _MISSING.search(said):
        return SourceMissingError(f"{where}: there is no such bucket, folder or file ({said}).\n{advice(address)}")
    return SourceError(f"{where} can't be reached ({said}).\n{advice(address)}")


def reader_errors() -> tuple[type[BaseException], ...]:
    """The kinds of errors that readers raise; DuckDB passes some of them on as they are."""
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
    """What to check when nothing is at the address."""
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


def _said(error: BaseException, secrets: Sequence[str]) -> str:
    """The error in one short line, without the statement that DuckDB quotes and without credentials."""
    text = f"{type(error).__name__}: {' '.join(str(error).partition('LINE 1:')[0].split())}"
    for secret in secrets:
        text = text.replace(secret, "…") if secret else text
    return text if len(text) <= 240 else text[:240] + "…"
