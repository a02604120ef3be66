"""The folder of a run: tables in parts, and the manifest."""

import io
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from helmframe._schema import SCORES
from helmframe.errors import StoreError
from helmframe.store import Address, RunFolder, address_of, below
from helmframe.store import runs as module
from helmframe.store.files import listing, move, name_of, read, remove, write
from helmframe.store.parts import damage, footer_of
from tests.s3_server import S3Server


def test_columns_that_one_scenario_lacks_are_filled_with_nulls(root: Address) -> None:
    folder = RunFolder(below(root, "runs", "one"))
    folder.add("scores", "a", pl.DataFrame({"scenario": ["a"], "subject": ["x"]}))
    folder.add("scores", "b", pl.DataFrame({"scenario": ["b"]}))
    scanned = folder.scan("scores")
    assert scanned is not None
    assert scanned.collect().rows() == [("a", "x"), ("b", None)]


def test_the_parts_of_a_scenario_keep_their_order(root: Address) -> None:
    folder = RunFolder(below(root, "runs", "one"))
    for number in range(12):
        folder.add("scores", "a", pl.DataFrame({"number": [number]}))
    scanned = folder.scan("scores")
    assert scanned is not None
    assert scanned.collect()["number"].to_list() == list(range(12))


def test_a_table_without_parts_is_none(root: Address) -> None:
    assert RunFolder(below(root, "runs", "one")).scan("scores") is None


def test_a_manifest_comes_back(root: Address) -> None:
    folder = RunFolder.new(root)
    folder.write_manifest({"format": 1, "name": "naïve"})
    assert folder.manifest() == {"format": 1, "name": "naïve"}
    assert [each.id for each in RunFolder.all(root)] == [folder.id]


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_what_is_no_manifest_says_so(root: Address, text: bytes) -> None:
    folder = RunFolder.new(root)
    write(text, below(folder.path, "manifest.json"))
    with pytest.raises(StoreError, match="has no results"):
        folder.manifest()


def test_a_folder_without_results_says_so(root: Address) -> None:
    with pytest.raises(StoreError, match="has no results"):
        RunFolder(root).manifest()


