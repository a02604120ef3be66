"""Maintenance of a store: compact merges parts and loses nothing; verify finds every damage and nothing else."""

import random
import threading
from pathlib import Path

import polars as pl
import pytest

from helmframe.errors import StoreError, UnknownNameError
from helmframe.store import Address, ParquetCompletions, RunFolder, below
from helmframe.store import maintenance as module
from helmframe.store.contents import list_entries, read_completions
from helmframe.store.files import listing, move, name_of, read, remove, write
from helmframe.store.maintenance import Merged, compact, remove_completions, verify
from helmframe.store.parts import Part, encode
from helmframe.store.run_cache import RunCompletions, cache_of
from tests.store.rows import FINGERPRINT, NO_PREFIXES, answers, filled, parts_of, path_of, prefixes, write_part


def test_many_parts_become_few_with_the_same_answers(root: Address) -> None:
    store = filled(root, parts=7)
    before = store.read(0, 99).sort("request_id")
    assert list(compact(root, rows=30)) == [Merged("mine", "mmlu", 8, 4)]
    assert ParquetCompletions(root, FINGERPRINT, "mmlu").read(0, 99).sort("request_id").equals(before)
    found = [Part.named(file) for file in listing(store.folder)]
    assert [(part.low, part.high, part.rows) for part in found if part] == [(0, 29, 30), (30, 59, 30), (60, 69, 10)]
    assert [each.why for each in verify(root)] == [None] * 4


def test_compacting_twice_changes_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path, parts=7)
    list(compact(tmp_path, rows=30))
    names = parts_of(store)
    list(compact(tmp_path, rows=30))
    assert parts_of(store) == names


def test_the_newest_completion_survives(tmp_path: Path) -> None:
    store = ParquetCompletions(tmp_path, FINGERPRINT, "mmlu")
    for text in ("first", "second", "third"):
        store.append(answers([b"one"], [5], text), NO_PREFIXES)
    list(compact(tmp_path))
    assert pl.read_parquet(parts_of(store)[0])["completion"].to_list() == ["third"]


def test_an_answer_between_those_merged_still_counts_by_its_own_time(tmp_path: Path) -> None:
    store = ParquetCompletions(tmp_path, FINGERPRINT, "mmlu")
    for request, text in ((b"one", "old"), (b"one", "new"), (b"two", "later")):
        store.append(answers([request], [5], text), NO_PREFIXES)
    late = Path(parts_of(store)[1])
    data = late.read_bytes()
    late.unlink()  # as one that another host has written but that is not there yet
    list(compact(tmp_path))
    write(data, late)
    assert store.read(0, 9).sort("request_id")["completion"].to_list() == ["new", "later"]


def test_killed_before_the_old_parts_are_removed_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path)
    before = store.read(0, 99).sort("request_id")

    def killed(addresses: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            list(compact(tmp_path))
    assert len(parts_of(store)) == 5
    assert store.read(0, 99).sort("request_id").equals(before)
    list(compact(tmp_path))
    assert store.read(0, 99).sort("request_id").equals(before)
    assert len(parts_of(store)) == 1


def test_readers_and_writers_meanwhile_miss_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path, parts=5)
    short: list[int] = []
    ended = threading.Event()

    def read() -> None:
        reader = ParquetCompletions(tmp_path, FINGERPRINT, "mmlu")
        while not ended.is_set():
            found = reader.read(0, 49).height
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
    assert store.read(0, 99).height == 70


def test_a_damaged_part_is_set_aside_and_not_removed(tmp_path: Path) -> None:
    store = filled(tmp_path)
    part = Path(parts_of(store)[0])
    part.write_bytes(b"PAR1 torn")
    list(compact(tmp_path))
    assert store.read(0, 99).height == 30
    assert [path.read_bytes() for path in (tmp_path / "damaged").rglob("*.parquet")] == [b"PAR1 torn"]


def test_prefixes_are_merged_and_prompts_are_whole(tmp_path: Path) -> None:
    store = ParquetCompletions(tmp_path, FINGERPRINT, "mmlu")
    for number, start in enumerate(("Q: ", "Frage: ")):
        sent = {"prefix_id": start, "suffix": "why?", "model": "mine"}
        store.append(answers([start.encode()], [number], **sent), prefixes(start))
    list(compact(tmp_path))
    assert len(list(path_of(store).glob("prefixes-*"))) == 1
    (shelf,) = list_entries(tmp_path)
    assert read_completions(tmp_path, shelf)["prompt"].to_list() == ["Q: why?", "Frage: why?"]


def test_removed_answers_are_gone_and_others_stay(root: Address) -> None:
    filled(root, scenario="mmlu")
    filled(root, scenario="gsm8k")
    remove_completions(list_entries(root, "mine", "mmlu"))
    assert [shelf.scenario for shelf in list_entries(root)] == ["gsm8k"]


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


def damaged(root: Address) -> dict[str, str]:
    """What is wrong, by the name of the file."""
    return {name_of(found.file.address): found.why for found in verify(root) if found.why is not None}


def with_run(root: Address) -> RunFolder:
    run = RunFolder.new(root)
    for number in range(3):
        run.add("scores", "mmlu", pl.DataFrame({"score": [float(number)] * 50}))
    run.write_manifest({"format": 1})
    return run


