"""Images of a scenario: references in the tables, and bytes from Parquet files, paths and frames."""

import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._core.images import ImageRef
from helmframe.errors import ArgumentError, CapabilityError, SourceBrokenError, SourceMissingError, SpecError
from helmframe.scenarios import images
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.images import ImageReader
from helmframe.scenarios.load import load
from tests.pictures import HUB_IMAGE, encoded, noise, png, write_mmmu, write_pope
from tests.s3_server import BUCKET, S3Server

PATHS = """\
scenario: paths
version: 1
source: {rows: "{data}/paths/{split}.parquet"}
columns: {q: VARCHAR, picture: VARCHAR}
splits: {test: test}
images: [picture]
instances: |
  SELECT row_index, split, q AS input, picture, [{'text': 'a', 'correct': true}] AS "references" FROM rows
metrics: [exact_match]
main: {metric: exact_match}
"""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def references(rows: pl.DataFrame) -> list[list[ImageRef]]:
    parts = [content or [] for content in rows["content"].to_list()]
    found = [[ImageRef.parse(part["media"]["name"]) for part in content] for content in parts]
    assert all(ref is not None for refs in found for ref in refs)
    return found  # type: ignore[return-value]


def pope(root: Path, **said: Any) -> pl.DataFrame:
    return pl.concat(load(find_scenario("pope"), data=str(root), **said))


def write_paths(root: Path, paths: list[str]) -> Any:
    (root / "paths").mkdir(exist_ok=True)
    (root / "paths.yaml").write_text(PATHS)
    frame = pl.DataFrame({"q": [f"What is this ({path})?" for path in paths], "picture": paths})
    frame.write_parquet(root / "paths" / "test.parquet")
    return hf.scenario(str(root / "paths.yaml"), data=root)


def test_tables_have_hashes_in_place_of_images(tmp_path: Path) -> None:
    pictures = [png(number) for number in range(30)]
    write_pope(tmp_path, pictures, row_group_size=7)
    rows = pope(tmp_path)
    assert [[ref.digest for ref in refs] for refs in references(rows)] == [[digest(data)] for data in pictures]
    assert rows["content"].explode().struct.field("media").struct.field("data").null_count() == 30
    assert "data_image" not in rows.columns
    assert rows.estimated_size() < 30 * 2_000


def test_a_reader_returns_the_bytes_of_a_reference(tmp_path: Path) -> None:
    pictures = [png(number) for number in range(30)]
    write_pope(tmp_path, pictures, row_group_size=7)
    reader = ImageReader(find_scenario("pope"), str(tmp_path))
    found = references(pope(tmp_path, images=reader))
    assert [reader.read(refs[0]) for refs in reversed(found)] == pictures[::-1]
    reader.close()


def test_a_reader_caches_few_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "CACHED_BYTES", 100_000)
    pictures = [noise(number, 64) for number in range(40)]
    write_pope(tmp_path, pictures, row_group_size=40)
    reader = ImageReader(find_scenario("pope"), str(tmp_path))
    found = references(pope(tmp_path, images=reader))
    cached = []
    for refs, data in zip(found, pictures, strict=True):
        assert reader.read(refs[0]) == data
        cached.append(reader._cached_bytes)
    assert 0 < max(cached) <= 100_000 < sum(map(len, pictures))


def test_a_sample_reads_the_images_of_its_rows_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pope(tmp_path, [png(number) for number in range(60)], row_group_size=10)
    read: list[str] = []

    def counted(data: bytes) -> str:
        read.append(digest(data))
        return read[-1]

    monkeypatch.setattr(images, "digest_of", counted)
    rows = hf.scenario("pope", data=tmp_path).sample(5).instances().collect()
    assert rows.height == len(read) == 5


def test_a_count_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pope(tmp_path, [b"no image at all"] * 3)
    assert "3" in str(hf.scenario("pope", data=tmp_path).explain())


def test_a_bucket(s3: S3Server, tmp_path: Path) -> None:
    pictures = [png(number) for number in range(20)]
    write_pope(tmp_path, pictures, row_group_size=6)
    s3.filesystem().put(f"{tmp_path}/pope/", f"{BUCKET}/images/pope/", recursive=True)
    reader = ImageReader(find_scenario("pope"), f"s3://{BUCKET}/images")
    rows = pl.concat(load(find_scenario("pope"), data=f"s3://{BUCKET}/images", images=reader))
    assert [reader.read(refs[0]) for refs in references(rows)] == pictures
    reader.close()


