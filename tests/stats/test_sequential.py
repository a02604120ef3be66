from itertools import combinations, permutations

import numpy as np
import polars as pl
import pytest
from scipy.stats import hypergeom

import helmframe as hf
from helmframe.errors import ArgumentError
from helmframe.stats import sequential
from helmframe.stats.sequential import Population, cluster_means, instance_means, interval_of


def missed(found: pl.DataFrame, mean: float) -> bool:
    return bool(((found["ci_low"] > mean + 1e-9) | (found["ci_high"] < mean - 1e-9)).any())


def test_right_or_wrong_it_holds_the_counts_whose_ratios_have_all_been_below_one_over_alpha() -> None:
    population, seen = 60, np.random.default_rng(1).permutation([1] * 40 + [0] * 20)
    found = hf.stats.sequential(list(seen), population, binary=True, ci=0.93)
    counts = np.arange(population + 1)
    low, high = 0, population
    for t, row in enumerate(found.iter_rows(named=True), start=1):
        chance = hypergeom.pmf(seen[:t].sum(), population, counts, t)
        # the prior's chance of each count is the same, and that of what was seen 1 / (t + 1)
        holds = counts[chance * (t + 1) > 0.07]
        low, high = max(low, holds.min()), min(high, holds.max())
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((low / population, high / population))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("ones", [0, 1, 3, 5])
def test_of_all_orders_no_more_miss_than_are_allowed(ones: int, binary: bool) -> None:
    # every order of 10 right or wrong answers, at a level where many may miss
    orders = [[float(place in right) for place in range(10)] for right in combinations(range(10), ones)]
    misses = [missed(hf.stats.sequential(each, 10, binary=binary, ci=0.5), ones / 10) for each in orders]
    assert np.mean(misses) <= 0.5


def test_of_all_orders_of_partial_scores_no_more_miss_than_are_allowed() -> None:
    scores = [0.0, 0.1, 0.5, 0.9, 1.0, 1.0]
    misses = [missed(hf.stats.sequential(each, 6, ci=0.5), sum(scores) / 6) for each in permutations(scores)]
    assert np.mean(misses) <= 0.5


def test_the_capital_is_that_of_the_papers_own_code() -> None:
    # confseq, src/confseq/betting.py: betting_mart with N=60, its bets cut at each of our stakes, their capitals
    # averaged, over 501 candidates, the running intersection taken
    scores = [place * 37 % 101 / 100 for place in range(40)]
    found = hf.stats.sequential(scores, 60)
    golden = {5: (0.066, 0.786), 10: (0.198, 0.724), 20: (0.306, 0.630), 30: (0.360, 0.598), 40: (0.406, 0.582)}
    ends = {asked: (low, high) for asked, _, low, high, _ in found.iter_rows() if asked in golden}
    assert ends == {asked: pytest.approx(each) for asked, each in golden.items()}


def test_of_all_orders_of_clusters_no_more_miss_than_are_allowed() -> None:
    # the larger a cluster the better: sizes and scores can't be told apart by chance
    clusters = [(1, 0.0), (1, 0.5), (2, 0.5), (3, 1.0), (5, 1.0), (8, 0.75)]
    mean = sum(size * score for size, score in clusters) / 20
    found = [
        hf.stats.sequential([score for _, score in each], 6, sizes=[size for size, _ in each], ci=0.5)
        for each in permutations(clusters)
    ]
    assert np.mean([missed(each, mean) for each in found]) <= 0.5
    assert all(each["value"][-1] == pytest.approx(mean) for each in found)
    assert all(each["ci_low"][-1] == each["ci_high"][-1] == pytest.approx(mean) for each in found)


def test_sizes_that_are_all_alike_make_no_difference() -> None:
    for binary, scores in ((True, [1, 0, 0, 1, 1]), (False, [0.5, 0.1, 0.9, 0.3, 1.0])):
        plain, sized = (
            hf.stats.sequential(scores, 9, binary=binary, sizes=sizes) for sizes in (None, [3] * 9)
        )  # fmt: skip
        assert plain["ci_low"].to_list() == pytest.approx(sized["ci_low"].to_list())
        assert plain["ci_high"].to_list() == pytest.approx(sized["ci_high"].to_list())


@pytest.mark.parametrize("binary", [True, False])
def test_the_mean_is_known_after_the_whole_population(binary: bool) -> None:
    scores = np.random.default_rng(0).permutation([1] * 70 + [0] * 30)
    last = hf.stats.sequential(list(scores), 100, binary=binary).row(-1, named=True)
    assert (last["n_run"], last["ci_low"], last["ci_high"]) == (100, pytest.approx(0.7), pytest.approx(0.7))