def test_a_run_of_a_newer_helmframe_says_to_upgrade(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_manifest({"format": 2})
    with pytest.raises(StoreError, match="Upgrade"):
        folder.manifest()


@pytest.mark.shared
def test_a_damaged_part_in_a_bucket_is_named(s3: object) -> None:
    folder = RunFolder("s3://evals/stores/broken/runs/one")
    folder.add("scores", "a", pl.DataFrame({"scenario": ["a"]}))
    (part,) = listing(folder.path)
    write(b"PAR1 torn", part.address)
    with pytest.raises(StoreError, match=r"-[0-9a-f]{8}\.parquet has changed since it was written: its content"):
        folder.scan("scores")


@pytest.mark.shared
def test_a_finished_run_in_a_bucket_is_opened_with_two_requests(s3: S3Server) -> None:
    address = "s3://evals/stores/opened/runs/one"
    folder = RunFolder(address)
    folder.add("scores", "a", pl.DataFrame({"score": [1.0]}))
    folder.write_manifest({})
    before = s3.traffic()
    opened = RunFolder(address)
    opened.manifest()
    scans = [opened.scan(table) for table in ("completions", "scores", "images")]
    assert [scan is None for scan in scans] == [True, False, True]
    # the manifest, and a list of all files; this process has the part that it wrote
    assert (s3.traffic() - before).requests == 2


@pytest.mark.shared
def test_a_part_that_another_process_replaced_in_a_bucket_is_fetched_again(s3: object) -> None:
    address = "s3://evals/stores/replaced/runs/one"
    folder = RunFolder(address)
    folder.add("scores", "a", pl.DataFrame({"score": [1.0]}))
    assert [scan.collect().rows() for scan in [folder.scan("scores")] if scan is not None] == [[(1.0,)]]
    (part,) = listing(folder.path)
    write(read(part.address)[:-1], part.address)
    with pytest.raises(StoreError, match="its content or its path does not match the checksum"):
        RunFolder(address).scan("scores")


def test_the_parts_of_a_shard_come_together(root: Address) -> None:
    folder = RunFolder(below(root, "runs", "one"))
    for shard in (0, 1):
        for model in ("m", "n"):
            folder.add("scores", "a", pl.DataFrame({"shard": [shard], "model": [model]}), shard)
        folder.add("completions", "a", pl.DataFrame({"shard": [shard]}), shard)
    shards = folder.shards(("scores", "completions"), whole=["a"])
    assert [shard["scores"].collect().rows() for shard in shards] == [[(0, "m"), (0, "n")], [(1, "m"), (1, "n")]]
    assert [shard["completions"].collect().rows() for shard in shards] == [[(0,)], [(1,)]]


def test_shards_that_may_divide_an_instance_come_as_one(root: Address) -> None:
    folder = RunFolder(below(root, "runs", "one"))
    for shard in (0, 1):
        for scenario in ("a", "b"):
            folder.add("scores", scenario, pl.DataFrame({"row": [f"{scenario}{shard}"]}), shard)
    shards = folder.shards(("scores", "completions"), whole=["b"])
    assert [shard["scores"].collect()["row"].to_list() for shard in shards] == [["a0", "a1"], ["b0"], ["b1"]]
    assert all(set(shard) == {"scores"} for shard in shards)


@pytest.mark.shared
def test_parts_in_a_bucket_are_fetched_when_they_are_read(s3: object) -> None:
    folder = RunFolder("s3://evals/stores/late/runs/one")
    for shard in (0, 1):
        folder.add("scores", "a", pl.DataFrame({"row": [shard]}), shard)
    _, part = listing(folder.path)
    write(b"PAR1 torn", part.address)
    first, second = folder.shards(("scores",), whole=["a"])
    assert first["scores"].select("row").collect()["row"].to_list() == [0]
    assert first["scores"].filter(pl.col("row") > 0).head(1).collect().height == 0
    with pytest.raises(StoreError, match="does not match the checksum"):
        second["scores"].collect()


def test_exported_parts_are_read_as_any_others(root: Address) -> None:
    names = ["org/model", "7", "</script> \u202e", "é" * 100]
    frame = pl.DataFrame({"scenario": "s", "model": names, "x": range(4)})
    folder = RunFolder(below(root, "runs", "one"))
    folder.add_exported(SCORES, frame, {"format": 1, "where": Path("x")})
    scanned = folder.scan("scores")
    assert scanned is not None
    assert sorted(scanned.collect().rows()) == sorted(frame.rows())
    assert folder.shards(["scores"], ["s"])[0]["scores"].collect().height == 4
    files = listing(below(root, "runs", "one", "scores"))
    assert {"/" in file.name for file in files} == {False}
    data = read(next(file.address for file in files if file.name.startswith("s@7@")))
    assert footer_of(data)["manifest"] == {"format": 1, "where": "x"}
    assert pq.read_schema(io.BytesIO(data)).field("model").metadata[b"meaning"] == b"name of the model"


def finished(root: Address) -> tuple[RunFolder, list[Address]]:
    """Return a run of two scenarios that has ended, and the addresses of its parts."""
    folder = RunFolder.new(root)
    for scenario in ("a", "b"):
        for shard in (0, 1):
            folder.add("scores", scenario, pl.DataFrame({"row": [f"{scenario}{shard}"]}), shard)
    folder.write_manifest({"format": 1})
    return folder, [file.address for file in listing(folder.path) if file.name.endswith(".parquet")]


def rows_of(folder: RunFolder) -> list[str]:
    """Return the rows as a reader who opens the folder now gets them."""
    scanned = RunFolder(folder.path).scan("scores")
    assert scanned is not None
    rows: list[str] = scanned.collect()["row"].to_list()
    return rows


def test_a_manifest_lists_the_parts_with_their_rows(root: Address) -> None:
    folder, parts = finished(root)
    listed = RunFolder(folder.path).parts_list()
    assert listed.complete
    assert [below(folder.path, *name.split("/")) for name in listed.rows] == parts
    assert set(listed.rows.values()) == {1}
    assert rows_of(folder) == ["a0", "a1", "b0", "b1"]


def flip_a_bit(parts: list[Address]) -> None:
    data = bytearray(read(parts[1]))
    data[40] ^= 4
    write(bytes(data), parts[1])


def copy_a_part(parts: list[Address]) -> None:
    write(read(parts[0]), renamed(parts[0]))


def rename_a_part(parts: list[Address]) -> None:
    move(parts[0], renamed(parts[0]))


def renamed(part: Address) -> Address:
    name = name_of(part)
    return address_of(str(part).removesuffix(name) + f"000007{name[6:]}")


def swap_parts_of_two_scenarios(parts: list[Address]) -> None:
    for one, two in ((parts[0], parts[2]), (parts[2], parts[0])):
        write(read(one), address_of(str(two).removesuffix(name_of(two)) + name_of(one)))
        remove([one])


def swap_the_bytes_of_two_parts(parts: list[Address]) -> None:
    one, two = read(parts[0]), read(parts[1])
    write(two, parts[0])
    write(one, parts[1])


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (flip_a_bit, "does not match the checksum"),
        (lambda parts: write(read(parts[1])[:-1], parts[1]), "does not match the checksum"),
        (lambda parts: write(b"", parts[1]), "it is empty"),
        (lambda parts: remove(parts[1:2]), "it is missing"),
        (lambda parts: remove(parts), "it is missing"),
        (copy_a_part, "manifest of its run does not list it"),
        (rename_a_part, "it is missing"),
        (swap_parts_of_two_scenarios, "it is missing"),
        (swap_the_bytes_of_two_parts, "does not match the checksum"),
    ],
)
def test_a_run_that_was_changed_is_an_error_that_names_the_file_and_what_to_do(
    root: Address, damage: Callable[[list[Address]], None], why: str
) -> None:
    folder, parts = finished(root)
    damage(parts)
    changed = rf"scores/[ab]/\d.*\.parquet has changed since it was written: .*{why}"
    with pytest.raises(StoreError, match=changed) as caught:
        rows_of(folder)
    assert "Run the plan again" in str(caught.value)


