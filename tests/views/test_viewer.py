"""The viewer's responses: runs, findings, tables, comparisons and labels; their numbers are those of `Results`."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, StoreError, UnknownNameError
from helmframe.views.viewer import Viewer
from helmframe.views.viewer_rows import Filters

MUSIC = hf.scenario("sampler").where(subject="music")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs, the second one without a perturbation."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELMFRAME_STORE", str(tmp_path_factory.mktemp("store")))
        models = {"good": hf.models.oracle(), "bad": hf.models.noisy(0.3)}
        MUSIC.perturb("typos").generate(models).score().to_parquet(runs / "monday")
        MUSIC.generate({"good": hf.models.noisy(0.9, seed=2)}).score().to_parquet(runs / "tuesday")
    return runs


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def ask(viewer: Viewer, method: str, **params: Any) -> Any:
    """Return what the browser gets: JSON that JavaScript reads."""
    response = json.loads(json.dumps(viewer.respond({"id": 7, "method": method, "params": params}), allow_nan=False))
    assert response["id"] == 7
    assert "error" not in response, response
    return response["result"]


def error_of(viewer: Viewer, method: str, params: Any) -> str:
    return str(viewer.respond({"id": 1, "method": method, "params": params}).get("error", ""))


def test_a_folder_of_runs_is_a_table_of_runs(folder: Path) -> None:
    viewer = Viewer.of(folder)
    assert ask(viewer, "open")["start"]["run"] is None
    runs = {entry["run"]: entry for entry in ask(viewer, "runs")["runs"]}
    assert set(runs) == {"monday", "tuesday"}
    monday = runs["monday"]
    assert (monday["scenarios"], monday["models"], monday["status"]) == (["sampler"], ["good", "bad"], "done")
    assert (monday["planned"], monday["failed"], monday["perturbations"]) == (128, 0, ["typos"])
    assert monday["started"] > 0


def test_a_run_opens_its_summary(folder: Path) -> None:
    assert ask(Viewer.of(folder / "monday"), "open")["start"] == {"run": "monday", "tab": "summary", "filters": None}


def test_the_store_is_the_default(store: Path) -> None:
    with pytest.raises(StoreError, match="The store has no runs"):
        Viewer.of()
    results = MUSIC.limit(2).generate(hf.models.oracle()).score()
    viewer = Viewer.of()
    assert [entry["path"] for entry in ask(viewer, "runs")["runs"]] == [str(results.path)]
    MUSIC.limit(3).generate(hf.models.echo()).score()
    assert len(ask(viewer, "runs", reload=1)["runs"]) == 2


def test_main_scores_are_those_of_the_table(folder: Path) -> None:
    scores = ask(Viewer.of(folder), "main_scores", run="monday")["scores"]
    table = hf.load(folder / "monday").table(metrics="exact_match").filter(perturbation="original")
    expected = table.select("model", "value", "ci_low", "ci_high", "n").rows()
    assert [(row["model"], row["value"], row["ci_low"], row["ci_high"], row["n"]) for row in scores] == expected


def test_findings_leaderboard_and_changes_are_those_of_the_results(folder: Path) -> None:
    viewer, results = Viewer.of(folder), hf.load(folder / "monday")
    assert [finding["text"] for finding in ask(viewer, "findings", run="monday")["findings"]] == [
        finding.text for finding in results.findings()
    ]
    board = ask(viewer, "leaderboard", run="monday")
    assert [(row["model"], row["rank"]) for row in board["rows"]] == results.leaderboard().table.select(
        "model", "rank"
    ).rows()
    changes = ask(viewer, "changes", run="monday")["rows"]
    table = results.robustness(metrics="exact_match", perturbations="typos")
    assert [row["change"] for row in changes] == table["change"].to_list()


def test_a_table_that_does_not_apply_gives_its_reason(folder: Path) -> None:
    viewer = Viewer.of(folder)
    assert "at least two models" in ask(viewer, "leaderboard", run="tuesday")["problem"]
    assert ask(viewer, "changes", run="tuesday") == {"rows": []}


def test_runs_are_compared_side_by_side(folder: Path) -> None:
    result = ask(Viewer.of(folder), "compare", runs=["monday", "tuesday"])
    assert {(row["run"], row["model"]) for row in result["scores"]} == {
        ("monday", "bad"),
        ("monday", "good"),
        ("tuesday", "good"),
    }
    table = hf.compare(folder / "tuesday", folder / "monday", labels=("tuesday", "monday"))
    assert [row["difference"] for row in result["differences"]] == table["difference"].to_list()
    assert result["differences"][0]["unit"] == "fraction"


def test_instances_that_two_runs_score_differently(folder: Path) -> None:
    result = ask(Viewer.of(folder), "compare_instances", runs=["monday", "tuesday"])
    sides = [hf.load(folder / name).rows(model="good", perturbation="original") for name in ("monday", "tuesday")]
    joined = sides[0].join(sides[1], on="instance_id", suffix="_b")
    expected = joined.filter(pl.col("exact_match") != pl.col("exact_match_b"))
    assert result["total"] == expected.height > 0
    shown = [(a["instance_id"], a["score"], b["score"], b["completion"]) for a, b in result["pairs"]]
    columns = ("instance_id", "exact_match", "exact_match_b", "completion_b")
    assert sorted(shown) == sorted(expected.select(columns).rows())


def test_failures_are_grouped_by_message() -> None:
    def model(prompt: str) -> str:
        raise RuntimeError(f"quota exceeded\nrequest {len(prompt)}")

    viewer = Viewer.of(MUSIC.limit(5).generate({"flaky": model}).score())
    run = ask(viewer, "open")["start"]["run"]
    (group,) = ask(viewer, "errors", run=run)["groups"]
    assert group["message"].startswith("RuntimeError: quota exceeded request ")
    assert (group["n"], group["models"]) == (5, ["flaky"])
    assert ask(viewer, "instance", run=run, key=group["first"])["completions"][0]["error"]["text"].startswith("Runtime")


def test_labels_are_parquet_in_the_store_and_used_by_corrected(folder: Path, store: Path) -> None:
    viewer = Viewer.of(folder)
    rows = ask(viewer, "page", run="monday", filters={"model": "bad", "perturbation": "original"})["rows"]
    for number, row in enumerate(rows[:8]):
        key = {name: row[name] for name in ("scenario", "instance_id", "perturbation", "model")}
        assert ask(viewer, "label", run="monday", key=key, label=number % 2)["n_labels"] == number + 1
    (file,) = (store / "labels").glob("*.parquet")
    results = hf.load(folder / "monday")
    assert pl.read_parquet(file).equals(results.labels())
    assert results.labels()["label"].to_list() == [0.0, 1.0] * 4
    corrected = results.corrected(results.labels(), "exact_match").filter(model="bad", perturbation="original")
    assert corrected["n_labelled"].to_list() == [8]
    shown = ask(viewer, "labels", run="monday")
    assert (shown["n"], shown["metric"], shown["problem"]) == (8, "exact_match", None)
    assert [row["value"] for row in shown["corrected"]] == results.corrected(results.labels(), "exact_match")[
        "value"
    ].to_list()


def test_a_label_can_be_changed_and_removed(folder: Path) -> None:
    viewer = Viewer.of(folder)
    (row, *_) = ask(viewer, "page", run="tuesday")["rows"]
    key = {"scenario": row["scenario"], "instance_id": row["instance_id"]}
    for value in (1, 0.5):
        ask(viewer, "label", run="tuesday", key=key, label=value)
    assert ask(viewer, "page", run="tuesday", filters={"only": "labelled"})["rows"][0]["label"] == 0.5
    assert ask(viewer, "instance", run="tuesday", key=key)["label"] == 0.5
    ask(viewer, "label", run="tuesday", key=key, label=None)
    assert ask(viewer, "page", run="tuesday", filters={"only": "labelled"})["total"] == 0
    assert ask(viewer, "page", run="tuesday", filters={"only": "unlabelled"})["total"] == 32


def test_labels_of_a_judged_run_measure_the_judge() -> None:
    results = MUSIC.limit(6).generate(hf.models.echo()).score()
    judged = results.judge(hf.judge(lambda prompt: "<score>1</score>", "safety"))
    viewer = Viewer.of(results)
    run = ask(viewer, "open")["start"]["run"]
    for row in ask(viewer, "page", run=run)["rows"]:
        ask(viewer, "label", run=run, key={"instance_id": row["instance_id"]}, label=1)
    # labels of a run apply to its judged results too
    shown = ask(Viewer.of(judged), "labels", run=ask(Viewer.of(judged), "open")["start"]["run"])
    assert (shown["n"], shown["problem"]) == (6, None)
    assert [row["value"] for row in shown["agreement"] if row["statistic"] == "same"] == [1.0]
    assert judged.agreement(judged.labels()).filter(statistic="same")["value"].item() == 1.0


def test_nothing_but_labels_is_written(folder: Path, store: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    viewer = Viewer.of(folder)
    for method in (
        "info",
        "findings",
        "scores",
        "leaderboard",
        "changes",
        "errors",
        "cost",
        "labels",
        "filters",
        "page",
    ):
        ask(viewer, method, run="monday")
    ask(viewer, "compare", runs=["monday", "tuesday"])
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
    assert not store.exists()


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("everything", {}, "method='everything'"),
        ("page", {"run": "../monday"}, "Unknown run '../monday' of this viewer"),
        ("page", {"run": ["monday"]}, "Unknown run"),
        ("page", {}, "Unknown run"),
        ("page", {"run": "monday", "page": -1}, "page must be an integer ≥ 0"),
        ("page", {"run": "monday", "filters": {"model": "' OR 1=1 --"}}, "Unknown model"),
        ("open", {"sql": 1}, "no argument 'sql'"),
        ("compare", {"runs": ["monday"]}, "runs must list 2 to 8 runs"),
        ("label", {"run": "monday", "key": {"instance_id": "none"}, "label": 1}, "no row has this key"),
        ("label", {"run": "monday", "key": {"instance_id": 3}, "label": 1}, "instance_id must be a string"),
        ("label", {"run": "monday", "key": {}, "label": 1}, "key must be an object with instance_id"),
        ("label", {"run": "monday", "key": {"instance_id": "x"}, "label": "1"}, "label must be a number"),
        ("instance", {"run": "monday", "key": {"path": "x", "instance_id": "x"}}, "no argument 'path'"),
        ("instance", {"run": "monday"}, "key must be an object"),
        ("page", [1], "params must be an object"),
    ],
)
def test_invalid_requests_get_an_error(folder: Path, method: str, params: Any, message: str) -> None:
    assert message in error_of(Viewer.of(folder), method, params)


def test_a_damaged_run_has_a_problem_and_the_others_open(folder: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    file = next((damaged / "monday").glob("scores/**/*.parquet"))
    file.write_bytes(file.read_bytes()[:-100])
    (damaged / "tuesday" / "manifest.json").write_text("{")
    viewer = Viewer.of(damaged)
    problems = {entry["run"]: entry["problem"] for entry in ask(viewer, "runs")["runs"]}
    assert problems["monday"] is None
    assert "isn't valid JSON" in problems["tuesday"]
    assert "has changed since it was written" in error_of(viewer, "page", {"run": "monday"})


def test_no_results_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"contains no results. Write some with results.to_parquet"):
        Viewer.of(tmp_path)
    with pytest.raises(ArgumentError, match="source must be results or a folder"):
        Viewer.of(3)  # type: ignore[arg-type]


def test_the_initial_filters_are_checked(folder: Path) -> None:
    results = hf.load(folder / "monday")
    widget = results.explore(model="bad", high=0)
    start = ask(widget._viewer, "open")["start"]
    assert (start["tab"], start["filters"]["model"]) == ("instances", "bad")
    with pytest.raises(UnknownNameError, match="Did you mean 'good'"):
        results.explore(model="goood")
    with pytest.raises(TypeError, match="unexpected keyword argument 'modle'"):
        results.explore(modle="good")  # type: ignore[call-arg]
    with pytest.raises(ArgumentError, match="Did you mean 'model'"):
        Filters.of({"modle": "good"})
    assert Filters.of(Filters(low=0.5).to_dict()) == Filters(low=0.5)
    assert ask(results.explore()._viewer, "open")["start"]["tab"] == "summary"


def test_a_widget_responds_to_messages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    widget = hf.view(folder)
    sent: list[Any] = []
    monkeypatch.setattr(widget, "send", sent.append)
    widget._respond(widget, {"id": "a", "method": "open"}, [])
    assert sent == [{"id": "a", "result": {"start": sent[0]["result"]["start"], "n_runs": 2, "can_reload": True}}]


def test_without_a_widget_the_first_page_is_html_with_every_text_escaped(folder: Path) -> None:
    results = MUSIC.limit(2).generate({"<b>m</b>": lambda prompt: "<script>alert(1)</script>"}).score()
    bundle = results.explore()._repr_mimebundle_()
    assert bundle is not None
    html = bundle[0]["text/html"]
    assert "<script>" not in html
    assert "<b>m" not in html
    assert "&lt;script&gt;" in html
    assert "2 of 2 rows" in html
    runs = hf.view(folder)._repr_mimebundle_()
    assert runs is not None
    assert "2 runs" in runs[0]["text/html"]