def test_paths_in_a_bucket(s3: S3Server, tmp_path: Path) -> None:
    names = [f"pictures/{number}.png" for number in range(40)]
    write_paths(tmp_path, names)
    for number, name in enumerate(names):
        s3.filesystem().pipe_file(f"{BUCKET}/linked/{name}", png(number))
    s3.filesystem().put(str(tmp_path / "paths" / "test.parquet"), f"{BUCKET}/linked/paths/test.parquet")
    spec = find_scenario(str(tmp_path / "paths.yaml"))
    reader = ImageReader(spec, f"s3://{BUCKET}/linked")
    rows = pl.concat(load(spec, data=f"s3://{BUCKET}/linked", images=reader))
    assert [reader.read(refs[0]) for refs in references(rows)] == [png(number) for number in range(40)]


def test_paths_below_the_data_root(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png(1))
    rows = write_paths(tmp_path, ["pictures/a.png"]).instances().collect()
    assert references(rows)[0][0].digest == digest(png(1))


@pytest.mark.parametrize(
    "path", ["../secret.png", "a/../../secret.png", "/etc/hostname", "./a.png", "file:///etc/hostname", "a\\b.png", ""]
)
def test_paths_outside_the_data_root_are_refused(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(png(1))
    with pytest.raises(SourceBrokenError, match="is refused"):
        write_paths(root, [path]).instances().collect()


def test_a_link_to_a_file_outside_the_data_root_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(png(1))
    (root / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(SourceBrokenError, match="outside the data root"):
        write_paths(root, ["a.png"]).instances().collect()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match=r"pictures/a\.png not found"):
        write_paths(tmp_path, ["pictures/a.png"]).instances().collect()


def test_references_that_data_makes_up_read_no_other_file(tmp_path: Path) -> None:
    write_pope(tmp_path, [png(1)])
    other = tmp_path / "other"
    write_pope(other, [png(2)])
    reader = ImageReader(find_scenario("pope"), str(tmp_path))
    pl.concat(load(find_scenario("pope"), data=str(tmp_path), images=reader))
    file = str(other / "pope" / "test-00000-of-00001.parquet")
    ref = ImageRef(digest(png(2)), {"file": file, "row": 0, "column": "image", "item": 0})
    with pytest.raises(SourceBrokenError, match="has no file"):
        reader.read(ref)
    with pytest.raises(SourceBrokenError, match="is refused"):
        reader.read(ImageRef(digest(png(2)), {"path": "../x.png"}))


def test_an_image_that_changes_during_a_run_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    spec = find_scenario(str(write_paths(tmp_path, ["a.png"]) and tmp_path / "paths.yaml"))
    reader = ImageReader(spec, str(tmp_path))
    (ref,) = references(pl.concat(load(spec, data=str(tmp_path), images=reader)))[0]
    (tmp_path / "a.png").write_bytes(png(2))
    reader.close()
    with pytest.raises(SourceBrokenError, match="changed during the run"):
        reader.read(ref)


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        ([png(1), png(2)], pl.Binary),
        ([{"bytes": png(1), "path": None}, {"bytes": png(2), "path": "x"}], HUB_IMAGE),
        ([[png(1)], [png(2), png(3)]], pl.List(pl.Binary)),
        ([[{"bytes": png(1), "path": ""}], [{"bytes": png(2), "path": ""}]], pl.List(HUB_IMAGE)),
        (["one.png", "two.png"], pl.String),
    ],
)
def test_columns_of_a_frame(tmp_path: Path, column: list[Any], dtype: Any) -> None:
    for name, number in (("one", 1), ("two", 2)):
        (tmp_path / f"{name}.png").write_bytes(png(number))
    frame = pl.DataFrame({"input": ["?", "??"], "references": ["a", "b"], "picture": pl.Series(column, dtype=dtype)})
    plan = hf.scenario(frame, images="picture", data=tmp_path)
    found = references(plan.instances().collect())
    assert [refs[0].digest for refs in found] == [digest(png(1)), digest(png(2))]


