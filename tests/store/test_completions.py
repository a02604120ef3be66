"""Answers: parts written whole, found by range, the newest answer counts; on disk and in a bucket alike."""

import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from helmframe.errors import StoreError
from helmframe.store import Address, ParquetCompletions, ProcessCompletions, file_name
from helmframe.store import completions as module
from helmframe.store.files import File, listing, read, write
from helmframe.store.maintenance import compact, verify
from helmframe.store.parts import Read, encode, read_parts
from tests.store.rows import FINGERPRINT, NO_PREFIXES, answers, filled, parts_of, path_of, prefixes, write_part


def test_an_answer_is_found_by_its_row_range(root: Address) -> None:
    store = ParquetCompletions(root, FINGERPRINT, "mmlu")
    store.append(answers([b"one"], [5]), NO_PREFIXES)
    assert store.read(0, 5)["request_id"].to_list() == [b"one"]
    assert store.read(6, 9).is_empty()


def test_of_two_answers_the_newest_counts(root: Address) -> None:
    store = ParquetCompletions(root, FINGERPRINT, "mmlu")
    store.append(answers([b"one"], [5], "old"), NO_PREFIXES)
    store.append(answers([b"one"], [2], "new"), NO_PREFIXES)
    assert store.read(0, 9)["completion"].to_list() == ["new"]


def test_parts_of_an_earlier_version_lack_the_newer_columns_and_hide_none(root: Address) -> None:
    old = (
        answers([b"old"], [1])
        .with_columns(
            prompt_tokens=pl.lit(9, dtype=pl.Int64),
            version=pl.lit(1, dtype=pl.Int64),
            written=pl.lit(7, dtype=pl.Int64),
        )
        .drop("cached_prompt_tokens")
    )
    write_part(root, encode(old), low=1, rows=1)
    store = ParquetCompletions(root, FINGERPRINT, "mmlu")
    store.append(
        answers([b"new"], [2]).with_columns(
            cached_prompt_tokens=pl.lit(5, dtype=pl.Int64), prompt_tokens=pl.lit(6, dtype=pl.Int64)
        ),
        NO_PREFIXES,
    )
    read = store.read(0, 9).sort("request_id").select("request_id", "prompt_tokens", "cached_prompt_tokens")
    assert read.rows() == [(b"new", 6, 5), (b"old", 9, None)]
    assert [file.why for file in verify(root)] == [None] * 2


# Writes completions of one text in a process whose clock is some seconds ahead.
WRITES = """
import sys
import time
now = time.time_ns
time.time_ns = lambda: now() + int(sys.argv[3]) * 10**9
from helmframe.store import ParquetCompletions, address_of
from tests.store.rows import FINGERPRINT, NO_PREFIXES, answers
ids = [text.encode() for text in sys.argv[4:]]
store = ParquetCompletions(address_of(sys.argv[1]), FINGERPRINT, "mmlu")
store.append(answers(ids, [*range(len(ids))], sys.argv[2]), NO_PREFIXES)
"""


def write_elsewhere(root: Address, text: str, *ids: str, ahead: int = 0) -> None:
    """Append one completion per id from another process."""
    command = [sys.executable, "-c", WRITES, str(root), text, str(ahead), *ids]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)


def texts(root: Address) -> dict[bytes, str]:
    """Return the completion that counts, by request_id."""
    known = ParquetCompletions(root, FINGERPRINT, "mmlu").read(0, 99)
    return dict(known.select("request_id", "completion").rows())


@pytest.mark.parametrize("merged", [False, True])
def test_a_version_written_after_one_of_a_clock_a_day_ahead_is_the_newest(root: Address, merged: bool) -> None:
    write_elsewhere(root, "old", "one", "two", ahead=86_400)
    if merged:
        write_elsewhere(root, "old", "three", ahead=86_400)
        list(compact(root))
    ParquetCompletions(root, FINGERPRINT, "mmlu").append(answers([b"one"], [5], "new"), NO_PREFIXES)
    if merged:
        list(compact(root))
    assert texts(root) | {b"three": "old"} == {b"one": "new", b"two": "old", b"three": "old"}


def test_of_two_processes_the_one_that_writes_later_wins(root: Address) -> None:
    ParquetCompletions(root, FINGERPRINT, "mmlu").append(answers([b"one"], [5], "first"), NO_PREFIXES)
    write_elsewhere(root, "second", "one", ahead=86_400)
    assert texts(root) == {b"one": "second"} or isinstance(root, str)  # a bucket's list is read again after 5 s
    ParquetCompletions(root, FINGERPRINT, "mmlu").append(answers([b"one"], [5], "third"), NO_PREFIXES)
    assert texts(root) == {b"one": "third"}


