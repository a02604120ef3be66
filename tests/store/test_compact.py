"""Compact: fewer parts, the same answers, whatever happens in between."""

import threading
from pathlib import Path

import polars as pl
import pytest

from helmframe.errors import StoreError, UnknownNameError
from helmframe.store import Address, ParquetAnswers
from helmframe.store import compact as module
from helmframe.store.compact import Merged, compact, remove_answers
from helmframe.store.contents import completions, shelves
from helmframe.store.files import listing, write
from helmframe.store.parts import Part
from helmframe.store.verify import verify
from tests.store.rows import FINGERPRINT, NO_PREFIXES, answers, filled, parts_of, path_of, prefixes


def test_many_parts_become_few_with_the_same_answers(root: Address) -> None:
    store = filled(root, parts=7)
    before = store.known(0, 99).sort("request_id")
    assert list(compact(root, rows=30)) == [Merged("mine", "mmlu", 8, 4)]
    assert ParquetAnswers(root, FINGERPRINT, "mmlu").known(0, 99).sort("request_id").equals(before)
    found = [Part.named(file) for file in listing(store.folder)]
    assert [(part.low, part.high, part.rows) for part in found if part] == [(0, 29, 30), (30, 59, 30), (60, 69, 10)]
    assert [each.why for each in verify(root)] == [None] * 4


def test_compacting_twice_changes_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path, parts=7)
    list(compact(tmp_path, rows=30))
    names = parts_of(store)
    list(compact(tmp_path, rows=30))
    assert parts_of(store) == names


def test_the_newest_answer_is_kept(tmp_path: Path) -> None:
    store = ParquetAnswers(tmp_path, FINGERPRINT, "mmlu")
    for text in ("first", "second", "third"):
        store.append(answers([b"one"], [5], text), NO_PREFIXES)
    list(compact(tmp_path))
    assert pl.read_parquet(parts_of(store)[0])["completion"].to_list() == ["third"]


def test_an_answer_between_those_merged_still_counts_by_its_own_time(tmp_path: Path) -> None:
    store = ParquetAnswers(tmp_path, FINGERPRINT, "mmlu")
    for request, text in ((b"one", "old"), (b"one", "new"), (b"two", "later")):
        store.append(answers([request], [5], text), NO_PREFIXES)
    late = Path(parts_of(store)[1])
    data = late.read_bytes()
    late.unlink()  # as one that another host has written but that is not there yet
    list(compact(tmp_path))
    write(data, late)
    assert store.known(0, 9).sort("request_id")["completion"].to_list() == ["new", "later"]


def test_killed_before_the_old_parts_are_removed_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path)
    before = store.known(0, 99).sort("request_id")

    def killed(addresses: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            list(compact(tmp_path))
    assert len(parts_of(store)) == 5
    assert store.known(0, 99).sort("request_id").equals(before)
    list(compact(tmp_path))
    assert store.known(0, 99).sort("request_id").equals(before)
    assert len(parts_of(store)) == 1


def test_readers_and_writers_meanwhile_miss_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path, parts=5)
    short: list[int] = []
    ended = threading.Event()

    def read() -> None:
        reader = ParquetAnswers(tmp_path, FINGERPRINT, "mmlu")
        while not ended.is_set():
            found = reader.known(0, 49).height
            if found < 50:
                short.append(found)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20):
        store.append(answers([b"new %d" % number], [60]), NO_PREFIXES)
        list(compact(tmp_path))
    ended.set()
    reader.join()
    assert short == []
    assert store.known(0, 99).height == 70


def test_a_damaged_part_is_set_aside_and_not_removed(tmp_path: Path) -> None:
    store = filled(tmp_path)
    part = Path(parts_of(store)[0])
    part.write_bytes(b"PAR1 torn")
    list(compact(tmp_path))
    assert store.known(0, 99).height == 30
    assert [path.read_bytes() for path in (tmp_path / "damaged").rglob("*.parquet")] == [b"PAR1 torn"]


def test_prefixes_are_merged_and_prompts_are_whole(tmp_path: Path) -> None:
    store = ParquetAnswers(tmp_path, FINGERPRINT, "mmlu")
    for number, start in enumerate(("Q: ", "Frage: ")):
        sent = {"prefix_id": start, "suffix": "why?", "model": "mine"}
        store.append(answers([start.encode()], [number], **sent), prefixes(start))
    list(compact(tmp_path))
    assert len(list(path_of(store).glob("prefixes-*"))) == 1
    (shelf,) = shelves(tmp_path)
    assert completions(tmp_path, shelf)["prompt"].to_list() == ["Q: why?", "Frage: why?"]


def test_removed_answers_are_gone_and_others_stay(root: Address) -> None:
    filled(root, scenario="mmlu")
    filled(root, scenario="gsm8k")
    remove_answers(shelves(root, "mine", "mmlu"))
    assert [shelf.scenario for shelf in shelves(root)] == ["gsm8k"]


def test_an_unknown_model_is_an_error_that_names_those_there(tmp_path: Path) -> None:
    filled(tmp_path, model="mine")
    with pytest.raises(UnknownNameError, match="Did you mean 'mine'"):
        list(compact(tmp_path, "mime"))


def test_a_store_that_can_not_be_written_keeps_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        list(compact(tmp_path))
    assert len(parts_of(store)) == 4
