"""Results in public formats: Every Eval Ever, and the model pages of the Hub."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

import helmframe as hf
from helmframe.errors import ArgumentError, SourceBrokenError, SourceMissingError, StoreError, UnknownNameError
from helmframe.results import Results


@pytest.fixture
def results() -> Results:
    """Return results of two scenarios and two models, with a perturbation and scored options."""
    sampler = hf.scenario("sampler").where(subject=["music", "biology"]).limit(4).perturb("typos")
    options = hf.scenario("everyday").limit(2)
    models = {"org/half": hf.models.noisy(0.5), "best": hf.models.oracle()}
    return hf.suite(sampler, options, models=models).score()


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the records by their folder."""
    return {
        str(file.parent.relative_to(folder)): json.loads(file.read_text(encoding="utf-8"))
        for file in (folder / "data").rglob("*.json")
    }


def test_a_record_has_the_values_and_intervals_of_the_table(results: Results, tmp_path: Path) -> None:
    results.to_every_eval_ever(tmp_path, organization="Example University", relationship="third_party")
    written = records(tmp_path)
    assert sorted(written) == [
        "data/everyday/local/best", "data/everyday/org/half", "data/sampler/local/best", "data/sampler/org/half",
    ]  # fmt: skip
    record = written["data/sampler/org/half"]
    assert record["schema_version"] == "0.3.0"
    assert record["source_metadata"]["source_organization_name"] == "Example University"
    table = results.table().filter(scenario="sampler", model="org/half")
    entries = record["evaluation_results"]
    assert len(entries) == table.height == 8
    for entry, row in zip(entries, table.iter_rows(named=True), strict=True):
        uncertainty = entry["score_details"]["uncertainty"]
        assert entry["score_details"]["score"] == row["value"]
        assert uncertainty["confidence_interval"]["lower"] == row["ci_low"]
        assert uncertainty["confidence_interval"]["upper"] == row["ci_high"]
        assert uncertainty["num_samples"] == row["n"] == 8
        assert entry["metric_config"]["metric_id"] == row["metric"]


def test_records_read_back_have_the_same_scores(results: Results, tmp_path: Path) -> None:
    read = hf.read_every_eval_ever(results.to_every_eval_ever(tmp_path))
    name = pl.when(pl.col("perturbation") == "original").then("scenario").otherwise(pl.lit("sampler, typos"))
    expected = results.table(metrics=results.main_metrics).with_columns(scenario=name)
    columns = ["scenario", "model", "metric", "n"]
    assert read.table().select(columns).sort(columns).rows() == expected.select(columns).sort(columns).rows()
    values = read.table().sort(columns)["value"].to_list()
    assert values == pytest.approx(expected.sort(columns)["value"].to_list(), abs=1e-12)
    wrong = results.rows(model="org/half", scenario="sampler", perturbation="original", metric="exact_match", score=0.0)
    assert (
        read.rows(model="org/half", scenario="sampler", metric="exact_match", score=0.0)["prompt"].to_list()
        == wrong["prompt"].to_list()
    )


def test_scored_options_have_one_sample_with_the_best_option(results: Results, tmp_path: Path) -> None:
    results.to_every_eval_ever(tmp_path)
    (file,) = (tmp_path / "data" / "everyday" / "local" / "best").glob("*_samples.jsonl")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 16
    assert all(line["answer_attribution"][0]["extracted_value"] in line["input"]["reference"] for line in lines)


def test_a_private_address_is_in_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "private-root" / "gsm8k" / "main"
    folder.mkdir(parents=True)
    pl.DataFrame({"question": ["2 + 2?"], "answer": ["#### 4"]}).write_parquet(folder / "test-00000-of-00001.parquet")
    plan = hf.scenario("gsm8k", data=tmp_path / "private-root").adapt(shots=0)
    results = plan.generate(lambda prompt: "4").score()
    assert "private-root" in str(results.manifest["data"])
    results.to_every_eval_ever(tmp_path / "out")
    written = list((tmp_path / "out").rglob("*.json*"))
    assert len(written) == 2
    assert not [file for file in written if "private-root" in file.read_text(encoding="utf-8")]