def test_two_completions_of_one_version_are_ordered_by_their_content(tmp_path: Path) -> None:
    """Two writers that do not see each other's parts may give one version twice."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, text in zip(folders, ("red", "blue"), strict=True):
        ParquetCompletions(folder, FINGERPRINT, "mmlu").append(answers([b"one"], [5], text), NO_PREFIXES)
    parts = [parts_of(ParquetCompletions(folder, FINGERPRINT, "mmlu"))[0] for folder in folders]
    read_first = []
    for number, order in enumerate((parts, parts[::-1])):
        both = ParquetCompletions(tmp_path / f"both{number}", FINGERPRINT, "mmlu")
        for time_of_part, part in enumerate(map(Path, order)):
            write_part(both.root, part.read_bytes(), 5, 1, at=time_of_part)
        read_first += both.read(0, 9)["completion"].to_list()
        list(compact(tmp_path / f"both{number}"))
        read_first += both.read(0, 9)["completion"].to_list()
    assert len(read_first) == 4
    assert len(set(read_first)) == 1


def test_no_answers_make_no_part(tmp_path: Path) -> None:
    store = ParquetCompletions(tmp_path, FINGERPRINT, "mmlu")
    store.append(answers([], []), NO_PREFIXES)
    assert parts_of(store) == []


def test_two_models_have_two_folders(tmp_path: Path) -> None:
    ParquetCompletions(tmp_path, "a" * 64, "mmlu").append(answers([b"one"], [5]), NO_PREFIXES)
    assert ParquetCompletions(tmp_path, "b" * 64, "mmlu").read(0, 9).is_empty()


def test_a_prefix_is_stored_once(tmp_path: Path) -> None:
    for _ in range(2):  # the second may be another process
        store = ParquetCompletions(tmp_path, FINGERPRINT, "mmlu")
        store.append(answers([b"one"], [5]), prefixes("Question: "))
        store.append(answers([b"two"], [6]), prefixes("Question: "))
    assert len(list(path_of(store).glob("prefixes-*.parquet"))) == 1


def test_a_part_that_was_not_finished_is_not_seen(tmp_path: Path) -> None:
    store = filled(tmp_path, parts=1, rows=1)
    (path_of(store) / ".000000000000-000000000009-1-a.parquet.x.part").write_bytes(b"PAR1 torn")
    assert store.read(0, 9).height == 1


@pytest.mark.parametrize("harm", [b"", b"PAR1", b"no Parquet at all", b"cut", b"flipped"])
def test_a_damaged_part_is_named_and_set_aside_and_the_rest_serves(
    root: Address, harm: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(root, parts=3, rows=2)
    part = parts_of(store)[1]
    whole = read(part)
    write({b"cut": whole[:-9], b"flipped": whole[:200] + bytes([whole[200] ^ 4]) + whole[201:]}.get(harm, harm), part)
    with caplog.at_level(logging.WARNING, "helmframe.store"):
        assert store.read(0, 9)["request_id"].to_list() == [b"%16d" % place for place in (0, 1, 4, 5)]
    assert str(part) in caplog.text
    assert [file.name for file in listing(root) if file.name.startswith("damaged/")] == [
        "damaged/" + str(part)[len(str(root)) + 1 :]
    ]
    assert len(parts_of(store)) == 2


def test_a_part_named_by_an_older_helmframe_is_not_read(tmp_path: Path) -> None:
    store = ParquetCompletions(tmp_path, FINGERPRINT, "mmlu")
    name = "000000000005-000000000005-00000000000000000007-0a0a0a0a-1-0a0a0a0a.parquet"
    write(encode(answers([b"one"], [5], "old")), path_of(store) / name)
    assert store.read(0, 9).is_empty()
    store.append(answers([b"one"], [5], "new"), NO_PREFIXES)
    assert store.read(0, 9)["completion"].to_list() == ["new"]
    assert [file.why for file in verify(tmp_path) if file.why] == ["its name is not one that helmframe gives"]


def test_a_newer_format_says_to_upgrade(tmp_path: Path) -> None:
    store = ParquetCompletions(tmp_path, FINGERPRINT, "mmlu")
    data = encode(answers([b"one"], [5]), {"format": 2})
    write_part(tmp_path, data, 5, 1)
    with pytest.raises(StoreError, match=r"newer helmframe \(format 2.*pip install --upgrade"):
        store.read(0, 9)


def test_parts_that_another_process_merged_in_between_are_found_in_the_new_one(
    root: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(root, parts=4)
    calls: list[int] = []

    def late(*arguments: Any) -> Read:
        if not calls:
            list(compact(root))
        calls.append(1)
        return read_parts(*arguments)

    monkeypatch.setattr(module, "read_parts", late)
    assert store.read(0, 99).height == 40
    assert len(calls) == 2


def test_what_is_not_wanted_is_left_out(root: Address) -> None:
    store = filled(root, parts=3)
    wanted = pl.Series([b"3".rjust(16), b"21".rjust(16), b"not there"])
    assert store.read(0, 99, wanted)["request_id"].to_list() == [b"3".rjust(16), b"21".rjust(16)]


WRITER = """
import sys
import time
from helmframe.store import ParquetCompletions, address_of
from tests.store.rows import FINGERPRINT, answers, prefixes
me = int(sys.argv[2])
store = ParquetCompletions(address_of(sys.argv[1]), FINGERPRINT, "mmlu")
for batch in range(10):
    mine = [b"%d/%d/%d" % (me, batch, row) for row in range(20)]
    shared = [b"all/%d/%d" % (batch, row) for row in range(5)]
    store.append(answers(mine + shared, [*range(25)], str(me)), prefixes("Q: ", f"{me}: "))
