"""Results: tables people look at, self-contained, comparable, re-scorable, safe to show."""

import json
import pickle
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import duckdb
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pyarrow.dataset import dataset

import helmframe as hf
from helmframe._schema import COMPLETIONS
from helmframe.errors import ArgumentError, HelmframeWarning, NotComparableError, StoreError, UnknownNameError
from helmframe.store import RunFolder
from tests.s3_server import S3Server

EXACT = "exact_match"


def music() -> hf.Plan:
    return hf.scenario("sampler").where(subject="music")


def run(model: hf.Model | None = None) -> hf.Results:
    return music().perturb("typos").generate(model or hf.models.noisy(0.6)).score()


def test_the_table_has_a_value_with_interval_for_each_group_and_metric() -> None:
    table = run().table(metrics=EXACT)
    assert table["perturbation"].to_list() == ["original", "typos"]
    row = table.row(0, named=True)
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert row["interval"].startswith("Wilson")
    assert row["n"] == 32
    assert row["chance"] == 0.25


def test_value_is_one_number() -> None:
    results = run(hf.models.oracle())
    assert results.value() == 1.0
    assert results.value(EXACT, perturbation="typos") == 1.0
    with pytest.raises(ArgumentError, match=r"value\(\): no result for"):
        results.value(EXACT, model="nobody")


def test_a_value_that_nothing_gave_says_why() -> None:
    def broken(prompt: str) -> str:
        raise RuntimeError("no")

    results = hf.scenario("sampler").limit(1).generate(broken).score()
    with pytest.raises(ArgumentError, match=r"nothing was scored\. 8 requests failed\. results\.errors\(\)"):
        results.value(EXACT)


def test_a_table_of_some_metrics_is_the_same_after_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    results = run()
    assert results.path is not None
    fresh = hf.load(results.path)
    whole = results.table()
    with monkeypatch.context() as patch:
        patch.setattr("helmframe.results._tables.aggregate", None)  # what was read is not read again
        some = results.table(metrics=["quasi_exact_match"])
    assert_frame_equal(some, fresh.table(metrics=["quasi_exact_match"]))
    assert_frame_equal(whole, fresh.table())
    assert_frame_equal(results.table("subset", ci=0.5), fresh.table("subset", ci=0.5))
    assert_frame_equal(results.table(mean="micro"), fresh.table(mean="micro"))


def test_results_whose_tables_were_read_are_pickled() -> None:
    results = run()
    table = results.table()
    copy = pickle.loads(pickle.dumps(results))
    assert_frame_equal(copy.table(), table)


