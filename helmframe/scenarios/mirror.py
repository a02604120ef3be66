"""Fill a root with the rows of a scenario: `helmframe mirror mmlu --to s3://bucket/evals`.

TO/mmlu/philosophy/test-00000-of-00001.parquet     the rows, in the order of row_index
TO/manifests/mmlu.json                             their source and number, and a sha256 of each file
TO/manifests/mmlu.lock.json                        the checksums and commits of the first download
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from helmframe._core.safe_text import get_logger
from helmframe._core.specs import ScenarioSpec
from helmframe.config import store_root
from helmframe.errors import ArgumentError, HelmframeError, SourceBrokenError, SourceDeniedError, SourceMissingError
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.downloads import Lock, Progress, remove_downloads
from helmframe.scenarios.mirror_files import Target, write_canonical
from helmframe.scenarios.mirror_jobs import HUB, Job, Work, open_downloads, open_work
from helmframe.scenarios.sources import is_reachable
from helmframe.store import below

FORMAT = 1
LOCK_SUFFIX = ".lock.json"
_SHARD = re.compile(r"\d{5}-of-\d{5}")
WRITE_INTERVAL = 1.0  # seconds; files since the last manifest are written again if the process is killed
LOG_INTERVAL = 10.0  # seconds between two messages about the downloads of a plan
logger = get_logger("helmframe.scenarios")
_FETCHING = threading.Lock()
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Mirrored:
    """A file of a mirror: `path` below its root, `source` of its rows; sizes in bytes.

    `first` is the row_index of its first row. `made` is a hash of the download and of its entry in the spec.
    """

    path: str
    rows: int
    first: int
    size: int
    sha256: str
    source: str
    source_size: int | None
    made: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result of `mirror`: the numbers of written files, of unchanged files, and of their rows."""

    scenario: str
    written: int
    unchanged: int
    rows: int


@dataclass(frozen=True)
class Failure:
    """A scenario that wasn't mirrored, and why; `is_denied` if its rows aren't open to everyone."""

    scenario: str
    error: HelmframeError
    is_denied: bool


def mirror(
    scenario: str | Path,
    to: str | Path,
    *,
    source: str | Path | None = None,
    layout: str | None = None,
    select: str | None = None,
    update_lock: bool = False,
    report: Report = lambda _path, _done, _all: None,
    progress: Callable[[Progress], None] = lambda _: None,
    needed_later: Collection[str] = (),
) -> Outcome:
    """Write the rows of a scenario as canonical Parquet below a root for HELMFRAME_DATA.

    The rows come from the spec's `download`, else from its address on the Hub. Files have the source's rows and columns
    and `row_index`, in row groups of at most 32 MB. If HELM samples or orders the rows at random, the files have the
    rows that the spec's `draw` selects. Unchanged files are skipped. After an interruption, repeat the call to resume.

    Args:
        scenario: The name of the scenario, or the path of a spec.
        to: The root: a folder or `s3://bucket/prefix`.
        source: "hub", another root, or a folder, archive (tar, zip, 7z), file or URL with Parquet, CSV or JSON Lines;
            None: the spec's own source.
        layout: The pattern of the paths in `source`, such as `data/{split}/{subject}_{split}.csv`; default the
            pattern of the spec.
        select: DuckDB SQL from the columns of `source` to the spec's: `SELECT column0 AS question, … FROM rows`
            (column0, column1, …: columns of CSV files without a header).
        update_lock: Whether to accept downloads that have changed since the first one.
        report: A function of path, number of finished files and number of files. It is called before each file, and at
            the end.
        progress: A function that receives the state of the downloads.
        needed_later: Addresses in `download` whose files aren't removed, because the next scenarios need them.

    Raises:
        ArgumentError: The rows of the scenario are generated or part of helmframe, or `source` is needed.
        SourceError: Reading the rows or writing the root fails, a column is missing, a file in the root has another
            checksum than the manifest, or is left from a mirror with other shards. A download has another checksum
            than the spec or the lock file.
        SourceDeniedError: The rows aren't open to everyone. The message names the page where to apply.
    """
    spec = find_scenario(scenario)
    if spec.generated:
        raise ArgumentError(f"scenario {spec.scenario!r} needs no mirror: helmframe generates its rows.")
    if "{data}" not in str(dict(spec.source).get("rows", "")):
        raise ArgumentError(f"scenario {spec.scenario!r} needs no mirror: its rows are part of helmframe.")
    if source is None and (layout or select):
        raise ArgumentError("--layout and --select describe another source. Add --from FOLDER|ARCHIVE|FILE|URL.")
    target = Target(to)
    before = _manifest(target, _path(spec))
    if source is not None or not spec.download:
        if source is None:
            _check_access(spec)
        with open_work(spec, str(source or HUB), layout, select) as work:
            return _written_all(target, spec, work, before, report)
    recipe = _recipe(spec)
    is_current = before.get("recipe") == recipe and not update_lock
    complete = _complete(target, spec, before) if is_current and before.get("status") == "whole" else None
    if complete is not None:
        return complete
    lock = _read_lock(target, spec, update=update_lock)
    try:
        with open_downloads(spec, lock, progress) as work:
            _write_lock(target, spec, lock)  # before the files: a killed mirror is never whole without its lock
            outcome = _written_all(target, spec, work, before, report, recipe)
    finally:
        _write_lock(target, spec, lock)
    remove_downloads(url for address, url in work.downloads if address not in needed_later)
    return outcome