def test_a_frame_without_images_in_some_rows() -> None:
    frame = pl.DataFrame({"input": ["?", "??"], "references": ["a", "b"], "picture": [png(1), None]})
    assert [len(refs) for refs in references(hf.scenario(frame, images="picture").instances().collect())] == [1, 0]


def test_a_frame_with_other_images_is_another_version() -> None:
    frames = [pl.DataFrame({"input": ["?"], "references": ["a"], "picture": [png(number)]}) for number in (1, 2, 1)]
    versions = [hf.scenario(frame, images="picture").instances().collect()["scenario_version"][0] for frame in frames]
    assert versions[0] == versions[2] != versions[1]


def test_a_column_of_a_frame_that_has_no_images() -> None:
    frame = pl.DataFrame({"input": ["?"], "references": ["a"], "picture": [1]})
    with pytest.raises(ArgumentError, match="must have bytes, paths"):
        hf.scenario(frame, images="picture")
    with pytest.raises(ArgumentError, match="Did you mean 'picture'"):
        hf.scenario(frame, images="pictures")


def test_a_frame_with_paths_needs_a_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HELMFRAME_DATA", raising=False)
    frame = pl.DataFrame({"input": ["?"], "references": ["a"], "picture": ["a.png"]})
    with pytest.raises(SourceMissingError, match="no data root is set"):
        hf.scenario(frame, images="picture").instances().collect()


def test_a_select_must_have_the_image_column(tmp_path: Path) -> None:
    plan = write_paths(tmp_path, ["a.png"])
    assert plan is not None
    (tmp_path / "paths.yaml").write_text(PATHS.replace("q AS input, picture,", "q AS input,"))
    with pytest.raises(SpecError, match="must have the image column 'picture'"):
        hf.scenario(str(tmp_path / "paths.yaml"), data=tmp_path).instances().collect()


def test_mmmu_numbers_images_by_their_column(tmp_path: Path) -> None:
    question = {
        "question": "<image 2> shows which map?",
        "options": ["it's", "<image 3>", 'a "b"', "c\\nu\n"],
        "answer": "B",
        "image_2": png(2),
        "image_3": png(3),
    }
    write_mmmu(tmp_path, {"Geography": [question, {**question, "question_type": "open", "answer": "5"}]})
    rows = hf.scenario("mmmu", data=tmp_path).where(subject="Geography").instances().collect()
    assert rows["instance_id"].to_list() == ["Geography/id0"]
    assert [(ref.at, ref.digest) for ref in references(rows)[0]] == [
        ("<image 2>", digest(png(2))),
        ("<image 3>", digest(png(3))),
    ]
    options = rows["references"][0].to_list()
    assert [option["text"] for option in options] == ["it's", "<image 3>", 'a "b"', "c\\nu\n"]
    assert [option["correct"] for option in options] == [False, True, False, False]


def test_thumbnails_are_small_and_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_THUMBNAILS", 3)
    pictures = [encoded(1, (900, 600), "JPEG"), b"<svg xmlns='http://www.w3.org/2000/svg'/>", png(2), png(3), png(4)]
    write_pope(tmp_path, pictures)
    reader = ImageReader(find_scenario("pope"), str(tmp_path))
    pl.concat(load(find_scenario("pope"), data=str(tmp_path), images=reader))
    found = reader.take_thumbnails()
    assert found.select("width", "height", "format").rows() == [(900, 600, "JPEG"), (None, None, None), (40, 30, "PNG")]
    assert found["thumbnail"][0].startswith(b"\x89PNG")
    assert len(found["thumbnail"][0]) < 20_000
    assert found["thumbnail"][1] is None
    assert reader.take_thumbnails().is_empty()


def test_without_pillow_the_line_to_write_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pope(tmp_path, [png(1)])
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(CapabilityError, match=r"pip install 'helmframe\[images\]'"):
        hf.scenario("pope", data=tmp_path).instances().collect()


def test_names_of_other_media_are_no_references() -> None:
    assert ImageRef.parse("cat.png") is None
    assert ImageRef.parse('{"at": "", "sha256": 1}') is None
    assert ImageRef.parse('{"at": broken') is None
    ref = ImageRef("ab", {"path": "x"}, "<image 1>")
    assert ImageRef.parse(ref.json()) == ref
    assert json.loads(ref.identity) == {"sha256": "ab", "at": "<image 1>"}
