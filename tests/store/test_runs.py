"""The folder of a run: tables in parts, and the manifest."""

from pathlib import Path

import polars as pl
import pytest

from helmframe.errors import StoreError
from helmframe.store import Address, RunFolder, below
from helmframe.store.files import listing, read, write
from helmframe.store.parts import footer_of


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
    with pytest.raises(StoreError, match="holds no results"):
        folder.manifest()


def test_a_folder_without_results_says_so(root: Address) -> None:
    with pytest.raises(StoreError, match="holds no results"):
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
    with pytest.raises(StoreError, match=r"-[0-9a-f]{8}\.parquet is not as it was written: its content"):
        folder.scan("scores")


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


def test_partitioned_parts_are_read_as_any_others(root: Address) -> None:
    names = ["org/model", "7", "</script> \u202e", "é" * 100]
    frame = pl.DataFrame({"scenario": "s", "model": names, "x": range(4)})
    folder = RunFolder(below(root, "runs", "one"))
    folder.add_partitioned("scores", frame, {"format": 1, "where": Path("x")})
    scanned = folder.scan("scores")
    assert scanned is not None
    assert sorted(scanned.collect().rows()) == sorted(frame.rows())
    assert folder.shards(["scores"], ["s"])[0]["scores"].collect().height == 4
    found = sorted(file.name.split("/")[:2] for file in listing(below(root, "runs", "one", "scores")))
    assert found[2:] == [["scenario=s", "model=7"], ["scenario=s", "model=org%2Fmodel"]]
    (first, *_) = listing(below(root, "runs", "one", "scores"))
    assert footer_of(read(first.address))["manifest"] == {"format": 1, "where": "x"}
