"""Names and paths of scenarios."""

from pathlib import Path

import pytest

from helmframe.errors import SpecError, UnknownNameError
from helmframe.scenarios.find import find_scenario, scenario_names, specs_root


def test_a_scenario_is_found_by_name() -> None:
    assert find_scenario("mmlu").subsets == ("subject",)


def test_a_scenario_is_found_by_path(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text((specs_root() / "scenarios" / "gsm8k.yaml").read_text().replace("gsm8k\n", "own\n", 1))
    assert find_scenario(str(file)).scenario == "own"


def test_names_are_sorted() -> None:
    assert scenario_names() == sorted(scenario_names())


def test_an_unknown_name_has_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"no scenario is called 'mmul'. Did you mean 'mmlu'\?"):
        find_scenario("mmul")


def test_a_path_to_no_file_is_named() -> None:
    with pytest.raises(SpecError, match=r"nowhere/x\.yaml: there is no such file"):
        find_scenario("nowhere/x.yaml")


@pytest.mark.parametrize("said", ["rows.csv", "data/rows.parquet"])
def test_a_file_of_rows_is_no_spec(said: str) -> None:
    with pytest.raises(SpecError, match=r"rows are no spec; read them first: hf.scenario\(pl.read_csv\(path\)"):
        find_scenario(said)
