"""Fill a root with the rows of a scenario: `helmframe mirror mmlu --to s3://bucket/evals`.

TO/mmlu/philosophy/test-00000-of-00001.parquet     the rows, in the order of row_index
TO/manifests/mmlu.json                             their source and number, and a sha256 of each file
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from helmframe._core.specs import ScenarioSpec
from helmframe.errors import ArgumentError, SourceBrokenError
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.mirror_files import Target, write_canonical
from helmframe.scenarios.mirror_jobs import HUB, Job, Work, open_work

FORMAT = 1
_SHARD = re.compile(r"\d{5}-of-\d{5}")
WRITE_INTERVAL = 1.0  # seconds; files since the last manifest are written again if the process is killed
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Mirrored:
    """A file of a mirror: `path` below its root, `source` of its rows; sizes in bytes.

    `first` is the row_index of its first row.
    """

    path: str
    rows: int
    first: int
    size: int
    sha256: str
    source: str
    source_size: int | None


@dataclass(frozen=True)
class Outcome:
    """The result of `mirror`: the numbers of written files, of unchanged files, and of their rows."""

    scenario: str
    written: int
    unchanged: int
    rows: int


def mirror(
    scenario: str | Path,
    to: str | Path,
    *,
    source: str | Path = HUB,
    layout: str | None = None,
    select: str | None = None,
    report: Report = lambda _path, _done, _all: None,
) -> Outcome:
    """Write the rows of a scenario as canonical Parquet below a root for HELMFRAME_DATA.

    Files have the source's rows and columns and `row_index`, in row groups of at most 32 MB. If HELM samples or orders
    the rows at random, the files have the rows that the spec's `draw` selects. Unchanged files are skipped. After an
    interruption, repeat the call to resume.

    Args:
        scenario: The name of the scenario, or the path of a spec.
        to: The root: a folder or `s3://bucket/prefix`.
        source: "hub", another root, or a folder, archive (tar, zip), file or URL with Parquet, CSV or JSON Lines.
        layout: The pattern of the paths in the source, such as `data/{split}/{subject}_{split}.csv`; default the
            pattern of the spec.
        select: DuckDB SQL from the source's columns to the spec's: `SELECT column0 AS question, … FROM rows`
            (column0, column1, …: columns of CSV files without a header).
        report: A function of path, number of finished files and number of files. It is called before each file, and at
            the end.

    Raises:
        ArgumentError: The rows of the scenario are part of helmframe.
        SourceError: Reading the rows or writing the root fails, a column is missing, a file in the root has another
            checksum than the manifest, or is left from a mirror with other shards.
    """
    spec = find_scenario(scenario)
    if spec.generated or "{data}" not in str(dict(spec.source).get("rows", "")):
        raise ArgumentError(f"scenario {spec.scenario!r} needs no mirror: its rows are part of helmframe.")
    target = Target(to)
    with open_work(spec, str(source), layout, select) as work:
        before = _manifest(target, _path(spec))
        _refuse_stale_shards(target, spec, before, work.jobs)
        unchanged = _right(target, spec, work.jobs)
        manifest = _Manifest(target, spec, work, dict(before.get("columns", {})))
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


class _Manifest:
    """The manifest of a mirror. It is written from time to time, so that an interrupted `mirror` can resume."""

    def __init__(self, target: Target, spec: ScenarioSpec, work: Work, columns: dict[str, str]) -> None:
        self.columns = columns
        self.files: dict[str, Mirrored] = {}
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
        rows, types = write_canonical(work.connection, job.read, job.source, file, spec, offset, job.values, job.select)
        size = file.stat().st_size
        with file.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
    columns |= types
    return Mirrored(job.path, rows, offset, size, digest, job.source, job.size)


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
        for file in _manifest(target, path).get("files", ()):
            in_manifests.setdefault(str(file["path"]), []).append(Mirrored(**file))
    sizes = target.sizes(_folder(spec)) if in_manifests else {}
    unchanged = {}
    for job in jobs:
        recorded = in_manifests.get(job.path, []) if job.path in sizes else []
        if not any((file.source, file.source_size) == (job.source, job.size) for file in recorded):
            continue
        digest = target.sha256(job.path) if sizes[job.path] in {file.size for file in recorded} else ""
        fitting = [file for file in recorded if file.sha256 == digest]
        if not fitting:
            raise SourceBrokenError(
                f"{target.root}/{job.path} has changed since it was mirrored: its SHA-256 must be "
                f"{recorded[0].sha256}.\nRemove it and rerun the command."
            )
        unchanged[job.path] = fitting[0]
    return unchanged