@pytest.mark.shared
def test_a_run_that_was_just_stored_in_a_bucket_is_not_read_again(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELMFRAME_STORE", f"s3://evals/stores/{uuid4().hex}")
    results = run()
    before = s3.traffic()
    assert results.table()["n"].to_list()[0] == 32
    assert (s3.traffic() - before).requests == 0


def test_groups_can_be_made_by_a_column_of_the_scenario() -> None:
    results = hf.scenario("sampler").limit(3).generate(hf.models.oracle()).score()
    table = results.table("subject", metrics=EXACT)
    assert table.height == 8
    assert table["n"].unique().to_list() == [3]


def test_a_column_of_the_scenario_keeps_models_and_perturbations_apart() -> None:
    plan = hf.scenario("sampler").where(subject=["music", "biology"]).perturb("lowercase")
    results = plan.generate({"right": hf.models.oracle(), "wrong": lambda prompt: "Z"}).score()
    table = results.table("subject", metrics=EXACT)
    assert table.columns[:4] == ["subject", "model", "perturbation", "metric"]
    assert dict(table.filter(subject="music", perturbation="original").select("model", "value").iter_rows()) == {
        "right": 1.0,
        "wrong": 0.0,
    }
    pooled = results.table("subject", metrics=EXACT, pool=["model", "perturbation"])
    assert pooled.select("pooled", "value").unique().rows() == [("2 models, 2 perturbations", 0.5)]
    assert results.table("subject", metrics=EXACT, pool=True).equals(pooled)
    wide = results.table("subject", metrics=EXACT, pool="perturbation", pivot="model")
    assert wide.select("subject", "pooled", "right", "wrong").rows() == [
        ("biology", "2 perturbations", 1.0, 0.0),
        ("music", "2 perturbations", 1.0, 0.0),
    ]
    assert results.table(metrics=EXACT, pool="model")["pooled"].to_list() == ["2 models"] * 2
    assert "pooled" not in results.table("subject", pool="split").columns
    with pytest.raises(UnknownNameError, match="axis to pool"):
        results.table(pool="subject")


def test_the_questions_about_perturbations_keep_models_apart_too() -> None:
    plan = hf.scenario("sampler").where(subject=["music", "biology"]).perturb("lowercase")
    results = plan.generate({"right": hf.models.oracle(), "wrong": lambda prompt: "Z"}).score()
    for verb in (results.robustness, results.worst_case):
        table = verb("subject", metrics=EXACT)
        assert table.columns[:2] == ["subject", "model"]
        assert verb("subject", metrics=EXACT, pool="model")["pooled"].unique().to_list() == ["2 models"]
    assert results.consistency("subject").columns[:2] == ["subject", "model"]
    assert results.consistency("subject", pool=True)["pooled"].unique().to_list() == ["2 models"]
    assert {"model", "perturbation"} <= set(results.gap("subset", "subject", metrics=EXACT).columns)
    assert "2 models, 2 perturbations" in results.gap("subset", [], metrics=EXACT, pool=True)["pooled"].to_list()


def test_pivot_puts_an_axis_into_columns() -> None:
    table = run(hf.models.oracle()).table(metrics=EXACT, pivot="perturbation")
    assert table.select("original", "typos").row(0) == (1.0, 1.0)


def test_macro_weighs_parts_alike_and_micro_by_size() -> None:
    frame = pl.DataFrame({"q": ["a", "b", "c", "d"], "a": ["yes", "no", "no", "no"], "p": ["one", "two", "two", "two"]})

    def yes(prompt: str) -> str:
        return "yes"

    results = hf.scenario(frame, input="q", references="a", subset="p").generate(yes).score()
    assert results.table(metrics=EXACT, mean="macro")["value"].to_list() == [0.5]
    assert results.table(metrics=EXACT, mean="micro")["value"].to_list() == [0.25]


def test_rows_are_wide_and_wrong_gives_those_that_score_0() -> None:
    results = run()
    rows = results.rows()
    assert {"input", "prompt", "completion", "output", "correct", EXACT} <= set(rows.columns)
    wrong = results.wrong()
    assert wrong[EXACT].unique().to_list() == [0.0]
    assert wrong.height == rows.filter(pl.col(EXACT) == 0).height


def test_robustness_pairs_original_and_perturbed() -> None:
    table = run(hf.models.oracle()).robustness().filter(metric=EXACT, perturbation="typos")
    row = table.row(0, named=True)
    assert (row["original"], row["perturbed"], row["worst"], row["change"], row["k"]) == (1.0, 1.0, 1.0, 0.0, 1)


def test_a_model_without_sensitivity_shows_no_paired_drop() -> None:
    table = run(hf.models.noisy(0.6, by="instance")).robustness()
    row = table.filter(metric=EXACT, perturbation="typos").row(0, named=True)
    assert row["change"] == 0.0
    assert row["right_to_wrong"] == 0


def test_compare_two_models_of_one_run() -> None:
    results = music().generate({"good": hf.models.oracle(), "bad": hf.models.noisy(0.2)}).score()
    row = results.compare("model", "bad").row(0, named=True)
    assert (row["a"], row["b"]) == ("good", "bad")
    assert row["difference"] == pytest.approx(1 - results.value(EXACT, model="bad"))
    assert row["n"] == 32


def test_compare_two_prompts() -> None:
    plan = music().generate(hf.models.noisy(0.5))
    better = plan.adapt(instructions="Answer the question.")
    table = hf.compare(plan.score(), better.score())
    assert table["differs"].to_list() == ["prompt"]


def test_what_differs_in_two_ways_is_not_compared_unless_named() -> None:
    one = music().generate(hf.models.noisy(0.5)).score()
    two = music().adapt(shots=0).generate(hf.models.oracle()).score()
    with pytest.raises(NotComparableError, match="model and prompt"):
        hf.compare(one, two)
    assert hf.compare(one, two, axis=["model", "prompt"]).height == 1


def test_results_with_many_errors_are_not_compared() -> None:
    def broken(prompt: str) -> str:
        raise ValueError("down")

    with pytest.raises(NotComparableError, match="failed"):
        hf.compare(run(hf.model(broken)), run())


def test_a_value_warns_where_more_than_1_percent_of_its_requests_failed() -> None:
    def half(prompt: str) -> str:
        if "0?" in prompt:
            raise ValueError("down")
        return "yes"

    rows = pl.DataFrame({"q": [f"question {index}?" for index in range(50)], "a": ["yes"] * 50})
    results = hf.scenario(rows, input="q", references="a").generate(hf.model(half)).score()
    with pytest.warns(HelmframeWarning, match=r"value\('exact_match'\): 5 of 50 requests failed"):
        assert results.value("exact_match") == 1.0
    sound = hf.scenario(rows, input="q", references="a").generate(lambda prompt: "yes").score()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sound.value("exact_match") == 1.0


def test_failures_are_dropped_or_count_as_the_worst_when_specified() -> None:
    def half(prompt: str) -> str:
        if len(prompt) % 2:
            raise ValueError("down")
        return "A"

    failing, sound = run(hf.model(half)), run()
    dropped = hf.compare(failing, sound, axis="model", errors="drop").filter(perturbation="original")
    worst = hf.compare(failing, sound, axis="model", errors="worst").filter(perturbation="original")
    assert dropped["n"][0] + dropped["n_dropped"][0] == worst["n"][0] == 32
    assert dropped["n_dropped"][0] == dropped["n_error"][0] > 0


def test_a_failure_counts_as_the_worst_bound_that_the_metric_declares() -> None:
    def fails(prompt: str) -> str:
        raise ValueError("down")

    metrics = ("repetition", "self_bleu", "absolute_value_difference")
    rows = pl.DataFrame({"q": [f"question {index}?" for index in range(10)], "a": ["1"] * 10})
    plan = hf.scenario(rows, input="q", references="a").metrics(*metrics)
    failing, sound = (plan.generate({"m": model}, n=2).score() for model in (fails, lambda prompt: "2"))
    compare = {"metrics": metrics[:2], "errors": "worst"}
    table = hf.compare(failing, sound, **compare)  # type: ignore[arg-type]
    assert dict(table.select("metric", "value_a").iter_rows()) == {"repetition": 1.0, "self_bleu": 100.0}
    # as a manifest of an older version or another tool, which declares no range
    manifest = {**failing.manifest, "metrics": {"repetition": {"level": "output", "unit": "fraction",
                                                               "higher_is_better": False}}}  # fmt: skip
    older = replace(failing, manifest=manifest)
    assert hf.compare(older, sound, metrics="repetition", errors="worst")["value_a"].to_list() == [1.0]
    with pytest.raises(ArgumentError, match=r"'absolute_value_difference' has no upper bound.*errors='drop', or rerun"):
        hf.compare(failing, sound, metrics="absolute_value_difference", errors="worst")


def test_what_has_no_instance_in_common_is_not_compared() -> None:
    other = hf.scenario("sampler").where(subject="biology").perturb("typos").generate(hf.models.noisy(0.6)).score()
    with pytest.raises(NotComparableError, match="no instance was completed by both sides"):
        hf.compare(run(), other)


def test_results_live_without_bucket_and_spec(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "mine").mkdir(parents=True)
    pl.DataFrame({"q": ["one", "two"], "a": ["1", "2"]}).write_parquet(data / "mine" / "test-0.parquet")
    spec = tmp_path / "mine.yaml"
    spec.write_text(
        """scenario: mine
version: 1
source: {rows: "{data}/mine/{split}-*.parquet"}
splits: {test: test}
instances: |
  SELECT row_index, split, q AS input, [{'text': a, 'correct': true}] AS "references" FROM rows
metrics: [exact_match]
main: {metric: exact_match}
"""
    )

    def one(prompt: str) -> str:
        return "1"

    path = hf.scenario(spec, data=data).generate(one).score().path
    assert path is not None
    shutil.rmtree(data)
    spec.unlink()
    loaded = hf.load(path)
    assert loaded.value(EXACT) == 0.5
    rescored = loaded.rescore("f1_score", "quasi_exact_match")
    assert rescored.value("f1_score") == 0.5


def test_rescore_asks_nothing_and_knows_set_metrics() -> None:
    prompts: list[str] = []

    def model(prompt: str) -> str:
        prompts.append(prompt)
        return "yes"

    frame = pl.DataFrame({"q": ["a", "b", "c"], "a": ["yes", "no", "yes"]})
    results = hf.scenario(frame, input="q", references="a").generate(model).score()
    again = results.rescore("classification_macro_f1", EXACT)
    assert len(prompts) == 3
    # yes: precision 2/3, recall 1, F1 .8; no: 0
    assert again.value("classification_macro_f1") == pytest.approx(0.4)


def test_an_unscored_metric_raises_with_the_line_to_write() -> None:
    with pytest.raises(UnknownNameError, match=r"results\.rescore\('f1_score'\)"):
        run().table(metrics="f1_score")


def test_sql_reads_the_tables() -> None:
    results = run(hf.models.oracle())
    answer = results.sql("SELECT count(*) AS n, avg(score) AS mean FROM scores WHERE metric = 'exact_match'")
    assert answer.rows() == [(64, 1.0)]
    assert results.sql("SELECT count(*) FROM requests").item() == 64


@pytest.mark.parametrize("query", ["SELECT * FORM scores", "SELECT nothing FROM scores", "SELECT * FROM result"])
def test_rejected_sql_raises_with_the_tables(query: str) -> None:
    with pytest.raises(ArgumentError, match=r"(?s)sql\(\): .*The tables are completions, requests, scores, stats"):
        run().sql(query)


def test_a_value_without_a_match_raises_with_the_known_values() -> None:
    with pytest.raises(ArgumentError, match=r"(?s)value\(\): no result for perturbation 'typo'.*Known: original"):
        run().value(perturbation="typo")


def test_a_value_of_another_type_than_its_column_raises() -> None:
    with pytest.raises(ArgumentError, match="exact_match='zero': column 'exact_match' has type Float64"):
        run().rows(score="zero")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="trial='first': column 'trial' has type Int64"):
        run().rows(trial="first")


