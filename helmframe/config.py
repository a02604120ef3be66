"""Where data and store live, and with which credentials: `configure`, else HELMFRAME_* and AWS_* variables.

Credentials are kept in memory only, and no repr shows them.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from helmframe.errors import ArgumentError

S3_READERS = ("auto", "httpfs", "s3fs")
MIN_SECRET = 8

_SECRET_NAME = re.compile(r"SECRET|(API_KEY|ACCESS_KEY_ID|TOKEN|PASSWORD)$", re.IGNORECASE)


@dataclass(frozen=True)
class Secret:
    """A text that is shown nowhere; `reveal()` is the only way to it."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __reduce__(self) -> Any:
        raise ArgumentError("a credential stays in its process; the other one takes its own from the environment.")

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


@dataclass(frozen=True)
class S3Options:
    """How an S3 server is reached; what is None is left to the reader's own defaults."""

    endpoint: str | None = None
    key: Secret | None = None
    secret: Secret | None = None
    token: Secret | None = None
    region: str | None = None
    anonymous: bool = False

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that no message may hold."""
        return tuple(secret.reveal() for secret in (self.key, self.secret, self.token) if secret is not None)

    def client(self, timeout: float) -> dict[str, Any]:
        """What an s3fs file system is made with: one of its own, that asks once. It holds the credentials.

        Args:
            timeout: seconds, per request.
        """
        client_options = {"endpoint_url": self.endpoint, "region_name": self.region}
        return {
            "key": self.key.reveal() if self.key else None,
            "secret": self.secret.reveal() if self.secret else None,
            "token": self.token.reveal() if self.token else None,
            "anon": self.anonymous,
            "client_kwargs": {key: value for key, value in client_options.items() if value},
            "config_kwargs": {"connect_timeout": 5, "read_timeout": timeout, "retries": {"max_attempts": 1}},
            "skip_instance_cache": True,
        }


@dataclass(frozen=True)
class _Settings:
    data: str | None = None
    store: str | None = None
    s3_endpoint: str | None = None
    s3_key: Secret | None = None
    s3_secret: Secret | None = None
    s3_region: str | None = None
    s3_anonymous: bool | None = None
    allow_code: bool | None = None


_settings = _Settings()
_plans_root: ContextVar[str | None] = ContextVar("plans_root", default=None)


def configure(
    *,
    data: str | Path | None = None,
    store: str | Path | None = None,
    s3_endpoint: str | None = None,
    s3_key: str | None = None,
    s3_secret: str | None = None,
    s3_region: str | None = None,
    s3_anonymous: bool | None = None,
    allow_code: bool | None = None,
) -> None:
    """Say where data and store live, for this process; None leaves what was said before.

    Args:
        data: the root of the scenarios' rows: a folder or `s3://bucket/prefix`; before HELMFRAME_DATA.
        store: where requests and completions are kept; before HELMFRAME_STORE.
        s3_endpoint: address of an S3 server that is not AWS, with its scheme; before AWS_ENDPOINT_URL.
        s3_key: access key; before AWS_ACCESS_KEY_ID and the profile. Needs `s3_secret`.
        s3_secret: secret key; kept in memory only, never shown.
        s3_region: before AWS_REGION.
        s3_anonymous: read without signing.
        allow_code: whether metrics may run programs that models wrote, in a sandbox; before HELMFRAME_ALLOW_CODE.
    """
    global _settings
    for name, root in (("data", data), ("store", store)):
        if root is not None and not isinstance(root, str | Path):
            raise ArgumentError(f"configure({name}={root!r}): a folder or an address, such as 's3://bucket/prefix'.")
    new = _Settings(
        data=None if data is None else str(data),
        store=None if store is None else str(store),
        s3_endpoint=s3_endpoint,
        s3_key=None if s3_key is None else Secret(s3_key),
        s3_secret=None if s3_secret is None else Secret(s3_secret),
        s3_region=s3_region,
        s3_anonymous=s3_anonymous,
        allow_code=allow_code,
    )
    if s3_endpoint is not None and not s3_endpoint.startswith(("http://", "https://")):
        raise ArgumentError(f"configure(s3_endpoint={s3_endpoint!r}) should start with http:// or https://.")
    _settings = replace(_settings, **{name: value for name, value in vars(new).items() if value is not None})


def settings_without_credentials() -> dict[str, Any]:
    """What `configure` was told, as another process may be told it."""
    return {
        name: value for name, value in vars(_settings).items() if value is not None and not isinstance(value, Secret)
    }


def has_credentials() -> bool:
    """Whether `configure` was given some."""
    return _settings.s3_key is not None or _settings.s3_secret is not None


def variables_without_credentials() -> dict[str, str]:
    """The HELMFRAME_* variables, but those whose names say that they hold a credential."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("HELMFRAME_")}
    return {name: value for name, value in variables.items() if not _is_secret(name)}


