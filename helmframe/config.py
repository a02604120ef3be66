"""Settings of this process: the locations of data and store, credentials, and permissions.

They come from `configure`, else from HELMFRAME_* and AWS_* variables. Credentials are stored in memory only, and no
repr shows them.
"""

import ipaddress
import math
import os
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from helmframe.errors import ArgumentError

# The variables of the address of an S3 server, the first one first.
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
S3_READERS = ("auto", "httpfs", "s3fs")
HUB = "https://huggingface.co"
MIN_SECRET = 8
# The shortest key that is replaced in a completion, where a shorter text may be a word.
MIN_ECHO = 16
FLUSH_SECONDS = 2.0

# The rule for names of variables and arguments, in capitals with underscores: see `is_credential_name`.
_CREDENTIAL_NAME = re.compile(
    r"SECRET|PASSWORD|PASSWD|PASSPHRASE|AUTHORIZATION"
    r"|(^|_)(KEYS?|APIKEYS?|PAT|PASS|TOKEN|CREDENTIALS?|COOKIE|ACCESS_KEY_ID|CONNECTION_STRING|DSN)$"
    r"|(^|_)(DATABASE|DB|POSTGRES(QL)?|MYSQL|REDIS|MONGO(DB)?|BROKER)_UR[IL]$"
)
# Parameters of models whose names end as those of credentials do.
_PLAIN_NAMES = frozenset(
    f"{kind}_TOKEN" for kind in ("BOS", "EOS", "PAD", "UNK", "SEP", "CLS", "MASK", "IMAGE", "STOP", "START", "END")
) | {"PROMPT_CACHE_KEY", "ANSWER_KEY", "SORT_KEY"}
# The forms of the keys of OpenAI and others, Hugging Face, GitHub, GitLab, Slack, AWS, Google, Groq and Replicate, of
# JSON Web Tokens, of headers and of private keys.
_CREDENTIAL_VALUE = re.compile(
    r"\bsk-(?=[\w-]*\d)[\w-]{16,}|\bhf_(?=[A-Za-z]*\d)[A-Za-z0-9]{16,}|\bhf_[A-Za-z]{30,}|\bgh[pousr]_\w{16,}|\bgithub_pat_\w{16,}"
    r"|\bglpat-[\w-]{16,}|\bxox[abeoprs]-[\w-]{10,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,}"
    r"|\b(?:gsk|r8|xai|pplx|nvapi)[_-](?=[\w-]*\d)[\w-]{20,}|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+"
    r"|(?<=-----BEGIN )[A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s]*"
    r"|(?i:(?<=\bBearer )|(?<=\bBasic ))(?=[\w.~+/=-]*[\d.~+/=])[\w.~+/=-]{8,}"
)
# Texts without one of these, in any case, have no credential of these forms.
CREDENTIAL_HINTS = (
    *("sk-", "hf_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "AKIA", "ASIA", "AIza"),
    *("gsk", "r8_", "r8-", "xai", "pplx", "nvapi", "eyJ", "PRIVATE KEY", "Bearer ", "Basic ", "://"),
)
# An argument in a text of a call: http(url='…', api_key='…').
_ARGUMENT = re.compile(r"(?<![\w-])([A-Za-z][\w-]*)['\"]?\s*[=:]\s*\\*['\"][^'\"]")
# A user and a password in an address, and a key in its query.
_USERINFO = re.compile(r"(?<=://)[^/@\s'\"<>]*@")
_PASSWORD = re.compile(r"://[^/@:\s]*:([^/@\s]+)@")
_QUERY_KEY = re.compile(
    r"(?i)([?&](?:api[_-]?key|key|[\w-]*token|[\w-]*signature|sig|secret|password|x-amz-credential)=)[^&\s'\"<>)]+"
)


@dataclass(frozen=True)
class Secret:
    """A credential whose repr is hidden; only `reveal()` returns its text."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __reduce__(self) -> Any:
        raise ArgumentError(
            "Credentials are never sent to another process. Set them in the environment of that process."
        )

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


@dataclass(frozen=True)
class S3Options:
    """The options of an S3 server; None means the reader's own default."""

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
        """Return the arguments of a new s3fs file system without retries. They contain the credentials.

        Args:
            timeout: The limit of one request, in seconds.
        """
        from aiobotocore.session import AioSession

        session = AioSession()
        session.register("request-created.s3.PutObject", _send_at_once)
        client_options = {"endpoint_url": self.endpoint, "region_name": self.region}
        # botocore's default, 10 connections, bounds the requests that wait for a distant server together
        config = {"max_pool_connections": 64, "connect_timeout": 5, "read_timeout": timeout}
        return {
            "key": self.key.reveal() if self.key else None,
            "secret": self.secret.reveal() if self.secret else None,
            "token": self.token.reveal() if self.token else None,
            "anon": self.anonymous,
            "client_kwargs": {key: value for key, value in client_options.items() if value},
            "config_kwargs": {**config, "retries": {"max_attempts": 1}},
            "session": session,
            "skip_instance_cache": True,
        }


def _send_at_once(request: Any, **_: Any) -> None:
    """Send the content of a file with its request: by default, it is sent once the server has agreed to receive it."""
    del request.headers["Expect"]


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
    prices: str | None = None
    download: bool | None = None
    download_base: str | None = None
    lm_eval_tasks: str | None = None
    flush_seconds: float | None = None


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
    prices: str | Path | None = None,
    download: bool | None = None,
    download_base: str | None = None,
    lm_eval_tasks: str | Path | None = None,
    flush_seconds: float | None = None,
) -> None:
    """Set the locations of data and store, S3 credentials and permissions for this process.

    An argument that is None keeps its earlier value. Credentials are stored in memory only, and never shown.

    >>> import helmframe as hf
    >>> hf.configure(data="s3://evals", s3_endpoint="http://localhost:9000")
    >>> data_root()
    's3://evals'

    Args:
        data: The root of the scenarios' rows: a folder or `s3://bucket/prefix`. Overrides HELMFRAME_DATA.
        store: The folder or address of cached completions and runs. Overrides HELMFRAME_STORE.
        s3_endpoint: The address of an S3 server other than AWS. Overrides AWS_ENDPOINT_URL and the AWS profile. An
            address without a scheme means http:// for this machine, a private address or a name without a dot, and
            https:// otherwise.
        s3_key: The access key. Needs `s3_secret`. Overrides AWS_ACCESS_KEY_ID and the AWS profile.
        s3_secret: The secret key.
        s3_region: The region. Overrides AWS_REGION.
        s3_anonymous: Whether requests are sent without a signature.
        allow_code: Whether metrics may run programs that models wrote, in a sandbox. Overrides HELMFRAME_ALLOW_CODE.
        prices: A YAML file with the prices of models, as `prices=` of `Plan.score` takes them. Overrides
            HELMFRAME_PRICES.
        download: Whether a plan fetches the rows of a scenario that the data root lacks, into the folder `data` of the
            store. Overrides HELMFRAME_DOWNLOAD.
        download_base: The address of a proxy through which files are downloaded: `https://host/path` is requested as
            `BASE/host/path`. Overrides HELMFRAME_DOWNLOAD_BASE.
        lm_eval_tasks: The folder with lm-eval's task files; default that of the installed lm-eval. Overrides
            HELMFRAME_LM_EVAL_TASKS.
        flush_seconds: The seconds within which completions are stored; default 2. A killed run loses at most the
            completions of this interval. Overrides HELMFRAME_FLUSH_SECONDS.

    Raises:
        ArgumentError: `data`, `store` or `prices` isn't a path or an address, `s3_endpoint` isn't an http address,
            `download_base` has no scheme, or `flush_seconds` isn't a number > 0.
    """
    global _settings
    for name, root in (("data", data), ("store", store), ("prices", prices), ("lm_eval_tasks", lm_eval_tasks)):
        if root is not None and not isinstance(root, str | Path):
            raise ArgumentError(
                f"configure({name}={root!r}): {name} must be a folder or an address, such as 's3://bucket/prefix'."
            )
        check_address(f"configure({name}=…)", root)
    new = _Settings(
        data=None if data is None else str(data),
        store=None if store is None else str(store),
        s3_endpoint=_with_scheme(s3_endpoint, "configure(s3_endpoint=…)"),
        s3_key=None if s3_key is None else Secret(s3_key),
        s3_secret=None if s3_secret is None else Secret(s3_secret),
        s3_region=s3_region,
        s3_anonymous=s3_anonymous,
        allow_code=allow_code,
        prices=None if prices is None else str(prices),
        download=download,
        download_base=download_base,
        lm_eval_tasks=None if lm_eval_tasks is None else str(lm_eval_tasks),
        flush_seconds=None if flush_seconds is None else _flush_interval(flush_seconds, "configure(flush_seconds=…)"),
    )
    if download_base is not None and not download_base.startswith(("http://", "https://")):
        raise ArgumentError(
            f"configure(download_base={redacted(download_base)!r}): download_base must start with http:// or https://."
        )
    _settings = replace(_settings, **{name: value for name, value in vars(new).items() if value is not None})


