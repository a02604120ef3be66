"""Downloads of a scenario's files from their publisher: addresses, a lock file, resumption and progress.

Files are streamed to `downloads_folder()`: NAME.part while the download runs, then NAME, and NAME.json with its state.
A killed download resumes with a range request if the server supports it and the file is unchanged.
"""

import hashlib
import http.client
import itertools
import json
import os
import re
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, TypeVar

from helmframe._core.cache_files import cache_folder
from helmframe._core.specs import Download, ScenarioSpec
from helmframe.config import HUB, download_base, hub_endpoint, hub_token, redacted, store_root
from helmframe.errors import SourceBrokenError, SourceDeniedError, SourceError, SourceMissingError, SpecError
from helmframe.scenarios.remote import HubPath, filesystem_of, request_hub
from helmframe.scenarios.sources import reader_errors, source_error

T = TypeVar("T")

# Seconds before each further attempt; the attempts start over once a further part of the file has arrived.
WAITS: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
_THREADS = 6
_ATTEMPTS = 5  # to keep a file that other processes remove
_TIMEOUT = 60  # seconds without a byte
_CHUNK = 1 << 18
_POLL = 0.2  # seconds between two reports of progress
_GITHUB = re.compile(
    r"https://(?:raw\.githubusercontent\.com|github\.com|codeload\.github\.com|media\.githubusercontent\.com/media)"
    r"/([\w.\-]+/[\w.\-]+)/"
)
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Remote:
    """A file at its publisher.

    Attributes:
        key: The address with an unresolved revision: its name in the lock file.
        url: The address with the resolved revision, `https://…` or `hf://datasets/…`.
        revision: The commit or tag; None if it is unknown.
        values: The columns in the path of the file to write.
        spelled: Placeholder → the source's spelling of its value.
    """

    key: str
    url: str
    revision: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    spelled: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """The state of the downloads of a scenario.

    Attributes:
        scenario: The name of the scenario.
        files: The number of complete files.
        n_files: The number of all files.
        received: The number of bytes on disk.
        size: The number of bytes of all files. Sizes of files that no server has sent yet are estimated; None if all
            are unknown.
        resumed: The number of bytes from earlier runs.
    """

    scenario: str
    files: int
    n_files: int
    received: int
    size: int | None
    resumed: int = 0


@dataclass
class Lock:
    """The checksums and commits of a scenario's first downloads.

    Attributes:
        entries: Address → sha256, size, revision and time.
        revisions: Repository → commit.
        update: Whether to accept files that have changed since.
        changed: Whether the lock differs from its file.
    """

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    update: bool = False
    changed: bool = False

    def commit(self, repository: str, resolve: Callable[[], str | None]) -> str | None:
        """Return the commit of a repository at the first download, else the result of `resolve`."""
        if repository not in self.revisions:
            commit = resolve()
            if commit is None:
                return None
            self.revisions[repository] = commit
            self.changed = True
        return self.revisions[repository]

    def check(self, scenario: str, remote: Remote, digest: str, size: int) -> None:
        """Record the checksum of a file, or compare it with the recorded one.

        Raises:
            SourceBrokenError: The file has changed.
        """
        before = self.entries.get(remote.key)
        if before is not None and not self.update and before.get("sha256") != digest:
            raise SourceBrokenError(
                f"scenario {scenario!r}: {remote.url} has changed since its first download at {before.get('time')}: "
                f"SHA-256 {before.get('sha256')}, {before.get('size')} bytes; now {digest}, {size} bytes.\n"
                f"Check the publisher's page. To accept the new file, add --update-lock."
            )
        if before is None or (before.get("sha256"), before.get("revision")) != (digest, remote.revision):
            time = datetime.now(UTC).isoformat(timespec="seconds")
            self.entries[remote.key] = {"sha256": digest, "size": size, "revision": remote.revision, "time": time}
            self.changed = True


