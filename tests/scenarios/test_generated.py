"""Scenarios that are generated: HELM's instances where HELM generates them, the same on every machine."""

import json
from hashlib import sha256

import polars as pl
import pytest

from helmframe._core.specs import SPLITS, Equals
from helmframe.errors import UnknownNameError
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.generated import GENERATED, generated_rows, lengths, relations
from helmframe.scenarios.load import count, load, load_train
from helmframe.scenarios.validation import values

# sha256 of [[split, input, reference], …] as JSON, of the instances that crfm-helm 0.5.16 makes
HELM = {
    ("decodingtrust_privacy_understanding", "1"): "4189c8e3365a1c07796f65e5a8facaf8a5a669434ee58aab952cae3fe92cb6e5",
    ("decodingtrust_privacy_understanding", "2"): "c2d38fd268e123692d346e57639b8cf3412b9edc4503efe28d2897ef1c7f3626",
    ("decodingtrust_privacy_understanding", "3"): "b5d220bd4ccbf586f07ebd5c60a12d8895500d6ac18f78a1890349f426306bf8",
    ("dyck_language", "2"): "31c9f6a540680219ea2607408ee545a0fbfc732dea77119a795396686f8f2ee9",
    ("dyck_language", "3"): "55641468271f6cf0589bc8e00c5c26c48cf3b20e896acbe39391e8bba886a45b",
    ("dyck_language", "4"): "8c5b297adcaf87211d5921df11141520a7c538fe2d887f3d933b6bf875330107",
    ("synthetic_reasoning", "pattern_match"): "c0a43002cc126398e1f0179599b877b91cfb38d76ce3ec5ff3a7a5c87b94f657",
    ("synthetic_reasoning", "variable_substitution"): (
        "c6f3b2fcfb44b7e6f04e19f77a2272e3a07a4f25459a1f797cad16ef5941dfb2"
    ),
    ("synthetic_reasoning", "induction"): "2b7fae7eb6e399d768e65742c7e9b371fdb54b39194686c9831d47f5ec0c2bc3",
    ("synthetic_reasoning_natural", "easy"): "2c3f20dc4cf42d27af6f05a67b0af659caf25487461e004a4831d2105e148ebe",
    ("synthetic_reasoning_natural", "hard"): "e093e8ed4d101c91438b202dd9c4a0b7220460a23af2200dd758d1c11fbe4ad6",
    ("melt_synthetic_reasoning", "pattern_match"): "9597476771143f2f86bda014b6b2dca4a9fc5a46f1a4cf0339d03e5dfb2e6e0c",
    ("melt_synthetic_reasoning", "variable_substitution"): (
        "0f1eb36447eac820cf1146b6548f1b43c2c82fb686d833614bb919bdf396a1d8"
    ),
    ("melt_synthetic_reasoning", "induction"): "2056a514262160f7cdd054abecf32a800fa8f006f943d2059ab42fdeebe3de2a",
    ("melt_synthetic_reasoning_natural", "easy"): "b2ecb82bb194040f39d3bf4bc427447baa6964b41f7790b8dd68d82955ab69ce",
    ("melt_synthetic_reasoning_natural", "hard"): "15c917e649fd579aa051d2e6425b134685c9cb3bf1bbc23eb89b13cbfe1f5ec3",
}


@pytest.mark.parametrize(("name", "subset"), HELM)
def test_instances_are_helms_byte_for_byte_and_in_its_order(name: str, subset: str) -> None:
    column = GENERATED[name][0]
    instances = pl.concat(load(find_scenario(name), where=[Equals(column, (subset,))], splits=SPLITS))
    rows = [
        [split, text, references[0]["text"]]
        for split, text, references in instances.sort("row_index").select("split", "input", "references").iter_rows()
    ]
    assert sha256(json.dumps(rows).encode()).hexdigest() == HELM[name, subset]


@pytest.mark.parametrize("name", GENERATED)
def test_each_has_a_spec_that_needs_no_root(name: str) -> None:
    spec = find_scenario(name)
    column, subsets, _ = GENERATED[name]
    assert spec.subsets == (column,)
    assert values(spec, column) == sorted(subsets)
    smallest = min(subsets, key=int) if column == "length" else subsets[0]
    assert set(count(spec, where=[Equals(column, (smallest,))])["n"]) <= {100, 200, 500, 5000, 10, 13600}


def test_only_the_wanted_subsets_are_made() -> None:
    assert generated_rows("numeracy", {"relation_type": ["plane"]})["relation_type"].unique().to_list() == ["plane"]


def test_a_wanted_subset_that_is_none_still_gives_the_columns() -> None:
    assert generated_rows("numeracy", {"relation_type": ["cube"]}).columns == [
        *("row_index", "split", "relation_type", "input", "target")
    ]


def test_examples_come_from_the_same_subset() -> None:
    pool = load_train(find_scenario("dyck_language"), where=[Equals("num_parenthesis_pairs", ("2",))])
    assert pool["subset"].to_list() == ["2"] * 3


def test_an_unknown_generator_has_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'dyck_langage'. Did you mean 'dyck_language'\?"):
        generated_rows("dyck_langage")


def test_relations_show_eight_points_and_ask_the_ninth() -> None:
    rows = relations("plane")
    assert [row["split"] for row in rows] == ["train"] * 100 + ["test"] * 500
    lines = rows[0]["input"].split("\n")
    assert len(lines) == 9
    assert lines[-1].endswith(") ->")


def test_a_linear_relation_is_one() -> None:
    for row in relations("linear")[:50]:
        *shown, asked = row["input"].split("\n")
        points = [tuple(map(int, line.split(" -> "))) for line in shown]
        (x0, y0), (x1, y1) = points[:2]
        slope = (y1 - y0) // (x1 - x0)
        assert int(row["target"]) == y0 + slope * (int(asked.removesuffix(" ->")) - x0)


def test_prompts_have_the_length_they_say() -> None:
    assert [len(row["input"].split(" ")) for row in lengths("64")] == [64] * 10
    assert lengths("64") == lengths("64")