def settings_without_credentials() -> dict[str, Any]:
    """Return the arguments of `configure` that may be sent to another process."""
    return {
        name: value for name, value in vars(_settings).items() if value is not None and not isinstance(value, Secret)
    }


def has_credentials() -> bool:
    """Return whether `configure` received credentials."""
    return _settings.s3_key is not None or _settings.s3_secret is not None


def variables_without_credentials() -> dict[str, str]:
    """Return the HELMFRAME_* variables, without those whose names indicate a credential."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("HELMFRAME_")}
    return {name: value for name, value in variables.items() if not is_credential_name(name)}


def data_root() -> str | None:
    """Return the root of the scenarios' rows; None means the Hub."""
    return _settings.data or os.environ.get("HELMFRAME_DATA") or None


def store_root() -> Path | str:
    """Return the folder (Path) or the `scheme://` address (str) of the store."""
    address = _settings.store or os.environ.get("HELMFRAME_STORE")
    if not address:
        from platformdirs import user_data_path

        return user_data_path("helmframe") / "store"
    return address if "://" in address else from_home(address)


def prices_file() -> Path | None:
    """Return the YAML file with the user's prices of models; None if there is none."""
    file = _settings.prices or os.environ.get("HELMFRAME_PRICES")
    return from_home(file) if file else None