def test_what_is_loaded_is_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "results.parquet"
    file.touch()
    with pytest.raises(ArgumentError, match=r"this is a file. Results are a folder"):
        hf.load(file)
    with pytest.raises(ArgumentError, match=r"load\(None\): path must be the folder"):
        hf.load(None)  # type: ignore[arg-type]


def test_results_travel_as_one_folder(tmp_path: Path) -> None:
    results = run()
    moved = hf.load(results.to_parquet(tmp_path / "out"))
    assert_frame_equal(moved.table(), results.table())
    with pytest.raises(StoreError, match="isn't empty"):
        results.to_parquet(tmp_path / "out")


def test_a_folder_of_parquet_is_read_by_anything_as_hf_columns_says(tmp_path: Path) -> None:
    plan = music().perturb("typos").generate({"org/one": hf.models.oracle(), "7": hf.models.noisy(0.5)})
    results = plan.score()
    folder = results.to_parquet(tmp_path / "out")
    for name, table in (("completions", results.completions), ("scores", results.scores)):
        documented = hf.schema(name)["column"].to_list()
        by_duckdb = duckdb.sql("FROM read_parquet(?)", params=[f"{folder}/{name}/**/*.parquet"]).pl()
        by_polars = pl.read_parquet(f"{folder}/{name}/**/*.parquet")
        for frame in (by_duckdb, by_polars):
            assert frame.columns[: len(documented)] == documented
            keys = [*COMPLETIONS.key, *(["metric"] if name == "scores" else [])]
            assert_frame_equal(frame.select(keys).sort(keys), table.select(keys).collect().sort(keys))
    file = next(Path(str(folder)).glob("scores/*.parquet"))
    footer = json.loads(pl.read_parquet_metadata(file)["helmframe"])
    assert footer["manifest"] == json.loads(json.dumps(results.manifest))


