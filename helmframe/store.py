"""The store: answers kept by request_id, as Parquet on disk, or in this process for models that can't be hashed whole.

    STORE/completions/MODEL/SCENARIO/LOW-HIGH-TIME-ID.parquet   answers, with the request as sent; row_index from LOW to
    HIGH STORE/completions/MODEL/SCENARIO/prefixes-ID.parquet        the starts those requests share STORE/runs/RUN/…
    what one run read and scored (helmframe.results)

Parts are written whole or not at all, and never changed; of two answers to one request the newest counts.
"""

import itertools
import json
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Protocol
from uuid import uuid4

import polars as pl

from helmframe.columns import COMPLETIONS
from helmframe.errors import StoreError

ANSWER = {
    name: COMPLETIONS.schema[name]
    for name in (
        "request_id", "completion", "reasoning", "logprob", "token_logprobs", "finish_reason",
        "prompt_tokens", "output_tokens", "latency",
    )
}  # fmt: skip
# The request as sent, kept beside its answer: readable without the scenario.
SENT = (
    "model", "scenario", "scenario_version", "instance_id", "perturbation", "perturbation_seed", "setting", "trial",
    "output_index", "decoding", "prefix_id", "suffix",
)  # fmt: skip


class Answers(Protocol):
    """Where the answers of one model to one scenario are kept."""

    def known(self, low: int, high: int) -> pl.DataFrame:
        """Answers (columns `ANSWER`) to instances whose row_index may lie between `low` and `high`, both included."""

    def append(self, answers: pl.DataFrame, prefixes: pl.DataFrame) -> None:
        """Keep answers (`ANSWER`, `SENT` and row_index) and the prefixes they name."""


class ParquetAnswers:
    """Answers on disk."""

    def __init__(self, root: Path, fingerprint: str, scenario: str) -> None:
        self.folder = root / "completions" / fingerprint[:32] / file_name(scenario)
        self._prefixes: set[str] = set()

    def known(self, low: int, high: int) -> pl.DataFrame:
        """See `Answers`."""
        parts = sorted((path for path in self._parts() if _overlaps(path, low, high)), key=_age)
        if not parts:
            return pl.DataFrame(schema=ANSWER)
        try:
            frames = [pl.read_parquet(path, columns=list(ANSWER)) for path in parts]
        except (pl.exceptions.PolarsError, OSError) as error:
            raise StoreError(
                f"the store holds a part that can't be read: {error}. Move it away and run again."
            ) from error
        return pl.concat(frames).unique("request_id", keep="last", maintain_order=True)

    def append(self, answers: pl.DataFrame, prefixes: pl.DataFrame) -> None:
        """See `Answers`."""
        new = prefixes.filter(~pl.col("prefix_id").is_in(list(self._prefixes)))
        if new.height:
            write_parquet(new, self.folder / f"prefixes-{uuid4().hex}.parquet")
            self._prefixes.update(new["prefix_id"])
        low, high = answers.select(low=pl.col("row_index").min(), high=pl.col("row_index").max()).row(0)
        name = f"{low:012d}-{high:012d}-{time.time_ns():020d}-{uuid4().hex[:8]}.parquet"
        write_parquet(answers.select(*SENT, *ANSWER), self.folder / name)

    def _parts(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from (path for path in self.folder.glob("*.parquet") if re.match(r"\d{12}-", path.name))


class ProcessAnswers:
    """Answers in memory, for models that can't be hashed whole; those of the models used last are kept."""

    KEPT = 32
    _kept: ClassVar["OrderedDict[tuple[str, str], list[pl.DataFrame]]"] = OrderedDict()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, fingerprint: str, scenario: str) -> None:
        self._key = (fingerprint, scenario)

    def known(self, low: int, high: int) -> pl.DataFrame:  # noqa: ARG002
        """See `Answers`."""
        with self._lock:
            parts = self._kept.get(self._key, [])
            if len(parts) > 1:
                parts[:] = [pl.concat(parts).unique("request_id", keep="last", maintain_order=True)]
            return parts[0] if parts else pl.DataFrame(schema=ANSWER)

    def append(self, answers: pl.DataFrame, prefixes: pl.DataFrame) -> None:  # noqa: ARG002
        """See `Answers`."""
        with self._lock:
            self._kept.setdefault(self._key, []).append(answers.select(list(ANSWER)))
            self._kept.move_to_end(self._key)
            while len(self._kept) > self.KEPT:
                self._kept.popitem(last=False)


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write a part whole or not at all: beside its place, to disk, then renamed.

    Raises:
        StoreError: the folder can't be written.
    """
    _replace(path, lambda temporary: frame.write_parquet(temporary, compression="zstd", compression_level=1))


def write_text(text: str, path: Path) -> None:
    """As `write_parquet`, for text."""
    _replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def file_name(name: str) -> str:
    """The name as a file name: what is no letter, digit, `-`, `_` or `.` is replaced; a hash tells names apart."""
    plain = re.sub(r"[^A-Za-z0-9_.\-]", "_", name)[:80]
    if plain == name and not plain.startswith("."):
        return plain
    return f"{plain.lstrip('.')}-{sha256(name.encode()).hexdigest()[:8]}"


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise StoreError(
            f"can't write to the store at {path.parent}: {error}. Choose another: HELMFRAME_STORE."
        ) from error


def _overlaps(path: Path, low: int, high: int) -> bool:
    first, last = path.name.split("-")[:2]
    return int(first) <= high and low <= int(last)


def _age(path: Path) -> tuple[str, ...]:
    return tuple(path.stem.split("-")[2:])


class RunFolder:
    """What one run read and scored, as Parquet parts by table, with a manifest; derived and deletable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = itertools.count()

    @classmethod
    def new(cls, root: Path) -> "RunFolder":
        """An empty folder, named by the time."""
        name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid4().hex[:8]}"
        return cls(root / "runs" / name)

    def add(self, table: str, scenario: str, frame: pl.DataFrame) -> None:
        """Write one part of a table."""
        if frame.height:
            name = f"{next(self._written):06d}-{uuid4().hex[:8]}.parquet"
            write_parquet(frame, self.path / table / file_name(scenario) / name)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write or replace the manifest."""
        write_text(json.dumps(manifest, indent=1, ensure_ascii=False, default=str), self.path / "manifest.json")

    def manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            StoreError: there is none, or it is no manifest.
        """
        try:
            return dict(json.loads((self.path / "manifest.json").read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.path} holds no results: {error}.") from None

    def scan(self, table: str) -> pl.LazyFrame | None:
        """The parts of a table, scenario by scenario, columns filled up with nulls; None where there is no part."""
        by_scenario = sorted({path.parent for path in (self.path / table).glob("*/*.parquet")})
        frames = [pl.scan_parquet(folder / "*.parquet", missing_columns="insert") for folder in by_scenario]
        return pl.concat(frames, how="diagonal_relaxed") if frames else None
