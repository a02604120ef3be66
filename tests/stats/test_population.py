"""What is drawn from when only some instances are asked: order, weights, and the interval after some of them."""

import polars as pl
import pytest

from helmframe.stats import sequential
from helmframe.stats.population import Population, cluster_means, instance_means, interval_of


def instances(sizes: list[int], subset: list[str] | None = None) -> pl.DataFrame:
    clusters = [f"c{place}" for place, size in enumerate(sizes) for _ in range(size)]
    subsets = [(subset or [""] * len(sizes))[place] for place, size in enumerate(sizes) for _ in range(size)]
    ids = [f"id{place}" for place in range(sum(sizes))]
    return pl.DataFrame({"subset": subsets, "cluster": clusters, "instance_id": ids})


def population(frame: pl.DataFrame, mean: str = "micro", seed: int = 0) -> Population:
    return Population.of(frame, "s", "test", seed=seed, mean=mean)


def scores(frame: pl.DataFrame, values: list[float | None]) -> pl.LazyFrame:
    return frame.with_columns(score=pl.Series(values, dtype=pl.Float64)).lazy()


def test_the_order_is_of_names_and_seed_and_no_row_order() -> None:
    frame = instances([1] * 20)
    order = frame.sort(population(frame).order_key)["cluster"].to_list()
    assert frame.reverse().sort(population(frame).order_key)["cluster"].to_list() == order
    assert frame.sort(population(frame, seed=1).order_key)["cluster"].to_list() != order
    assert order != frame["cluster"].to_list()


def test_subsets_weigh_alike_in_a_macro_mean_and_by_size_in_a_micro_one() -> None:
    frame = instances([1] * 10, subset=["small"] * 2 + ["large"] * 8)
    weights = frame.select("subset", w=population(frame, "macro").weight).unique().sort("subset")["w"].to_list()
    assert weights == [10 / 2 / 8, 10 / 2 / 2]
    assert frame.select(population(frame).weight.alias("w").unique())["w"].to_list() == [1.0]
    assert population(frame, "macro").largest == 2.5


def test_a_manifest_keeps_all_of_it() -> None:
    made = population(instances([1, 2, 3]))
    assert Population(**made.to_dict()) == made
    assert (made.instances, made.clusters, made.largest) == (6, 3, 3.0)


def test_outputs_of_an_instance_are_one_and_a_failed_one_may_be_anything() -> None:
    frame = pl.DataFrame({"subset": "", "cluster": None, "instance_id": ["a", "a", "b", "b"]})
    means = instance_means(scores(frame, [1.0, 0.0, 1.0, None]), [], (0.0, 1.0)).sort("instance_id").collect()
    assert means.select("cluster", "value", "low", "high", "once").rows() == [
        ("a", 0.5, 0.5, 0.5, False), ("b", None, 0.5, 1.0, False),
    ]  # fmt: skip


def test_the_interval_is_that_of_the_sequence_in_this_order() -> None:
    frame = instances([1] * 40)
    known = population(frame)
    right = [float(place % 4 > 0) for place in range(40)]
    asked = frame.with_columns(right=pl.Series(right)).sort(known.order_key).head(30)
    means = instance_means(scores(asked, asked["right"].to_list()), [], (0.0, 1.0))
    found = interval_of(cluster_means(means, [], known).collect(), known, (0.0, 1.0), binary=True, ci=0.9)
    last = sequential(asked["right"], 40, binary=True, ci=0.9).row(-1, named=True)
    assert (found["asked"], found["of"]) == (30, 40)
    assert (found["ci_low"], found["ci_high"]) == (last["ci_low"], last["ci_high"])
    assert found["value"] == pytest.approx(asked["right"].mean())


def test_clusters_of_one_size_are_no_right_or_wrong() -> None:
    frame = instances([2] * 30)
    means = instance_means(scores(frame, [1.0, 0.0] * 30), [], (0.0, 1.0))
    known = population(frame)
    found = interval_of(cluster_means(means, [], known).collect(), known, (0.0, 1.0), binary=True, ci=0.95)
    assert found["interval"].startswith("betting")
    assert (found["ci_low"], found["ci_high"]) == (pytest.approx(0.5), pytest.approx(0.5))
