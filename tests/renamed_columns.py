"""Plans whose data has columns of any name and type, to compare with the same plans under other names."""

import datetime
import tempfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import helmframe as hf
from helmframe._schema import COMPLETIONS, SCORES, TABLES
from helmframe.errors import ArgumentError, SpecError

# Columns that mean something to helmframe under these very names, in frames and in the SELECT of a spec.
MEANT = {"input", "references", "split", "content", "sub_split"}
MEANT_IN_SPECS = {*MEANT, "row_index", "instance_id", "cluster"}
# Names that code uses inside a stage, and names that look like prefixed ones.
INSIDE = ("limit", "tail", "without", "question", "answer", "earlier", "answer_tokens", "value", "place", "was_cut")
PREFIXED = ("data_", "data_input", "data_completion", "Completion", "a b", 'quo"te', "ünï", "select")
NAMES = sorted({*(name for table in TABLES for name in table.schema), *INSIDE, *PREFIXED})

SPEC = """\
scenario: own
version: 1
description: Rows with columns of any name.
license: MIT
source: {rows: "{data}/own/test-*.parquet"}
columns: {q: VARCHAR, a: VARCHAR}
instances: |
  SELECT row_index, 'test' AS split, q AS input, [{'text': a, 'correct': true}] AS "references", COLUMNS
  FROM rows
adapter: {method: generation}
decoding: {max_tokens: 5, temperature: 0.0, stop: ["\\n"]}
metrics: [exact_match]
main: {metric: exact_match, split: test, mean: micro}
"""

ROWS = pl.DataFrame({"q": ["Capital of France?", "2 + 2?", "The sky is?"], "a": ["Paris", "4", "Blue"]})
_DAY = datetime.date(2026, 1, 2)
_VALUES: tuple[pl.Series, ...] = (
    pl.Series(["Paris", "4", "Blue"]),
    pl.Series(["Paris", None, ""]),
    pl.Series([1, 2, None], dtype=pl.Int64),
    pl.Series([1, 2, 3], dtype=pl.Int8),
    pl.Series([1, 2**63, 3], dtype=pl.UInt64),
    pl.Series([0.5, float("nan"), float("inf")]),
    pl.Series([1.5, None, 2.5], dtype=pl.Float32),
    pl.Series([True, False, None]),
    pl.Series([None, None, None]),
    pl.Series([b"a", b"\xff", None]),
    pl.Series([_DAY, None, _DAY]),
    pl.Series([datetime.time(1, 2), None, datetime.time(3)]),
    pl.Series([datetime.datetime(2026, 1, 2)] * 3).dt.replace_time_zone("Europe/Berlin"),
    pl.Series([datetime.timedelta(1)] * 3),
    pl.Series([Decimal("1.5")] * 3),
    pl.Series(["a", "b", "a"], dtype=pl.Categorical),
    pl.Series(["a", "b", "a"], dtype=pl.Enum(["a", "b"])),
    pl.Series([[1], [], None], dtype=pl.List(pl.Int64)),
    pl.Series([["Paris"], ["4"], ["Blue"]]),
    pl.Series([[], [], []], dtype=pl.List(pl.Null)),
    pl.Series([[1, 2]] * 3, dtype=pl.Array(pl.Int64, 2)),
    pl.Series([{"text": "Paris", "correct": True}] * 3),
    pl.Series([[{"text": "Paris", "correct": True}]] * 3),
    pl.Series([{}] * 3, dtype=pl.Struct([])),
    pl.Series([1, 2, 3], dtype=pl.Int128),
)
_METRICS = (("exact_match",), ("f1_score", "exact_match", "rouge_l"), ("num_output_tokens", "quasi_exact_match"))
_OUTPUTS = ("WRONG", "Paris", "4", "")


@dataclass(frozen=True)
class Example:
    """A plan over `ROWS` with further columns: name and values of each."""

    columns: tuple[tuple[str, int], ...]
    from_spec: bool
    perturbed: bool
    metrics: tuple[str, ...]
    output: str

    def renamed(self) -> "Example":
        """The same example with plain names."""
        columns = tuple((f"plain{number}", values) for number, (_, values) in enumerate(self.columns))
        return Example(columns, self.from_spec, self.perturbed, self.metrics, self.output)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    from_spec = draw(st.booleans())
    meant = MEANT_IN_SPECS if from_spec else MEANT
    names = st.sampled_from([name for name in NAMES if name not in meant])
    # Parquet has no struct without fields
    storable = [index for index, values in enumerate(_VALUES) if not from_spec or values.dtype != pl.Struct([])]
    columns = st.lists(
        st.tuples(names, st.sampled_from(storable)),
        min_size=1,
        max_size=4,
        unique_by=lambda column: column[0].lower(),
    )
    return Example(
        tuple(draw(columns)),
        from_spec,
        draw(st.booleans()),
        draw(st.sampled_from(_METRICS)),
        draw(st.sampled_from(_OUTPUTS)),
    )


def check(example: Example) -> bool:
    """Assert that an example and its renamed form give the same tables, or the same error; return whether tables."""
    found, plain = _outcome(example), _outcome(example.renamed())
    if isinstance(plain, type) or isinstance(found, type):
        assert found == plain, (example, found, plain)
        return False
    for one, other in zip(found, plain, strict=True):
        assert_frame_equal(one, other)
    return True


def _outcome(example: Example) -> list[pl.DataFrame] | type[Exception]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            plan = _plan(example, Path(folder))
            if example.perturbed:
                plan = plan.perturb("lowercase")
            results = plan.generate(lambda prompt: example.output).metrics(*example.metrics).score()
            completions = list(
                set(COMPLETIONS.schema) - {"scenario_version", "request_id", "latency", "cached", "attempts"}
            )
            return [
                results.scores.select(list(SCORES.schema)).sort(SCORES.key).collect(),
                results.completions.select(sorted(completions)).sort(COMPLETIONS.key).collect(),
                results.table(),
            ]
        except (ArgumentError, SpecError) as error:
            return type(error)


def _plan(example: Example, folder: Path) -> hf.Plan:
    values: dict[str, Any] = {name: _VALUES[index] for name, index in example.columns}
    if not example.from_spec:
        return hf.scenario(ROWS.with_columns(**values), input="q", references="a", name="own")
    (folder / "own").mkdir()
    stored = {f"stored{number}": series for number, series in enumerate(values.values())}
    ROWS.with_columns(**stored).write_parquet(folder / "own" / "test-0.parquet")
    quoted = [f'''{stored} AS "{name.replace('"', '""')}"''' for stored, name in zip(stored, values, strict=True)]
    (folder / "own.yaml").write_text(SPEC.replace("COLUMNS", ", ".join(quoted)))
    return hf.scenario(folder / "own.yaml", data=folder)