def lm_eval_tasks() -> Path | None:
    """Return the configured folder with lm-eval's task files; None: that of the installed lm-eval."""
    folder = _settings.lm_eval_tasks or os.environ.get("HELMFRAME_LM_EVAL_TASKS")
    return from_home(folder) if folder else None


def flush_seconds() -> float:
    """Return the seconds within which completions are stored; 2 by default.

    Raises:
        ArgumentError: HELMFRAME_FLUSH_SECONDS isn't a number > 0.
    """
    if _settings.flush_seconds is not None:
        return _settings.flush_seconds
    return _flush_interval(os.environ.get("HELMFRAME_FLUSH_SECONDS") or FLUSH_SECONDS, "HELMFRAME_FLUSH_SECONDS")


def _flush_interval(value: object, name: str) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = math.nan
    if isinstance(value, bool) or not 0 < seconds < math.inf:
        raise ArgumentError(f"{name}: {str(value)[:100]!r} isn't a number of seconds > 0. Write 2, for example.")
    return seconds


def code_allowed() -> bool:
    """Return whether programs that models wrote may run in a sandbox; False by default.

    Raises:
        ArgumentError: HELMFRAME_ALLOW_CODE is neither 1 nor 0.
    """
    return _switch("HELMFRAME_ALLOW_CODE", _settings.allow_code)


def download_enabled() -> bool:
    """Return whether plans fetch the rows of scenarios that the data root lacks; False by default.

    Raises:
        ArgumentError: HELMFRAME_DOWNLOAD is neither 1 nor 0.
    """
    return _switch("HELMFRAME_DOWNLOAD", _settings.download)


def download_base() -> str | None:
    """Return the address of the proxy through which files are downloaded; None: they are requested from their hosts.

    Raises:
        ArgumentError: HELMFRAME_DOWNLOAD_BASE has no scheme.
    """
    base = _settings.download_base or os.environ.get("HELMFRAME_DOWNLOAD_BASE") or None
    if base is not None and not base.startswith(("http://", "https://")):
        raise ArgumentError(
            f"HELMFRAME_DOWNLOAD_BASE={redacted(base)!r}: HELMFRAME_DOWNLOAD_BASE must start with http:// or https://."
        )
    return base


def _switch(name: str, configured: bool | None) -> bool:
    """Return a setting that is on or off: the configured one, else that of the variable."""
    if configured is not None:
        return configured
    text = os.environ.get(name) or "0"
    if text not in ("0", "1"):
        raise ArgumentError(f"{name}={text!r}: {name} must be '0' or '1'.")
    return text == "1"


def redacted(text: str) -> str:
    """Return the text with every credential replaced by `***`, before it is written or shown.

    Credentials are the values of `secret_texts`, texts in the form of a known kind of key (`sk-…`, `hf_…`, `ghp_…`,
    `AKIA…`, `Bearer …`), and users, passwords and keys in addresses.

    >>> redacted("no response from https://me:canary@example.org/v1?api_key=canary&n=1")
    'no response from https://***@example.org/v1?api_key=***&n=1'
    """
    return _redacted(text, _secrets_pattern(secret_texts()))


