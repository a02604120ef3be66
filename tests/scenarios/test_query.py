"""Limits and samples read the row groups of their rows only, and select the same rows as a full scan."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from helmframe._core.specs import Between, Condition, Equals, Sample, ScenarioSpec, Sql
from helmframe.errors import RepeatedKeyError
from helmframe.scenarios import query
from helmframe.scenarios.load import count, draw_sample, keys, load
from tests.scenarios.own_scenario import OWN, spec

SELECT = "SELECT row_index, split, topic, q AS input, a, [{'text': a::VARCHAR, 'correct': true}] AS \"references\""
SELECTS = {
    "as it is": f"{SELECT} FROM rows",
    "some rows": f"{SELECT} FROM rows WHERE a % 3 = 0",
    "in another order": f"{SELECT} FROM rows ORDER BY q DESC",
    "of neighbours": f"{SELECT}, lag(q) OVER (PARTITION BY topic ORDER BY row_index) AS previous FROM rows",
    "of all rows": f"{SELECT}, (SELECT max(a) FROM rows) AS most FROM rows",
    "with its own numbers": SELECT.replace("row_index,", "5000 - row_index AS row_index,", 1) + " FROM rows",
}


def write(folder: Path, file: str, a: list[int], row_index: list[int] | None = None) -> None:
    rows = pl.DataFrame({"q": [f"{file} {number * 7919 % 1000}" for number in a], "a": a})
    if row_index is not None:
        rows = rows.with_columns(row_index=pl.Series(row_index, dtype=pl.Int64))
    path = folder / "own" / f"{file}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(path, row_group_size=10)


def own(folder: Path, select: str = SELECTS["as it is"], subsets: str = "[topic]", more: str = "") -> ScenarioSpec:
    text = OWN.partition("instances: |")
    own_spec = f"{text[0]}instances: |\n  {select}\nmetrics: [exact_match]\nmain: {{metric: exact_match}}\n{more}\n"
    return spec(folder, own_spec.replace("subsets: [topic]", f"subsets: {subsets}"))


@pytest.fixture(params=["numbered", "not numbered", "numbered backwards"])
def rows(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three files of `sums` and one of `sky`, with row_index, without, or with row_index in another order."""
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    for file in range(3):
        numbers = list(range(40 * file, 40 * file + 40))
        stored = {"numbered": numbers, "not numbered": None, "numbered backwards": numbers[::-1]}[request.param]
        write(tmp_path, f"sums/test-{file}", numbers, stored)
    write(tmp_path, "sky/test-0", list(range(25)), None if request.param == "not numbered" else list(range(25)))
    return tmp_path


@pytest.mark.parametrize("select", SELECTS.values(), ids=SELECTS)
@pytest.mark.parametrize("where", [(), (Equals("topic", ("sums",)), Sql("a >= 50"))], ids=["all", "some"])
@pytest.mark.parametrize("order", ["first", "keyed", "helm"])
def test_a_sample_has_the_rows_of_a_full_scan(
    rows: Path, select: str, where: tuple[Condition, ...], order: str
) -> None:
    scenario = own(rows, select)
    everything = pl.concat(load(scenario, where=where))
    for n in (1, 7):
        chosen = draw_sample(everything.sort("subset", "row_index"), Sample(n, 0, order), "own")
        loaded = pl.concat(load(scenario, where=where, sample=Sample(n, 0, order)))
        key = ["subset", "row_index"]
        wanted = everything.join(chosen.select(key), on=key, how="semi")
        assert_frame_equal(loaded.sort(key), wanted.sort(key))
        assert (
            keys(scenario, where=where, sample=Sample(n, 0, order))
            .sort(key)["row_index"]
            .equals(wanted.sort(key)["row_index"])
        )
        assert count(scenario, where=where, sample=Sample(n, 0, order))["n"].sum() == wanted.height


def test_a_sample_of_very_many_rows_or_files_is_the_same(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = Sample(9, 0, "keyed")
    key = ["subset", "row_index"]
    exact = pl.concat(load(own(rows), sample=sample)).sort(key)
    monkeypatch.setattr(query, "_MOST_SCANS", 1)
    assert_frame_equal(pl.concat(load(own(rows), sample=sample)).sort(key), exact)


def test_a_limit_without_subsets_reads_past_files_without_a_match(rows: Path) -> None:
    scenario = own(rows, subsets="[]")
    loaded = pl.concat(load(scenario, where=[Equals("topic", ("sums",)), Between("a", 85, 90)], sample=_first(3)))
    assert sorted(loaded["data_a"]) in ([85, 86, 87], [88, 89, 90])


@pytest.mark.parametrize("order", ["first", "keyed"])
def test_a_sample_of_files_with_different_columns_has_all_columns(rows: Path, order: str) -> None:
    path = rows / "own" / "sums" / "test-1.parquet"
    pl.read_parquet(path).with_columns(hint=pl.lit("a hint")).write_parquet(path, row_group_size=10)
    union = own(rows, SELECT.replace("a, [", "a, hint, [", 1) + " FROM rows", more="union: true")
    everything = pl.concat(load(union))
    key = ["subset", "row_index"]
    for n in (1, 30, 90):
        loaded = pl.concat(load(union, sample=Sample(n, 0, order)))
        chosen = draw_sample(everything.sort(key), Sample(n, 0, order), "own")
        assert_frame_equal(
            loaded.sort(key),
            everything.join(chosen.select(key), on=key, how="semi").sort(key),
            check_column_order=False,
        )
    assert everything["data_hint"].drop_nulls().len() == 40


def test_a_limit_with_a_repeated_number_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    write(tmp_path, "sums/test-0", [1, 2, 3], [0, 1, 0])
    with pytest.raises(RepeatedKeyError, match="row_index must be unique"):
        list(load(own(tmp_path), sample=_first(1)))


@pytest.mark.parametrize(
    ("select", "copied"),
    [(select, name in ("as it is", "some rows", "in another order")) for name, select in SELECTS.items()],
)
def test_a_select_that_copies_row_index_is_recognised(rows: Path, select: str, copied: bool) -> None:
    with query.open_query(own(rows, select)) as opened:
        assert opened.copies_row_index is copied


def _first(n: int) -> Sample:
    return Sample(n, 0, "first")