def downloads_folder() -> Path:
    """Return the folder of downloads: in the store, or in the user's cache if the store is a bucket."""
    root = store_root()
    if isinstance(root, Path):
        return root / "downloads"
    return cache_folder("downloads")


def remotes(
    spec: ScenarioSpec,
    entry: Download,
    lock: Lock,
    key: str = "download",
    spelled: Mapping[str, str] | None = None,
) -> list[Remote]:
    """Return the files of an entry of `download`, in the order of its values.

    Args:
        spec: The scenario.
        entry: The entry.
        lock: The lock file, with the revisions of earlier downloads.
        key: The entry's key in the spec, for errors.
        spelled: More placeholders: those of the file that a table belongs to.

    Raises:
        SpecError: A placeholder of the address has no value.
        SourceError: The Hub can't list the files.
    """
    choices = choices_of(entry)
    fixed = {name: options[0] for name, options in choices.items() if len(options) == 1}
    constants = {name: value for name, (_, value) in fixed.items()}
    outer = dict(spelled or {}) | {name: spelling for name, (spelling, _) in fixed.items()}
    in_url = [name for name in choices if f"{{{name}}}" in entry.url and name not in fixed]
    for name, options in choices.items():
        if len(options) != 1 and name not in in_url and f"{{{name}}}" not in entry.files:
            raise SpecError.at(spec.origin or spec.scenario, f"{key}.values.{name}", "must be in `url` or `files`.")
    files = []
    for combination in itertools.product(*(choices[name] for name in in_url)):
        spellings = outer | dict(zip(in_url, (spelling for spelling, _ in combination), strict=True))
        values = constants | dict(zip(in_url, (value for _, value in combination), strict=True))
        address = _filled(entry.url, spellings)
        is_pattern = address.startswith("hf://") and ("*" in address or _names(address) - {"revision"})
        unknown = _names(address) - {"revision"}
        if unknown and not is_pattern:
            problem = f"{{{min(unknown)}}} has no value. Add it to `values`."
            raise SpecError.at(spec.origin or spec.scenario, f"{key}.url", problem)
        url, revision = _resolved(spec, entry, address, lock)
        if is_pattern:
            files += _listed(spec, entry, address, url, revision, values, spellings)
        else:
            files.append(Remote(address, url, revision, values, spellings))
    return files


def choices_of(entry: Download) -> dict[str, list[tuple[str, str]]]:
    """Return placeholder → pairs of the source's spelling and the value of the column, in the order of the spec."""
    choices: dict[str, list[tuple[str, str]]] = {}
    for name, options in entry.values:
        if isinstance(options, tuple):
            pairs = [option if isinstance(option, tuple) else (option, option) for option in options]
            choices[name] = [(str(spelling), str(value)) for spelling, value in pairs]
        else:
            choices[name] = [(str(options), str(options))]
    return choices


def match_paths(
    pattern: str,
    paths: Iterable[str],
    choices: Mapping[str, Sequence[tuple[str, str]]],
    spelled: Mapping[str, str],
) -> list[tuple[str, dict[str, str]]]:
    """Return the paths that match a pattern with the spellings of its placeholders, in the order of the values.

    >>> match_paths("a/{s}_*.csv", ["a/x_1.csv", "a/y_1.csv", "a/z_1.csv"], {"s": [("y", "Y"), ("x", "X")]}, {})
    [('a/y_1.csv', {'s': 'y'}), ('a/x_1.csv', {'s': 'x'})]
    """
    regex = _path_regex(pattern, choices, spelled)
    ranks = {name: {spelling: rank for rank, (spelling, _) in enumerate(pairs)} for name, pairs in choices.items()}
    matches = [(path, match.groupdict()) for path in paths if (match := regex.fullmatch(path)) is not None]
    return sorted(
        matches, key=lambda entry: ([ranks[name][entry[1][name]] for name in ranks if name in entry[1]], entry[0])
    )


