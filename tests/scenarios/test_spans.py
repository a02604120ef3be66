"""Spans: every instance in one of them, told by keys alone, and read without the others."""

from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe._core.specs import ScenarioSpec
from helmframe._pipeline import load_instances, split_spans
from helmframe._plan import spec_of
from helmframe.scenarios.load import load
from helmframe.scenarios.spans import Span, spans

KEY = ["subset", "row_index"]


def scenario_of(plan: hf.Plan) -> ScenarioSpec:
    (spec,) = spec_of(plan).scenarios
    return spec


def read(plan: hf.Plan, found: list[Span]) -> pl.DataFrame:
    """What the spans give together."""
    spec = scenario_of(plan)
    frames = [frame for span in found for frame in load(spec, where=span.conditions(), only=span.keys)]
    return pl.concat(frames).sort(KEY)


def all_of(plan: hf.Plan) -> pl.DataFrame:
    return pl.concat(load_instances(spec_of(plan), scenario_of(plan))).sort(KEY)


@pytest.mark.parametrize("rows", [1, 7, 100, 1000])
def test_spans_hold_every_instance_once(rows: int) -> None:
    plan = hf.scenario("sampler")
    found = spans(scenario_of(plan), most=rows)
    assert [span.rows for span in found[:-1]] == [rows] * (len(found) - 1)
    assert read(plan, found).equals(all_of(plan))


def test_a_span_knows_subsets_and_ends_and_no_keys() -> None:
    first, *_ = spans(scenario_of(hf.scenario("sampler")), most=40)
    assert first.keys is None
    assert [subset for subset, _, _ in first.segments] == sorted({subset for subset, _, _ in first.segments})


def test_there_are_so_many_pieces_unless_they_get_too_small() -> None:
    spec = scenario_of(hf.scenario("sampler"))
    assert len(spans(spec, pieces=8, least=1)) == 8
    assert {span.rows for span in spans(spec, pieces=1000, least=64)} == {64}


def test_a_sample_is_cut_by_its_keys() -> None:
    plan = hf.scenario("sampler").sample(5)
    found = split_spans(spec_of(plan), scenario_of(plan), 10)
    assert all(span.keys is not None for span in found)
    assert read(plan, found).equals(all_of(plan))


def test_conditions_hold_in_every_span() -> None:
    plan = hf.scenario("sampler").where("length(input) > 60").where(pl.col("input").str.len_chars() < 90)
    found = split_spans(spec_of(plan), scenario_of(plan), 10)
    assert sum(span.rows for span in found) == all_of(plan).height
    assert read(plan, found).equals(all_of(plan))


def test_rows_out_of_order_are_cut_by_their_keys(tmp_path: Path) -> None:
    # subsets side by side in one file, and row_index going down
    frame = pl.DataFrame(
        {
            "row_index": list(range(100))[::-1],
            "split": "test",
            "kind": ["it's", "b"] * 50,
            "input": [f"q{n}" for n in range(100)],
            "answer": "a",
        }
    )
    (tmp_path / "odd").mkdir()
    frame.write_parquet(tmp_path / "odd" / "rows.parquet")
    (tmp_path / "odd.yaml").write_text(
        f"""
scenario: odd
version: 1
description: Rows in no order.
source: {{rows: "{tmp_path}/odd/rows.parquet"}}
columns: {{input: VARCHAR, answer: VARCHAR}}
splits: {{test: test}}
subsets: [kind]
instances: |
  SELECT row_index, split, kind, input, [{{'text': answer, 'correct': true}}] AS "references" FROM rows
adapter: {{method: generation}}
metrics: [exact_match]
main: {{metric: exact_match, split: test}}
"""
    )
    plan = hf.scenario(str(tmp_path / "odd.yaml"))
    found = spans(scenario_of(plan), most=30)
    assert all(span.keys is not None for span in found)
    assert read(plan, found).equals(all_of(plan))


def test_subsets_that_alternate_in_order_need_no_keys() -> None:
    frame = pl.DataFrame({"kind": ["it's", "b"] * 50, "q": [f"q{n}" for n in range(100)], "a": "a"})
    plan = hf.scenario(frame, input="q", references="a", subset="kind", name="alternating")
    found = spans(scenario_of(plan), most=30)
    assert [span.keys for span in found] == [None] * 4
    assert read(plan, found).equals(all_of(plan))
