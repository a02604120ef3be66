"""What a mirror of a scenario is made of: which file of the source becomes which file below the root."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from helmframe._core.specs import ScenarioSpec, placeholders
from helmframe.errors import SourceBrokenError, SourceMissingError
from helmframe.scenarios.draws import draw_of
from helmframe.scenarios.mirror_drawn import Drawn, Rows, drawn, is_drawn
from helmframe.scenarios.query import listed
from helmframe.scenarios.raw import files_in, filled, folder_of, reader
from helmframe.scenarios.revision import pinned
from helmframe.scenarios.sources import SourceFile, connect

HUB = "hub"


@dataclass(frozen=True)
class Job:
    """A file to be: `path` below the root, made of `source` as the DuckDB expression `read` gives it.

    `size` is the source's, in bytes, where it is known; `values` are the columns that its path says; `select` is SQL
    that makes the spec's columns of what is read.
    """

    path: str
    source: str
    size: int | None
    read: str
    values: Mapping[str, str] = field(default_factory=dict)
    select: str | None = None


@dataclass(frozen=True)
class Work:
    """The files of a mirror, in the order of row_index, a connection that reads them, and where they are from.

    `draw` is the name of the draw that chose the rows, if one did.
    """

    jobs: Sequence[Job]
    connection: Any
    source: str
    revision: str | None
    draw: str = ""


@contextmanager
def work_of(spec: ScenarioSpec, source: str, layout: str | None, select: str | None = None) -> Iterator[Work]:
    """What there is to do; the connection is open meanwhile.

    Args:
        spec: the scenario.
        source: "hub", `s3://…`, or a folder, archive, file or URL.
        layout: the paths in it; default the spec's own.
        select: what is made of its columns; default what the spec says of those of the hub.

    Raises:
        SourceMissingError: no file is there.
        SourceError: it can't be read.
    """
    shown = re.sub(r"://[^/@\s]*@", "://", source)  # without a user's name and password
    select = select or dict(spec.hub).get("select")  # type: ignore[assignment]
    if source == HUB or source.startswith("s3://"):
        address, revision = _hub(spec) if source == HUB else ("", None)
        opened = connect(replace(spec, source=(("rows", address),)) if address else spec, source)
        try:
            files = listed(spec, opened)
            if not files:
                raise opened.missing()
            sized = [(each, None) for each in files]
            yield _work(spec, sized, select, Work([], opened.connection, address or shown, revision))
        finally:
            opened.close()
        return
    with folder_of(source) as folder, tempfile.TemporaryDirectory(prefix="helmframe-rows-") as made:
        opened = connect(spec, str(folder))
        try:
            files_there = _of_folder(spec, folder, layout or _layout(spec))
            if not files_there:
                raise SourceMissingError(
                    f"scenario {spec.scenario!r}: no file in {shown} is like {layout or _layout(spec)}.\n"
                    "Say how they are named: --layout."
                )
            files_there = [(_of_rows(spec, file, Path(made)), size) for file, size in files_there]
            work = _work(spec, files_there, select, Work([], opened.connection, shown, None))
            yield replace(work, jobs=[replace(each, source=_below(each.source, folder, shown)) for each in work.jobs])
        finally:
            opened.close()


def _of_rows(spec: ScenarioSpec, file: SourceFile, folder: Path) -> SourceFile:
    """The file; or of one as its makers publish it, where the scenario's draw knows them, the rows that it makes."""
    extract = draw_of(spec.draw).extract if spec.draw else None
    return file if extract is None else replace(file, path=str(extract(Path(file.path), folder)))