def mirror_all(
    scenarios: Sequence[str | Path],
    to: str | Path,
    *,
    source: str | Path | None = None,
    layout: str | None = None,
    select: str | None = None,
    update_lock: bool = False,
    report: Report = lambda _path, _done, _all: None,
    progress: Callable[[Progress], None] = lambda _: None,
    finished: Callable[[Outcome | Failure], None] = lambda _: None,
) -> tuple[list[Outcome], list[Failure]]:
    """Mirror several scenarios and return their outcomes and failures: a failure stops no other scenario.

    Args:
        scenarios: Names of scenarios, or paths of specs.
        to: The root: a folder or `s3://bucket/prefix`.
        source: As for `mirror`, like the next five.
        layout: The pattern of the paths in `source`.
        select: DuckDB SQL from the columns of `source` to the spec's.
        update_lock: Whether to accept downloads that have changed since the first one.
        report: A function of path, number of finished files and number of files.
        progress: A function that receives the state of the downloads.
        finished: A function that receives the outcome or the failure of a scenario at once.
    """
    outcomes: list[Outcome] = []
    failures: list[Failure] = []
    for number, name in enumerate(scenarios):
        try:
            outcome = mirror(
                name,
                to,
                source=source,
                layout=layout,
                select=select,
                update_lock=update_lock,
                report=report,
                progress=progress,
                needed_later=_addresses(scenarios[number + 1 :]),
            )
        except HelmframeError as error:
            # the other scenarios are mirrored
            failure = Failure(str(name), error, isinstance(error, SourceDeniedError))
            failures.append(failure)
            finished(failure)
        else:
            outcomes.append(outcome)
            finished(outcome)
    return outcomes, failures


def fetched_root(spec: ScenarioSpec, data: str | None) -> str | None:
    """Return the root to read a scenario from: `data`, or the folder `data` of the store if `data` lacks the scenario.

    The rows are fetched into that folder once. Without a root, scenarios on the Hub are read from the Hub.

    Raises:
        SourceError: Fetching the rows fails.
    """
    if spec.frame is not None or spec.generated or is_reachable(spec, data):
        return data
    root = str(below(store_root(), "data"))
    # the plans of a suite fetch one after the other: they may share a scenario
    with _FETCHING:
        manifest = _manifest(Target(root), _path(spec))
        if manifest.get("status") != "whole" or (spec.download and manifest.get("recipe") != _recipe(spec)):
            logger.warning("The rows of scenario %r are fetched into %s.", spec.scenario, root)
            mirror(spec.origin or spec.scenario, root, progress=_log_progress())
    return root


def _log_progress() -> Callable[[Progress], None]:
    """Return a function that logs the state of downloads from time to time."""
    logged_at = time.monotonic()

    def log(progress: Progress) -> None:
        nonlocal logged_at
        if time.monotonic() - logged_at >= LOG_INTERVAL:
            logged_at = time.monotonic()
            logger.warning(
                "%s: %d of %d files, %.1f MB",
                progress.scenario,
                progress.files,
                progress.n_files,
                progress.received / 1e6,
            )

    return log


def _addresses(scenarios: Sequence[str | Path]) -> set[str]:
    """Return the addresses in `download` of these scenarios."""
    addresses: set[str] = set()
    for name in scenarios:
        with suppress(HelmframeError):
            for entry in find_scenario(name).download:
                addresses |= {entry.url, *(table.url for _, table in entry.tables)}
    return addresses