def test_it_narrows_and_holds_what_was_seen() -> None:
    found = hf.stats.sequential([0.2, 0.9, 0.4, 1.0, 0.0] * 20, 400)
    assert found["ci_low"].is_sorted()
    assert found["ci_high"].is_sorted(descending=True)
    assert found.row(-1, named=True)["ci_high"] - found.row(-1, named=True)["ci_low"] < 0.35
    assert found["interval"][0] == "betting (anytime, this benchmark only)"


def test_differences_are_those_of_scores_moved_between_0_and_1() -> None:
    differences = [1, 0, 0, -1, 1, 0, 0, 0, 1, 0] * 5
    theirs = hf.stats.sequential(differences, 200, bounds=(-1, 1))
    moved = hf.stats.sequential([(each + 1) / 2 for each in differences], 200)
    assert theirs["ci_low"].to_list() == pytest.approx((2 * moved["ci_low"] - 1).to_list())
    assert theirs["value"][-1] == pytest.approx(0.2)


def test_flags_are_scores_and_none_is_none() -> None:
    assert hf.stats.sequential(pl.Series([True, False]), 9, binary=True)["value"].to_list() == [1.0, 0.5]
    assert hf.stats.sequential([], 9).height == 0


@pytest.mark.parametrize(
    ("scores", "arguments", "message"),
    [
        ([12.5], {}, "between 0 and 1"),
        ([0.5, None], {}, "none may be null"),
        ([float("nan")], {}, "none may be null"),
        ([12.5], {"bounds": (0, float("inf"))}, "without bounds, such as perplexity"),
        ([0.5], {"binary": True}, "each score must be 0 or 1"),
        ([1] * 11, {}, "population=10\\): population must be at least the number of scores, 11"),
        ([1], {"ci": 95}, "ci=95"),
        ([1], {"sizes": [1, 2]}, "10 positive numbers"),
        ([1], {"sizes": [0] * 10}, "10 positive numbers"),
    ],
)
def test_invalid_sequences_raise(scores: list[float], arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        hf.stats.sequential(scores, 10, **arguments)  # type: ignore[arg-type]


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
    found = interval_of(cluster_means(means, [], known).collect(), known, (0.0, 1.0), binary=True, ci=0.9, finite=True)
    last = sequential(asked["right"], 40, binary=True, ci=0.9).row(-1, named=True)
    assert (found["n_run"], found["n_total"]) == (30, 40)
    assert (found["ci_low"], found["ci_high"]) == (last["ci_low"], last["ci_high"])
    assert found["value"] == pytest.approx(asked["right"].mean())


def test_clusters_of_one_size_are_no_right_or_wrong() -> None:
    frame = instances([2] * 30)
    means = instance_means(scores(frame, [1.0, 0.0] * 30), [], (0.0, 1.0))
    known = population(frame)
    found = interval_of(cluster_means(means, [], known).collect(), known, (0.0, 1.0), binary=True, ci=0.95, finite=True)
    assert found["interval"].startswith("betting")
    assert (found["ci_low"], found["ci_high"]) == (pytest.approx(0.5), pytest.approx(0.5))


def test_without_a_population_it_is_the_mixture_of_the_likelihood() -> None:
    from scipy.stats import beta

    seen = np.random.default_rng(1).permutation([1] * 40 + [0] * 20)
    found = hf.stats.sequential(list(seen), binary=True, ci=0.93)
    p = np.linspace(0, 1, 20_001)
    low, high = 0.0, 1.0
    for t, row in enumerate(found.iter_rows(named=True), start=1):
        s = int(seen[:t].sum())
        # the prior's density is 1; the posterior's is that of a beta distribution
        holds = p[beta.pdf(p, s + 1, t - s + 1) > 0.07]
        low, high = max(low, holds.min()), min(high, holds.max())
        assert (row["ci_low"], row["ci_high"]) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert found["interval"][0] == "prior–posterior ratio (anytime)"


def test_the_mean_of_a_population_is_never_known_exactly() -> None:
    whole = hf.stats.sequential([1.0, 0.0] * 50, 100).row(-1, named=True)
    sample = hf.stats.sequential([1.0, 0.0] * 50).row(-1, named=True)
    assert whole["ci_high"] - whole["ci_low"] < 0.01
    assert sample["ci_high"] - sample["ci_low"] > 0.2
    assert (whole["interval"], sample["interval"]) == ("betting (anytime, this benchmark only)", "betting (anytime)")


def test_clusters_of_a_population_are_weighted_by_size() -> None:
    sizes = [2.0, 5.0, 1.0, 4.0] * 25
    found = hf.stats.sequential([0.5, 1.0, 0.0, 0.75] * 25, sizes=sizes).row(-1, named=True)
    assert found["value"] == pytest.approx((1 + 5 + 3) / 12)
    assert found["ci_low"] < 0.75 < found["ci_high"]
    with pytest.raises(ArgumentError, match="at least 3 positive numbers, one for each score"):
        hf.stats.sequential([1.0, 0.0, 1.0], sizes=[1.0, 2.0])