def test_an_exported_table_opens_in_every_reader_with_default_arguments(tmp_path: Path) -> None:
    plan = music().perturb("typos").generate({"org/one": hf.models.oracle(), "7": hf.models.noisy(0.5)})
    results = plan.score()
    folder = Path(str(results.to_parquet(tmp_path / "out")))
    for name in ("completions", "scores"):
        polars = pl.scan_parquet(folder / name).collect()
        pandas = pd.read_parquet(folder / name)
        arrow = dataset(folder / name).to_table()
        assert polars.columns == list(pandas.columns) == arrow.column_names
        assert polars.height == len(pandas) == arrow.num_rows == getattr(results, name).collect().height
        assert set(pandas["model"]) == {"org/one", "7"}
    joined = pd.merge(*(pd.read_parquet(folder / name) for name in ("scores", "completions")), on="completion_id")
    assert (joined["instance_id_x"] == joined["instance_id_y"]).all()
    assert (joined["model_x"] == joined["model_y"]).all()
    schema = json.loads((folder / "schema.json").read_text())
    assert schema["scores"]["columns"]["score"]["dtype"] == "Float64"
    assert "schema.json" in (folder / "README.md").read_text()


def test_half_an_export_is_no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreError("no space left")

    results = run()
    monkeypatch.setattr(RunFolder, "write_manifest", full)
    with pytest.raises(StoreError, match="no space left"):
        results.to_parquet(tmp_path / "out")
    with pytest.raises(StoreError, match="has no results"):
        hf.load(tmp_path / "out")