def data_root() -> str | None:
    """The root of the scenarios' rows, or None: then they come from the hub."""
    return _settings.data or os.environ.get("HELMFRAME_DATA") or None


def table_roots() -> list[str]:
    """Where word tables and contrast sets are looked for: the plan's own root (`reading_from`), then `data_root()`."""
    return list(dict.fromkeys(root for root in (_plans_root.get(), data_root()) if root))


@contextmanager
def reading_from(data: str | None) -> Iterator[None]:
    """Within it a plan's own root comes first among `table_roots()`."""
    before = _plans_root.set(data)
    try:
        yield
    finally:
        _plans_root.reset(before)


def store_root() -> Path | str:
    """The folder (a Path) or `scheme://` address (a str) of the store."""
    address = _settings.store or os.environ.get("HELMFRAME_STORE")
    if not address:
        from platformdirs import user_data_path

        return user_data_path("helmframe") / "store"
    return address if "://" in address else from_home(address)


def code_allowed() -> bool:
    """Whether programs that models wrote may be run, in a sandbox; not unless somebody said so.

    Raises:
        ArgumentError: HELMFRAME_ALLOW_CODE is neither 1 nor 0.
    """
    if _settings.allow_code is not None:
        return _settings.allow_code
    text = os.environ.get("HELMFRAME_ALLOW_CODE") or "0"
    if text not in ("0", "1"):
        raise ArgumentError(f"HELMFRAME_ALLOW_CODE={text}: should be 1 or 0.")
    return text == "1"


def redacted(text: str) -> str:
    """The text with every secret that this process knows replaced by `***`, before it is written or shown anywhere.

    Secrets are what `configure` was given as S3 key and secret, and the environment's values of at least 8 characters
    under names that hold SECRET or end in API_KEY, ACCESS_KEY_ID, TOKEN or PASSWORD.
    """
    pattern = _secrets_pattern(secret_texts())
    return text if pattern is None else pattern.sub("***", text)


def secret_texts() -> frozenset[str]:
    """The texts that `redacted` looks for."""
    configured = {secret.reveal() for secret in (_settings.s3_key, _settings.s3_secret) if secret is not None}
    variables = {os.environ.get(name, "").strip() for name in os.environ if _is_secret(name)}
    return frozenset(text for text in configured | variables if len(text) >= MIN_SECRET)


def s3_reader() -> str:
    """Which library reads s3://: "httpfs" (DuckDB's extension), "s3fs", or "auto": httpfs if it loads.

    Raises:
        ArgumentError: HELMFRAME_S3_READER is none of these.
    """
    reader = os.environ.get("HELMFRAME_S3_READER") or "auto"
    if reader not in S3_READERS:
        raise ArgumentError.unknown_value(f"HELMFRAME_S3_READER={reader} names no reader", reader, S3_READERS)
    return reader


def s3_options() -> S3Options:
    """Endpoint, credentials and region as said, else from AWS_* variables, else from the profile (by botocore)."""
    endpoint = _settings.s3_endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = _settings.s3_region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    options = S3Options(endpoint=endpoint or None, region=region or None)
    if _settings.s3_anonymous:
        return replace(options, anonymous=True)
    if _settings.s3_key is not None and _settings.s3_secret is not None:
        return replace(options, key=_settings.s3_key, secret=_settings.s3_secret)
    return _with_usual_credentials(options)


def _with_usual_credentials(options: S3Options) -> S3Options:
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        token = os.environ.get("AWS_SESSION_TOKEN")
        return replace(options, key=Secret(key), secret=Secret(secret), token=Secret(token) if token else None)
    try:
        import botocore.session
        from botocore.exceptions import BotoCoreError
    except ImportError:
        return options
    session = botocore.session.Session()
    try:
        credentials = session.get_credentials()
        endpoint = options.endpoint or session.get_scoped_config().get("endpoint_url")
        region = options.region or session.get_config_variable("region")
    except BotoCoreError as error:
        problem = str(error)
    else:
        options = replace(options, endpoint=endpoint, region=region)
        if credentials is None:
            return options
        plain = credentials.get_frozen_credentials()
        token = Secret(plain.token) if plain.token else None
        return replace(options, key=Secret(plain.access_key), secret=Secret(plain.secret_key), token=token)
    raise ArgumentError(f"the AWS profile can't be read: {problem}")


@lru_cache(maxsize=4096)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


@lru_cache(maxsize=4)
def _secrets_pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    # the longer first: one may begin another
    return re.compile("|".join(map(re.escape, sorted(secrets, key=len, reverse=True)))) if secrets else None


def from_home(path: str | Path) -> Path:
    """The path, `~` at its start read as the home; of a user that is not there it stays a name.

    >>> from_home("~nobody-of-this-name/data")
    PosixPath('~nobody-of-this-name/data')
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises for a user that is not there