def renamed(choices: Mapping[str, Sequence[tuple[str, str]]], spelled: Mapping[str, str]) -> dict[str, str]:
    """Return the columns of a match: the values of its spellings."""
    return {name: dict(choices[name])[text] if name in choices else text for name, text in spelled.items()}


def expected_checksum(entry: Download, remote: Remote, path: str = "") -> str | None:
    """Return the checksum that the spec has for a file, or for a path in an archive."""
    for name, digest in entry.sha256:
        address = path or remote.url.partition("?")[0]
        if (not path and name in ("", remote.key, remote.url)) or (name and f"/{address}".endswith(f"/{name}")):
            return str(digest).lower()
    return None


def check_checksum(scenario: str, address: str, digest: str, expected: str | None) -> None:
    """Raise if a file has another checksum than the spec.

    Raises:
        SourceBrokenError: The checksums differ.
    """
    if expected is not None and digest != expected:
        raise SourceBrokenError(
            f"scenario {scenario!r}: {address} has another checksum than the spec: SHA-256 {digest}, expected "
            f"{expected}.\nRerun the command. If the publisher has replaced the file, write a copy of the earlier one: "
            "--from FOLDER|ARCHIVE|URL."
        )


def fetch_all(
    spec: ScenarioSpec,
    entries: Sequence[tuple[Download, Remote]],
    lock: Lock,
    folder: Path,
    report: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Path]:
    """Download files in parallel and check them; return url → path. Files that are complete are skipped.

    Args:
        spec: The scenario.
        entries: The files, with their entries in the spec.
        lock: The checksums of earlier downloads.
        folder: A folder next to the downloads. The files are linked into it, because another process may remove them.
        report: A function that receives the state of the downloads.

    Raises:
        SourceBrokenError: A file has another checksum than the spec or the lock file; it is removed.
        SourceDeniedError: A server requires access. The message names the page with the terms.
        SourceError: A download fails. The others are stopped; the next call resumes them.
    """
    # entries that share a file may state its checksum once
    by_url = {remote.url: (entry, remote) for entry, remote in sorted(entries, key=lambda pair: bool(pair[0].sha256))}
    counter = _Counter(spec.scenario, len(by_url))
    paths: dict[str, Path] = {}
    stop = threading.Event()
    with ThreadPoolExecutor(min(_THREADS, len(by_url) or 1), thread_name_prefix="helmframe-download") as pool:
        waiting: dict[Future[tuple[Path, str]], str] = {
            pool.submit(_fetch, spec, url, stop, counter, folder): url for url in by_url
        }
        try:
            report(counter.progress())
            while waiting:
                done, _ = wait(waiting, timeout=_POLL, return_when=FIRST_COMPLETED)
                for future in done:
                    url = waiting.pop(future)
                    paths[url], digest = future.result()
                    _check_file(spec, *by_url[url], digest, paths[url].stat().st_size, lock)
                    counter.files += 1
                report(counter.progress())
        finally:
            stop.set()
            for future in waiting:
                future.cancel()
    return paths


def fetch(url: str, folder: Path) -> Path:
    """Download one file into a folder and return its path.

    Raises:
        SourceError: The download fails.
    """
    path, _ = _fetch(_Origin(""), url, threading.Event(), _Counter("", 1), folder)
    remove_downloads([url])
    return path


def remove_downloads(urls: Iterable[str]) -> None:
    """Remove the downloads of these addresses, except those that another process continues."""
    for url in urls:
        folder = _path_of(url).parent
        if folder.is_dir():
            with (folder / "lock").open("w") as file:
                if _is_locked(file):
                    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Origin:
    """The fields of a spec that errors of downloads need."""

    scenario: str
    terms: str = ""


