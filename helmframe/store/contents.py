"""What a store holds: which models answered which scenarios, some rows to look at, and all of them as one file."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from helmframe._schema import COMPLETIONS, PREFIXES
from helmframe.errors import ArgumentError, StoreError, UnknownNameError
from helmframe.store.answers import ANSWER, SENT, VERSION, WRITTEN, current, set_aside_parts
from helmframe.store.files import Address, File, below, name_of, read_all, settled_listing, write
from helmframe.store.parts import MARK, Part, damage, encode, footer_of, read_parts, set_aside, unmatched

# The columns of a part.
KEPT: dict[str, pl.DataType] = {
    **{name: COMPLETIONS.schema[name] for name in (*SENT, "row_index")},
    **ANSWER,
    **VERSION,
    **WRITTEN,
}


@dataclass
class Shelf:
    """The parts of one model's answers to one scenario; `model` and `scenario` as they were said.

    `path` is that of its folder below `completions`; so is the name of each file.
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
        """Parts and prefixes."""
        return [*(part.file for part in self.parts), *self.prefixes]

    @property
    def deleted(self) -> list[Part]:
        """Parts that replaced earlier versions and are gone."""
        return unmatched([*self.files, *self.marks])


def shelves(root: Address, model: str | None = None, scenario: str | None = None) -> list[Shelf]:
    """What the store holds, by model and scenario.

    Args:
        root: the store's.
        model: only this one, by its name or the start of its fingerprint.
        scenario: only this one.

    Raises:
        UnknownNameError: there is no such model or scenario.
        StoreError: the store can't be read.
    """
    completions = below(root, "completions")
    found: dict[str, Shelf] = {}
    for file in settled_listing(completions):
        names = file.name.split("/")
        if len(names) != 3:
            continue
        folder = below(completions, *names[:2])
        path = "/".join(names[:2])
        shelf = found.setdefault(path, Shelf(folder, path, names[0], names[0], names[1]))
        part = Part.named(file)
        if part is not None:
            shelf.parts.append(part)
        elif names[2].startswith("prefixes-"):
            shelf.prefixes.append(file)
        elif names[2].endswith(MARK):
            shelf.marks.append(file)
    _name(list(found.values()))
    chosen = list(found.values())
    if model is not None:
        names = [shelf.model for shelf in chosen]
        chosen = [shelf for shelf in chosen if shelf.model == model or _starts(shelf.fingerprint, model)]
        if not chosen:
            raise UnknownNameError.among("model in this store", model, names)
    if scenario is not None:
        names = [shelf.scenario for shelf in chosen]
        chosen = [shelf for shelf in chosen if shelf.scenario == scenario]
        if not chosen:
            raise UnknownNameError.among("scenario in this store", scenario, names)
    return sorted(chosen, key=lambda shelf: (shelf.model, shelf.fingerprint, shelf.scenario))


def contents(root: Address) -> pl.DataFrame:
    """One row per model and scenario: fingerprint, parts, rows, bytes, oldest and newest (UTC)."""
    rows = [
        {
            "model": shelf.model,
            "fingerprint": shelf.fingerprint,
            "scenario": shelf.scenario,
            "parts": len(shelf.parts),
            "rows": count_rows(shelf.parts),
            "bytes": sum(file.size for file in shelf.files),
            "oldest": min((part.time for part in shelf.parts), default=None),
            "newest": max((part.time for part in shelf.parts), default=None),
        }
        for shelf in shelves(root)
    ]
    schema: dict[str, Any] = dict.fromkeys(("model", "fingerprint", "scenario"), pl.String)
    schema |= dict.fromkeys(("parts", "rows", "bytes", "oldest", "newest"), pl.Int64)
    return pl.DataFrame(rows, schema=schema).with_columns(
        pl.from_epoch(name, time_unit="ns").dt.replace_time_zone("UTC") for name in ("oldest", "newest")
    )


def count_rows(parts: Sequence[Part]) -> int:
    """Return the number of rows in the parts, as their names state it."""
    return sum(part.rows for part in parts)


