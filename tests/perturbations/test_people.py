"""Gendered words and names."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from helmframe.errors import ArgumentError, SourceBrokenError, SourceMissingError
from helmframe.perturbations.call import call
from helmframe.perturbations.parsing import variants
from helmframe.perturbations.tables import FIRST_NAMES, Tables


def changed(texts: list[str | None] | str, name: str, *, ids: list[str] | None = None, **arguments: Any) -> list[str]:
    texts = [texts] if isinstance(texts, str) else list(texts)
    frame = pl.DataFrame(
        {"id": ids or [f"id{n}" for n in range(len(texts))], "text": pl.Series(texts, dtype=pl.String)}
    )
    return frame.select(call(name, **arguments).on(pl.col("text"), id="id")).to_series().to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # HELM's own test, and what its pattern misses
        (
            "Did she mention that he was coming with his parents and their friends?",
            "Did she mention that she was coming with her parents and their friends?",
        ),
        ("He saw him", "She saw her"),
        ("he he he", "she she she"),
        ("HE, himself", "SHE, herself"),
        ("the helm", "the helm"),
        ("", ""),
    ],
)
def test_pronouns(text: str, expected: str) -> None:
    assert changed(text, "gender") == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("His grandsons looked a lot like their dad.", "His granddaughters looked a lot like their mom."),  # HELM's
        ("father", "mother"),
        ("Man to man, the men", "Woman to woman, the women"),
        ("grandfather and grandfathers", "grandmother and grandmothers"),
        ("a human manned a mansion", "a human manned a mansion"),
    ],
)
def test_terms(text: str, expected: str) -> None:
    assert changed(text, "gender", mode="terms") == [expected]


def test_of_several_partners_the_first_counts() -> None:
    assert changed("She gave her hers", "gender", source="female", target="male") == ["He gave him his"]
    assert changed("the parent", "gender", mode="terms", source="neutral", target="male") == ["the father"]


def test_into_neutral_words() -> None:
    assert changed("The queen and her niece", "gender", mode="terms", source="female", target="neutral") == [
        "The monarch and her nibling"
    ]


def test_both_ways_what_was_turned_is_not_turned_back() -> None:
    assert changed("The king and the queen", "gender", mode="terms", bidirectional=True) == ["The queen and the king"]


def test_a_name_becomes_one_of_the_other_group_and_the_same_gender() -> None:
    (out,) = changed("Peter met Emily; PETER and emily", "person_name")
    one, two, three, four = re.findall(r"\w+", out.replace(" met", "").replace(" and", ""))
    assert one.lower() in FIRST_NAMES["black_american", "male"].split()
    assert two.lower() in FIRST_NAMES["black_american", "female"].split()
    assert (one.istitle(), three, four) == (True, one.upper(), two.lower())


def test_a_name_becomes_the_same_in_all_texts_of_a_key() -> None:
    outs = changed(["Peter", "so peter.", "Emily"], "person_name", ids=["id0"] * 3)
    assert outs[1] == f"so {outs[0].lower()}."


def test_another_instance_draws_another_name() -> None:
    assert len(set(changed(["Peter"] * 200, "person_name"))) == 25


def test_a_name_that_is_left_alone_is_left_alone_everywhere() -> None:
    outs = changed(["Peter Peter Peter"] * 200, "person_name", prob=0.5)
    left = [out for out in outs if "Peter" in out]
    assert set(left) == {"Peter Peter Peter"}
    assert 60 < len(left) < 140


def test_names_with_a_hyphen_are_one_name() -> None:
    (out,) = changed("Sue-Ellen", "person_name")
    assert out.lower() in FIRST_NAMES["black_american", "female"].split()


def test_classes_are_set_by_race_or_by_several_properties() -> None:
    arguments: dict[str, Any] = {
        "source_class": {"race": "White_American", "gender": "male"},
        "target_class": "black_american",
    }
    (out,) = changed("Peter Emily", "person_name", **arguments)
    assert out.endswith(" Emily")
    assert not out.startswith("Peter")


def test_without_preserving_it_a_name_of_any_gender_comes() -> None:
    outs = changed(["Peter"] * 300, "person_name", preserve_gender=False)
    assert {out.lower() for out in outs} & set(FIRST_NAMES["black_american", "female"].split())


def test_last_names_come_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {
        "source_class": "a",
        "target_class": "b",
        "person_name_type": "last",
        "preserve_gender": False,
    }
    with pytest.raises(SourceMissingError, match=r"no last names\. Put person_names\.txt"):
        variants(call("person_name", **arguments))
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "person_names.txt").write_text("Lee,last_name,race,a\nroe, last_name,race,b\n\n")
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    assert changed("Ann Lee", "person_name", **arguments) == ["Ann Roe"]
    with pytest.raises(ArgumentError, match="the table has no genders of last names"):
        call("person_name", **{**arguments, "preserve_gender": True})


def test_a_table_of_names_that_is_none_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "person_names.txt").write_text("lee\n")
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    with pytest.raises(
        SourceBrokenError, match=r"person_names\.txt is invalid: ValueError: the line 'lee' must have the form"
    ):
        Tables.of(None).names()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("gender", {"mode": "nouns"}, r"mode must be 'pronouns' or 'terms'"),
        ("gender", {"source": "men"}, r"gender\(source='men'\)"),
        ("gender", {"source": "male", "target": "male"}, "source and target must differ"),
        ("gender", {"prob": 2}, "between 0 and 1"),
        ("gender", {"bidirectional": "yes"}, "must be True or False"),
        ("person_name", {"source_class": "white"}, "no name has race 'white'.\nKnown: black_american, white_american"),
        ("person_name", {"source_class": {"rac": "x"}}, "no name has the property 'rac'. Did you mean 'race'"),
        ("person_name", {"target_class": {}}, "target_class must be a race, or properties"),
        ("person_name", {"person_name_type": "middle"}, "person_name_type must be 'first' or 'last'"),
        ("person_name", {"preserve_gender": 1}, "must be True or False"),
    ],
)
def test_invalid_values_raise(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call(name, **arguments)
