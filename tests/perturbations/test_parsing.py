"""Arguments that are invalid, and tables that are missing: typed errors, raised when a plan is built."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, HelmframeError, SourceMissingError
from helmframe.perturbations.call import call
from helmframe.perturbations.catalogue import PRESETS
from helmframe.perturbations.parsing import variants
from helmframe.perturbations.registry import HELM, PERTURBATIONS
from tests.perturbations.every import tables

ROWS = pl.DataFrame(
    {"input": ["The cat, his friend,  can't see 3.14 of Jack's mothers."], "references": [["Jack isn't here"]]}
)
BUILT_IN = [name for name in PERTURBATIONS if not name.startswith("gives_")]


@pytest.mark.parametrize("preset", ["person_name_last_hard", "person_name_last_deterministic"])
@pytest.mark.parametrize("compat", [None, "helm"])
def test_last_names_need_a_table(preset: str, compat: str | None, tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match=r"no last names. Put person_names\.txt into the folder tables/"):
        hf.scenario(ROWS, data=tmp_path).perturb(preset, compat=compat)


@pytest.mark.parametrize("compat", [None, "helm"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("person_name(source_class='martian')", "no name has race 'martian'"),
        ("person_name(target_class={'race': None})", "no name has race None"),
        ("person_name(person_name_type='middle')", "person_name_type='middle'"),
        ("gender(source='men')", "source='men'"),
        ("typos(prob=5)", "prob must be a number between 0 and 1"),
        ("dialect(prob=None)", "prob must be a number between 0 and 1"),
        ("filler_words(max_num_insert='x')", "max_num_insert='x'"),
        ("space(max_spaces=1000000000000)", "must be an integer from 1 to 1000"),
        ("extra_space(num_spaces=1000000000)", "must be an integer from 1 to 1000"),
    ],
)
def test_helms_rules_take_the_arguments_that_ours_take(text: str, message: str, compat: str | None) -> None:
    with pytest.raises(ArgumentError, match=message):
        hf.scenario(ROWS).perturb(text, compat=compat)


@pytest.mark.parametrize("fields", [None, "all", 1])
def test_fields_that_are_invalid_are_an_error(fields: object) -> None:
    with pytest.raises(ArgumentError, match="fields="):
        call("typos", fields=fields)


@pytest.mark.parametrize("protect", [1, 1.5, True, ["numbers", 1], "words"])
def test_what_cannot_be_protected_is_an_error(protect: object) -> None:
    with pytest.raises(ArgumentError, match="protect="):
        call("typos", protect=protect)


def test_a_perturbation_by_a_model_needs_the_model() -> None:
    with pytest.raises(ArgumentError, match=r"translate\(\) needs the argument translator"):
        call("translate", translator=None, language="French")


@pytest.mark.parametrize("compat", [None, "helm"])
def test_without_tables_every_perturbation_works_or_raises_a_typed_error(compat: str | None, tmp_path: Path) -> None:
    failed = set()
    for name in (*BUILT_IN, *PRESETS):
        try:
            hf.scenario(ROWS, data=tmp_path).perturb(name, compat=compat).variants().collect()
        except HelmframeError:
            failed.add(name)
    assert {"dialect", "misspellings", "synonym", "contrast_sets", "person_name_last_hard", "canonical"} <= failed
    assert not {"rerun", "contraction", "gender", "person_name", "typos", "gender_terms_hard"} & failed


VALUES: list[object] = [
    None, "x", "", "\x00", -1, 0, 1.5, float("nan"), float("inf"), 10**12, 10**30, True, [], [None], [[]], {},
    {"race": []}, {1: 2}, b"x", object(), len, pl.col("x"), [1, "a", None],
]  # fmt: skip


def odd_calls() -> Iterator[tuple[str, str, object, str | None]]:
    for name in BUILT_IN:
        entry = PERTURBATIONS[name]
        arguments = [
            *entry.parameters,
            *filter(None, [entry.model_argument]),
            *(("fields", "protect") if entry.takes == "text" else ()),
        ]
        for argument in arguments:
            for value in VALUES:
                for compat in (None, "helm") if name in HELM else (None,):
                    yield name, argument, value, compat


def test_odd_arguments_raise_a_typed_error_when_the_plan_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables(tmp_path, monkeypatch)
    plan, built, refused = hf.scenario(ROWS), 0, 0
    for name, argument, value, compat in odd_calls():
        needed = {"translator": "echo()", "language": "French"} if name == "translate" else {}
        try:
            changed = plan.perturb(call(name, **{**needed, argument: value}), compat=compat)
        except HelmframeError:
            refused += 1
        else:  # what a plan takes runs
            changed.variants().collect()
            built += 1
    assert built > 100
    assert refused > 1000


LONG_TEXTS = {
    "name": "a" * 10**6,
    "chain": "typos+" * 2_000,
    "quotes": "'" * 9_999,
    "escapes": "\\'" * 5_000,
    "links": "lowercase+" * 1_000 + "lowercase",
    "brackets": "typos(" * 3_000,
}


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS)
def test_a_long_text_raises_at_once(text: str) -> None:
    started = time.process_time()
    with suppress(HelmframeError):
        variants(text)
    assert time.process_time() - started < 4


def test_a_grid_of_too_many_variants_is_refused_before_it_is_made() -> None:
    values = ", ".join(f"0.{number:03}" for number in range(1, 300))
    with pytest.raises(ArgumentError, match="the grid has 89,401 cells; at most 10,000"):
        variants(f"typos(prob=[{values}])+typos(prob=[{values}])")
