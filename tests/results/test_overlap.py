"""Scores of clean and contaminated instances: two samples for one model, pairs for two models."""

from pathlib import Path

import polars as pl
import pytest
from scipy import stats

import helmframe as hf
from helmframe.errors import ArgumentError, UnknownNameError


@pytest.fixture
def plan() -> hf.Plan:
    """Return a plan over 64 questions of two subjects."""
    return hf.scenario("sampler").where(subject=["music", "biology"]).adapt(shots=0)


@pytest.fixture
def results(plan: hf.Plan) -> hf.Results:
    return plan.generate({"good": hf.models.noisy(0.8), "bad": hf.models.noisy(0.3, seed=1)}).score()


@pytest.fixture
def overlap(plan: hf.Plan, tmp_path: Path) -> pl.DataFrame:
    """Return the overlap with a corpus that has half of the questions of each subject."""
    texts = plan.instances().collect().filter(pl.col("row_index") % 2 == 0)["input"]
    pl.DataFrame({"text": texts}).write_parquet(tmp_path / "corpus.parquet")
    return plan.overlap(tmp_path / "corpus.parquet", n=5)


def marked(results: hf.Results, overlap: pl.DataFrame) -> pl.DataFrame:
    """Return instance scores with whether the input or the references overlap."""
    flags = overlap.filter(pl.col("field") != "intersection").group_by("instance_id")
    scores = results.scores.filter(metric="exact_match").collect()
    return scores.join(flags.agg(is_contaminated=(pl.col("n_overlapping") > 0).any()), on="instance_id")


def test_a_table_by_overlap_has_both_groups(results: hf.Results, overlap: pl.DataFrame) -> None:
    table = results.table(by="overlap", metrics="exact_match", mean="micro", overlap=overlap)
    assert table.select("overlap", "model").rows() == [
        ("clean", "good"), ("clean", "bad"), ("contaminated", "good"), ("contaminated", "bad"),
    ]  # fmt: skip
    scores = marked(results, overlap)
    for row in table.iter_rows(named=True):
        side = scores.filter(
            pl.col("is_contaminated") == (row["overlap"] == "contaminated"), pl.col("model") == row["model"]
        )
        assert row["value"] == pytest.approx(side["score"].mean())
        assert row["n"] == side.height
        assert row["ci_low"] < row["value"] < row["ci_high"]


def test_the_gap_is_that_of_two_samples(results: hf.Results, overlap: pl.DataFrame) -> None:
    scores = marked(results, overlap).filter(model="bad", subset="music")
    frame = overlap.filter(pl.col("instance_id").is_in(scores["instance_id"].to_list()))
    music = hf.scenario("sampler").where(subject="music").adapt(shots=0).generate({"bad": hf.models.noisy(0.3, seed=1)})
    table = music.score().table(by="overlap", metrics="exact_match", overlap=frame)
    clean, contaminated = (scores.filter(is_contaminated=flag)["score"].to_list() for flag in (False, True))
    welch = stats.ttest_ind(contaminated, clean, equal_var=False).confidence_interval()
    gap = table.filter(overlap="contaminated").select("gap", "gap_low", "gap_high").row(0)
    difference = sum(contaminated) / len(contaminated) - sum(clean) / len(clean)
    assert gap == pytest.approx((difference, welch.low, welch.high), abs=1e-6)
    assert table.filter(overlap="clean").select("gap", "gap_low", "gap_high").row(0) == (None, None, None)


def test_the_method_gap_takes_the_frame(results: hf.Results, overlap: pl.DataFrame) -> None:
    gap = results.gap("overlap", reference="clean", metrics="exact_match", overlap=overlap)
    table = results.table(by="overlap", metrics="exact_match", overlap=overlap).filter(overlap="contaminated")
    assert gap["gap"].to_list() == pytest.approx(table["gap"].to_list())
    assert gap["reference"].unique().to_list() == ["clean"]


def test_models_are_paired_within_each_group(results: hf.Results, overlap: pl.DataFrame) -> None:
    comparison = pl.DataFrame(results.compare("model", base="bad", overlap=overlap))
    assert comparison["overlap"].to_list() == ["clean", "contaminated"]
    wide = marked(results, overlap).pivot("model", index=["instance_id", "is_contaminated", "subset"], values="score")
    for row in comparison.iter_rows(named=True):
        group = wide.filter(pl.col("is_contaminated") == (row["overlap"] == "contaminated"))
        assert row["n"] == group.height
        assert row["win"] == group.filter(pl.col("good") > pl.col("bad")).height
    assert "contaminated" in repr(results.compare("model", base="bad", overlap=overlap))


def test_groups_may_be_split_further(results: hf.Results, overlap: pl.DataFrame) -> None:
    table = results.table(by=["subject", "overlap"], metrics="exact_match", overlap=overlap)
    assert table.height == 8
    assert table.filter(overlap="contaminated")["gap"].null_count() == 0
    wide = results.table(by=["subject", "overlap"], metrics="exact_match", pivot="overlap", overlap=overlap)
    assert {"clean", "contaminated"} <= {*wide.columns}


def test_one_group_alone_has_no_gap(results: hf.Results, overlap: pl.DataFrame) -> None:
    nothing = overlap.with_columns(n_overlapping=0)
    table = results.table(by="overlap", metrics="exact_match", overlap=nothing)
    assert table["overlap"].unique().to_list() == ["clean"]
    assert table["gap"].null_count() == 2


def test_overlap_of_the_intersection_alone_is_clean(results: hf.Results, overlap: pl.DataFrame) -> None:
    met = overlap.with_columns(n_overlapping=(pl.col("field") == "intersection").cast(pl.Int64))
    assert results.table(by="overlap", overlap=met)["overlap"].unique().to_list() == ["clean"]


def test_a_table_after_one_with_another_frame_is_new(results: hf.Results, overlap: pl.DataFrame) -> None:
    before = results.table(metrics="exact_match")
    results.table(by="overlap", metrics="exact_match", overlap=overlap)
    other = results.table(by="overlap", metrics="exact_match", overlap=overlap.with_columns(n_overlapping=1))
    assert other["overlap"].unique().to_list() == ["contaminated"]
    assert results.table(metrics="exact_match").equals(before)


def test_wrong_frames_are_named(results: hf.Results, overlap: pl.DataFrame) -> None:
    with pytest.raises(UnknownNameError, match=r"no overlap with a corpus. Pass the frame: overlap=plan\.overlap"):
        results.table(by="overlap")
    with pytest.raises(ArgumentError, match=r"several n: \[5, 9\]. Select one: overlap.filter\(n=9\)"):
        results.table(by="overlap", overlap=pl.concat([overlap, overlap.with_columns(n=pl.lit(9, pl.Int64))]))
    with pytest.raises(ArgumentError, match="lacks 32 instances of these results, such as 'biology/id"):
        results.table(by="overlap", overlap=overlap.filter(subset="music"))
    with pytest.raises(ArgumentError, match="must be the frame of"):
        results.table(by="overlap", overlap=overlap.drop("field"))