def _check_access(spec: ScenarioSpec) -> None:
    """Raise if the spec states no source, with the page where to apply or the option to write."""
    if dict(spec.hub).get("rows") or dict(spec.hub).get("whole"):
        return
    line = f"helmframe mirror {spec.scenario} --from FOLDER|ARCHIVE|URL --to ROOT"
    if spec.status in ("gated", "licensed"):
        page = f"Apply for access at {spec.terms}" if spec.terms else "Apply for access at its publisher"
        raise SourceDeniedError(
            f"scenario {spec.scenario!r} isn't open to everyone ({spec.status}).\n{page}, then write your copy: {line}"
        )
    why = f" ({spec.status})" if spec.status else ""
    raise SourceMissingError(
        f"scenario {spec.scenario!r} isn't on the Hub{why}, and its spec has no `download`.\n"
        f"Write the source of its rows: {line}"
    )


def _written_all(
    target: Target, spec: ScenarioSpec, work: Work, before: dict[str, Any], report: Report, recipe: str = ""
) -> Outcome:
    """Write the files that aren't in the root, and the manifest."""
    _refuse_stale_shards(target, spec, before, work.jobs)
    unchanged = _right(target, spec, work.jobs)
    manifest = _Manifest(target, spec, work, dict(before.get("columns", {})), recipe)
    rows_before: dict[tuple[str, ...], int] = {}
    written = 0
    try:
        for number, job in enumerate(work.jobs):
            report(job.path, number, len(work.jobs))
            subset = tuple(job.values.get(column, "") for column in spec.subsets)
            offset = rows_before.get(subset, 0)
            # two scenarios may share a file, and only one of them may read splits before it
            if job.path in unchanged and unchanged[job.path].first >= offset:
                manifest.files[job.path] = unchanged[job.path]
            else:
                manifest.add(_written(target, spec, work, job, offset, manifest.columns))
                written += 1
            rows_before[subset] = offset + manifest.files[job.path].rows
    finally:
        manifest.write()
    report("", len(work.jobs), len(work.jobs))
    rows = sum(file.rows for file in manifest.files.values())
    return Outcome(spec.scenario, written, len(work.jobs) - written, rows)


def _recipe(spec: ScenarioSpec) -> str:
    """Return a hash of all that determines the files, except the downloads: they have a lock."""
    parts = (FORMAT, dict(spec.source).get("rows"), spec.download, spec.columns, spec.splits, spec.subsets, spec.draw)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _complete(target: Target, spec: ScenarioSpec, manifest: dict[str, Any]) -> Outcome | None:
    """Return the outcome of a mirror whose files are all in the root; None if one is missing.

    Raises:
        SourceBrokenError: A file has other bytes.
    """
    files = [Mirrored(**file) for file in manifest.get("files", ())]
    sizes = target.sizes(_folder(spec))
    if not files or any(file.path not in sizes for file in files):
        return None
    for file in files:
        if sizes[file.path] != file.size or target.sha256(file.path) != file.sha256:
            raise _changed(target, file)
    return Outcome(spec.scenario, 0, len(files), sum(file.rows for file in files))


def _lock_path(spec: ScenarioSpec) -> str:
    return f"manifests/{spec.scenario}{LOCK_SUFFIX}"


def _read_lock(target: Target, spec: ScenarioSpec, *, update: bool) -> Lock:
    content = _manifest(target, _lock_path(spec))
    entries = {str(address): dict(entry) for address, entry in content.get("downloads", {}).items()}
    revisions = {} if update else {str(name): str(commit) for name, commit in content.get("revisions", {}).items()}
    return Lock(entries, revisions, update)


def _write_lock(target: Target, spec: ScenarioSpec, lock: Lock) -> None:
    if lock.changed:
        content = {
            "format": FORMAT,
            "scenario": spec.scenario,
            "revisions": dict(sorted(lock.revisions.items())),
            "downloads": dict(sorted(lock.entries.items())),
        }
        target.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n", _lock_path(spec))
        lock.changed = False


