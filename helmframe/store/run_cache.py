"""Completions of models without a durable identity, stored with the run that generates them.

- RUN/cache/completions/MODEL/SCENARIO/… has parts as the store's own folder `completions` has
- RUN/cache/requests/SCENARIO/… has the requests of each shard that is not in the run's tables yet
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import uuid4

import polars as pl

from helmframe._schema import COMPLETIONS, PREFIXES
from helmframe.store.completions import (
    COMPLETION_SCHEMA,
    REQUEST_COLUMNS,
    ParquetCompletions,
    ProcessCompletions,
    file_name,
)
from helmframe.store.contents import list_entries, read_prefixes
from helmframe.store.files import Address, below, listing, read_all, remove, write
from helmframe.store.parts import Part, damage, encode, sealed, set_aside
from helmframe.store.runs import RunFolder

CACHE = "cache"
# The columns of a part of completions.
STORED = [*REQUEST_COLUMNS, "row_index", *COMPLETION_SCHEMA]


def cache_of(run: Address) -> Address:
    """Return the root of a run's own completions."""
    return below(run, CACHE)


class RunCompletions:
    """Completions of one model and scenario, cached in this process and stored with the current run."""

    def __init__(self, run: Address, fingerprint: str, scenario: str) -> None:
        self._in_process = ProcessCompletions(fingerprint, scenario)
        self._with_run = ParquetCompletions(cache_of(run), fingerprint, scenario, new=True)

    def read(self, low: int, high: int, wanted: pl.Series | None = None) -> pl.DataFrame:
        """See `CompletionStore`."""
        return self._in_process.read(low, high, wanted)

    def append(self, answers: pl.DataFrame, prefixes: pl.DataFrame) -> None:
        """See `CompletionStore`.

        Raises:
            StoreError: The run's folder isn't writable. The process still has the completions.
        """
        self._in_process.append(answers, prefixes)
        self._with_run.append(answers, prefixes)


def stored_counts(run: Address) -> dict[tuple[str, str], int]:
    """Return the number of stored completions of a run, by folder names (start of the fingerprint, scenario)."""
    counts: dict[tuple[str, str], int] = {}
    for file in listing(below(cache_of(run), "completions")):
        names, part = file.name.split("/"), Part.named(file)
        if len(names) == 3 and part is not None:
            key = (names[0], names[1])
            counts[key] = counts.get(key, 0) + (part.rows or 0)
    return counts


def add_requests(run: Address, scenario: str, requests: pl.DataFrame, shard: int) -> Address:
    """Write the requests of a shard, so that completions of an unfinished shard can be read; return the address.

    Raises:
        StoreError: The run's folder isn't writable.
    """
    data = encode(requests)
    path = sealed(f"{file_name(scenario)}/{shard:06d}-{uuid4().hex[:8]}", data)
    address = below(cache_of(run), "requests", *path.split("/"))
    write(data, address)
    return address


def clear_requests(run: Address) -> None:
    """Remove the requests of all shards, once the run's tables have them."""
    remove([file.address for file in listing(below(cache_of(run), "requests"))])


class Unfinished(NamedTuple):
    """Completions of shards that a run did not finish, with all columns of `COMPLETIONS`, and their `PREFIXES`."""

    completions: pl.DataFrame
    prefixes: pl.DataFrame


def unfinished(run: RunFolder, manifest: Mapping[str, Any]) -> Unfinished | None:
    """Return the completions that a run stored but did not score; None if there are none.

    A run has few unfinished shards, whatever its size. A damaged part is set aside, with a warning.

    Raises:
        StoreError: The run can't be read.
    """
    if manifest.get("status", "done") == "done":
        return None
    root = cache_of(run.path)
    files = listing(below(root, "requests"))
    frames = []
    for file, data in zip(files, read_all([file.address for file in files]), strict=True):
        why = None if data is None else damage(data, file.name)
        if why is not None:
            set_aside(root, file, why)
        elif data is not None:
            frames += _completed(root, pl.read_parquet(data), manifest)
    if not frames:
        return None
    rows = pl.concat(frames, how="diagonal_relaxed")
    scored = run.scan("completions")
    if scored is not None:
        names = scored.collect_schema().names()
        key = [name for name in COMPLETIONS.key if name in names and name in rows.columns]
        # the run may have ended after it wrote a shard and before it removed the shard's requests
        same = scored.filter(pl.col("instance_id").is_in(rows["instance_id"].unique().to_list())).select(key).collect()
        rows = rows.join(same, on=key, how="anti", nulls_equal=True, maintain_order="left")
    prefixes = [read_prefixes(root, entry)[0] for entry in list_entries(root)]
    stored = pl.concat([pl.DataFrame(schema=PREFIXES.schema), *prefixes]).unique("prefix_id", maintain_order=True)
    return Unfinished(rows, stored.join(rows, on="prefix_id", how="semi")) if rows.height else None


def _completed(root: Address, requests: pl.DataFrame, manifest: Mapping[str, Any]) -> list[pl.DataFrame]:
    """Return the requests of one model and scenario that have a completion, with the completion."""
    model, scenario = requests.select("model", "scenario").row(0)
    low, high = requests.select(low=pl.col("row_index").min(), high=pl.col("row_index").max()).row(0)
    frames = []
    for fingerprint in manifest.get("unpinned", {}).get(model, ()):
        stored = ParquetCompletions(root, fingerprint, scenario).read(low, high, requests["request_id"])
        rows = requests.join(stored, on="request_id", how="inner", maintain_order="left")
        frames.append(
            rows.with_columns(
                cached=pl.lit(value=False),
                attempts=pl.lit(None, dtype=pl.Int64),
                error=pl.lit(None, dtype=pl.String),
            )
        )
    return frames