def test_hostile_names_stay_in_the_folder(tmp_path: Path) -> None:
    frame = pl.DataFrame({"q": ["2 + 2?"], "a": ["4"]})
    plan = hf.scenario(frame, input="q", references="a", name="sums")
    plan.generate({"../../up/../x": lambda prompt: "4", "data/con.": lambda prompt: "5"}).score().to_every_eval_ever(
        tmp_path / "out"
    )
    files = [file.relative_to(tmp_path).parts for file in tmp_path.rglob("*_samples.jsonl")]
    assert len(files) == 2
    assert all(len(parts) == 6 and parts[:2] == ("out", "data") and ".." not in parts for parts in files)


def test_wrong_arguments_and_files_are_typed_errors(results: Results, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"relationship must be .* Did you mean 'first_party'"):
        results.to_every_eval_ever(tmp_path, relationship="firstparty")
    results.to_every_eval_ever(tmp_path)
    with pytest.raises(StoreError, match="isn't empty"):
        results.to_every_eval_ever(tmp_path)
    with pytest.raises(SourceMissingError, match="No record"):
        hf.read_every_eval_ever(tmp_path / "nothing")
    (file,) = (tmp_path / "data" / "sampler" / "org" / "half").glob("*_samples.jsonl")
    file.write_text("{}\n", encoding="utf-8")
    with pytest.raises(SourceBrokenError, match=r"line 1 isn't a sample .* KeyError"):
        hf.read_every_eval_ever(file.parent)
    file.unlink()
    with pytest.raises(SourceMissingError, match="only aggregated scores"):
        hf.read_every_eval_ever(file.parent)


def test_a_model_page_has_the_main_score_and_its_interval(results: Results, tmp_path: Path) -> None:
    datasets: dict[str, str | tuple[str, str]] = {"sampler": "org/sampler", "everyday": ("org/everyday", "all")}
    text = results.to_eval_results(model="best", datasets=datasets, source="https://x.org", path=tmp_path / "r.yaml")
    assert (tmp_path / "r.yaml").read_text(encoding="utf-8") == text
    first, second = yaml.safe_load(text)
    assert first["dataset"] == {"id": "org/sampler", "task_id": "default"}
    assert second["dataset"] == {"id": "org/everyday", "task_id": "all"}
    assert (first["value"], first["source"]["url"]) == (1.0, "https://x.org")
    assert first["notes"].startswith("helmframe, exact_match, n = 8, 95% interval [0.6306, 1]")
    with pytest.raises(ArgumentError, match="the results have 2 models"):
        results.to_eval_results(datasets=datasets)
    with pytest.raises(UnknownNameError, match="Did you mean 'best'"):
        results.to_eval_results(model="bast", datasets=datasets)
    with pytest.raises(ArgumentError, match="data set of scenario 'sampler' is unknown"):
        results.to_eval_results(model="best")


def test_lm_evals_folder_reads_back_equal(results: Results, tmp_path: Path) -> None:
    read = hf.read_lm_eval(results.to_lm_eval(tmp_path / "out"))
    name = pl.when(pl.col("perturbation") == "original").then("scenario").otherwise(pl.lit("sampler_typos"))
    expected = results.table().with_columns(scenario=name)
    columns = ["scenario", "model", "metric", "n"]
    assert read.table().select(columns).sort(columns).rows() == expected.select(columns).sort(columns).rows()
    values = read.table().sort(columns)["value"].to_list()
    assert values == pytest.approx(expected.sort(columns)["value"].to_list(), abs=1e-9)
    (file,) = (tmp_path / "out" / "org__half").glob("results_*.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["model_name"] == "org/half"
    assert content["n-samples"]["sampler"] == {"original": 8, "effective": 8}
    assert content["n-shot"]["sampler"] == 5
    with pytest.raises(StoreError, match="isn't empty"):
        results.to_lm_eval(tmp_path / "out")
