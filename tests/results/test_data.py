"""Results in the shards of a run's folder give the tables that the same results give in one piece."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import helmframe as hf
from helmframe.errors import StoreError, UnknownNameError
from helmframe.results._data import Chunk, ResultsReader, reader_of
from helmframe.store import RunFolder
from helmframe.store.files import listing, name_of
from tests.frames import completions
from tests.metrics.options import asked

TABLES = ("completions", "scores", "prefixes")


def plan() -> hf.Plan:
    sampler = hf.scenario("sampler").where(subject=["music", "biology"]).limit(20)
    return sampler.perturb(["typos", "lowercase", "rerun"]).adapt(shots=[0, 1]).generate(hf.models.noisy(0.6))


@pytest.fixture(scope="module")
def results() -> hf.Results:
    return plan().score()


@pytest.fixture(scope="module")
def sharded(results: hf.Results, tmp_path_factory: pytest.TempPathFactory) -> hf.Results:
    """The same in shards of seven instances."""
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    ids = results.completions.select("instance_id").unique().sort("instance_id").with_row_index("index").collect()
    for table in TABLES:
        rows = getattr(results, table).collect()
        if table == "prefixes":
            folder.add(table, "sampler", rows)
            continue
        for shard in range(-(-ids.height // 7)):
            some = ids.filter(pl.col("index") // 7 == shard)["instance_id"].implode()
            folder.add(table, "sampler", rows.filter(pl.col("instance_id").is_in(some)), shard)
    folder.write_manifest(results.manifest)
    return hf.load(Path(folder.path))


QUESTIONS: dict[str, Callable[[hf.Results], pl.DataFrame]] = {
    "table": lambda results: results.table(),
    "table by a column of the scenario": lambda results: results.table("subject", mean="micro"),
    "pivot": lambda results: results.table(metrics="exact_match", pivot="perturbation"),
    "robustness": lambda results: results.robustness(),
    "robustness with a placebo": lambda results: results.robustness("subset", placebo="rerun"),
    "fairness": lambda results: results.fairness(),
    "worst case": lambda results: results.worst_case(),
    "worst@1": lambda results: results.worst_case(k=1),
    "consistency": lambda results: results.consistency(),
    "gap": lambda results: results.gap("subject"),
    "compare": lambda results: results.compare("setting"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_shards_give_what_one_piece_gives(results: hf.Results, sharded: hf.Results, question: str) -> None:
    whole = hf.Results(results.completions, results.scores, results.prefixes, results.manifest)
    one, many = (QUESTIONS[question](results) for results in (whole, sharded))
    assert_frame_equal(many, one, rel_tol=1e-12)


def test_the_shards_of_a_run_are_read_one_by_one(sharded: hf.Results) -> None:
    assert len(reader_of(sharded).chunks) == 6
    assert reader_of(sharded).n_generated() == 40 * 4 * 2


def test_all_settings_of_a_shard_have_its_number(results: hf.Results) -> None:
    assert results.path is not None
    names = [name_of(file.address) for file in listing(results.path) if file.name.startswith("scores")]
    assert [name[:6] for name in names] == ["000000", "000000"]


def test_results_copied_in_shards_equal_the_first(sharded: hf.Results, tmp_path: Path) -> None:
    copied = hf.load(sharded.to_parquet(tmp_path / "copy"))
    assert len(reader_of(copied).chunks) == 6
    assert_frame_equal(copied.table(), sharded.table())
    assert repr(copied).splitlines()[:-1] == repr(sharded).splitlines()[:-1]


@pytest.mark.parametrize("column", ["instance_id", "input", "references", "choices", "request_mode", "shots_used"])
def test_results_without_a_column_that_tables_read_raise(results: hf.Results, tmp_path: Path, column: str) -> None:
    folder = RunFolder(tmp_path)
    for table in TABLES:
        rows = getattr(results, table).collect()
        folder.add(table, "sampler", rows.drop(column) if table == "completions" else rows)
    folder.write_manifest(results.manifest)
    with pytest.raises(StoreError, match=f"column '{column}' of table 'completions' is missing"):
        hf.load(tmp_path)


def test_two_plans_of_one_scenario_are_read_in_one_piece() -> None:
    sampler = hf.scenario("sampler").where(subject="music").generate(hf.models.noisy(0.6))
    both = hf.suite(sampler.limit(4), sampler.limit(8)).score()
    assert both.manifest["scenarios"]["sampler"]["whole_shards"] is False
    assert both.table("model", metrics="exact_match", pool=True)["n"].to_list() == [8]


def test_a_column_that_one_scenario_has_is_null_in_the_other() -> None:
    scores = pl.LazyFrame({"scenario": ["a"], "instance_id": ["id0"]})
    chunk = Chunk(pl.LazyFrame({"scenario": ["a"], "instance_id": ["id0"]}), scores)
    columns = {"scenario": pl.String(), "instance_id": pl.String(), "data_subject": pl.String()}
    reader = ResultsReader([chunk], {}, pl.LazyFrame(schema=columns))
    assert reader.column("subject") == "data_subject"
    assert reader.scores(["data_subject"])[0].collect()["data_subject"].to_list() == [None]
    with pytest.raises(UnknownNameError, match="Did you mean 'subject'"):
        reader.column("subjct")


def test_without_choices_there_is_no_chance() -> None:
    frame = pl.DataFrame({"q": ["a", "b"], "a": ["yes", "no"]})
    table = hf.scenario(frame, input="q", references="a").generate(hf.models.noisy(0.5)).score().table()
    assert table["chance"].to_list() == [None] * 4


def test_what_is_scored_without_a_model() -> None:
    # A is right in 3 of 4 of the first subset, C in half of the second; four options
    first, second = [0, 0, 0, 1], [2, 2, 0, 1, 3, 2, 0, 2]
    options = [[(text, index == gold) for index, text in enumerate("wxyz")] for gold in (*first, *second)]
    rows = completions(["A"] * 12, options, subset=["a"] * 4 + ["b"] * 8, choices=pl.Series([list("ABCD")] * 12))
    chunks = [Chunk(rows[:6].lazy(), pl.LazyFrame()), Chunk(rows[6:].lazy(), pl.LazyFrame())]
    reader = ResultsReader(chunks, {}, rows.lazy())
    names = ["exact_match", "f1_score"]
    assert reader.baselines(["subset"], names, "macro").sort("subset").rows() == [
        ("a", "exact_match", 0.25, 0.75),
        ("b", "exact_match", 0.25, 0.5),
    ]
    assert reader.baselines([], names, "macro").rows() == [("exact_match", 0.25, (0.75 + 0.5) / 2)]
    assert reader.baselines([], names, "micro").rows() == [("exact_match", 0.25, pytest.approx((3 + 4) / 12))]


def test_options_in_separate_requests_have_a_chance_but_no_majority() -> None:
    options = asked({"yes": (-1.0, True), "no": (-2.0, False), "maybe": (-3.0, False)})
    reader = ResultsReader([Chunk(options.lazy(), pl.LazyFrame())], {}, options.lazy())
    names = ["option_accuracy", "exact_match"]
    assert reader.baselines(["model"], names, "macro").sort("metric").rows() == [
        ("m", "exact_match", pytest.approx(1 / 3), None),
        ("m", "option_accuracy", pytest.approx(1 / 3), None),
    ]


def test_an_interval_over_one_draw_of_examples_says_so(results: hf.Results) -> None:
    by_setting = results.table("setting", metrics="exact_match", pool=True)
    assert by_setting.select("setting", "interval").rows() == [
        ("shots=0", "modified Wilson"),
        ("shots=1", "modified Wilson, given this example"),
    ]
    trials = hf.scenario("sampler").limit(20).adapt(shots=2, trials=2).generate(hf.models.noisy(0.6)).score()
    assert "crossed trials" in trials.table(metrics="exact_match")["interval"].item()
    assert set(trials.table("trial", metrics="exact_match")["interval"]) == {"modified Wilson, given these 2 examples"}


def test_a_majority_is_beside_chance_in_the_table(results: hf.Results) -> None:
    row = results.table("model", metrics="exact_match").row(0, named=True)
    assert row["chance"] == 0.25
    assert row["chance"] <= row["majority"] < 1