def _work(spec: ScenarioSpec, files: Sequence[tuple[SourceFile, int | None]], select: str | None, bare: Work) -> Work:
    """The jobs: a file for each of the source, or what the spec's draw takes of all of them."""
    if spec.draw:
        draw = draw_of(spec.draw)
        sources = [Rows(file.path, _made(reader(file.path, select), select), file.values) for file, _ in files]
        if is_drawn(spec, draw, bare.connection, sources):
            names = placeholders(_layout(spec))
            order = {name: place for place, name in enumerate(spec.split_names)}
            made = sorted(
                drawn(spec, draw, bare.connection, sources, names),
                key=lambda each: (
                    [each.values.get(name, "") for name in spec.subsets],
                    order.get(each.values.get("split", ""), 0),
                ),
            )
            return replace(bare, jobs=[_job(spec, files, each, bare.source) for each in made], draw=spec.draw)
    return replace(bare, jobs=_numbered(spec, files, select))


def _made(read: str, select: str | None) -> str:
    return (
        f"SELECT * FROM {read}" if select is None else f"WITH rows AS (SELECT * FROM {read}) SELECT * FROM ({select})"
    )


def _job(spec: ScenarioSpec, files: Sequence[tuple[SourceFile, int | None]], made: Drawn, source: str) -> Job:
    """The job of one file that a draw makes."""
    sizes = [files[number][1] for number in made.files]
    size = sum(each or 0 for each in sizes) if None not in sizes else None
    path = filled(_layout(spec), made.values, made.shard)
    return Job(path, source, size, made.read, made.values)


def _below(file: str, folder: Path, shown: str) -> str:
    """A file of the folder as others know it; the folder itself where rows are from several."""
    return f"{shown}#{Path(file).relative_to(folder).as_posix()}" if file != shown else shown


def _layout(spec: ScenarioSpec) -> str:
    return str(dict(spec.source)["rows"]).removeprefix("{data}/")


def _hub(spec: ScenarioSpec) -> tuple[str, str | None]:
    # a draw may be made over more files than are read where it is not, and other columns than are read be there
    said = dict(spec.hub)
    hub = said.get("rows") if "rows" in said and not spec.draw else said.get("whole", said.get("rows"))
    if isinstance(hub, str):
        return pinned(hub)
    why = f" ({spec.status})" if spec.status else ""
    raise SourceMissingError(
        f"scenario {spec.scenario!r} is not on the hub{why}.\n"
        f"Say where its rows are: --from FOLDER|ARCHIVE|URL, with files like {_layout(spec)}."
    )


def _of_folder(spec: ScenarioSpec, folder: Path, layout: str) -> list[tuple[SourceFile, int | None]]:
    order = {name: place for place, name in enumerate(spec.split_names)}
    found = []
    for path, said in files_in(folder, layout).items():
        values = {**said, "split": _split(said["split"], order)} if "split" in said else said
        if not order or values.get("split", next(iter(order))) in order:
            found.append((SourceFile(str(path), values), path.stat().st_size))
    return sorted(
        found,
        key=lambda each: (
            [each[0].values.get(name, "") for name in spec.subsets],
            order.get(each[0].values.get("split", ""), 0),
            each[0].path,
        ),
    )


def _split(said: str, known: Mapping[str, int]) -> str:
    """The spec's name of a split: raw files say val or valid for validation."""
    alike = [name for name in known if name.startswith(said) or said.startswith(name)]
    return said if said in known or len(alike) != 1 else alike[0]


def _numbered(spec: ScenarioSpec, files: Sequence[tuple[SourceFile, int | None]], select: str | None) -> list[Job]:
    """Where each file goes: as the spec's own layout says, numbered among those of which their paths say the same."""
    layout = _layout(spec)
    names = placeholders(layout)
    groups: dict[tuple[str, ...], list[str]] = {}
    for file, _ in files:
        missing = [name for name in names if name not in file.values]
        if missing:
            raise SourceBrokenError(
                f"{file.path}: its path says no {{{missing[0]}}}, which {layout} needs; say --layout."
            )
        groups.setdefault(tuple(file.values[name] for name in names), []).append(file.path)
    jobs = []
    for file, size in files:
        group = groups[tuple(file.values[name] for name in names)]
        path = filled(layout, file.values, f"{group.index(file.path):05d}-of-{len(group):05d}")
        jobs.append(Job(path, file.path, size, reader(file.path, select), file.values, select))
    return jobs