def test_a_part_that_was_changed_after_it_was_read_is_read_again(tmp_path: Path) -> None:
    folder, parts = finished(tmp_path)
    assert rows_of(folder) == ["a0", "a1", "b0", "b1"]
    flip_a_bit(parts)
    with pytest.raises(StoreError, match="checksum"):
        rows_of(folder)


def test_a_part_is_read_for_its_checksum_once_and_never_by_the_process_that_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, parts = finished(tmp_path)
    calls: list[str] = []

    def counted(data: bytes, path: str) -> str | None:
        calls.append(path)
        return damage(data, path)

    monkeypatch.setattr(module, "damage", counted)
    rows_of(folder)
    assert calls == []
    monkeypatch.setattr(module, "_verified", module._Verified())  # as in another process
    rows_of(folder)
    rows_of(folder)
    assert len(calls) == len(parts)


@pytest.mark.parametrize("bit", [0, 3, 5])
def test_a_bit_flipped_anywhere_in_a_manifest_is_an_error(tmp_path: Path, bit: int) -> None:
    folder, _ = finished(tmp_path)
    manifest = Path(folder.path, "manifest.json")
    data = manifest.read_bytes()
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= 1 << bit
        manifest.write_bytes(changed)
        with pytest.raises(StoreError):
            RunFolder(folder.path).manifest()


def test_a_manifest_of_another_run_is_an_error(root: Address) -> None:
    (folder, _), (other, _) = finished(root), finished(root)
    write(read(below(other.path, "manifest.json")), below(folder.path, "manifest.json"))
    with pytest.raises(StoreError, match="it is missing"):
        rows_of(folder)


def test_a_manifest_without_a_checksum_is_an_error(root: Address) -> None:
    folder = RunFolder.new(root)
    write(b'{"format": 1, "status": "done"}', below(folder.path, "manifest.json"))
    with pytest.raises(StoreError, match="checksum"):
        folder.manifest()


def test_a_run_that_was_killed_has_the_parts_that_are_sound(root: Address) -> None:
    """The manifest of a run that has not ended lists the parts of its last heartbeat."""
    folder = RunFolder.new(root)
    folder.add("scores", "a", pl.DataFrame({"row": ["first"]}))
    folder.write_manifest({"format": 1, "status": "running"}, complete=False)
    folder.add("scores", "a", pl.DataFrame({"row": ["second"]}))
    assert rows_of(folder) == ["first", "second"]
    first, second = (file.address for file in listing(below(folder.path, "scores")))
    copy = renamed(second)
    write(read(second), copy)
    with pytest.raises(StoreError, match="its path does not match the checksum"):
        rows_of(folder)
    remove([copy, second])
    assert rows_of(folder) == ["first"]
    remove([first])
    with pytest.raises(StoreError, match="it is missing"):
        RunFolder(folder.path).scan("scores")


def test_parts_of_another_process_are_listed_once_they_are_included(root: Address) -> None:
    folder = RunFolder.new(root)
    for writer in ("0" * 8, "1" * 8):
        other = RunFolder(folder.path, writer)
        other.add("scores", "a", pl.DataFrame({"row": [writer]}))
        other.add("logs", "run", pl.DataFrame({"message": [writer, writer]}))
        if writer == "1" * 8:
            folder.include(other.parts)
    folder.keep_only(["scores"], ["1" * 8])
    folder.include_table("logs")
    folder.write_manifest({"format": 1})
    assert rows_of(folder) == ["1" * 8]
    assert sorted(RunFolder(folder.path).parts_list().rows.values()) == [1, 2, 2]
    logs = RunFolder(folder.path).scan("logs")
    assert logs is not None
    assert logs.collect().height == 4


def test_a_shard_that_was_removed_is_not_listed(root: Address) -> None:
    folder, _ = finished(root)
    folder.remove_shard(1)
    folder.write_manifest({"format": 1})
    assert rows_of(folder) == ["a0", "b0"]
