"""Perturbations of images: what changes, keyed random numbers, and texts that stay."""

import io
import json
from typing import Any

import numpy as np
import polars as pl
import pytest

import helmframe as hf
from helmframe._core.images import decoded
from helmframe.errors import ArgumentError, ImageError
from helmframe.perturbations.fields import perturbed_image
from tests.pictures import noise, png

NAMES = ["image_blur", "image_jpeg", "image_noise", "image_rotation"]


def rows(plan: hf.Plan) -> pl.DataFrame:
    variants: pl.DataFrame = plan.variants().collect()
    return variants


def frame(n: int = 3) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "input": [f"What does <image 1> show, number {number}?" for number in range(n)],
            "references": ["a"] * n,
            "picture": [noise(number, 24) for number in range(n)],
        }
    )


def change(name: str, **arguments: Any) -> str:
    return json.dumps([{"perturbation": name, **arguments}])


def pixels(data: bytes) -> Any:
    return np.array(decoded(data)).astype(int)


def test_the_four_perturbations_are_listed() -> None:
    listed = hf.list_perturbations().filter(pl.col("name").str.starts_with("image_"))
    assert listed["name"].to_list() == NAMES
    assert listed["random"].to_list() == [False, False, True, True]


@pytest.mark.parametrize("name", NAMES)
def test_each_changes_the_image_and_no_text(name: str) -> None:
    found = rows(hf.scenario(frame(), images="picture").perturb(name)).filter(perturbation=name)
    assert found["changed"].all()
    assert (found["perturbed_input"] == found["input"]).all()
    for changes, number in zip(found["content_change"], range(3), strict=True):
        data = noise(number, 24)
        changed = perturbed_image(data, changes, 0)
        assert changed.startswith(b"\x89PNG")
        assert changed == perturbed_image(data, changes, 0)
        same_size = pixels(changed).shape == pixels(data).shape
        assert not same_size or (pixels(changed) != pixels(data)).any()


def test_parameters_are_recorded() -> None:
    found = rows(hf.scenario(frame(1), images="picture").perturb("image_blur(radius=3.5)+image_jpeg"))
    (changed,) = found.filter(pl.col("changed")).to_dicts()
    assert json.loads(changed["content_change"]) == [
        {"perturbation": "image_blur", "radius": 3.5},
        {"perturbation": "image_jpeg", "quality": 10},
    ]


def test_random_numbers_are_keyed_by_instance_seed_and_position() -> None:
    plan = hf.scenario(frame(3), images="picture").perturb("image_noise", seeds=2)
    found = rows(plan).filter(pl.col("changed"))
    keys = [json.loads(text)[0]["key"] for text in found["content_change"]]
    assert len(set(keys)) == 6
    again = rows(hf.scenario(frame(3).reverse().with_columns(id=pl.lit("x")), images="picture").perturb("image_noise"))
    assert again.height == 6
    one = rows(hf.scenario(frame(3), images="picture").limit(1).perturb("image_noise", seeds=2))
    assert [json.loads(text)[0]["key"] for text in one["content_change"].drop_nulls()] == keys[:2]
    data = noise(1, 24)
    first, second = (perturbed_image(data, change("image_noise", key="7"), position) for position in (0, 1))
    assert first != second


def test_noise_has_its_standard_deviation() -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (300, 300), (128, 128, 128)).save(buffer, format="PNG")
    changed = pixels(perturbed_image(buffer.getvalue(), change("image_noise", key="7", std=0.1), 0)) - 128
    assert abs(changed.mean()) < 0.3
    assert abs(changed.std() - 25.5) < 0.3


def test_rotation_shows_the_whole_image() -> None:
    from PIL import Image

    changed = perturbed_image(png(1, (100, 50)), change("image_rotation", key="3", degrees=180), 0)
    width, height = Image.open(io.BytesIO(changed)).size
    assert width * height > 100 * 50


@pytest.mark.parametrize(
    "text",
    [
        "image_blur(radius=0)",
        "image_noise(std=2)",
        "image_rotation(degrees=-1)",
        "image_jpeg(quality=0)",
        "image_jpeg(quality=9.5)",
    ],
)
def test_strengths_are_checked_when_the_plan_is_built(text: str) -> None:
    with pytest.raises(ArgumentError, match="must be"):
        hf.scenario(frame(1), images="picture").perturb(text)


def test_text_perturbations_leave_placeholders_and_images() -> None:
    plan = hf.scenario(frame(), images="picture").perturb(["typos(prob=1.0)", "lowercase", "extra_space(num_spaces=3)"])
    found = rows(plan)
    changed = found.filter(pl.col("perturbation") == "typos(prob=1.0)")
    assert changed["changed"].all()
    assert found["perturbed_input"].str.count_matches("<image 1>", literal=True).to_list() == [1] * found.height
    assert found["content_change"].null_count() == found.height
    assert found.group_by("instance_id").agg(pl.col("content").n_unique())["content"].to_list() == [1, 1, 1]


def test_a_text_without_an_image_keeps_what_looks_like_a_placeholder_perturbable() -> None:
    plain = pl.DataFrame({"input": ["<IMAGE 1> <image 1>"], "references": ["a"]})
    (original, changed) = rows(hf.scenario(plain).perturb("typos(prob=1.0)"))["perturbed_input"]
    assert original == "<IMAGE 1> <image 1>"
    assert "<image 1>" not in changed


def test_rows_without_an_image_are_unchanged() -> None:
    some = pl.DataFrame({"input": ["?", "?"], "references": ["a", "a"], "picture": [png(1), None]})
    found = rows(hf.scenario(some, images="picture").perturb("image_blur")).filter(perturbation="image_blur")
    assert found["changed"].to_list() == [True, False]
    assert found["content_change"].is_null().to_list() == [False, True]


def test_an_own_perturbation_of_images() -> None:
    @hf.perturbation("image_mirrored", takes="image")
    def image_mirrored(image: Any) -> Any:
        from PIL import ImageOps

        return ImageOps.mirror(image)

    found = rows(hf.scenario(frame(1), images="picture").perturb("image_mirrored"))
    changed = perturbed_image(noise(0, 24), found["content_change"][1], 0)
    assert (pixels(changed) == pixels(noise(0, 24))[:, ::-1]).all()


def test_an_own_perturbation_that_fails() -> None:
    @hf.perturbation("image_nothing", takes="image")
    def image_nothing(image: Any) -> Any:
        return None

    with pytest.raises(ArgumentError, match="must return an image"):
        hf.scenario(frame(1), images="picture").perturb("image_nothing")

    @hf.perturbation("image_large_only", takes="image")
    def image_large_only(image: Any) -> Any:
        if image.width > 10:
            raise KeyError("lost")
        return image

    with pytest.raises(ImageError, match="'image_large_only' raised KeyError"):
        perturbed_image(noise(0, 24), change("image_large_only"), 0)