class _Manifest:
    """The manifest of a mirror. It is written from time to time, so that an interrupted `mirror` can resume."""

    def __init__(
        self, target: Target, spec: ScenarioSpec, work: Work, columns: dict[str, str], recipe: str = ""
    ) -> None:
        self.columns = columns
        self.files: dict[str, Mirrored] = {}
        self._recipe = recipe
        self._target, self._spec, self._work = target, spec, work
        self._written_at = time.monotonic()
        self._order = {job.path: position for position, job in enumerate(work.jobs)}

    def add(self, file: Mirrored) -> None:
        """Add a file."""
        self.files[file.path] = file
        if time.monotonic() - self._written_at > WRITE_INTERVAL:
            self.write()

    def write(self) -> None:
        """Write the manifest, unless it is unchanged."""
        files = sorted(self.files.values(), key=lambda file: self._order[file.path])
        if not files:
            return
        content = {
            "format": FORMAT,
            "scenario": self._spec.scenario,
            "version": self._spec.version,
            "status": "whole" if len(files) == len(self._order) else "partial",
            "source": self._work.source,
            "revision": self._work.revision,
            **({"recipe": self._recipe} if self._recipe else {}),
            **({"draw": self._work.draw} if self._work.draw else {}),
            "license": self._spec.license,
            "rows": sum(file.rows for file in files),
            "columns": self.columns,
            "files": [asdict(file) for file in files],
        }
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        if text != self._target.text(_path(self._spec)):
            self._target.write(text, _path(self._spec))
        self._written_at = time.monotonic()


def _written(
    target: Target,
    spec: ScenarioSpec,
    work: Work,
    job: Job,
    offset: int,
    columns: dict[str, str],
) -> Mirrored:
    with target.new(job.path) as file:
        rows, types = write_canonical(
            work.connection, job.read, job.source, file, spec, offset, job.values, job.select, work.memory
        )
        size = file.stat().st_size
        with file.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
    columns |= types
    return Mirrored(job.path, rows, offset, size, digest, job.source, job.size, job.made)


def _path(spec: ScenarioSpec) -> str:
    return f"manifests/{spec.scenario}.json"


def _manifest(target: Target, path: str) -> dict[str, Any]:
    """Return the manifest of an earlier `mirror`; empty if there is none."""
    try:
        content = json.loads(target.text(path) or "{}")
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise SourceBrokenError(f"{target.root}/{path} isn't a manifest. Remove it and rerun the command.")
    return content


def _refuse_stale_shards(target: Target, spec: ScenarioSpec, before: dict[str, Any], jobs: Sequence[Job]) -> None:
    """Raise if a file of an earlier `mirror` would be read as a further shard of the new files.

    Raises:
        SourceBrokenError: The root has such a file.
    """
    wanted = {job.path for job in jobs}
    stems = {_SHARD.sub("", path) for path in wanted}
    earlier = [str(file["path"]) for file in before.get("files", ())]
    stale = [path for path in earlier if path not in wanted and _SHARD.sub("", path) in stems]
    sizes = target.sizes(_folder(spec)) if stale else {}
    left = [path for path in stale if path in sizes]
    if left:
        raise SourceBrokenError(
            f"{len(left)} files, such as {target.root}/{left[0]}, are left from a mirror with other shards.\n"
            "Remove them and rerun the command."
        )


def _folder(spec: ScenarioSpec) -> str:
    return str(dict(spec.source)["rows"]).removeprefix("{data}/").partition("/")[0]


def _right(target: Target, spec: ScenarioSpec, jobs: Sequence[Job]) -> dict[str, Mirrored]:
    """Return the files that match a manifest and come from the same source; scenarios may share files.

    Raises:
        SourceBrokenError: A file that should be there has other bytes.
    """
    in_manifests: dict[str, list[Mirrored]] = {}
    for path in target.sizes("manifests"):
        if path.endswith(LOCK_SUFFIX):
            continue
        for file in _manifest(target, path).get("files", ()):
            in_manifests.setdefault(str(file["path"]), []).append(Mirrored(**file))
    sizes = target.sizes(_folder(spec)) if in_manifests else {}
    unchanged = {}
    for job in jobs:
        recorded = in_manifests.get(job.path, []) if job.path in sizes else []
        recorded = [file for file in recorded if (file.source, file.source_size) == (job.source, job.size)]
        recorded = [file for file in recorded if file.made == job.made]
        if not recorded:
            continue
        digest = target.sha256(job.path) if sizes[job.path] in {file.size for file in recorded} else ""
        fitting = [file for file in recorded if file.sha256 == digest]
        if not fitting:
            raise _changed(target, recorded[0])
        unchanged[job.path] = fitting[0]
    return unchanged


def _changed(target: Target, file: Mirrored) -> SourceBrokenError:
    return SourceBrokenError(
        f"{target.root}/{file.path} has changed since it was mirrored: its SHA-256 must be {file.sha256}.\n"
        "Remove it and rerun the command."
    )
