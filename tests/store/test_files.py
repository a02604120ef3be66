"""Files by address: whole or not at all, on disk and in a bucket."""

from pathlib import Path

import pytest

from helmframe.errors import StoreError
from helmframe.store import Address
from helmframe.store.files import address_of, below, exists, listing, move, name_of, read, read_all, remove, write


def test_a_file_comes_back_and_is_listed(root: Address) -> None:
    write(b"text", below(root, "a", "b.txt"))
    assert read(below(root, "a", "b.txt")) == b"text"
    assert [(file.name, file.size) for file in listing(root)] == [("a/b.txt", 4)]
    assert exists(root)


def test_a_folder_that_is_not_there_holds_nothing(root: Address) -> None:
    assert listing(root) == []
    assert not exists(root)


def test_a_neighbour_whose_name_starts_alike_is_not_listed(root: Address) -> None:
    write(b"", below(root, "ab", "c"))
    assert listing(below(root, "a")) == []


def test_files_come_in_the_requested_order_with_none_for_missing_ones(root: Address) -> None:
    addresses = [below(root, str(number)) for number in range(70)]
    for address in addresses[1:]:
        write(name_of(address).encode(), address)
    assert list(read_all(addresses)) == [None, *(str(number).encode() for number in range(1, 70))]


def test_a_moved_file_is_at_its_new_place_only(root: Address) -> None:
    write(b"text", below(root, "a"))
    move(below(root, "a"), below(root, "damaged", "a"))
    assert [file.name for file in listing(root)] == ["damaged/a"]


def test_what_is_gone_can_be_moved_and_removed(root: Address) -> None:
    write(b"", below(root, "other"))
    move(below(root, "a"), below(root, "b"))
    remove([below(root, "a"), below(root, "other")])
    assert listing(root) == []


def test_reading_what_is_not_there_is_an_error_that_names_it(root: Address) -> None:
    with pytest.raises(StoreError, match=r"missing.* doesn't exist"):
        read(below(root, "missing"))


def test_a_store_that_can_not_be_written_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="HELMFRAME_STORE"):
        write(b"text", tmp_path / "file" / "part.parquet")


def test_a_full_disk_is_an_error_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        write(b"text", tmp_path / "part.parquet")
    assert list(tmp_path.iterdir()) == []


def test_another_scheme_is_refused_at_once() -> None:
    with pytest.raises(
        StoreError, match=r"Invalid store gs://bucket/store\. HELMFRAME_STORE must be a folder or s3://"
    ):
        listing(address_of("gs://bucket/store/"))
