"""docs/benchmarks.md is the page that its Parquet file yields."""

import re

import polars as pl

from tests.demo import ROOT
from tools.compare.__main__ import MEASUREMENTS
from tools.compare.measuring import SCHEMA, STORIES, code_lines
from tools.compare.page import build_page

DOCS = ROOT / "docs"
PAGE = (DOCS / "benchmarks.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_measurements_yield() -> None:
    assert build_page(pl.read_parquet(MEASUREMENTS)) == PAGE


def test_the_measurements_are_small_and_have_machine_and_versions() -> None:
    table = pl.read_parquet(MEASUREMENTS)
    assert table.schema == pl.Schema(SCHEMA)
    assert MEASUREMENTS.stat().st_size < 200_000
    measured = table.filter(pl.col("value").is_not_null())
    assert measured["versions"].str.contains('"python"').all()
    assert (measured["cpu"] != "").all()


def test_the_charts_are_there_and_small() -> None:
    images = set(re.findall(r"images/[\w-]+\.svg", PAGE))
    assert {name.rsplit("-", 1)[1] for name in images} == {"light.svg", "dark.svg"}
    assert all((DOCS / name).stat().st_size < 60_000 for name in images)


def test_the_lines_of_code_are_those_of_the_files() -> None:
    lines = pl.read_parquet(MEASUREMENTS).filter(figure="lines")
    assert lines.height >= 24
    for case, tool, value in lines.select("case", "tool", "value").rows():
        assert value == code_lines(STORIES / tool / f"{case.removeprefix('story_')}.py"), (case, tool)