def redacted_values(value: Any) -> Any:
    """Return JSON values with every credential in their texts replaced, keys of mappings included."""
    # once for all texts, because the environment and a file are read for it
    return _redacted_values(value, _secrets_pattern(secret_texts()))


def _redacted_values(value: Any, secrets: re.Pattern[str] | None) -> Any:
    if isinstance(value, str):
        return _redacted(value, secrets)
    if isinstance(value, dict):
        return {_redacted_values(key, secrets): _redacted_values(inner, secrets) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted_values(inner, secrets) for inner in value]
    if isinstance(value, tuple):
        inner_values = (_redacted_values(inner, secrets) for inner in value)
        return value._make(inner_values) if hasattr(value, "_make") else tuple(inner_values)
    return value


def _redacted(text: str, secrets: re.Pattern[str] | None) -> str:
    text = text if secrets is None else secrets.sub("***", text)
    if "://" in text:
        text = _QUERY_KEY.sub(r"\1***", _USERINFO.sub("***@", text))
    return _CREDENTIAL_VALUE.sub("***", text)


def without_echo(text: str) -> str:
    """Return the text of a reply with the known credentials of at least 16 characters replaced by `***`.

    A server may echo the key that it received. Shorter credentials, and texts that only look like a key, are unchanged:
    a model may have generated them.
    """
    pattern = _secrets_pattern(frozenset(secret for secret in secret_texts() if len(secret) >= MIN_ECHO))
    return text if pattern is None else pattern.sub("***", text)


def secret_texts() -> frozenset[str]:
    """Return the known credentials of at least 8 characters.

    They are the S3 key and secret of `configure`, the token that `hf auth login` stores, and the values of environment
    variables whose names `is_credential_name`, or that a model reads its key from.
    """
    configured = {secret.reveal() for secret in (_settings.s3_key, _settings.s3_secret) if secret is not None}
    names = [name for name in os.environ if name in _key_variables or is_credential_name(name)]
    variables = {os.environ.get(name, "").strip() for name in names}
    passwords = {match[1] for value in variables if (match := _PASSWORD.search(value))}
    texts = configured | variables | passwords | {_stored_hub_token()}
    return frozenset(text for text in texts if len(text) >= MIN_SECRET)


# The environment variables that models read keys from, whatever their names.
_key_variables: set[str] = set()


def read_key(variable: str | None) -> str:
    """Return the key in an environment variable, "" if it isn't set, and treat its value as a credential from then on.

    Args:
        variable: The name of the variable; None: no key.
    """
    if variable is None:
        return ""
    _key_variables.add(variable)
    return os.environ.get(variable, "").strip()


