"""The cache of completions for all callers of a model (runs, translators, judges), and the ids of requests."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import polars as pl

from helmframe import config
from helmframe._core.images import ImageRef
from helmframe.models.model import Model
from helmframe.store import (
    COMPLETION_SCHEMA,
    Address,
    CompletionStore,
    ParquetCompletions,
    ProcessCompletions,
    address_of,
)
from helmframe.store.files import name_of
from helmframe.store.run_cache import STORED, RunCompletions, cache_of


@dataclass(frozen=True)
class StoredRun:
    """A run whose completions of unpinned models can be reused.

    Args:
        id: The id of the run.
        path: The folder of the run.
        fingerprints: Model name → fingerprints of the unpinned models of that name, in the process of that run.
    """

    id: str
    path: Address
    fingerprints: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class CompletionCache:
    """The completions that a run reuses, and the locations of new completions.

    All runs of a store share the completions of durable models. The fingerprint of an unpinned model is valid in one
    process only. So its completions are reused within the process, or from the runs in `resumed`.

    Args:
        root: The store.
        run: The folder of the current run, which stores the completions of unpinned models; None: they are not stored.
        resumed: The runs whose completions are reused; the first run with a completion takes precedence.
    """

    root: Address
    run: Address | None = None
    resumed: Sequence[StoredRun] = ()

    def completions(self, model: Model, fingerprint: str, scenario: str) -> CompletionStore:
        """Return the completions of a model and scenario."""
        if self.run is not None and model.durable:
            return ParquetCompletions(self.root, fingerprint, scenario, run=name_of(self.run))
        if self.run is None:
            return completions_of(self.root, model, fingerprint, scenario)
        return RunCompletions(self.run, fingerprint, scenario)

    def reuse(
        self, requests: pl.DataFrame, prefixes: pl.DataFrame, model: Model, fingerprint: str, scenario: str
    ) -> None:
        """Add the reused completions of an unpinned model to the process and to the current run.

        Args:
            requests: Requests with their `request_id`, as `request_ids` returns them.
            prefixes: `PREFIXES`.
            model: The model.
            fingerprint: The model's fingerprint in this process.
            scenario: The scenario.

        Raises:
            StoreError: A run can't be read or written.
        """
        if model.durable or requests.is_empty():
            return
        low, high = requests.select(low=pl.col("row_index").min(), high=pl.col("row_index").max()).row(0)
        in_process = ProcessCompletions(fingerprint, scenario)
        reused = in_process.read(low, high).join(requests, on="request_id", how="semi")
        if reused.is_empty() and not self.resumed:
            return
        requests = requests.unique("request_id", keep="first", maintain_order=True)
        for run in self.resumed:
            for earlier in run.fingerprints.get(model.name, ()):
                missing = requests.join(reused, on="request_id", how="anti", maintain_order="left")
                if missing.is_empty():
                    break
                ids = ids_for(missing, prefixes, earlier, by_instance=model.sees_rows)
                stored = ParquetCompletions(cache_of(run.path), earlier, scenario).read(low, high, ids)
                renamed = pl.DataFrame({"request_id": ids, "current_id": missing["request_id"]})
                more = stored.join(renamed, on="request_id", how="inner").drop("request_id")
                more = more.rename({"current_id": "request_id"}).select(list(COMPLETION_SCHEMA))
                in_process.append(more, prefixes.clear())
                reused = pl.concat([reused, more])
        if self.run is not None and reused.height:
            rows = requests.select(pl.all().exclude(*(name for name in COMPLETION_SCHEMA if name != "request_id")))
            rows = rows.join(reused, on="request_id", how="inner", maintain_order="left").select(STORED)
            used = prefixes.join(rows, on="prefix_id", how="semi")
            ParquetCompletions(cache_of(self.run), fingerprint, scenario).append(rows, used)


def completions_of(root: Address, model: Model, fingerprint: str, scenario: str) -> CompletionStore:
    """Return the completions of a model outside of a run: those of the store if it is durable, else in memory."""
    return (
        ParquetCompletions(root, fingerprint, scenario) if model.durable else ProcessCompletions(fingerprint, scenario)
    )


def store_root() -> Address:
    """Return the folder of the store, or its address in a bucket."""
    return address_of(config.store_root())


# The number of ids that are computed before other threads get a turn.
AT_ONCE = 256


def request_ids(
    fitted: pl.DataFrame, prefixes: pl.DataFrame, fingerprint: str, n: int = 1, *, by_instance: bool = False
) -> pl.DataFrame:
    """Return the requests with output_index and request_id, `n` rows per request.

    The id is a sha256 of a header (model, decoding, output_index, repeat) and the prompt. Header and prefix are hashed
    once for all requests that share them.

    Args:
        fitted: `FITTED`; rows with output_index, of later turns of a conversation, are single outputs already.
        prefixes: `PREFIXES`.
        fingerprint: The fingerprint of the model.
        n: The number of outputs per request.
        by_instance: Whether the model receives the instance with the prompt, so that the id covers it.
    """
    rows = fitted
    if "output_index" in rows.columns:
        rows = rows.select(pl.exclude("output_index"), "output_index")
    elif n > 1:
        rows = rows.join(pl.DataFrame({"output_index": range(n)}, schema={"output_index": pl.Int64}), how="cross")
    else:
        rows = rows.with_columns(output_index=pl.lit(0, dtype=pl.Int64))
    if "continuation" not in rows.columns:
        rows = rows.with_columns(continuation=pl.lit(None, dtype=pl.String))
    # a log-probability is the same for all outputs
    rows = rows.filter(pl.col("continuation").is_null() | (pl.col("output_index") == 0))
    return rows.with_columns(ids_for(rows, prefixes, fingerprint, by_instance=by_instance))


def ids_for(rows: pl.DataFrame, prefixes: pl.DataFrame, fingerprint: str, *, by_instance: bool = False) -> pl.Series:
    """Return the `request_id` of each row under a fingerprint.

    Args:
        rows: The rows that `request_ids` returns; their own `request_id` is not read.
        prefixes: `PREFIXES`.
        fingerprint: The fingerprint of the model, in this process or an earlier process.
        by_instance: Whether the id covers the instance, as in `request_ids`.
    """
    texts = dict(prefixes.select("prefix_id", "prefix").iter_rows())
    instance = pl.concat_str("scenario", pl.lit("\0"), "instance_id") if by_instance else pl.lit(None, dtype=pl.String)
    if by_instance and "reference_index" in rows.columns:
        of_option = pl.concat_str(pl.lit("\0"), pl.col("reference_index").cast(pl.String))
        instance = pl.concat_str(instance, of_option, ignore_nulls=True)
    scored = pl.lit("\0continuation\0") + pl.col("continuation")
    media = [_media_digest(), pl.col("content_change")] if "content_change" in rows.columns else [_media_digest()]
    extra = pl.concat_str([*media, instance], ignore_nulls=True)
    extra = pl.when(extra.str.len_bytes() > 0).then(pl.lit("\0beside\0") + extra)
    shared = ["decoding", "output_index", "repeat", "prefix_id"]
    content = rows.select(
        *shared, content=pl.concat_str("suffix", extra, scored, ignore_nulls=True).cast(pl.Binary)
    ).with_row_index()
    frames = [pl.DataFrame(schema={"index": pl.UInt32, "request_id": pl.Binary})]
    for (*header, prefix_id), group in content.partition_by(shared, as_dict=True).items():
        ids = _digests(sha256(_header(fingerprint, *header) + texts[prefix_id].encode()), group["content"].to_list())
        frames.append(group.select("index", request_id=pl.Series(ids, dtype=pl.Binary)))
    return pl.concat(frames).sort("index")["request_id"]


def _header(fingerprint: str, decoding: str, output_index: int, repeat: int) -> bytes:
    header: dict[str, Any] = {
        "v": 1,
        "model": fingerprint,
        "decoding": json.loads(decoding),
        "output_index": output_index,
    }
    if repeat:
        header["repeat"] = repeat
    return json.dumps(header, sort_keys=True, ensure_ascii=False).encode() + b"\0"


def _digests(hashed: Any, contents: Sequence[bytes]) -> list[bytes]:
    """Return the id of each content, hashed after the header `hashed`. The loop is hot: it hashes every request."""
    ids, copy = [], hashed.copy
    for start in range(0, len(contents), AT_ONCE):
        for content in contents[start : start + AT_ONCE]:
            state = copy()
            state.update(content)
            ids.append(state.digest()[:16])
        time.sleep(0)  # lets the threads of other stages run
    return ids


def _media_digest() -> pl.Expr:
    """Return an expression of the digest of a request's media; null if all content is text."""

    def digest(blocks: list[dict[str, Any]]) -> str | None:
        parts = [part for block in blocks for part in block["content"] if part["type"] != "text"]
        if not parts:
            return None
        state = sha256()
        for part in parts:
            media = part["media"] or {"name": "", "data": b""}
            ref = None if media["data"] else ImageRef.parse(media["name"])
            if ref is not None:
                state.update(f"{part['type']}\0{ref.identity}\0".encode())
                continue
            state.update(f"{part['type']}\0{media['name']}\0".encode() + (media["data"] or b""))
        return state.hexdigest()

    media = pl.col("blocks").list.last().struct.field("content").list.eval(pl.element().struct.field("type") != "text")
    return (
        pl.when(media.list.any())
        .then(pl.col("blocks").map_elements(digest, return_dtype=pl.String))
        .otherwise(pl.lit(None, dtype=pl.String))
    )
