import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from helmframe.stats.encoded_rows import distinct, encode_rows, numbered

TEXT = st.sampled_from(["", "a", "b", "ä"])
ROWS = st.lists(
    st.tuples(TEXT, st.sampled_from(["p", "q", None]), st.sampled_from(["x", "y", "z"]), st.sampled_from(["c", None])),
    max_size=40,
)


def frame(rows: list[tuple[str, str | None, str, str | None]]) -> pl.DataFrame:
    schema = dict.fromkeys(["scenario", "subset", "instance_id", "cluster"], pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(score=pl.int_range(pl.len()).cast(pl.Float64))


@given(ROWS, st.integers(1, 30))
def test_encoded_rows_have_the_values_of_the_frame(
    rows: list[tuple[str, str | None, str, str | None]], copies: int
) -> None:
    # copies of each row make runs; without them every row differs from the one before
    data = frame([row for row in rows for _ in range(copies)])
    numbers = encode_rows(data, ["scenario", "subset"], ["score"])
    again = numbers.cells[numbers.cell].hstack(numbers.names[numbers.unit]).hstack(numbers.rows)
    assert_frame_equal(
        again.select(data.columns), data.with_columns(pl.col("cluster").fill_null(pl.col("instance_id")))
    )
    assert numbers.cells.is_unique().all()


def test_instances_are_numbered_in_the_order_of_cluster_and_name() -> None:
    numbers = encode_rows(frame([("s", "p", "z", "c"), ("s", "p", "x", None), ("s", "p", "y", "c")]), ["scenario"])
    assert numbers.names.rows() == [("y", "c"), ("z", "c"), ("x", "x")]
    assert numbers.cluster.tolist() == [0, 0, 1]
    assert numbers.unit.tolist() == [1, 2, 0]


def test_a_column_that_names_instances_may_be_a_cell_too() -> None:
    numbers = encode_rows(frame([("s", "p", "x", None), ("s", "p", "y", None)]), ["instance_id", "cluster"])
    assert numbers.cells.rows() == [("x", None), ("y", None)]


def test_no_columns_are_one_cell() -> None:
    cells, number = numbered(frame([("s", "p", "x", None)] * 3), [])
    assert (cells.height, number.tolist()) == (1, [0, 0, 0])


@pytest.mark.parametrize("rows", [[], [("s", "p", "x", None)]])
def test_few_rows_or_none(rows: list[tuple[str, str | None, str, str | None]]) -> None:
    assert len(encode_rows(frame(rows), ["scenario", "subset"]).cell) == len(rows)


@given(st.lists(st.integers(0, 5)))
def test_distinct_keys_come_once_and_sorted(keys: list[int]) -> None:
    import numpy as np

    assert distinct(np.array(keys, dtype=np.int64)).tolist() == sorted(set(keys))
