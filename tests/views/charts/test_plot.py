"""The charts of a run."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, CapabilityError, UnknownNameError
from helmframe.views.charts.offline import svg_of
from helmframe.views.charts.theme import in_dark
from tests.demo import ROOT
from tests.views.charts.drawn import encoding, layer, png, rows, words

CHARTS: dict[str, Callable[..., Any]] = {
    "scores": lambda plot, **mode: plot.scores(**mode),
    "heatmap": lambda plot, **mode: plot.heatmap("model", "perturbation", **mode),
    "robustness": lambda plot, **mode: plot.robustness(**mode),
    "sensitivity": lambda plot, **mode: plot.sensitivity("perturbation", **mode),
    "perturbations": lambda plot, **mode: plot.perturbations(**mode),
    "forest": lambda plot, **mode: plot.forest(**mode),
    "calibration": lambda plot, **mode: plot.calibration(**mode),
    "pareto": lambda plot, **mode: plot.pareto(**mode),
    "confusion": lambda plot, **mode: plot.confusion(**mode),
    "leaderboard": lambda plot, **mode: plot.leaderboard(**mode),
}


def music() -> hf.Plan:
    return hf.scenario("sampler").where(subject="music")


@pytest.fixture(scope="module")
def several() -> hf.Results:
    """Two models under a perturbation, with options asked one by one."""
    plan = music().perturb(["typos", "rerun"]).adapt(method="multiple_choice_separate_original")
    return plan.generate({"good": hf.models.noisy(0.9), "bad": hf.models.noisy(0.3)}).score()


@pytest.mark.parametrize("name", CHARTS)
def test_light_in_dark_colours_is_dark(several: hf.Results, name: str) -> None:
    light, dark = (
        re.sub(r"gradient_\d+", "gradient", svg_of(CHARTS[name](several.plot, mode=mode).to_dict()))
        for mode in ("light", "dark")
    )
    assert in_dark(light) == dark != light


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", CHARTS)
def test_each_chart_becomes_an_image(several: hf.Results, name: str, mode: str) -> None:
    chart = CHARTS[name](several.plot, mode=mode)
    assert "why" not in rows(chart)[0]
    assert len(rows(chart)) < 200
    assert png(chart).startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def one() -> hf.Results:
    """One model, asked four questions."""
    return music().limit(4).generate(hf.models.oracle()).score()


@pytest.mark.parametrize("name", CHARTS)
def test_where_there_is_nothing_to_draw_a_chart_says_why(one: hf.Results, name: str) -> None:
    chart = CHARTS[name](one.plot)
    whys = [row["why"] for row in rows(chart) if "why" in row]
    assert len(whys) == (0 if name in ("scores", "heatmap", "pareto", "confusion") else 1)
    assert png(chart).startswith(b"\x89PNG")


def test_a_model_has_one_colour_in_all_charts(several: hf.Results) -> None:
    colours = set()
    for name in ("scores", "robustness", "perturbations", "calibration", "pareto", "leaderboard", "forest"):
        scale = encoding(CHARTS[name](several.plot), "point", "color")["scale"]
        colours |= set(zip(scale["domain"], scale["range"], strict=True))
    assert len(colours) == 2


def test_scores_draws_the_main_metric_of_the_table(several: hf.Results) -> None:
    table = several.table(metrics="exact_match")
    assert sorted(row["value"] for row in layer(several.plot.scores(), "point")) == sorted(table["value"])


def test_each_scenario_shows_its_own_main_metric() -> None:
    frame = pl.DataFrame({"q": ["1", "2"], "a": ["yes", "no"]})
    plans = [music().limit(2), hf.scenario(frame, input="q", references="a")]
    results = hf.suite(*plans).generate(hf.models.oracle()).score()
    mains = {each["main"]["metric"] for each in results.manifest["scenarios"].values()}
    assert {row["metric"] for row in layer(results.plot.scores(), "point")} == mains
    assert len(mains) == 2
    assert "several main metrics" in str(rows(results.plot.pareto()))


def test_trade_offs_accept_costs_and_any_metric(several: hf.Results) -> None:
    chart = several.plot.pareto("latency", "quasi_exact_match")
    assert encoding(chart, "point", "x")["title"] == "latency (s, lower is better)"
    taken = (
        several.completions.filter(perturbation="original").group_by("model").agg(pl.col("latency").mean()).collect()
    )
    drawn = {row["model"]: row["x"] for row in layer(chart, "point")}
    assert drawn == pytest.approx(dict(taken.iter_rows()))
    with pytest.raises(UnknownNameError, match="Did you mean 'latency'"):
        several.plot.pareto("latncy")


def test_settings_of_a_grid_rank_side_by_side_in_the_colours_of_their_models() -> None:
    plan = music().limit(8).adapt(shots=[0, 1]).generate({"good": hf.models.noisy(0.9), "bad": hf.models.noisy(0.3)})
    points = layer(plan.score().plot.leaderboard(), "point")
    assert {(row["label"], row["model"]) for row in points} >= {("good shots=0", "good"), ("good shots=1", "good")}


def test_without_altair_an_error_says_what_to_install(one: hf.Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(CapabilityError, match=r"pip install 'helmframe\[plots\]'"):
        one.plot.scores()


def test_the_robustness_chart_of_a_fairness_run_has_a_reason() -> None:
    gender = hf.perturbations.gender(source="male", target="female")
    results = music().limit(4).perturb(gender).generate(hf.models.oracle()).score()
    assert "no perturbation of this run counts as robustness" in str(rows(results.plot.robustness()))


def test_calibration_uses_the_completions_of_the_metrics(several: hf.Results) -> None:
    points = layer(several.plot.calibration(), "point")
    asked = several.completions.filter(perturbation="original").select("model", "instance_id").unique().collect()
    assert sum(row["n"] for row in points) == asked.height


# -- rows, order and panels -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grid() -> hf.Results:
    """Two models, two settings and a perturbation."""
    plan = hf.scenario("sampler").where(subject=["music", "biology"]).adapt(shots=[0, 2]).perturb("lowercase")
    return plan.generate({"weak": hf.models.noisy(0.3), "strong": hf.models.noisy(0.9)}).score()


def labels(chart: Any) -> list[str]:
    """Return the labels of the rows in order."""
    found: list[str] = encoding(chart, "point", "y")["scale"]["domain"]
    return found


def test_rows_are_split_by_columns_and_the_note_names_the_others(grid: hf.Results) -> None:
    assert len(labels(grid.plot.scores())) == 4
    chart = grid.plot.scores(by="setting")
    assert labels(chart) == ["shots=0", "shots=2"]
    assert "mean over 2 perturbations" in words(chart)
    table = grid.table(["setting", "model"], metrics="exact_match", pool="perturbation")
    assert sorted(row["value"] for row in layer(chart, "point")) == sorted(table["value"])
    assert len(labels(grid.plot.robustness(by="model"))) == 2
    assert "mean over 2 settings" in words(grid.plot.perturbations(by=["perturbation", "subset"]))
    frame = hf.charts.scores(grid.scores, "exact_match", by="subset")
    assert labels(frame) == ["biology", "music"]
    assert "mean over 2 settings, 2 perturbations" in words(frame)


def test_rows_are_sorted_by_value_by_name_or_as_listed(grid: hf.Results) -> None:
    means: dict[str, list[float]] = {}
    for row in layer(grid.plot.scores(), "point"):
        means.setdefault(row["label"], []).append(row["value"])
    ordered = sorted(means, key=lambda label: -sum(means[label]))
    chart = grid.plot.scores(sort="value")
    assert [sum(means[label]) for label in labels(chart)] == [sum(means[label]) for label in ordered]
    assert [sum(means[label]) for label in labels(grid.plot.scores(sort="-value"))] == [
        sum(means[label]) for label in reversed(ordered)
    ]
    assert labels(grid.plot.scores(sort="name")) == sorted(means)
    last = labels(grid.plot.scores())[-1]
    assert labels(grid.plot.scores(sort=[last]))[0] == last
    columns = encoding(grid.plot.heatmap("model", "subset", sort="value"), "rect", "x")["sort"]
    assert columns == ["strong", "weak"]
    with pytest.raises(ArgumentError, match="sort='values': sort must be"):
        grid.plot.scores(sort="values")
    with pytest.raises(ArgumentError, match="nothing"):
        grid.plot.scores(sort=["nothing"])


@pytest.mark.parametrize(
    "name", ["scores", "robustness", "perturbations", "forest", "calibration", "pareto", "confusion"]
)
def test_a_facet_draws_a_chart_per_value_with_its_own_rows(grid: hf.Results, name: str) -> None:
    chart = CHARTS[name](grid.plot, facet="setting")
    if name != "calibration":
        assert [part["title"]["text"] for part in chart.to_dict()["concat"]] == ["shots=0", "shots=2"]
        assert png(chart)[:4] == b"\x89PNG"
    with pytest.raises(UnknownNameError, match="settin"):
        CHARTS[name](grid.plot, facet="settin")


def test_a_facet_of_a_column_of_the_scenario(grid: hf.Results) -> None:
    chart = grid.plot.scores(facet="subject", by=["model", "subject"], width=200)
    assert [part["title"]["text"] for part in chart.to_dict()["concat"]] == ["biology", "music"]
    assert [part["width"] for part in chart.to_dict()["concat"]] == [200, 200]
    assert encoding(chart, "point", "color")["scale"]["domain"] == ["strong", "weak"]


def test_panels_do_not_share_the_values_that_they_lack() -> None:
    plans = [hf.scenario("sampler").where(subject=name) for name in ("music", "biology")]
    frames = [plan.generate({"a": hf.models.noisy(0.5)}).score().scores.collect() for plan in plans]
    both = pl.concat([frames[0], frames[1].with_columns(setting=pl.lit("other"))])
    chart = hf.charts.heatmap(both, "subset", "model", "exact_match").to_dict()
    assert chart["resolve"]["scale"] == {"x": "independent"}


IRIS = """
import sys
import helmframe as hf
results = hf.scenario("sampler").where(subject="music").generate(hf.models.oracle()).score()
{draw}
from jsonschema import Draft7Validator, FormatChecker
assert "rfc3987_syntax" not in sys.modules
for text in ("https://example.org/é", "no IRI"):
    print(Draft7Validator({{"format": "iri"}}, format_checker=FormatChecker()).is_valid(text))
assert "rfc3987_syntax" in sys.modules
"""


@pytest.mark.parametrize(
    "draw", ["results.plot.scores()", "hf.charts.scores(results.scores)", "results.report('report.html')"]
)
def test_charts_do_not_load_the_parser_of_iris(tmp_path: Path, draw: str) -> None:
    (tmp_path / "rfc3987_syntax.py").write_text("def is_valid_syntax(term, text): return text.startswith('https:')\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    env = os.environ | {"PYTHONPATH": path, "HELMFRAME_STORE": str(tmp_path / "store"), "HELMFRAME_PROGRESS": "0"}
    ran = subprocess.run(
        [sys.executable, "-c", IRIS.format(draw=draw)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("True\nFalse\n", "", 0)