def completions(root: Address, shelf: Shelf, parts: Sequence[Part] | None = None) -> pl.DataFrame:
    """The newest answer to each request with its prompt: `SENT` without prefix and suffix, row_index, prompt, `ANSWER`.

    Args:
        root: the store's.
        shelf: whose.
        parts: only of these parts.
    """
    found = read_parts(root, shelf.parts if parts is None else parts, KEPT)
    rows = current(found.rows, [*found.damaged, *set_aside_parts(root, shelf.path), *shelf.deleted])
    prefixes, _ = read_prefixes(root, shelf)
    prompts = rows.join(prefixes, on="prefix_id", how="left", maintain_order="left", validate="m:1")
    said = [name for name in SENT if name not in ("prefix_id", "suffix")]
    return prompts.with_columns(prompt=pl.col("prefix") + pl.col("suffix")).select(
        *said, "row_index", "prompt", *ANSWER
    )


def read_prefixes(root: Address, shelf: Shelf) -> tuple[pl.DataFrame, list[File]]:
    """The starts of the prompts, each once, and the files they are from; damaged ones are set aside."""
    sound: list[File] = []
    frames = [pl.DataFrame(schema=PREFIXES.schema)]
    for file, data in zip(shelf.prefixes, read_all([file.address for file in shelf.prefixes]), strict=True):
        why = None if data is None else damage(data, file.name)
        if why is not None:
            set_aside(root, file, why)
        elif data is not None:
            frames.append(pl.read_parquet(data, columns=list(PREFIXES.schema)))
            sound.append(file)
    return pl.concat(frames).unique("prefix_id", keep="first", maintain_order=True), sound


def export(root: Address, target: Address, model: str | None = None, scenario: str | None = None) -> int:
    """Write prompts and completions to one file, `.parquet` or `.jsonl`; gives the number of rows.

    Raises:
        ArgumentError: the file's name ends otherwise.
        UnknownNameError: there is no such model or scenario.
        StoreError: the store can't be read, or the file not be written.
    """
    kind = name_of(target).rpartition(".")[2]
    if kind not in ("parquet", "jsonl"):
        raise ArgumentError(f"export to {target}: the name should end in .parquet or .jsonl.")
    frames = []
    for shelf in shelves(root, model, scenario):
        frames.append(completions(root, shelf))
        lost = frames[-1]["prompt"].null_count()
        if lost:
            raise StoreError(
                f"{shelf.folder} lacks the start of {lost:,} prompts: its prefixes are damaged or missing.\n"
                f"Request the completions of {shelf.model} on {shelf.scenario} again: score(fresh=True)."
            )
    if not frames:
        raise StoreError(f"the store {root} holds no answers yet.")
    rows = pl.concat(frames).sort("model", "scenario", "row_index", "instance_id", maintain_order=True)
    if kind == "parquet":
        data = encode(rows)
    else:
        buffer = io.BytesIO()
        rows.with_columns(pl.col("request_id").bin.encode("hex")).write_ndjson(buffer)
        data = buffer.getvalue()
    write(data, target)
    return rows.height


def _name(found: Sequence[Shelf]) -> None:
    """Put in the names that the footer of each shelf's newest sound part says."""
    unnamed = [(shelf, sorted(shelf.parts, key=lambda part: part.age)) for shelf in found if shelf.parts]
    while unnamed:
        files = [parts.pop().file for _, parts in unnamed]
        again = []
        for (shelf, parts), file, data in zip(unnamed, files, read_all([file.address for file in files]), strict=True):
            if data is not None and damage(data, file.name) is None:
                about = footer_of(data)
                shelf.model = str(about.get("model") or shelf.model)
                shelf.scenario = str(about.get("scenario") or shelf.scenario)
            elif parts:
                again.append((shelf, parts))
        unnamed = again


def _starts(fingerprint: str, said: str) -> bool:
    return len(said) >= 6 and fingerprint.startswith(said)
