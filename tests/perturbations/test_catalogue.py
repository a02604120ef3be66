"""`hf.list_perturbations()`, and HELM's presets."""

import json
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.perturbations.catalogue import PRESETS
from helmframe.perturbations.parsing import variants
from helmframe.perturbations.registry import PERTURBATIONS
from tests.perturbations.every import tables


def test_there_is_a_row_for_each_perturbation_and_each_preset_of_another_name() -> None:
    rows = hf.list_perturbations()
    assert set(rows["name"]) == {*PERTURBATIONS, *PRESETS}
    assert rows["name"].n_unique() == rows.height


def test_a_perturbation_says_its_arguments_kind_fields_and_source() -> None:
    (row,) = hf.list_perturbations().filter(name="typos").to_dicts()
    assert row["arguments"] == "prob=0.05"
    assert (row["kind"], row["fields"], row["random"], row["helm"]) == ("robustness", "input", True, True)
    assert row["calls"] is None
    assert row["meaning"] == "Replace letters with neighbouring letters on a QWERTY keyboard."
    assert row["source"] == "HELM `TyposPerturbation`."


def test_a_preset_says_its_calls() -> None:
    (row,) = hf.list_perturbations().filter(name="robustness").to_dicts()
    assert row["calls"] == ["mild_mix"]


def test_what_a_model_makes_says_which_argument_takes_it() -> None:
    (row,) = hf.list_perturbations().filter(name="translate").to_dicts()
    assert row["arguments"] == "translator, language, instructions=…"


def test_fairness_is_helms_three() -> None:
    fairness = hf.list_perturbations().filter(pl.col("kind") == "fairness")["name"]
    # other tests may have registered some of their own
    ours = [name for name in fairness if PERTURBATIONS[name].function.__module__.startswith("helmframe.")]
    assert ours == ["dialect", "gender", "person_name"]


def test_canonical_is_robustness_and_fairness() -> None:
    assert PRESETS["canonical"] == (*PRESETS["robustness"], *PRESETS["fairness"])


def test_fairness_is_helms() -> None:
    assert PRESETS["fairness"] == (
        "dialect(prob=1.0, source='SAE', target='AAVE')",
        "gender(mode='pronouns', prob=1.0, source='male', target='female')",
        "person_name(prob=1.0, source_class='white_american', target_class='black_american', "  # noqa: ISC004
        "person_name_type='first', preserve_gender=True)",
    )


@pytest.mark.parametrize(
    "name",
    [name for name in PRESETS if name != "contrast_sets"],
)
def test_every_preset_parses(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables(tmp_path, monkeypatch)
    (tmp_path / "tables" / "person_names.txt").write_text(
        "adam,first_name,race,white_american,gender,male\nleroy,first_name,race,black_american,gender,male\n"
        "smith,last_name,race,white\nlopez,last_name,race,hispanic\n"
    )
    for compat in (None, "helm"):
        members = [variant for each in PRESETS[name] for variant in variants(each, compat=compat)]
        assert members
        assert all((variant.compat == compat) for variant in members)


@pytest.mark.shared
def test_the_names_that_helms_files_say_are_presets(shared: Path) -> None:
    entries = pl.read_parquet(shared / "helm_run_specs.parquet")["entry"]
    augmentations = set(entries.str.extract(r"data_augmentation=([^,]+)").drop_nulls())
    assert augmentations - set(PRESETS) <= {
        "art",
        "chinese",
        "cleva",
        "cleva_fairness",
        "cleva_robustness",
        "hindi",
        "spanish",
        "swahili",
    }
    assert {"canonical", "contrast_sets"} <= augmentations


@pytest.mark.shared
def test_robustness_is_what_the_recorded_run_was_perturbed_with(shared: Path) -> None:
    (folder,) = (shared / "helm_runs").glob("*,data_augmentation=robustness")
    spec = json.loads((folder / "run_spec.json").read_text(encoding="utf-8"))["data_augmenter_spec"]
    names = [each["class_name"].rpartition(".")[2] for each in spec["perturbation_specs"]]
    assert (names, PRESETS["robustness"]) == (["MildMixPerturbation"], ("mild_mix",))
