"""Contents of a store: its models and scenarios, their completions as a frame, and all of them as one file."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from helmframe._schema import COMPLETIONS, PREFIXES
from helmframe.errors import ArgumentError, StoreError, UnknownNameError
from helmframe.store.completions import COMPLETION_SCHEMA, REQUEST_COLUMNS, VERSION, WRITTEN, current, set_aside_parts
from helmframe.store.files import Address, File, below, name_of, read_all, settled_listing, write
from helmframe.store.parts import MARK, Part, damage, encode, footer_of, read_parts, set_aside, unmatched

# The columns of a part.
PART_SCHEMA: dict[str, pl.DataType] = {
    **{name: COMPLETIONS.schema[name] for name in (*REQUEST_COLUMNS, "row_index")},
    **COMPLETION_SCHEMA,
    **VERSION,
    **WRITTEN,
}


@dataclass
class StoreEntry:
    """The files with one model's completions of one scenario, with the user's names of model and scenario.

    `path` is the path of the folder below `completions`, as is the name of each file.
    """

    folder: Address
    path: str
    fingerprint: str
    model: str = ""
    scenario: str = ""
    parts: list[Part] = field(default_factory=list)
    prefixes: list[File] = field(default_factory=list)
    marks: list[File] = field(default_factory=list)

    @property
    def files(self) -> list[File]:
        """The parts and the files of prefixes."""
        return [*(part.file for part in self.parts), *self.prefixes]

    @property
    def deleted(self) -> list[Part]:
        """The deleted parts that had replaced earlier versions."""
        return unmatched([*self.files, *self.marks])


def list_entries(root: Address, model: str | None = None, scenario: str | None = None) -> list[StoreEntry]:
    """Return the entries of a store, sorted by model and scenario.

    Args:
        root: The root of the store.
        model: Only this model, by its name or the start of its fingerprint.
        scenario: Only this scenario.

    Raises:
        UnknownNameError: There is no such model or scenario.
        StoreError: The store can't be read.
    """
    completions = below(root, "completions")
    entries: dict[str, StoreEntry] = {}
    for file in settled_listing(completions):
        names = file.name.split("/")
        if len(names) != 3:
            continue
        folder = below(completions, *names[:2])
        path = "/".join(names[:2])
        entry = entries.setdefault(path, StoreEntry(folder, path, names[0], names[0], names[1]))
        part = Part.named(file)
        if part is not None:
            entry.parts.append(part)
        elif names[2].startswith("prefixes-"):
            entry.prefixes.append(file)
        elif names[2].endswith(MARK):
            entry.marks.append(file)
    _name(list(entries.values()))
    chosen = list(entries.values())
    if model is not None:
        names = [entry.model for entry in chosen]
        chosen = [entry for entry in chosen if entry.model == model or _starts(entry.fingerprint, model)]
        if not chosen:
            raise UnknownNameError.among("model in this store", model, names)
    if scenario is not None:
        names = [entry.scenario for entry in chosen]
        chosen = [entry for entry in chosen if entry.scenario == scenario]
        if not chosen:
            raise UnknownNameError.among("scenario in this store", scenario, names)
    return sorted(chosen, key=lambda entry: (entry.model, entry.fingerprint, entry.scenario))


def contents(root: Address) -> pl.DataFrame:
    """Return one row per model and scenario: fingerprint, parts, rows, bytes, oldest and newest (UTC)."""
    rows = [
        {
            "model": entry.model,
            "fingerprint": entry.fingerprint,
            "scenario": entry.scenario,
            "parts": len(entry.parts),
            "rows": count_rows(entry.parts),
            "bytes": sum(file.size for file in entry.files),
            "oldest": min((part.time for part in entry.parts), default=None),
            "newest": max((part.time for part in entry.parts), default=None),
        }
        for entry in list_entries(root)
    ]
    schema: dict[str, Any] = dict.fromkeys(("model", "fingerprint", "scenario"), pl.String)
    schema |= dict.fromkeys(("parts", "rows", "bytes", "oldest", "newest"), pl.Int64)
    return pl.DataFrame(rows, schema=schema).with_columns(
        pl.from_epoch(name, time_unit="ns").dt.replace_time_zone("UTC") for name in ("oldest", "newest")
    )


def count_rows(parts: Sequence[Part]) -> int:
    """Return the number of rows in the parts, from their names."""
    return sum(part.rows for part in parts)


def read_completions(root: Address, entry: StoreEntry, parts: Sequence[Part] | None = None) -> pl.DataFrame:
    """Return the newest completion of each request with its prompt.

    Args:
        root: The root of the store.
        entry: The model and scenario.
        parts: Only the completions in these parts.

    Returns:
        `REQUEST_COLUMNS` without prefix and suffix, then row_index, prompt and `COMPLETION_SCHEMA`.
    """
    result = read_parts(root, entry.parts if parts is None else parts, PART_SCHEMA)
    rows = current(result.rows, [*result.damaged, *set_aside_parts(root, entry.path), *entry.deleted])
    prefixes, _ = read_prefixes(root, entry)
    prompts = rows.join(prefixes, on="prefix_id", how="left", maintain_order="left", validate="m:1")
    request_columns = [name for name in REQUEST_COLUMNS if name not in ("prefix_id", "suffix")]
    return prompts.with_columns(prompt=pl.col("prefix") + pl.col("suffix")).select(
        *request_columns, "row_index", "prompt", *COMPLETION_SCHEMA
    )


def read_prefixes(root: Address, entry: StoreEntry) -> tuple[pl.DataFrame, list[File]]:
    """Return the prefixes of the prompts, each once, and the files that have them; damaged files are set aside."""
    sound: list[File] = []
    frames = [pl.DataFrame(schema=PREFIXES.schema)]
    for file, data in zip(entry.prefixes, read_all([file.address for file in entry.prefixes]), strict=True):
        why = None if data is None else damage(data, file.name)
        if why is not None:
            set_aside(root, file, why)
        elif data is not None:
            frames.append(pl.read_parquet(data, columns=list(PREFIXES.schema)))
            sound.append(file)
    return pl.concat(frames).unique("prefix_id", keep="first", maintain_order=True), sound


def export(root: Address, target: Address, model: str | None = None, scenario: str | None = None) -> int:
    """Write prompts and completions to one file, `.parquet` or `.jsonl`; return the number of rows.

    Raises:
        ArgumentError: The file's name has another ending.
        UnknownNameError: The store has no such model or scenario.
        StoreError: Reading the store or writing the file fails.
    """
    kind = name_of(target).rpartition(".")[2]
    if kind not in ("parquet", "jsonl"):
        raise ArgumentError(f"export to {target}: the name must end in .parquet or .jsonl.")
    frames = []
    for entry in list_entries(root, model, scenario):
        frames.append(read_completions(root, entry))
        lost = frames[-1]["prompt"].null_count()
        if lost:
            raise StoreError(
                f"{entry.folder}: the prefixes of {lost:,} prompts are damaged or missing.\n"
                f"Request the completions of {entry.model} on {entry.scenario} again: score(fresh=True)."
            )
    if not frames:
        raise StoreError(f"The store {root} has no completions.")
    rows = pl.concat(frames).sort("model", "scenario", "row_index", "instance_id", maintain_order=True)
    if kind == "parquet":
        data = encode(rows)
    else:
        buffer = io.BytesIO()
        rows.with_columns(pl.col("request_id").bin.encode("hex")).write_ndjson(buffer)
        data = buffer.getvalue()
    write(data, target)
    return rows.height


def _name(entries: Sequence[StoreEntry]) -> None:
    """Set the names of model and scenario, from the footer of each entry's newest sound part."""
    unnamed = [(entry, sorted(entry.parts, key=lambda part: part.age)) for entry in entries if entry.parts]
    while unnamed:
        files = [parts.pop().file for _, parts in unnamed]
        again = []
        for (entry, parts), file, data in zip(unnamed, files, read_all([file.address for file in files]), strict=True):
            if data is not None and damage(data, file.name) is None:
                footer = footer_of(data)
                entry.model = str(footer.get("model") or entry.model)
                entry.scenario = str(footer.get("scenario") or entry.scenario)
            elif parts:
                again.append((entry, parts))
        unnamed = again


def _starts(fingerprint: str, start: str) -> bool:
    return len(start) >= 6 and fingerprint.startswith(start)
