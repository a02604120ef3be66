"""Perturbations without random numbers equal HELM's text for text; the others draw from the same alternatives."""

from collections import defaultdict
from pathlib import Path

import polars as pl
import pytest

from helmframe.perturbations.call import call
from helmframe.perturbations.spelling import NEIGHBOURS

pytestmark = [pytest.mark.shared, pytest.mark.slow]


def of_helm(shared: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(shared / "helm_perturbations.parquet").filter(perturbation=name)


@pytest.mark.parametrize("name", ["lowercase", "extra_space"])
def test_texts_equal_helms(shared: Path, name: str) -> None:
    helm = of_helm(shared, name)
    ours = helm.select(call(name).on(pl.col("input"), id="instance_id")).to_series()
    equal = (ours == helm["perturbed_input"]).sum()
    print(f"{name}: {equal}/{helm.height} texts equal HELM's")
    assert equal == helm.height > 0


def test_the_keyboard_is_helms(shared: Path) -> None:
    seen: dict[str, set[str]] = defaultdict(set)
    for before, after in of_helm(shared, "typos").select("input", "perturbed_input").iter_rows():
        for old, new in zip(before, after, strict=True):
            if old != new:
                seen[old.lower()].add(new.lower())
    assert seen == {letter: set(beside) for letter, beside in NEIGHBOURS.items()}


def test_space_changes_what_helms_does(shared: Path) -> None:
    helm = of_helm(shared, "space")
    ours = helm.select(call("space").on(pl.col("input"), id="instance_id")).to_series()
    runs = pl.col("text").str.replace_all(" +", "·")
    same = pl.DataFrame({"text": ours}).select(runs).equals(helm.select(text="perturbed_input").select(runs))
    assert same
