"""The store at a million completions, and every kind of damage found."""

import os
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import median

import polars as pl
import pytest

import helmframe as hf
from helmframe.store import COMPLETION_SCHEMA, REQUEST_COLUMNS, ParquetCompletions
from helmframe.store.maintenance import verify
from helmframe.store.parts import encode, sealed
from tests.acceptance.figures import shown
from tests.store.rows import FINGERPRINT, NO_PREFIXES, answers, prefixes

ROWS, WANTED, BATCH = 1_000_000, 300_000, 8_192


def batch(start: int, rows: int) -> pl.DataFrame:
    """Answers of one letter to questions of about 200 characters, all ids different."""
    places = pl.int_range(start, start + rows, dtype=pl.Int64, eager=True)
    digits = places.hash(1).cast(pl.String).str.zfill(20)
    frame = pl.DataFrame({"row_index": places}).with_columns(
        request_id=(digits.str.slice(0, 8) + places.cast(pl.String).str.zfill(8)).cast(pl.Binary),
        suffix=pl.concat_str([digits.str.slice(i) for i in range(8)], separator=" of the ") + pl.lit("\nAnswer:"),
        completion=pl.lit("A"),
        finish_reason=pl.lit("stop"),
        prompt_tokens=pl.lit(500, dtype=pl.Int64),
        output_tokens=pl.lit(1, dtype=pl.Int64),
        latency=pl.lit(0.5),
        instance_id=pl.concat_str(pl.lit("philosophy/id"), places.cast(pl.String)),
    )
    empty = [
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in COMPLETION_SCHEMA.items() if name not in frame.columns
    ]
    return frame.with_columns(
        *empty, *(pl.lit("").alias(name) for name in REQUEST_COLUMNS if name not in frame.columns)
    )


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


