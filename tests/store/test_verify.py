"""Verify finds what is damaged, and nothing else."""

import random
from pathlib import Path

import polars as pl
import pytest

from helmframe.store import Address, RunFolder, below
from helmframe.store.files import listing, move, name_of, read, remove, write
from helmframe.store.parts import encode
from helmframe.store.verify import verify
from tests.store.rows import FINGERPRINT, answers, filled, parts_of, write_part


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
