"""How fast the store is: `pytest -s tests/benchmarks/test_store.py` prints it."""

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import median

import polars as pl
import pytest

from helmframe.store import ANSWER, SENT, ParquetAnswers
from tests.store.rows import FINGERPRINT, NO_PREFIXES

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
    empty = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in ANSWER.items() if name not in frame.columns]
    return frame.with_columns(*empty, *(pl.lit("").alias(name) for name in SENT if name not in frame.columns))


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


@pytest.fixture(scope="module", params=[10, 1_000])
def parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """A million completions in this many parts."""
    root = tmp_path_factory.mktemp("store")
    store = ParquetAnswers(root, FINGERPRINT, "mmlu")
    step = ROWS // request.param
    for part in range(request.param):
        store.append(batch(part * step, step), NO_PREFIXES)
    return request.param, root


@pytest.mark.parametrize("where", ["side by side", "spread over all"])
def test_anti_join_of_300_000_wanted_ids(parts: tuple[int, Path], where: str) -> None:
    number, root = parts
    spread = where == "spread over all"
    kept, new = WANTED * 9 // 10, WANTED // 10  # a tenth of them is not in the store
    there = batch(0, ROWS).sample(kept, seed=0) if spread else batch(ROWS - kept, kept)
    wanted = there.vstack(batch(ROWS, new))
    ids = wanted.select("request_id", "row_index")
    low, high = int(ids["row_index"].min()), int(ids["row_index"].max())  # type: ignore[arg-type]

    def missing() -> pl.DataFrame:
        known = ParquetAnswers(root, FINGERPRINT, "mmlu").known(low, high)
        return ids.join(known, on="request_id", how="anti", maintain_order="left")

    assert missing().height == WANTED // 10
    took = min(seconds(missing) for _ in range(7))
    print(f"\n{number:,} parts, {ids.height:,} wanted ids {where}: {took:.3f} s (limit 0.5)")
    assert took < 0.5


def test_append_of_a_batch(tmp_path: Path) -> None:
    store, starts = ParquetAnswers(tmp_path, FINGERPRINT, "mmlu"), count(0, BATCH)
    batches = [batch(next(starts), BATCH) for _ in range(25)]
    took = median(seconds(lambda rows=rows: store.append(rows, NO_PREFIXES)) for rows in batches)  # type: ignore[misc]
    print(f"\nappend of {BATCH:,} rows: {took * 1000:.1f} ms (limit 20)")
    assert took < 0.02


@pytest.mark.shared
def test_append_and_lookup_in_a_bucket(s3: object) -> None:
    store = ParquetAnswers("s3://evals/stores/benchmark", FINGERPRINT, "mmlu")
    batches = [batch(number * BATCH, BATCH) for number in range(25)]
    took = median(seconds(lambda rows=rows: store.append(rows, NO_PREFIXES)) for rows in batches)  # type: ignore[misc]
    near = median(seconds(lambda: store.known(0, 20_000)) for _ in range(5))
    print(f"\nS3 on this machine: append of {BATCH:,} rows {took * 1000:.1f} ms; a shard's lookup {near * 1000:.1f} ms")
    assert store.known(0, 25 * BATCH).height == 25 * BATCH
