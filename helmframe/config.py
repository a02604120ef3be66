"""Locations of data and store, and their credentials: from `configure`, else HELMFRAME_* and AWS_* variables.

Credentials are stored in memory only, and no repr shows them.
"""

import os
import re
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
    """A text that no repr shows; only `reveal()` returns it."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __reduce__(self) -> Any:
        raise ArgumentError("A credential can't be sent to another process. Set it in that process's environment.")

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


@dataclass(frozen=True)
class S3Options:
    """The options of an S3 server; for None the reader's own default applies."""

    endpoint: str | None = None
    key: Secret | None = None
    secret: Secret | None = None
    token: Secret | None = None
    region: str | None = None
    anonymous: bool = False

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that no message may contain."""
        return tuple(secret.reveal() for secret in (self.key, self.secret, self.token) if secret is not None)

    def client(self, timeout: float) -> dict[str, Any]:
        """Return the arguments of an s3fs file system of its own, without retries. They contain the credentials.

        Args:
            timeout: Seconds per request.
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
    """Set where data and store are, for this process; None leaves an earlier value.

    Args:
        data: The root of the scenarios' rows: a folder or `s3://bucket/prefix`; overrides HELMFRAME_DATA.
        store: The folder or address of requests and completions; overrides HELMFRAME_STORE.
        s3_endpoint: The address of an S3 server other than AWS, with its scheme; overrides AWS_ENDPOINT_URL.
        s3_key: The access key; overrides AWS_ACCESS_KEY_ID and the profile. Needs `s3_secret`.
        s3_secret: The secret key; it is in memory only, and never shown.
        s3_region: The region; overrides AWS_REGION.
        s3_anonymous: Whether to read without signing.
        allow_code: Whether metrics may run programs that models wrote, in a sandbox; overrides HELMFRAME_ALLOW_CODE.
    """
    global _settings
    for name, root in (("data", data), ("store", store)):
        if root is not None and not isinstance(root, str | Path):
            raise ArgumentError(
                f"configure({name}={root!r}): {name} must be a folder or an address, such as 's3://bucket/prefix'."
            )
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
        raise ArgumentError(f"configure(s3_endpoint={s3_endpoint!r}): s3_endpoint must start with http:// or https://.")
    _settings = replace(_settings, **{name: value for name, value in vars(new).items() if value is not None})


def settings_without_credentials() -> dict[str, Any]:
    """Return the arguments of `configure` that another process may receive."""
    return {
        name: value for name, value in vars(_settings).items() if value is not None and not isinstance(value, Secret)
    }


def has_credentials() -> bool:
    """Return whether `configure` received credentials."""
    return _settings.s3_key is not None or _settings.s3_secret is not None


def variables_without_credentials() -> dict[str, str]:
    """Return the HELMFRAME_* variables, except those whose names indicate a credential."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("HELMFRAME_")}
    return {name: value for name, value in variables.items() if not _is_secret(name)}


def data_root() -> str | None:
    """Return the root of the scenarios' rows; None means the hub."""
    return _settings.data or os.environ.get("HELMFRAME_DATA") or None


def store_root() -> Path | str:
    """Return the folder (a Path) or `scheme://` address (a str) of the store."""
    address = _settings.store or os.environ.get("HELMFRAME_STORE")
    if not address:
        from platformdirs import user_data_path

        return user_data_path("helmframe") / "store"
    return address if "://" in address else from_home(address)


def code_allowed() -> bool:
    """Return whether programs that models wrote may run in a sandbox; by default they may not.

    Raises:
        ArgumentError: HELMFRAME_ALLOW_CODE is neither 1 nor 0.
    """
    if _settings.allow_code is not None:
        return _settings.allow_code
    text = os.environ.get("HELMFRAME_ALLOW_CODE") or "0"
    if text not in ("0", "1"):
        raise ArgumentError(f"HELMFRAME_ALLOW_CODE={text!r}: HELMFRAME_ALLOW_CODE must be '0' or '1'.")
    return text == "1"


def redacted(text: str) -> str:
    """Return the text with every secret of this process replaced by `***`, before it is written or shown.

    Secrets are the S3 key and secret of `configure`, and the environment's values of at least 8 characters under names
    that contain SECRET or end in API_KEY, ACCESS_KEY_ID, TOKEN or PASSWORD.
    """
    pattern = _secrets_pattern(secret_texts())
    return text if pattern is None else pattern.sub("***", text)


def secret_texts() -> frozenset[str]:
    """Return the texts that `redacted` replaces."""
    configured = {secret.reveal() for secret in (_settings.s3_key, _settings.s3_secret) if secret is not None}
    variables = {os.environ.get(name, "").strip() for name in os.environ if _is_secret(name)}
    return frozenset(text for text in configured | variables if len(text) >= MIN_SECRET)


def s3_reader() -> str:
    """Return the library that reads s3://: "httpfs" (DuckDB's extension), "s3fs", or "auto": httpfs if it loads.

    Raises:
        ArgumentError: HELMFRAME_S3_READER is none of these.
    """
    reader = os.environ.get("HELMFRAME_S3_READER") or "auto"
    if reader not in S3_READERS:
        raise ArgumentError.unknown_value(f"HELMFRAME_S3_READER={reader!r}", reader, S3_READERS)
    return reader


def s3_endpoint() -> str | None:
    """Return the address of the S3 server that is configured or in AWS_* variables; None leaves it to the profile."""
    variables = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return _settings.s3_endpoint or next((os.environ[name] for name in variables if os.environ.get(name)), None)


def s3_options() -> S3Options:
    """Return endpoint, credentials and region: as configured, else from AWS_* variables, else from the profile."""
    region = _settings.s3_region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    options = S3Options(endpoint=s3_endpoint(), region=region or None)
    if _settings.s3_anonymous:
        return replace(options, anonymous=True)
    if _settings.s3_key is not None and _settings.s3_secret is not None:
        return replace(options, key=_settings.s3_key, secret=_settings.s3_secret)
    return _with_usual_credentials(options)


def _with_usual_credentials(options: S3Options) -> S3Options:
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        session_token = os.environ.get("AWS_SESSION_TOKEN")
        token = Secret(session_token) if session_token else None
        return replace(options, key=Secret(key), secret=Secret(secret), token=token)
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
        problem = str(error).partition("\n")[0]
    else:
        options = replace(options, endpoint=endpoint, region=region)
        if credentials is None:
            return options
        plain = credentials.get_frozen_credentials()
        token = Secret(plain.token) if plain.token else None
        return replace(options, key=Secret(plain.access_key), secret=Secret(plain.secret_key), token=token)
    raise ArgumentError(
        f"The AWS profile can't be read. Check AWS_PROFILE and the files in ~/.aws. botocore: {problem}"
    )


@lru_cache(maxsize=4096)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


@lru_cache(maxsize=4)
def _secrets_pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    # longer secrets first: one may be the start of another
    return re.compile("|".join(map(re.escape, sorted(secrets, key=len, reverse=True)))) if secrets else None


def from_home(path: str | Path) -> Path:
    """Return a path with `~` at its start replaced by the home; the name of a missing user stays.

    >>> from_home("~nobody-of-this-name/data")
    PosixPath('~nobody-of-this-name/data')
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises for a user that is not there
