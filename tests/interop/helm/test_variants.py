"""HELM's descriptions of perturbations beside our names."""

from typing import Any

import pytest

from helmframe.interop.helm.variants import describe_variant, parse_variant

PERSON_NAME = {
    "name": "person_name",
    "robustness": False,
    "fairness": True,
    "computed_on": "perturbed",
    "prob": 1.0,
    "source_class": "race=white_american",
    "target_class": "race=black_american",
    "person_name_type": "first_name",
    "preserve_gender": True,
}


def test_person_names_of_helm_are_named_as_a_call() -> None:
    assert parse_variant(PERSON_NAME).perturbation == (
        "person_name(compat='helm', person_name_type='first', preserve_gender=True, prob=1.0, "
        "source_class='white_american', target_class='black_american')"
    )


def test_person_names_that_keep_the_gender_and_those_that_do_not_are_two_variants() -> None:
    assert (
        parse_variant(PERSON_NAME).perturbation != parse_variant(PERSON_NAME | {"preserve_gender": False}).perturbation
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"preserve_gender": False, "seed": 2},
        {"name_file_path": "/tables/person_names.txt"},
        {"person_name_type": "last_name", "preserve_gender": False, "source_class": "race=white"},
        {"source_class": "race=white_american,gender=female"},
        {"source_class": {"race": "white_american"}},
        {"source_class": "", "target_class": "unknown"},
        {"robustness": True},
    ],
)
def test_descriptions_of_person_names_are_the_same_after_reading_and_writing(fields: dict[str, Any]) -> None:
    assert describe_variant(*parse_variant(PERSON_NAME | fields)) == PERSON_NAME | fields


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "dialect", "prob": 1.0, "source_class": "SAE", "target_class": "AAVE", "mapping_file_path": "/a.json"},
        {"name": "style", "robustness": False, "suffix": "picasso"},
        {"name": "chinese_typos", "prob": 0.1, "rare_char_prob": 0.05, "word_level_perturb": True},
        {"name": "both", "fairness": True},
    ],
)
def test_descriptions_with_fields_of_their_own_are_the_same_after_reading_and_writing(fields: dict[str, Any]) -> None:
    helms = {"robustness": True, "fairness": False, "computed_on": "perturbed"} | fields
    assert describe_variant(*parse_variant(helms)) == helms


def test_our_person_names_are_described_as_helm_describes_its_own() -> None:
    parameters = (
        '[{"perturbation": "person_name", "compat": "helm", "prob": 1.0, "source_class": "white_american", '
        '"target_class": {"race": "black_american", "gender": "female"}, "person_name_type": "first", '
        '"preserve_gender": false}]'
    )
    fields = {"target_class": "race=black_american,gender=female", "preserve_gender": False}
    assert describe_variant("person_name(…)", 0, parameters) == PERSON_NAME | fields