@pytest.fixture(scope="module", params=[10, 123, 1_000])
def parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """A million completions in this many parts: of a run, of one that wrote often, and of one that was merged."""
    root = tmp_path_factory.mktemp("store")
    store = ParquetCompletions(root, FINGERPRINT, "mmlu")
    step = -(-ROWS // request.param)
    for start in range(0, ROWS, step):
        store.append(batch(start, min(step, ROWS - start)), NO_PREFIXES)
    return request.param, root


@pytest.mark.parametrize("where", ["side by side", "spread over all"])
def test_5_anti_join_of_300_000_wanted_ids(parts: tuple[int, Path], where: str) -> None:
    number, root = parts
    kept, new = WANTED * 9 // 10, WANTED // 10  # a tenth of them is not in the store
    there = batch(0, ROWS).sample(kept, seed=0) if where == "spread over all" else batch(ROWS - kept, kept)
    ids = there.vstack(batch(ROWS, new)).select("request_id", "row_index")
    low, high = int(ids["row_index"].min()), int(ids["row_index"].max())  # type: ignore[arg-type]

    def missing() -> pl.DataFrame:
        known = ParquetCompletions(root, FINGERPRINT, "mmlu").read(low, high, ids["request_id"])
        return ids.join(known, on="request_id", how="anti", maintain_order="left")

    assert missing().height == new
    took = median(seconds(missing) for _ in range(5))
    what = f"anti-join of 300,000 ids {where}, a million rows in {number:,} parts, median of 5, seconds ({load()})"
    shown("5", what, f"{took:.3f}", 0.5)
    assert took < 0.5


def test_5_append_of_a_batch(tmp_path: Path) -> None:
    store, starts = ParquetCompletions(tmp_path, FINGERPRINT, "mmlu"), count(0, BATCH)
    batches = [batch(next(starts), BATCH) for _ in range(25)]
    took = median(seconds(lambda rows=rows: store.append(rows, NO_PREFIXES)) for rows in batches)  # type: ignore[misc]
    shown("5", f"append of {BATCH:,} rows to a store on disk, median of 25, ms ({load()})", f"{took * 1000:.1f}", 20)
    assert took < 0.02


@pytest.mark.shared
def test_5_append_and_lookup_in_a_bucket(s3: object) -> None:
    store = ParquetCompletions("s3://evals/stores/benchmark", FINGERPRINT, "mmlu")
    batches = [batch(number * BATCH, BATCH) for number in range(25)]
    took = median(seconds(lambda rows=rows: store.append(rows, NO_PREFIXES)) for rows in batches)  # type: ignore[misc]
    near = median(seconds(lambda: store.read(0, 20_000)) for _ in range(5))
    shown(
        "5",
        "S3 on this machine: append of a batch; a shard's lookup, ms",
        f"{took * 1e3:.1f}; {near * 1e3:.1f}",
        "none",
    )
    assert store.read(0, 25 * BATCH).height == 25 * BATCH


# Each gets a sound file and damages it; where it is another file that is wrong then, it gives that one.
Damage = Callable[[Path], Path | None]


def _changed(change: Callable[[bytes], bytes]) -> Damage:
    def write(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return write


def _flipped(place: float) -> Callable[[bytes], bytes]:
    def flip(data: bytes) -> bytes:
        at = int(len(data) * place)
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return flip


def _renamed(field: int, value: str) -> Damage:
    """Of LOW-HIGH-VERSION-TIME-ID-ROWS-CHECKSUM, one field."""

    def rename(path: Path) -> Path:
        fields = path.stem.split("-")
        fields[field] = value
        return path.rename(path.with_name("-".join(fields) + ".parquet"))

    return rename


def _moved(*to: str) -> Damage:
    def move(path: Path) -> Path:
        target = path.parents[len(to)].joinpath(*to, path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        return path.rename(target)

    return move


def _instead(data: bytes) -> Damage:
    """Sound Parquet, its checksum in the name, that is not what belongs there."""

    def replace(path: Path) -> Path:
        path.unlink()
        completions = path.parents[2]
        start = path.relative_to(completions).as_posix().rpartition("-")[0]
        target = completions / sealed(start, data)
        target.write_bytes(data)
        return target

    return replace


STRANGE = encode(pl.DataFrame({"a": [1]}))
NEWER = encode(pl.DataFrame({"a": [1]})).replace(b'{"format": 1}', b'{"format": 9}')
OF_ANSWERS: dict[str, Damage] = {
    "cut in the middle": _changed(lambda data: data[: len(data) // 2]),
    "last byte gone": _changed(lambda data: data[:-1]),
    "emptied": _changed(lambda data: b""),
    "a bit flipped in a page": _changed(_flipped(0.2)),
    "a bit flipped in the footer": _changed(_flipped(0.98)),
    "zeros over a block": _changed(lambda data: data[:500] + bytes(300) + data[800:]),
    "bytes added": _changed(lambda data: data + b"more"),
    "first bytes changed": _changed(lambda data: b"NOPE" + data[4:]),
    "text in its place": _changed(lambda data: b"<html>503</html>"),
    "named for other rows": _renamed(1, f"{4:012d}"),
    "named for another version": _renamed(2, f"{7:012d}"),
    "named for another time": _renamed(3, f"{7:020d}"),
    "named for another number of rows": _renamed(5, "11"),
    "in another model's folder": _moved("e" * 32, "mmlu"),
    "in another scenario's folder": _moved("boolq"),
    "another table under its name": _instead(STRANGE),
    "a newer format": _instead(NEWER),
    "another name": lambda path: path.rename(path.with_name("copy of it.parquet")),
}
OF_PREFIXES: dict[str, Damage] = {
    "prefixes cut": _changed(lambda data: data[:-100]),
    "prefixes of another table": _instead(STRANGE),
}
OF_RUN: dict[str, Damage] = {
    "a bit flipped in the scores": _changed(_flipped(0.5)),
    "a manifest cut": _changed(lambda data: data[:-9]),
}


@pytest.mark.soak
def test_5_verify_finds_every_damage_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path))
    results = hf.scenario("sampler").where(subject="music").generate("oracle()").score()
    store = ParquetCompletions(tmp_path, FINGERPRINT, "mmlu", new=True)
    for part in range(len(OF_ANSWERS) + 10):
        rows = range(part * 10, part * 10 + 10)
        ids = [str(place).encode().rjust(16) for place in rows]
        store.append(answers(ids, list(rows), model="mine", scenario="mmlu"), prefixes(f"Q{part % 4}: "))
    assert [each for each in verify(tmp_path) if each.why] == []

    folder = tmp_path / "completions" / FINGERPRINT[:32] / "mmlu"
    sound = sorted(folder.glob("0*.parquet"))[5:]
    starts = sorted(folder.glob("prefixes-*.parquet"))
    assert isinstance(results.path, Path)
    of_run = [next(results.path.glob("scores/*/*.parquet")), results.path / "manifest.json"]
    planted = {}
    for damages, files in ((OF_ANSWERS, sound), (OF_PREFIXES, starts), (OF_RUN, of_run)):
        for (what, damage), file in zip(damages.items(), files, strict=False):
            planted[damage(file) or file] = what
    found = {each.file.address: each.why for each in verify(tmp_path) if each.why}
    for path, what in planted.items():
        print(f"\n[5] {what}: {found.get(path, 'NOT FOUND')}")
    shown("5", "damages found, of those planted; others", f"{len(planted.keys() & found)}/{len(planted)}; "
          f"{len(found.keys() - planted)}", "all; 0")  # fmt: skip
    assert len(planted) >= 20
    assert found.keys() == planted.keys()