def test_at_k_takes_the_best_of_the_outputs() -> None:
    turns = iter("BACB")

    def model(prompt: str) -> str:
        return next(turns)

    frame = pl.DataFrame({"q": ["x", "y"], "a": ["A", "A"]})
    plan = hf.scenario(frame, input="q", references="a").generate(model, n=2).metrics(EXACT, "exact_match@2")
    results = plan.score()
    assert results.value("exact_match@2") == 0.5
    assert results.value(EXACT) == 0.25


def test_the_repr_shows_value_interval_n_and_chance() -> None:
    text = repr(run(hf.models.oracle()))
    heads = text.splitlines()[0].split()
    assert heads == ["scenario", "model", "perturbation", EXACT, "95%", "interval", "n", "chance"]
    assert "1.000" in text
    assert "0.250" in text


def test_the_repr_of_few_instances_says_how_the_interval_was_made() -> None:
    assert "Wilson" not in repr(run(hf.models.noisy(0.6)))
    few = repr(music().limit(10).generate(hf.models.noisy(0.6)).score())
    assert "] Wilson, n small, given these 5 examples  10" in few


def test_errors_and_unparsed_outputs_are_in_the_repr() -> None:
    def model(prompt: str) -> str:
        if "major" in prompt.rpartition("Question:")[2]:
            raise ValueError("down")
        return "none of these"

    first, *_ = lines = repr(music().generate(model).score()).splitlines()
    assert re.match(r"\d+ of 32 requests failed: \d+ × ValueError: down\. Rerun the plan", first)
    (head,) = [line for line in lines if line.startswith("scenario ")]
    assert {"errors", "unparsed"} <= set(head.split())


def test_html_escapes_what_models_and_users_name() -> None:
    hostile = "<script>alert(1)</script>"
    html = music().limit(1).generate({hostile: hf.models.oracle()}).score()._repr_html_()
    assert hostile not in html
    assert "&lt;script&gt;" in html


def test_the_manifest_says_how_and_holds_no_password() -> None:
    results = music().limit(1).generate(hf.models.oracle()).score()
    assert results.manifest["versions"]["helmframe"] == hf.__version__
    assert "scenario: sampler" in results.manifest["plans"][0]
    from helmframe.engines.manifest import without_secrets

    assert without_secrets("s3://key:secret@bucket/x") == "s3://bucket/x"


@pytest.mark.parametrize("query", ["", " "])
def test_sql_without_a_query_says_what_one_is(query: str) -> None:
    with pytest.raises(ArgumentError, match="query must be SQL, such as 'SELECT"):
        run().sql(query)


def test_sql_that_asks_for_nothing_gives_nothing() -> None:
    assert run().sql("CREATE TABLE mine (n INTEGER)").is_empty()


def test_a_table_is_by_names() -> None:
    with pytest.raises(ArgumentError, match="by=3: by must be a name or a list of names"):
        run().table(by=3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="metrics=3: metrics must be a name"):
        run().table(metrics=3)  # type: ignore[arg-type]


def test_a_query_of_a_table_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(ArgumentError, match="completions, requests, scores, stats"):
        run().sql("SELECT * FROM score")


def test_a_metric_that_is_no_fraction_has_to_say_so() -> None:
    @hf.metric("length_of_output")
    def length() -> pl.Expr:
        return pl.col("output").str.len_chars()

    with pytest.raises(ArgumentError, match="unit is 'fraction'"):
        run().rescore("length_of_output").table()


def test_metrics_may_be_a_list() -> None:
    assert run().rescore(["f1_score", EXACT]).metric_names == ["f1_score", EXACT]


def test_the_interval_of_a_metric_that_is_not_smooth_is_a_bootstrap() -> None:
    plan = hf.scenario("sampler").limit(3).adapt(method="multiple_choice_separate_original", shots=0)
    table = plan.generate(hf.models.noisy(0.6)).metrics("ece_10_bin", "ece_1_bin").score().table().sort("metric")
    assert table["interval"].to_list() == ["bootstrap (200), n small", "jackknife, n small"]
