"""Leaderboard, comparison and gate of one planted run agree: failures, clusters across subsets, changed references.

Every model is run once over 400 questions of 100 passages, whose questions are in four subsets. The best model has
.80 right, the middle one .65 and the worst .40; half of what the worst has wrong fails. Then the references of 40
questions change, and the run is repeated.
"""

import re
from typing import Any

import numpy as np
import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import NotComparableError
from tests.acceptance.figures import shown

N, SUBSETS, CHANGED = 400, 4, 40
SHARES = {"best": 0.8, "middle": 0.65, "worst": 0.4}


def planted() -> tuple[pl.DataFrame, dict[str, list[bool]], list[bool]]:
    """Return the questions, which of them each model has right, and which of the worst model's requests fail."""
    random = np.random.default_rng(33)
    passage = np.repeat(random.normal(0, 0.15, N // SUBSETS), SUBSETS)
    right = {name: (random.random(N) < np.clip(share + passage, 0, 1)).tolist() for name, share in SHARES.items()}
    fails = ((~np.array(right["worst"])) & (random.random(N) < 0.5)).tolist()
    rows = pl.DataFrame(
        {"q": [f"question {index}?" for index in range(N)], "a": ["yes"] * N,
         "topic": [f"topic {index % SUBSETS}" for index in range(N)],
         "passage": [f"passage {index // SUBSETS}" for index in range(N)]}
    )  # fmt: skip
    return rows, right, fails


def plan(rows: pl.DataFrame) -> hf.Plan:
    scenario = hf.scenario(rows, input="q", references="a", subset="topic", cluster="passage", name="planted")
    return scenario.adapt(shots=0).metrics("exact_match")


def model(name: str, right: list[bool], fails: list[bool]) -> Any:
    """Return a planted model. A failure is an exception."""

    def generate(prompt: str) -> str:
        number = int(re.findall(r"question (\d+)", prompt)[-1])
        if name == "worst" and fails[number]:
            raise ValueError("planted failure")
        return "yes" if right[number] else "no"

    return hf.model(generate, name=name)


def corrected(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the questions with other references for every tenth."""
    changed = pl.int_range(pl.len()) % (N // CHANGED) == 0
    return rows.with_columns(a=pl.when(changed).then(pl.lit("no")).otherwise("a"))


@pytest.mark.parametrize("errors", ["drop", "worst"])
def test_3_leaderboard_comparison_and_gate_agree(errors: str) -> None:
    rows, right, fails = planted()
    models = [model(name, right[name], fails) for name in SHARES]
    results = plan(rows).generate(models).score()
    with pytest.raises(NotComparableError, match="errors="):
        results.leaderboard()
    board = results.leaderboard(mean="mean", errors=errors)
    compared = results.compare("model", base="worst", errors=errors)
    alone = {each.name: plan(rows).generate(each).score() for each in models}
    gates = {name: alone[name].gate(against=alone["worst"], margin=0.0, errors=errors) for name in ("best", "middle")}
    back = alone["worst"].gate(against=alone["best"], margin=0.0, errors=errors)
    order = board.table["model"].to_list()
    values = dict(board.table.select("model", "value").iter_rows())
    differences = dict(compared.select("a", "difference").iter_rows())
    shown("3", f"errors={errors!r}: order; ranks; differences from the worst; gates against the worst, and the best",
          f"{order}; {board.table['rank_low'].to_list()}; {[round(value, 3) for value in differences.values()]}; "
          f"{[gate.verdict for gate in gates.values()]}; {back.verdict}",
          "best, middle, worst; 1, 2, 3; above 0; pass, pass; fail")  # fmt: skip
    assert order == ["best", "middle", "worst"]
    assert board.table["rank_low"].to_list() == board.table["rank_high"].to_list() == [1, 2, 3]
    assert (compared["ci_low"] > 0).all()
    assert (compared["p_holm"] < 0.05).all()
    assert ([gate.verdict for gate in gates.values()], back.verdict) == (["pass", "pass"], "fail")
    for name, gate in gates.items():
        # one estimate and its clusters, whichever way it is computed
        assert gate.table["difference"].item() == pytest.approx(differences[name])
        assert gate.table["n"].item() == compared.filter(a=name)["n"].item()
        assert values[name] - values["worst"] == pytest.approx(differences[name])
    if errors == "worst":
        assert set(compared["n_clusters"]) == {N // SUBSETS}


def test_3_changed_references_are_paired_by_none_of_them() -> None:
    rows, right, fails = planted()
    best = model("best", right["best"], fails)
    old, new = plan(rows).generate(best).score(), plan(corrected(rows)).generate(best).score()
    compared = hf.compare(new, old)
    gate = new.gate(against=old, margin=0.05)
    row = compared.row(0, named=True)
    of_values = new.value("exact_match") - old.value("exact_match")
    shown("3", f"identical completions, {CHANGED} changed references: difference; pairs; gate; difference of values",
          f"{row['difference']:+.3f}; {row['n']}; {gate.verdict}; {of_values:+.3f}",
          f"0; {N - CHANGED}; pass; printed")  # fmt: skip
    assert (row["difference"], row["n"]) == (0.0, N - CHANGED)
    assert f"{CHANGED} instances not paired: their references differ" in row["differs"]
    assert gate.verdict == "pass"
    assert gate.table["n"].item() == N - CHANGED
    # with failures on one side, the same questions are not paired either
    worst = plan(corrected(rows)).generate(model("worst", right["worst"], fails)).score()
    mixed = worst.gate(against=old, margin=0.0, errors="worst")
    assert (mixed.verdict, mixed.table["n"].item()) == ("fail", N - CHANGED)
