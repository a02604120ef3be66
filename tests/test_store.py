"""The store: parts written whole, found by range, the newest answer counts."""

from pathlib import Path

import polars as pl
import pytest

from helmframe.errors import StoreError
from helmframe.store import ANSWER, SENT, ParquetAnswers, ProcessAnswers, RunFolder, file_name, write_parquet

NO_PREFIXES = pl.DataFrame(schema={"prefix_id": pl.String, "prefix": pl.String})


def answers(ids: list[bytes], rows: list[int], text: str = "A") -> pl.DataFrame:
    blank = {name: pl.Series([None] * len(ids), dtype=dtype) for name, dtype in ANSWER.items()}
    frame = pl.DataFrame(blank).with_columns(request_id=pl.Series(ids, dtype=pl.Binary), completion=pl.lit(text))
    return frame.with_columns(pl.lit("").alias(name) for name in SENT).with_columns(row_index=pl.Series(rows))


def test_an_answer_is_found_by_its_row_range(tmp_path: Path) -> None:
    store = ParquetAnswers(tmp_path, "f" * 64, "mmlu")
    store.append(answers([b"one"], [5]), NO_PREFIXES)
    assert store.known(0, 5)["request_id"].to_list() == [b"one"]
    assert store.known(6, 9).is_empty()


def test_of_two_answers_the_newest_counts(tmp_path: Path) -> None:
    store = ParquetAnswers(tmp_path, "f" * 64, "mmlu")
    store.append(answers([b"one"], [5], "old"), NO_PREFIXES)
    store.append(answers([b"one"], [2], "new"), NO_PREFIXES)
    assert store.known(0, 9)["completion"].to_list() == ["new"]


def test_two_models_have_two_folders(tmp_path: Path) -> None:
    ParquetAnswers(tmp_path, "a" * 64, "mmlu").append(answers([b"one"], [5]), NO_PREFIXES)
    assert ParquetAnswers(tmp_path, "b" * 64, "mmlu").known(0, 9).is_empty()


def test_a_prefix_is_stored_once(tmp_path: Path) -> None:
    prefixes = pl.DataFrame({"prefix_id": ["p"], "prefix": ["Question: "]})
    store = ParquetAnswers(tmp_path, "f" * 64, "mmlu")
    store.append(answers([b"one"], [5]), prefixes)
    store.append(answers([b"two"], [6]), prefixes)
    assert len(list(store.folder.glob("prefixes-*.parquet"))) == 1


def test_a_part_that_was_not_finished_is_not_seen(tmp_path: Path) -> None:
    store = ParquetAnswers(tmp_path, "f" * 64, "mmlu")
    store.append(answers([b"one"], [5]), NO_PREFIXES)
    (store.folder / ".000000000000-000000000009-1-a.parquet.x.part").write_bytes(b"PAR1 torn")
    assert store.known(0, 9).height == 1


def test_a_damaged_part_is_an_error_that_names_it(tmp_path: Path) -> None:
    store = ParquetAnswers(tmp_path, "f" * 64, "mmlu")
    store.append(answers([b"one"], [5]), NO_PREFIXES)
    part = next(path for path in store.folder.iterdir() if path.name.startswith("0"))
    part.write_bytes(part.read_bytes()[:40])
    with pytest.raises(StoreError, match="can't be read"):
        store.known(0, 9)


def test_a_store_that_can_not_be_written_says_what_to_set(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StoreError, match="HELMFRAME_STORE"):
        write_parquet(pl.DataFrame({"a": [1]}), blocked / "part.parquet")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", ".hidden", "a" * 300, "naïve", "x:y=z,w"])
def test_hostile_names_stay_in_the_folder(name: str) -> None:
    safe = file_name(name)
    assert "/" not in safe
    assert not safe.startswith(".")
    assert len(safe) < 100


def test_names_that_look_alike_get_different_files() -> None:
    assert len({file_name(name) for name in ("a/b", "a_b", "a:b")}) == 3


def test_answers_in_the_process_are_shared_by_fingerprint() -> None:
    ProcessAnswers("shared", "mmlu").append(answers([b"one"], [5]), NO_PREFIXES)
    assert ProcessAnswers("shared", "mmlu").known(0, 9).height == 1
    assert ProcessAnswers("other", "mmlu").known(0, 9).is_empty()


def test_only_the_models_used_last_are_kept_in_the_process() -> None:
    for number in range(ProcessAnswers.KEPT + 1):
        ProcessAnswers(f"model {number}", "mmlu").append(answers([b"one"], [5]), NO_PREFIXES)
    assert ProcessAnswers("model 0", "mmlu").known(0, 9).is_empty()
    assert ProcessAnswers(f"model {ProcessAnswers.KEPT}", "mmlu").known(0, 9).height == 1


def test_a_run_folder_fills_columns_that_one_scenario_lacks(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.add("scores", "a", pl.DataFrame({"scenario": ["a"], "subject": ["x"]}))
    folder.add("scores", "b", pl.DataFrame({"scenario": ["b"]}))
    scanned = folder.scan("scores")
    assert scanned is not None
    assert scanned.collect().rows() == [("a", "x"), ("b", None)]


def test_a_folder_without_results_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no results"):
        RunFolder(tmp_path).manifest()
