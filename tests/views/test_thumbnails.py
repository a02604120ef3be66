"""Thumbnails in reports and the viewer: small PNGs that were encoded anew, and hashes elsewhere."""

import base64
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._schema import IMAGES
from helmframe.results import Results
from helmframe.views.html import LARGEST_IMAGE, thumbnails
from helmframe.views.viewer_rows import Filters, RunRows
from tests.models.openai_server import serving
from tests.pictures import encoded, noise, png, reply

SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"


@pytest.fixture
def results() -> Results:
    pictures = [png(1, (400, 300)), encoded(2, (50, 40), "JPEG"), SVG]
    frame = pl.DataFrame({"input": ["Is <b>it</b> a cat?"] * 3, "references": ["yes"] * 3, "picture": pictures})
    with serving() as server:
        server.reply = lambda asked: reply("no")
        plan = hf.scenario(frame, images="picture").perturb("image_blur")
        return plan.generate(hf.models.http(server.url, "m")).score()


def embedded(text: str) -> list[bytes]:
    return [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_report_shows_small_pictures(results: Results, tmp_path: Path) -> None:
    from PIL import Image

    text = Path(str(results.report(tmp_path / "report.html"))).read_text()
    shown = embedded(text)
    assert len(shown) == 2
    for data in shown:
        picture = Image.open(io.BytesIO(data))
        assert picture.format == "PNG"
        assert max(picture.size) <= 96
    assert base64.b64encode(encoded(2, (50, 40), "JPEG")).decode() not in text
    assert "onload" not in text
    assert 'alt="image' in text


def test_the_viewer_shows_them(results: Results) -> None:
    rows = RunRows(results)
    names = ("scenario", "instance_id", "perturbation", "perturbation_seed", "model")
    keys = [{name: row[name] for name in names} for row in rows.page(Filters(), 0)["rows"]]
    found = [rows.instance("", key)["images"] for key in keys]
    assert len(found) == 6
    assert sum(bool(image["src"]) for images in found for image in images) == 4  # two images, original and blurred
    assert {image["label"] for images in found for image in images} == {
        f"image {digest(png(1, (400, 300)))[:12]}, 400 × 300, PNG",
        f"image {digest(encoded(2, (50, 40), 'JPEG'))[:12]}, 50 × 40, JPEG",
        f"image {digest(SVG)[:12]}",
    }


def test_rows_have_hashes(results: Results) -> None:
    rows = results.rows(perturbation="original")
    expected = [[digest(png(1, (400, 300)))], [digest(encoded(2, (50, 40), "JPEG"))], [digest(SVG)]]
    assert rows["images"].to_list() == expected
    assert "images" not in hf.scenario("sampler").limit(1).generate(hf.models.oracle()).score().rows().columns


def test_an_export_has_hashes_and_no_pictures(results: Results, tmp_path: Path) -> None:
    loaded = hf.load(results.to_parquet(tmp_path / "out"))
    assert loaded.images.collect().is_empty()
    assert loaded.rows()["images"].to_list() == results.rows()["images"].to_list()
    text = Path(str(loaded.report(tmp_path / "report.html"))).read_text()
    assert embedded(text) == []
    assert f"image {digest(png(1, (400, 300)))[:12]}" in text


def test_stored_bytes_that_are_no_small_png_are_not_shown() -> None:
    def table(data: Any) -> pl.LazyFrame:
        row = {"scenario": "s", "sha256": "ab", "bytes": 1, "width": 1, "height": 1, "format": "<b>", "thumbnail": data}
        return pl.LazyFrame([row], schema=IMAGES.schema)

    large = b"\x89PNG\r\n\x1a\n" + b"x" * LARGEST_IMAGE
    assert [thumbnails(table(data), ["ab"])[0].src for data in (SVG, large, None)] == [None] * 3
    assert thumbnails(table(png(1)), ["ab"] * 20)[0].src is not None
    assert len(thumbnails(table(png(1)), ["ab"] * 20)) == 8


def test_results_of_many_images_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.DataFrame(
        {"input": ["?"] * 30, "references": ["a"] * 30, "picture": [noise(number, 200) for number in range(30)]}
    )
    with serving() as server:
        server.reply = lambda asked: reply("a")
        results = hf.scenario(frame, images="picture").generate(hf.models.http(server.url, "m")).score()
    stored = sum(file.stat().st_size for file in Path(str(results.path)).rglob("*") if file.is_file())
    assert stored < sum(map(len, frame["picture"])) / 3
