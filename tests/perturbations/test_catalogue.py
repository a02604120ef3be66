"""`hf.list_perturbations()`: what there is to say."""

import polars as pl

import helmframe as hf
from helmframe.perturbations.presets import PRESETS
from helmframe.perturbations.registry import PERTURBATIONS


def test_there_is_a_row_for_each_perturbation_and_each_preset_of_another_name() -> None:
    rows = hf.list_perturbations()
    assert set(rows["name"]) == {*PERTURBATIONS, *PRESETS}
    assert rows["name"].n_unique() == rows.height


def test_a_perturbation_says_its_arguments_kind_fields_and_source() -> None:
    (row,) = hf.list_perturbations().filter(name="typos").to_dicts()
    assert row["arguments"] == "prob=0.05"
    assert (row["kind"], row["fields"], row["random"], row["helm"]) == ("robustness", "input", True, True)
    assert row["calls"] is None
    assert row["meaning"].startswith("Each letter a–z becomes")
    assert row["source"].startswith("HELM `TyposPerturbation`")


def test_a_preset_says_its_calls() -> None:
    (row,) = hf.list_perturbations().filter(name="robustness").to_dicts()
    assert row["calls"] == ["mild_mix"]


def test_what_a_model_makes_says_which_argument_takes_it() -> None:
    (row,) = hf.list_perturbations().filter(name="translate").to_dicts()
    assert row["arguments"] == "translator, language, instructions=…"


def test_fairness_is_helms_three() -> None:
    said = hf.list_perturbations().filter(pl.col("kind") == "fairness")["name"]
    # other tests may have registered some of their own
    ours = [name for name in said if PERTURBATIONS[name].function.__module__.startswith("helmframe.")]
    assert ours == ["dialect", "gender", "person_name"]