class _Counter:
    """Counts of files and bytes, shared by the threads of a scenario's downloads."""

    def __init__(self, scenario: str, n_files: int) -> None:
        self.files = 0
        self._scenario, self._n_files = scenario, n_files
        self._received: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._resumed: dict[str, int] = {}
        self._mutex = threading.Lock()

    def add(self, url: str, received: int, size: int | None) -> None:
        with self._mutex:
            # the first report of a file has the bytes of earlier runs
            self._resumed.setdefault(url, received)
            self._received[url] = received
            if size is not None:
                self._sizes[url] = size

    def progress(self) -> Progress:
        with self._mutex:
            received, resumed = sum(self._received.values()), sum(self._resumed.values())
            sizes = list(self._sizes.values())
        size = round(sum(sizes) / len(sizes) * self._n_files) if sizes else None
        return Progress(self._scenario, self.files, self._n_files, received, size, resumed)


class _StoppedError(Exception):
    """Another download failed, or the user interrupted all."""


class _TransientError(Exception):
    """A failure after which the download resumes, or restarts; `wait` has the seconds that the server requests."""

    def __init__(self, problem: str, wait: float = 0.0, *, restart: bool = False) -> None:
        super().__init__(problem)
        self.wait, self.restart = wait, restart


def _check_file(spec: ScenarioSpec, entry: Download, remote: Remote, digest: str, size: int, lock: Lock) -> None:
    try:
        check_checksum(spec.scenario, remote.url, digest, expected_checksum(entry, remote))
        lock.check(spec.scenario, remote, digest, size)
    except SourceBrokenError:
        remove_downloads([remote.url])
        raise


def _fetch(
    spec: "ScenarioSpec | _Origin", url: str, stop: threading.Event, counter: _Counter, folder: Path
) -> tuple[Path, str]:
    """Return the path of a download, linked into the folder, and its checksum."""
    path = _path_of(url)
    linked = folder / path.parent.name / path.name
    problem = ""
    for _ in range(_ATTEMPTS):
        try:
            linked.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file() or _state(path).get("sha256") != _sha256(path, stop):
                _download(spec, url, path, stop, counter)
            _link(path, linked)
            size = linked.stat().st_size
            counter.add(url, size, size)
            return linked, _sha256(linked, stop)
        except SourceError:
            raise
        except FileNotFoundError as error:
            # another process has written its rows and removed the file
            problem = _line(error)
            stop.wait(_POLL)
        except OSError as error:
            problem = _line(error)
            break
    raise SourceError(
        f"scenario {spec.scenario!r}: storing {url} in {downloads_folder()} failed ({problem}). Set HELMFRAME_STORE to "
        "a folder with enough space."
    )


