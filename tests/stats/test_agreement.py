"""Agreement of raters: the published worked examples, and intervals that cover what was planted."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from helmframe.errors import ArgumentError
from helmframe.stats import agreement

# Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, section C: four observers, twelve units.
KRIPPENDORFF = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def ratings(raters: Sequence[Sequence[float | None]], **columns: object) -> pl.DataFrame:
    rows = [
        {"scenario": "s", "subset": "", "cluster": None, "instance_id": f"i{place:04}", "item": "",
         "rater": "abcdefghijklmn"[number], "value": value}
        for number, values in enumerate(raters) for place, value in enumerate(values)
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides={"cluster": pl.String, "value": pl.Float64})
    return frame.with_columns(**{name: pl.lit(value) for name, value in columns.items()})


def counted(table: list[tuple[list[float], int]]) -> pl.DataFrame:
    """Each pattern of ratings so many times."""
    items = [values for values, count in table for _ in range(count)]
    return ratings([list(each) for each in zip(*items, strict=True)])


def value(frame: pl.DataFrame, statistic: str, level: str = "nominal") -> float:
    return float(agreement(frame, level=level).filter(pl.col("statistic") == statistic)["value"][0])


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_own_example(level: str, alpha: float) -> None:
    assert value(ratings(KRIPPENDORFF), "krippendorff_alpha", level) == pytest.approx(alpha, abs=0.0005)


def test_krippendorffs_binary_example_of_two_observers() -> None:
    # section A: ten units, binary, α = .095
    first = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    second = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert value(ratings([first, second]), "krippendorff_alpha") == pytest.approx(0.095, abs=0.0005)


def test_cohens_kappa_of_fifty_proposals() -> None:
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: .7 agree, .5 by chance
    frame = counted([([1, 1], 20), ([1, 0], 5), ([0, 1], 10), ([0, 0], 15)])
    assert value(frame, "cohen_kappa") == pytest.approx(0.4)
    assert value(frame, "same") == pytest.approx(0.7)
    assert value(frame, "difference") == pytest.approx(-0.1)


def test_fleiss_kappa_of_fourteen_raters() -> None:
    # ten subjects, five categories, κ = .210 (after Fleiss 1971)
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    items = [[category for category, count in enumerate(row) for _ in range(count)] for row in table]
    frame = ratings([list(map(float, each)) for each in zip(*items, strict=True)])
    assert value(frame, "fleiss_kappa") == pytest.approx(0.210, abs=0.0005)


def test_the_weighted_kappa_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import cohen_kappa_score

    random = np.random.default_rng(0)
    a = random.integers(1, 11, 300)
    b = np.clip(a + random.integers(-2, 3, 300), 1, 10)
    frame = ratings([a.tolist(), b.tolist()])
    assert value(frame, "weighted_kappa", "interval") == pytest.approx(cohen_kappa_score(a, b, weights="quadratic"))
    assert value(frame, "cohen_kappa", "interval") == pytest.approx(cohen_kappa_score(a, b))


def test_ratings_that_are_all_equal_have_no_kappa() -> None:
    table = agreement(counted([([1, 1], 30)]), level="interval")
    undefined = table.filter(pl.col("statistic").str.contains("alpha|kappa"))
    assert undefined["value"].to_list() == [None] * 4
    assert set(undefined["interval"]) == {"no interval: undefined because all ratings are equal"}
    assert table.filter(pl.col("statistic") == "same")["value"].to_list() == [1.0]


def test_no_order_of_rows_changes_a_digit() -> None:
    frame = ratings([[0.1 * (place % 7) for place in range(90)], [0.1 * (place % 5) for place in range(90)]])
    assert agreement(frame).equals(agreement(frame.sample(fraction=1.0, shuffle=True, seed=3)))


def test_each_group_and_each_two_raters_have_their_rows() -> None:
    frame = pl.concat([ratings([[1, 0], [1, 0], [0, 0]], model="m"), ratings([[1, 1], [0, 1]], model="n")])
    table = agreement(frame, ["model"], level="nominal")
    assert table.filter(pl.col("statistic") == "same").select("model", "raters", "value", "n").rows() == [
        ("m", "a, b", 1.0, 2), ("m", "a, c", 0.5, 2), ("m", "b, c", 0.5, 2), ("n", "a, b", 0.5, 2),
    ]  # fmt: skip


def test_clusters_widen_the_interval() -> None:
    a = [float(place % 20 < 10) for place in range(400)]
    b = [float(place % 20 < 5) if place < 200 else each for place, each in enumerate(a)]
    alone = ratings([a, b])
    together = alone.with_columns(cluster=(pl.col("instance_id").str.slice(1).cast(pl.Int64) // 40).cast(pl.String))
    widths = [
        agreement(frame, level="nominal").filter(pl.col("statistic") == "cohen_kappa").select(
            pl.col("ci_high") - pl.col("ci_low")
        ).item()
        for frame in (alone, together)
    ]  # fmt: skip
    assert widths[1] > 2 * widths[0]


def test_the_intervals_cover_what_was_planted() -> None:
    # two judges, each right with .85, truths .5/.5: they agree with .85² + .15² = .745, so κ = α = .49
    hits, runs = {"cohen_kappa": 0, "krippendorff_alpha": 0}, 200
    for seed in range(runs):
        random = np.random.default_rng(seed)
        truth = random.random(150) < 0.5
        both = [(np.where(random.random(150) < 0.85, truth, ~truth)).astype(float).tolist() for _ in range(2)]
        table = agreement(ratings(both), level="nominal")
        for name in hits:
            low, high = table.filter(pl.col("statistic") == name).select("ci_low", "ci_high").row(0)
            hits[name] += low <= 0.49 <= high
    for name, count in hits.items():
        print(f"95 % intervals of {name} that cover: {count / runs:.3f} of {runs}")
        assert 0.90 <= count / runs <= 0.985


def test_fewer_than_two_raters_or_repeated_ratings_raise() -> None:
    with pytest.raises(ArgumentError, match=r"at least two raters are needed\. The raters are: a"):
        agreement(ratings([[1, 0]]))
    with pytest.raises(ArgumentError, match="two ratings of one item"):
        agreement(pl.concat([ratings([[1, 0], [1, 0]])] * 2))
    with pytest.raises(ArgumentError, match=r"level='nominl'.* 'nominal'"):
        agreement(ratings([[1, 0], [1, 0]]), level="nominl")