def flipped(data: bytes, draw: random.Random, bits: int = 1) -> bytes:
    harmed = bytearray(data)
    for _ in range(bits):
        harmed[draw.randrange(len(harmed))] ^= 1 << draw.randrange(8)
    return bytes(harmed)


def test_a_sound_store_has_nothing_to_find(root: Address) -> None:
    filled(root)
    with_run(root)
    found = list(verify(root))
    assert [each.why for each in found] == [None] * 9


def test_each_of_twenty_planted_damages_is_found_and_nothing_else(root: Address) -> None:
    draw = random.Random(7)
    store, run = filled(root, parts=30), with_run(root)
    parts = parts_of(store)
    tables = [file.address for file in listing(run.path) if file.name.endswith(".parquet")]
    (prefixes,) = [below(store.folder, each.name) for each in listing(store.folder) if each.name.startswith("prefixes")]
    foreign = encode(pl.DataFrame({"a": [1]}))
    planted = {
        **{part: read(part)[:size] for part, size in zip(parts[:3], (1, 40, 900), strict=True)},
        parts[3]: read(parts[3])[:-1],
        **{part: flipped(read(part), draw) for part in parts[4:9]},
        parts[9]: flipped(read(parts[9]), draw, 50),
        parts[10]: draw.randbytes(2000),
        parts[11]: b"",
        parts[12]: foreign,
        parts[13]: read(parts[14]),
        prefixes: flipped(read(prefixes), draw),
        tables[0]: flipped(read(tables[0]), draw),
        tables[1]: read(tables[1])[:-4],
        below(run.path, "manifest.json"): b"{",
    }
    for address, data in planted.items():
        write(data, address)
    planted[write_part(root, foreign, 0, 1)] = foreign
    moved = below(store.folder, "notes.parquet")
    move(parts[15], moved)
    assert len(planted) + 1 == 20
    assert set(damaged(root)) == {name_of(address) for address in [*planted, moved, parts[15]]}


@pytest.mark.parametrize("field", range(6))
def test_a_part_with_another_name_is_found(tmp_path: Path, field: int) -> None:
    part = Path(parts_of(filled(tmp_path, parts=1))[0])
    fields = part.name.split("-")
    fields[field] = "3".rjust(len(fields[field].rstrip("r")), "0")
    part.rename(part.with_name("-".join(fields)))
    whys = ["it is missing", "its content or its path does not match the checksum in its name"]
    assert list(damaged(tmp_path).values()) == whys


def test_a_part_of_another_model_or_scenario_is_found(tmp_path: Path) -> None:
    part = Path(parts_of(filled(tmp_path, parts=1))[0])
    for folder in (part.parents[2] / ("0" * 32) / "mmlu", part.parents[1] / "gsm8k"):
        write(part.read_bytes(), folder / part.name)
    whys = [found.why for found in verify(tmp_path) if found.why]
    assert whys == ["its content or its path does not match the checksum in its name"] * 2


def test_a_name_of_an_older_helmframe_is_found(tmp_path: Path) -> None:
    name = "000000000005-000000000005-00000000000000000007-0a0a0a01.parquet"
    write(encode(answers([b"one"], [5])), tmp_path / "completions" / FINGERPRINT[:32] / "mmlu" / name)
    assert damaged(tmp_path) == {name: "its name is not one that helmframe gives"}


def test_a_run_that_stores_a_completion_twice_is_sound(tmp_path: Path) -> None:
    run = with_run(tmp_path)
    stored = RunCompletions(run.path, FINGERPRINT, "mmlu")
    stored.append(answers([b"one"], [5], "first"), NO_PREFIXES)
    stored.read(0, 9)
    ParquetCompletions(cache_of(run.path), FINGERPRINT, "mmlu").append(answers([b"one"], [5], "second"), NO_PREFIXES)
    assert any(file.name.endswith(".replaces") for file in listing(run.path))
    assert damaged(tmp_path) == {}


def changed_run(root: Address) -> tuple[RunFolder, list[Address]]:
    run = with_run(root)
    return run, [file.address for file in listing(run.path) if file.name.endswith(".parquet")]


def test_a_part_that_the_manifest_of_its_run_lists_is_missing(root: Address) -> None:
    _, parts = changed_run(root)
    remove(parts[:1])
    assert damaged(root) == {name_of(parts[0]): "it is missing"}


def test_a_part_that_the_manifest_of_its_run_does_not_list_is_found(root: Address) -> None:
    run, parts = changed_run(root)
    copy = below(run.path, "scores", "mmlu", f"9{name_of(parts[0])[1:]}")
    write(read(parts[0]), copy)
    assert list(damaged(root)) == [name_of(copy)]


def test_a_manifest_that_is_missing_or_changed_is_found(root: Address) -> None:
    run, _ = changed_run(root)
    manifest = below(run.path, "manifest.json")
    write(read(manifest).replace(b'"format": 1', b'"format": 0'), manifest)
    (why,) = damaged(root).values()
    assert "its content does not match its checksum" in why
    remove([manifest])
    assert damaged(root) == {"manifest.json": "it is missing"}


def test_a_newer_format_can_not_be_judged(tmp_path: Path) -> None:
    data = encode(answers([b"one"], [5]), {"format": 2})
    write_part(tmp_path, data, 5, 1)
    (why,) = damaged(tmp_path).values()
    assert "newer helmframe" in why