"""


def test_four_processes_lose_nothing_and_double_nothing(root: Address) -> None:
    folder = str(Path(__file__).parents[2])
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(root), str(me)], cwd=folder, stderr=subprocess.PIPE)
        for me in range(4)
    ]
    assert [(each.communicate(timeout=120)[1].decode(), each.returncode) for each in processes] == [("", 0)] * 4
    store = ParquetCompletions(root, FINGERPRINT, "mmlu")
    known = store.read(0, 99)
    mine = [b"%d/%d/%d" % (me, batch, row) for me in range(4) for batch in range(10) for row in range(20)]
    shared = [b"all/%d/%d" % (batch, row) for batch in range(10) for row in range(5)]
    assert sorted(known["request_id"]) == sorted(mine + shared)
    # whichever counts, it is the same for every reader
    again = ParquetCompletions(root, FINGERPRINT, "mmlu").read(0, 99)
    assert known.sort("request_id").equals(again.sort("request_id"))


@pytest.mark.shared
def test_a_bucket_is_not_listed_for_every_shard(s3: object, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled("s3://evals/stores/listed", parts=2, rows=1)
    store.read(0, 9)
    listed: list[object] = []
    monkeypatch.setattr(module, "settled_listing", listed.append)
    store.append(answers([b"new"], [3]), NO_PREFIXES)
    other = ParquetCompletions(store.root, FINGERPRINT, "mmlu")
    assert other.read(0, 9).height == 3
    assert listed == []


def test_what_another_process_added_is_read_by_the_next_reader_too(root: Address) -> None:
    store = ParquetCompletions(root, FINGERPRINT, "mmlu")
    assert store.read(0, 9).is_empty()
    added = answers([b"one"], [5]).with_columns(version=pl.lit(1, dtype=pl.Int64), written=pl.lit(7, dtype=pl.Int64))
    write_part(root, encode(added), low=5, rows=1)
    assert store.read_new(0, 9)["request_id"].to_list() == [b"one"]
    assert ParquetCompletions(root, FINGERPRINT, "mmlu").read(0, 9)["request_id"].to_list() == [b"one"]


def test_news_are_looked_for_less_often_where_that_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Address] = []

    def slow(folder: Address) -> tuple[list[File], list[File]]:
        looks.append(folder)
        time.sleep(0.11)
        return [], []

    monkeypatch.setattr(module, "scan", slow)
    store = ParquetCompletions(tmp_path, FINGERPRINT, "mmlu")
    for _ in range(5):
        assert store.read_new(0, 9, always=False).is_empty()
    assert len(looks) == 1
    assert store.read_new(0, 9).is_empty()
    assert len(looks) == 2


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", ".hidden", "a" * 300, "naïve", "x:y=z,w"])
def test_hostile_names_stay_in_the_folder(name: str) -> None:
    safe = file_name(name)
    assert "/" not in safe
    assert not safe.startswith(".")
    assert len(safe) < 100


def test_names_that_look_alike_get_different_files() -> None:
    assert len({file_name(name) for name in ("a/b", "a_b", "a:b")}) == 3


def test_answers_in_the_process_are_shared_by_fingerprint() -> None:
    ProcessCompletions("shared", "mmlu").append(answers([b"one"], [5]), NO_PREFIXES)
    assert ProcessCompletions("shared", "mmlu").read(0, 9).height == 1
    assert ProcessCompletions("other", "mmlu").read(0, 9).is_empty()


def test_only_the_last_used_models_stay_in_memory() -> None:
    for number in range(ProcessCompletions.MAX_STORES + 1):
        ProcessCompletions(f"model {number}", "mmlu").append(answers([b"one"], [5]), NO_PREFIXES)
    assert ProcessCompletions("model 0", "mmlu").read(0, 9).is_empty()
    assert ProcessCompletions(f"model {ProcessCompletions.MAX_STORES}", "mmlu").read(0, 9).height == 1


def test_a_part_is_plain_parquet(tmp_path: Path) -> None:
    (part,) = parts_of(filled(tmp_path, parts=1))
    assert pl.read_parquet(part).height == 10
    assert '"format": 1' in pl.read_parquet_metadata(part)["helmframe"]
