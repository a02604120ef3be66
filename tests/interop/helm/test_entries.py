"""HELM's run entries and .conf files, read and written."""

import re
import time
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.errors import ArgumentError, SpecError
from helmframe.interop.helm.entries import Entry, _split_arguments, parse_entry, read_conf


def conf(folder: Path, text: str) -> Path:
    file = folder / "run_specs.conf"
    file.write_text(text, encoding="utf-8")
    return file


def test_an_entry_is_a_name_and_arguments() -> None:
    entry = parse_entry("math:subject=number_theory,level=1,temperature=0.5,use_chain_of_thought=True")
    assert entry.name == "math"
    assert entry.arguments == (
        ("subject", "number_theory"),
        ("level", 1),
        ("temperature", 0.5),
        ("use_chain_of_thought", "True"),
    )


def test_a_bare_name_is_an_entry() -> None:
    assert parse_entry("gsm") == Entry("gsm", ())


def test_a_value_may_hold_colons_and_equals_signs() -> None:
    assert parse_entry("a:b=c:d=e").arguments == (("b", "c:d=e"),)


def test_commas_in_parentheses_belong_to_the_value() -> None:
    entry = parse_entry("mmlu:model=noisy(accuracy=0.6, seed=2),subject=anatomy")
    assert entry.arguments == (("model", "noisy(accuracy=0.6, seed=2)"), ("subject", "anatomy"))


def test_words_for_numbers_that_are_none_stay_words() -> None:
    assert parse_entry("a:b=nan,c=inf").arguments == (("b", "nan"), ("c", "inf"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mmlu:subject", "'subject' must be key=value."),
        ("mmlu:subject=anatomy,", "'' must be key=value."),
        (":subject=anatomy", "the scenario is missing"),
        ("", "the scenario is missing"),
        ("mmlu:subject=anatomy,subject=music", "subject has two values."),
    ],
)
def test_an_invalid_entry_raises(text: str, message: str) -> None:
    with pytest.raises(ArgumentError) as error:
        parse_entry(text)
    assert message in str(error.value)


@pytest.mark.shared
def test_every_entry_of_helms_files_is_read_and_written_as_it_was(shared: Path) -> None:
    texts = pl.read_parquet(shared / "helm_run_specs.parquet")["entry"].to_list()
    assert len(texts) == 4297
    assert [str(parse_entry(text)) for text in texts] == texts


@pytest.mark.shared
def test_helms_files_hold_the_entries_that_helm_reads_in_them(shared: Path) -> None:
    recorded = pl.read_parquet(shared / "helm_run_specs.parquet").group_by("conf").agg("entry")
    assert recorded.height == len(list((shared / "helm_conf").glob("*.conf")))
    for file, entries in recorded.iter_rows():
        assert sorted(map(str, read_conf(shared / "helm_conf" / file))) == sorted(entries)


def test_a_conf_file_holds_entries_with_priorities_and_groups(tmp_path: Path) -> None:
    text = """
    # HELM's form
    entries = [
      {description: "gsm:model=text", priority = 2, groups: ["math", "hard"]}
      {description: "boolq"}  // no comma between
    ]
    """
    assert read_conf(conf(tmp_path, text)) == [
        Entry("gsm", (("model", "text"),), 2, ("math", "hard")),
        Entry("boolq", ()),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "entries: must be a list."),
        ("entries: 3", "entries: must be a list."),
        ("[1, 2]", "entries: must be a list."),
        ('entries: [{description: "a"', "invalid HOCON: "),
        ("entries: [{description: a:b=1}]", "invalid HOCON: "),
        ("entries: [{description: ${nowhere.to.be.found}}]", "invalid HOCON: "),
        ("entries: [1]", "entries[0]: must be {description: …, priority: 1}."),
        ('entries: [{description: "a"}, {descriptio: "b"}]', "entries[1]: must be {description"),
        ('entries: [{description: "a", priorty: 1}]', "unknown key 'entries[0].priorty'. Did you mean 'priority'?"),
        ('entries: [{description: "a", priority: high}]', "entries[0].priority: must be an integer, not 'high'."),
        ('entries: [{description: "a", groups: b}]', "entries[0].groups: must be a list of names, not 'b'."),
    ],
)
def test_an_invalid_conf_file_raises_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    file = conf(tmp_path, text)
    with pytest.raises(SpecError) as error:
        read_conf(file)
    assert str(error.value).startswith(f"{file}: ")
    assert message in str(error.value)


def test_a_missing_conf_file_raises(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="can't be read: No such file or directory"):
        read_conf(tmp_path / "nowhere.conf")


def test_a_binary_conf_file_raises(tmp_path: Path) -> None:
    file = tmp_path / "run_specs.conf"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="the file must be UTF-8 text"):
        read_conf(file)


LONG_TEXTS = {
    "name": "a" * 10**6,
    "commas": "a:" + "," * 10**5,
    "arguments": "a:" + "b=1," * 4_000,
    "opened": "a:b=" + "(," * 9_000,
    "closed": "a:b=" + ",)" * 9_000,
}


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS)
def test_a_long_entry_is_split_or_refused_at_once(text: str) -> None:
    started = time.process_time()
    with suppress(ArgumentError):
        parse_entry(text)
    assert time.process_time() - started < 2


@given(st.text("a,()=", max_size=40))
def test_commas_are_split_as_helm_splits_them(text: str) -> None:
    assert _split_arguments(text) == re.split(r",(?![^()]*\))", text)
