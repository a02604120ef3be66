"""Colours that everybody can tell apart, in light and dark."""

import html
import re
from itertools import combinations
from typing import Any

import altair as alt
import numpy as np
import polars as pl
import pytest
import vl_convert
from numpy.typing import NDArray

import helmframe as hf
from helmframe.errors import ArgumentError
from helmframe.views.charts.theme import LOOKS, SHAPES, colour_of, shape_of
from tests.views.charts.drawn import encoding, scores, words

Floats = NDArray[np.float64]

# Machado, Oliveira & Fernandes 2009, severity 1: linear RGB as somebody sees it who is colour-blind.
VISIONS: dict[str, Floats] = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def linear(colour: str) -> Floats:
    parts = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb: Floats) -> Floats:
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def colours(models: list[str], shown: list[str]) -> dict[str, str]:
    colour: Any = colour_of(models, shown, "light")
    scale = colour.to_dict()["scale"]
    return dict(zip(scale["domain"], scale["range"], strict=True))


def contrast(one: str, two: str) -> float:
    """WCAG 2.1's contrast ratio."""
    dark, light = sorted(float(linear(each) @ TO_XYZ[1]) for each in (one, two))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", LOOKS)
def test_every_colour_stands_out_from_its_page(mode: str) -> None:
    look = LOOKS[mode]
    assert {each: round(contrast(each, look.page), 1) for each in look.models if contrast(each, look.page) < 3} == {}
    assert min(contrast(look.words, look.page), contrast(look.quiet, look.page)) >= 4.5


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("mode", LOOKS)
def test_colours_stay_apart_to_the_colour_blind(mode: str, vision: str) -> None:
    seen = {each: lab(VISIONS[vision] @ linear(each)) for each in LOOKS[mode].models}
    nearest = min(float(np.linalg.norm(seen[one] - seen[two])) for one, two in combinations(seen, 2))
    assert nearest >= 14  # CIE76; 2.3 is just noticeable


def test_a_model_keeps_its_colour_whoever_else_is_shown() -> None:
    models = ["a", "b", "c"]
    assert colours(models, models)["c"] == colours(models, ["c"])["c"]


def test_sixty_four_models_differ_in_colour_or_shape() -> None:
    models = [f"m{place:02}" for place in range(64)]
    shape: Any = shape_of(models, models)
    shapes = shape.to_dict()["scale"]["range"]
    assert len(set(zip(colours(models, models).values(), shapes, strict=True))) == 64
    assert len(set(shapes[: len(SHAPES)])) == len(SHAPES)


def test_dark_is_a_configuration_of_the_chart_alone() -> None:
    before = (alt.theme.active, alt.renderers.active)
    light, dark = (hf.charts.scores(scores({"a": 0.5}), mode=mode).to_dict()["config"] for mode in LOOKS)
    assert light["background"] != dark["background"]
    assert (alt.theme.active, alt.renderers.active) == before


def test_another_mode_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="Did you mean 'dark'"):
        hf.charts.scores(scores({"a": 0.5}), mode="drak")


def test_a_chart_of_nothing_says_why() -> None:
    chart = hf.charts.robustness(scores({"a": 0.5}))
    assert "no perturbations: add .perturb" in str(chart.to_dict())
    assert words(chart) == "robustness"


def test_the_legend_is_left_out_where_rows_are_models() -> None:
    two = {"a": 0.5, "b": 0.2}
    assert encoding(hf.charts.scores(scores(two)), "point", "color")["legend"] is None
    parts = pl.concat([scores(two, scenario=name) for name in ("s", "t")])
    assert encoding(hf.charts.scores(parts), "point", "color")["legend"] is not None


def test_long_names_of_models_are_wrapped_and_never_cut() -> None:
    name = "organisation/" + "a-long-checkpoint-name-" * 2 + "8b"
    frame = scores({name: 0.5, "short": 0.2}, setting=pl.lit("x"))
    both = pl.concat([frame, frame.with_columns(setting=pl.lit("y"))])
    chart = hf.charts.scores(both).to_dict()
    assert chart["config"]["legend"]["labelLimit"] == chart["config"]["axis"]["labelLimit"] == 0
    image = vl_convert.vegalite_to_svg(chart)
    lines = [html.unescape(line) for line in re.findall(r">([^<>]+)</t", image)]
    assert name in "".join(lines)