def check_key_variable(where: str, name: object) -> None:
    """Raise if this isn't the name of an environment variable. The message does not show it, because it may be a key.

    Raises:
        ArgumentError: It isn't a valid name, or has the form of a key.
    """
    is_name = isinstance(name, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
    if not is_name or find_credential("name", name) is not None:
        raise ArgumentError(f"{where} must be the name of an environment variable, such as 'MY_SERVER_KEY'.")


@lru_cache(maxsize=4096)
def is_credential_name(name: str) -> bool:
    """Return whether the name of a variable, an argument or a header is that of a credential.

    >>> [is_credential_name(name) for name in ("OPENAI_API_KEY", "x-api-key", "accessToken", "DATABASE_URL")]
    [True, True, True, True]
    >>> [is_credential_name(name) for name in ("max_tokens", "key_env", "eos_token", "top_k")]
    [False, False, False, False]
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    words = re.sub(r"[^A-Za-z0-9]+", "_", words).strip("_").upper()
    return words not in _PLAIN_NAMES and _CREDENTIAL_NAME.search(words) is not None


def find_credential(name: str, value: object) -> str | None:
    """Return the path of the first credential in an argument, such as `extra.headers.Authorization`; None without one.

    A credential is a text, or a list of texts, under the name of a credential; a text in the form of a known kind of
    key; an address with a user or a password; or a text of a call with one of these. A name alone doesn't suffice:
    `max_tokens` is a number.

    Args:
        name: The name of the argument.
        value: Its value: texts, numbers, and lists, tuples or mappings of these. In a tuple, a pair of a text and a
            value is an entry of a mapping.
    """
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode("utf-8", "replace")
    if isinstance(value, str):
        last = name.rpartition(".")[2]
        has_form = (
            _CREDENTIAL_VALUE.search(value) or has_user(value) or any(map(is_credential_name, _ARGUMENT.findall(value)))
        )
        return name if has_form or (value and is_credential_name(last)) else None
    if isinstance(value, dict):
        # first the keys, which a path must not show
        entries: list[tuple[str, object]] = [(name, str(key)) for key in value if _CREDENTIAL_VALUE.search(str(key))]
        entries += [(f"{name}.{key}", inner) for key, inner in value.items()]
    elif isinstance(value, list | tuple | set | frozenset):
        pairs = isinstance(value, tuple) and all(_is_entry(inner) for inner in value)
        entries = [(f"{name}.{inner[0]}", inner[1]) if pairs else (name, inner) for inner in value]
    else:
        return None
    return next(
        (credential for path, inner in entries if (credential := find_credential(path, inner)) is not None), None
    )


def has_user(address: str) -> bool:
    """Return whether a text is an address with a user or a password, in any scheme.

    >>> has_user("S3://key:secret@bucket/data"), has_user("s3://bucket/data@v1")
    (True, False)
    """
    return re.match(r"\s*[A-Za-z][\w+.-]*:/{2,}[^/?#\s]*@", address) is not None


def check_address(where: str, address: object) -> None:
    """Raise if an address has a user or a password: it is stored in manifests and shown.

    Raises:
        ArgumentError: It has; the message has `where`, and not the address.
    """
    if isinstance(address, str) and has_user(address):
        raise ArgumentError(
            f"{where}: the address must not contain a user or a password, because it is stored and shown. Set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or another environment variable."
        )


def _is_entry(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)


def hub_endpoint() -> str:
    """Return the address of the Hub: HF_ENDPOINT, else huggingface.co, through `download_base()` if it is set."""
    base = download_base()
    through = f"{base.rstrip('/')}/{HUB.partition('://')[2]}" if base else HUB
    return (os.environ.get("HF_ENDPOINT") or through).rstrip("/")


def hub_token() -> Secret | None:
    """Return the token for the Hub: HF_TOKEN, else the token that `hf auth login` stores; None if there is none."""
    from huggingface_hub import get_token

    token = get_token()
    return Secret(token) if token else None


def s3_reader() -> str:
    """Return the reader of s3:// addresses: "httpfs" (DuckDB's extension), "s3fs", or "auto" (httpfs if it loads).

    Raises:
        ArgumentError: HELMFRAME_S3_READER is none of these.
    """
    reader = os.environ.get("HELMFRAME_S3_READER") or "auto"
    if reader not in S3_READERS:
        raise ArgumentError.unknown_value(f"HELMFRAME_S3_READER={reader!r}", reader, S3_READERS)
    return reader


def s3_endpoint() -> str | None:
    """Return the configured address of the S3 server, or the one in AWS_* variables; None: the profile decides."""
    return _settings.s3_endpoint or next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)


def s3_options() -> S3Options:
    """Return endpoint, credentials and region, each from `configure`, else AWS_* variables, else the AWS profile.

    Raises:
        ArgumentError: The address of the server isn't an http address, or the AWS profile is unreadable.
    """
    region = _settings.s3_region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    name = next((name for name in _ENDPOINTS if os.environ.get(name)), "")
    options = _with_credentials(S3Options(endpoint=_with_scheme(s3_endpoint(), name), region=region or None))
    if options.endpoint and options.region:
        return options
    endpoint, region = _from_profile(_profile_state())
    endpoint = options.endpoint or _with_scheme(endpoint, "endpoint_url of the AWS profile")
    return replace(options, endpoint=endpoint, region=options.region or region)


def _with_scheme(endpoint: str | None, name: str) -> str | None:
    """Return the address of the S3 server, with http:// or https:// if it has no scheme.

    >>> _with_scheme("localhost:9000", ""), _with_scheme("storage.example.com", "")
    ('http://localhost:9000', 'https://storage.example.com')

    Raises:
        ArgumentError: The address has another scheme, or no host. The message has the `name` of the setting.
    """
    if not endpoint:
        return None
    address = endpoint if "://" in endpoint else f"//{endpoint.removeprefix('//')}"
    try:
        url = urlsplit(address)
        host = url.hostname if url.port is None or url.port else None
    except ValueError:
        url, host = urlsplit(""), None
    if not host or url.scheme not in ("", "http", "https"):
        shown = re.sub("//.*@", "//…@", endpoint)
        raise ArgumentError(f"{name}={shown!r}: the address of the S3 server must be like http://localhost:9000.")
    return endpoint if url.scheme else f"{'http' if _is_near(host) else 'https'}:{address}"


def _is_near(host: str) -> bool:
    """Return whether a host is this machine or in a private network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal"))


def _with_credentials(options: S3Options) -> S3Options:
    if _settings.s3_anonymous:
        return replace(options, anonymous=True)
    if _settings.s3_key is not None and _settings.s3_secret is not None:
        return replace(options, key=_settings.s3_key, secret=_settings.s3_secret)
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
    try:
        credentials = botocore.session.Session().get_credentials()
    except BotoCoreError as error:
        problem = str(error).partition("\n")[0]
    else:
        if credentials is None:
            return options
        plain = credentials.get_frozen_credentials()
        token = Secret(plain.token) if plain.token else None
        return replace(options, key=Secret(plain.access_key), secret=Secret(plain.secret_key), token=token)
    raise _broken_profile(f"botocore: {problem}")


def _profile_state() -> tuple[str | float | None, ...]:
    """Return the variables that choose a profile, and the times of its files: the settings change only with them."""
    names = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "HOME")
    variables = {name: os.environ.get(name) for name in (*names, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")}
    files = (
        from_home(variables["AWS_CONFIG_FILE"] or "~/.aws/config"),
        from_home(variables["AWS_SHARED_CREDENTIALS_FILE"] or "~/.aws/credentials"),
    )
    return (*variables.values(), *(file.stat().st_mtime if file.is_file() else None for file in files))


@lru_cache(maxsize=8)
def _from_profile(state: tuple[str | float | None, ...]) -> tuple[str | None, str | None]:  # noqa: ARG001 - the key
    """Return the address of the S3 server and the region in the AWS profile: that of its `services` section first."""
    try:
        import botocore.session
        from botocore.exceptions import BotoCoreError
    except ImportError:
        return None, None
    session = botocore.session.Session()
    try:
        profile, sections = session.get_scoped_config(), session.full_config.get("services", {})
        region = session.get_config_variable("region")
        is_ignored = session.get_config_variable("ignore_configured_endpoint_urls")
    except BotoCoreError as error:
        problem = "botocore: " + str(error).partition("\n")[0]
    else:
        services = profile.get("services")
        if services is None or services in sections:
            of_s3 = sections.get(services, {}).get("s3", {})
            endpoint = (of_s3.get("endpoint_url") if isinstance(of_s3, dict) else None) or profile.get("endpoint_url")
            return None if is_ignored else endpoint, region
        problem = f"the profile names the services section {services!r}, which the file doesn't have."
    raise _broken_profile(problem)


def _broken_profile(problem: str) -> ArgumentError:
    # raised outside of `except`: no traceback holds the session, which may have credentials
    return ArgumentError(f"Can't read the AWS profile. Check AWS_PROFILE and the files in ~/.aws. {problem}")


def _stored_hub_token() -> str:
    """Return the token in the file of `hf auth login`; "" if there is none."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    path = os.path.expandvars(os.path.expanduser(os.environ.get("HF_TOKEN_PATH") or f"{home}/token"))  # noqa: PTH111
    try:
        return _text_of(path, os.stat(path).st_mtime_ns).strip()  # noqa: PTH116
    except OSError:
        return ""


@lru_cache(maxsize=4)
def _text_of(path: str, modified: int) -> str:  # noqa: ARG001 - the cache depends on it
    return Path(path).read_text(encoding="utf-8", errors="replace")


@lru_cache(maxsize=8)
def _secrets_pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    # longest first, because a secret may be the start of another
    return re.compile("|".join(map(re.escape, sorted(secrets, key=len, reverse=True)))) if secrets else None


def from_home(path: str | Path) -> Path:
    """Return a path with a leading `~` replaced by the home folder; `~user` of a missing user is unchanged.

    Raises:
        ArgumentError: No file can have this path.

    >>> from_home("~nobody-of-this-name/data")
    PosixPath('~nobody-of-this-name/data')
    """
    text = os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises for a missing user
    longest = max(len(part.encode("utf-8", "surrogatepass")) for part in text.split("/"))
    if "\0" in text or longest > _LONGEST_NAME or len(text) > _LONGEST_PATH:
        raise ArgumentError(f"{text!r} isn't a path: it has a NUL character or is too long.")
    return Path(text)


_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # the limits of Linux