def _link(path: Path, linked: Path) -> None:
    try:
        linked.hardlink_to(path)
    except FileExistsError:
        pass
    except (OSError, NotImplementedError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        shutil.copyfile(path, linked)  # a file system without links


def _download(spec: "ScenarioSpec | _Origin", url: str, path: Path, stop: threading.Event, counter: _Counter) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(path) as part:
        attempt = 0
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                _transfer(spec, url, part, stop, counter)
                break
            except _TransientError as error:
                problem, pause = str(error), error.wait
                if error.restart:
                    part.unlink(missing_ok=True)
            if part.exists() and part.stat().st_size > before:
                attempt = 0
            if attempt == len(WAITS):
                raise SourceError(
                    f"scenario {spec.scenario!r}: the download of {url} failed ({problem}).\n"
                    "Check the network, and rerun the command to resume."
                )
            if stop.wait(max(WAITS[attempt], min(pause, 60.0))):
                raise _StoppedError
            attempt += 1
        _write_state(path, {"url": url, "sha256": _sha256(part, stop), "size": part.stat().st_size})
        part.replace(path)


def _transfer(spec: "ScenarioSpec | _Origin", url: str, part: Path, stop: threading.Event, counter: _Counter) -> None:
    """Download the missing part of a file.

    Raises:
        _TransientError: The connection broke, the server is busy, or the file is shorter or longer than the server
            stated.
    """
    start, validator = part.stat().st_size if part.exists() else 0, _state(part).get("validator")
    headers = {"Range": f"bytes={start}-", "If-Range": validator} if start and validator else {}
    with _response(spec, url, headers) as response:
        resumed = response.status == 206 and _range_start(response) == start
        start = start if resumed else 0
        _refuse_page(spec, url, response)
        length = response.headers.get("Content-Length")
        size = start + int(length) if length and length.isdecimal() else _whole_size(response)
        _write_state(part, {"validator": _validator(response)})
        with part.open("ab" if resumed else "wb") as file:
            counter.add(url, start, size)
            while chunk := _read(response):
                start += len(chunk)
                if size is not None and start > size:
                    raise _TransientError(f"the server sent more than the {size:,} bytes that it stated", restart=True)
                file.write(chunk)
                counter.add(url, start, size)
                if stop.is_set() and start != size:
                    raise _StoppedError
    if size is not None and start < size:
        raise _TransientError(f"the connection ended after {start:,} of {size:,} bytes")
    _state_path(part).unlink(missing_ok=True)


def _refuse_page(spec: "ScenarioSpec | _Origin", url: str, response: Any) -> None:
    """Raise if a server sends a web page in place of a file: a form, a login, or a notice."""
    kind = str(response.headers.get("Content-Type") or "")
    if kind.startswith("text/html") and not url.partition("?")[0].endswith((".html", ".htm")):
        raise SourceDeniedError(
            f"scenario {spec.scenario!r}: {url}: the server sent a web page in place of the file.\n"
            "Download the file in a browser, and write its path: --from FILE."
        )


def _read(response: Any) -> bytes:
    try:
        return bytes(response.read(_CHUNK))
    except (http.client.HTTPException, OSError) as error:
        problem = _line(error)
    raise _TransientError(problem)


@contextmanager
def _response(spec: "ScenarioSpec | _Origin", url: str, headers: Mapping[str, str]) -> Iterator[Any]:
    """Yield the response of a server.

    Raises:
        SourceDeniedError: The server requires access.
        SourceMissingError: The file doesn't exist.
        _TransientError: The server is busy or unreachable.
    """
    request = urllib.request.Request(  # noqa: S310 - http(s): specs and settings are checked
        physical_url(url), headers={"User-Agent": "helmframe", "Accept-Encoding": "identity", **headers}
    )
    _authorize(request)
    failure: SourceError | _TransientError
    try:
        # with the proxies of the environment
        response = urllib.request.build_opener(_Redirects).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        failure = _failure(spec, url, error)
    except (OSError, http.client.HTTPException) as error:
        failure = _TransientError(_line(error))
    else:
        with response:
            yield response
        return
    # raised outside of `except`, so that no traceback holds the request with its token
    raise failure


def _failure(spec: "ScenarioSpec | _Origin", url: str, error: urllib.error.HTTPError) -> SourceError | _TransientError:
    where = f"scenario {spec.scenario!r}: {url}" if spec.scenario else url
    code = error.code
    after = error.headers.get("Retry-After") or ""
    if code in (408, 416, 425, 429) or code >= 500:
        return _TransientError(f"status {code}", float(after) if after.isdigit() else 0.0, restart=code == 416)
    if url.startswith("hf://"):
        return _hub_failure(spec, url, error, SimpleNamespace(status_code=code, headers=error.headers))
    if code in (404, 410):
        return SourceMissingError(
            f"{where} not found: the server returned status {code}.\n"
            "The publisher may have moved it. Write another source: --from FOLDER|ARCHIVE|URL."
        )
    if code in (401, 403):
        page = f"Apply for access at {spec.terms}" if spec.terms else "The publisher restricts access"
        return SourceDeniedError(
            f"{where} can't be read: access denied (status {code}).\n{page}; then write your copy: "
            "--from FOLDER|ARCHIVE|URL."
        )
    return SourceError(f"{where} can't be read: the server returned status {code}.")


def _hub_failure(
    spec: "ScenarioSpec | _Origin", address: str, error: BaseException, response: Any = None
) -> SourceError:
    """Return the typed error of a failure at the Hub."""
    if response is not None:
        error.response = response  # type: ignore[attr-defined]
    token = hub_token()
    return source_error(error, spec.scenario, address, (token.reveal(),) if token else (), spec.terms)


def _from_hub(spec: ScenarioSpec, address: str, action: Callable[[], T]) -> T:
    """Return the result of `action`; if it fails, raise the typed error of the failure at the Hub."""
    try:
        return action()
    except reader_errors() as error:
        failure = _hub_failure(spec, address, error)
    # raised outside of `except`, so that no traceback holds the request with its token
    raise failure


def physical_url(url: str) -> str:
    """Return the address to which requests are sent: the Hub's for `hf://`, through `download_base()` if it is set.

    >>> physical_url("hf://datasets/cais/mmlu@main/all/test.parquet")
    'https://huggingface.co/datasets/cais/mmlu/resolve/main/all/test.parquet'
    """
    endpoint, base = hub_endpoint(), download_base()
    if url.startswith("hf://"):
        return HubPath.parse(url).url
    # values may have spaces and letters that an address must not have
    url = urllib.parse.quote(url, safe="%/:?=&#@!$'()*+,;~[]")
    if url.startswith(f"{HUB}/"):
        return endpoint + url.removeprefix(HUB)
    return f"{base.rstrip('/')}/{url.partition('://')[2]}" if base and not url.startswith(f"{endpoint}/") else url


def _authorize(request: urllib.request.Request) -> None:
    """Add the Hub's token to requests to the Hub; it isn't sent to the hosts that the Hub redirects to."""
    if request.full_url.startswith(f"{hub_endpoint()}/"):
        token = hub_token()
        if token is not None:
            request.add_unredirected_header("Authorization", f"Bearer {token.reveal()}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; the token is sent again only if the target is the Hub."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            _authorize(request)
        return request


def _resolved(spec: ScenarioSpec, entry: Download, address: str, lock: Lock) -> tuple[str, str | None]:
    """Return the address at a fixed revision if there is one: the spec's, the lock's, or the current commit."""
    revision = entry.revision or None
    if address.startswith("hf://"):
        return _resolved_on_hub(spec, address, revision, lock)
    if "{revision}" not in address:
        return address, revision
    if revision is None:
        github = _GITHUB.match(address)
        if github is None:
            raise SpecError.at(spec.origin or spec.scenario, "download.revision", f"is missing: {address} needs it.")
        repository = github[1]
        revision = lock.commit(f"https://github.com/{repository}", lambda: _github_commit(repository))
    return address.replace("{revision}", revision or "HEAD"), revision


def _listed(
    spec: ScenarioSpec,
    entry: Download,
    address: str,
    url: str,
    revision: str | None,
    values: Mapping[str, str],
    spellings: Mapping[str, str],
) -> list[Remote]:
    """Return the files of a Hub repository that match an address with `*` or placeholders."""
    hub = HubPath.parse(url)
    root = f"hf://datasets/{hub.repository}@{hub.revision}"
    folder = re.split(r"[*?{]", hub.path, maxsplit=1)[0].rpartition("/")[0]
    paths = _from_hub(spec, url, lambda: filesystem_of(root).find(f"{root}/{folder}".rstrip("/")))
    start = root.removeprefix("hf://") + "/"
    choices = {name: pairs for name, pairs in choices_of(entry).items() if name not in spellings}
    matches = match_paths(hub.path, [path.removeprefix(start) for path in paths], choices, spellings)
    if not matches:
        raise SourceMissingError(f"scenario {spec.scenario!r}: no file matches {url}. Correct `download` in the spec.")
    return [
        Remote(
            address.removesuffix(hub.path) + path,
            f"{root}/{path}",
            revision,
            {**values, **renamed(choices, spelled)},
            {**spellings, **spelled},
        )
        for path, spelled in matches
    ]


def _resolved_on_hub(spec: ScenarioSpec, address: str, revision: str | None, lock: Lock) -> tuple[str, str]:
    hub = HubPath.parse(address.replace("@{revision}", f"@{revision}" if revision else ""))
    branch = revision or hub.revision
    name = f"hf://datasets/{hub.repository}@{branch}"

    def current() -> str:
        api = HubPath(hub.repository, branch, "").api("revision")
        return str(_from_hub(spec, name, lambda: request_hub("GET", api).json()["sha"]))

    is_commit = re.fullmatch(r"[0-9a-f]{40}", branch) is not None
    commit = branch if is_commit else lock.commit(name, current) or branch
    return f"hf://datasets/{hub.repository}@{commit}/{hub.path}", commit


def _github_commit(repository: str) -> str | None:
    """Return the newest commit of a GitHub repository, which its Git protocol reports; None if it is unknown."""
    address = f"https://github.com/{repository}.git/info/refs?service=git-upload-pack"
    with suppress(SourceError, _TransientError), _response(_Origin(""), address, {}) as response:
        commit = re.search(rb"([0-9a-f]{40}) HEAD\b", bytes(response.read(_CHUNK)))
        return commit[1].decode() if commit else None
    return None


def _names(address: str) -> set[str]:
    return set(_PLACEHOLDER.findall(address))


def _filled(address: str, spelled: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: spelled.get(match[1], match[0]), address)


def _path_regex(
    pattern: str, choices: Mapping[str, Sequence[tuple[str, str]]], spelled: Mapping[str, str]
) -> re.Pattern[str]:
    seen: set[str] = set()

    def regex(piece: str) -> str:
        placeholder = _PLACEHOLDER.fullmatch(piece)
        if placeholder is None:
            return {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}.get(piece, re.escape(piece))
        name = placeholder[1]
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        if name in choices:
            return f"(?P<{name}>{'|'.join(re.escape(spelling) for spelling, _ in choices[name])})"
        return f"(?P<{name}>{re.escape(spelled[name]) if name in spelled else '[^/]+?'})"

    return re.compile("".join(regex(piece) for piece in re.split(r"(\{\w+\}|\*\*/|\*\*|\*)", pattern)))


def _path_of(url: str) -> Path:
    name = re.sub(r"[^\w.\-]", "_", urllib.parse.unquote(url.partition("?")[0].rstrip("/").rpartition("/")[2]))
    return downloads_folder() / hashlib.sha256(url.encode()).hexdigest()[:24] / (name.lstrip(".")[-100:] or "rows")


def _state_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _state(path: Path) -> dict[str, Any]:
    """Return the state of a download; empty if there is none."""
    try:
        content = json.loads(_state_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_state(path: Path, state: Mapping[str, Any]) -> None:
    _state_path(path).write_text(json.dumps(state), encoding="utf-8")


@contextmanager
def _exclusive(path: Path) -> Iterator[Path]:
    """Yield the name of the unfinished file; another one while another process downloads the same file."""
    with path.with_name("lock").open("w") as file:
        if _is_locked(file):
            yield path.with_name(f"{path.name}.part")
            return
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)
            _state_path(part).unlink(missing_ok=True)


def _is_locked(file: IO[str]) -> bool:
    """Lock a file; return whether this process has the lock."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sha256(path: Path, stop: threading.Event) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            if stop.is_set():
                raise _StoppedError
    return digest.hexdigest()


def _validator(response: Any) -> str | None:
    """Return the strong ETag or the time of a file, which a request to resume must match."""
    tag: str | None = response.headers.get("ETag")
    modified: str | None = response.headers.get("Last-Modified")
    return tag if tag and not tag.startswith("W/") else modified


def _whole_size(response: Any) -> int | None:
    """Return the size of the whole file that a response with a part of it states."""
    whole = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range") or "")
    return int(whole[1]) if whole else None


def _range_start(response: Any) -> int | None:
    span = re.match(r"bytes (\d+)-", response.headers.get("Content-Range") or "")
    return int(span[1]) if span else None


def _line(error: BaseException) -> str:
    return redacted(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
