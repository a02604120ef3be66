"""HELM's run entries and .conf files, read and written."""

import re
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyhocon import ConfigFactory

from helmframe.errors import ArgumentError, PlanError, SpecError
from helmframe.interop.helm import entries as entries_module
from helmframe.interop.helm.entries import Entry, _split_arguments, parse_entry, read_conf
from tests.listening import listening


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
        ("entries: [{description: ${nowhere.to.be.found}}]", "line 1: ${'nowhere.to.be.found'} isn't allowed"),
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


@pytest.mark.parametrize(("opened", "closed", "depth"), [("{a:", "}", 50), ("[", "]", 20_000)])
def test_a_deep_conf_file_raises(tmp_path: Path, opened: str, closed: str, depth: int) -> None:
    with pytest.raises(SpecError, match="nested too deeply"):
        read_conf(conf(tmp_path, f"entries: {opened * depth}{closed * depth}"))


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


ENTRY = 'entries: [{description: "boolq"}]'


@pytest.mark.parametrize(
    "text",
    [
        'include "other.conf"',
        'include file("other.conf")',
        'INCLUDE url("URL")',
        'include required("other.conf")',
        'include required(file("other.conf"))',
        'include package("helmframe:__init__.py")',
        'include classpath("other.conf")',
        'a {\n  include "URL"\n}',
        'a: [include "other.conf"]',
        '//a = b, include "other.conf"',
        'a: """\n# """, include "other.conf"',
        'a: b\\#, include "other.conf"',
    ],
)
def test_an_include_is_refused_with_its_line_and_reads_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.conf").write_text("stolen: 1")
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

    with listening(Handler) as address:
        file = conf(tmp_path, f"\n{text}\n{ENTRY}".replace("URL", f"{address}/x.conf"))
        with pytest.raises(SpecError, match=r"line [234]: include isn't allowed.*--allow-substitution"):
            read_conf(file)
    assert requests == []


def test_a_comment_or_a_text_about_includes_is_no_include(tmp_path: Path) -> None:
    text = f'# include "other.conf"\nincluded: "x"\nnote: "we include (all)"\n{ENTRY}'
    assert list(map(str, read_conf(conf(tmp_path, text)))) == ["boolq"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('entries: [{description: "boolq:model="${CANARY}}]', 2),
        ('entries: [{description: "boolq:model="${?CANARY}}]', 2),
        ('model: ${CANARY}\nentries: [{description: "boolq"}]', 2),
        ('CANARY: ${CANARY}"x"\nentries: [{description: "boolq"}]', 2),
        ('CANARY += "x"\nentries: [{description: "boolq"}]', 2),
        ('a: 1\nentries: [\n\t{description: "boolq:model="${a}}\n]', 4),
        ("a { b: [1, {c: ${CANARY}}] }\nentries: []", 2),
    ],
)
def test_a_substitution_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "canary-value")
    file = conf(tmp_path, f"# a comment\n{text}")
    with pytest.raises(SpecError, match=rf"line {line}: \$\{{'(CANARY|a)'\}} isn't allowed") as refused:
        read_conf(file)
    assert "canary-value" not in str(refused.value)


def test_substitution_can_be_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBJECT", "anatomy")
    (tmp_path / "other.conf").write_text('entries: [{description: "mmlu:subject="${SUBJECT}}]')
    file = conf(tmp_path, 'include "other.conf"')
    assert list(map(str, read_conf(file, allow_substitution=True))) == ["mmlu:subject=anatomy"]


PIECES = [
    *(
        "include ",
        '"other.conf"',
        'file("other.conf")',
        "required(",
        ")",
        "a: ",
        '"',
        '"""',
        "#",
        "//",
        "\n",
        "\r",
        ",",
    ),
    *("{", "}", "[", "]", "\\", "b", " = ", "\t", 'include "other.conf"'),
]


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_pyhocon_reads_no_file_that_the_check_allows(pieces: list[str]) -> None:
    text = "".join(pieces)
    try:
        entries_module._refuse_include("x.conf", text)
    except SpecError:
        return
    opened: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigFactory, "parse_file", lambda path, **_: opened.extend([path]))
        patch.setattr(ConfigFactory, "parse_URL", lambda url, **_: opened.extend([url]))
        with suppress(Exception):
            ConfigFactory.parse_string(text, resolve=False)
    assert opened == []


def test_an_entry_with_code_or_a_foreign_key_needs_trust(tmp_path: Path) -> None:
    model = "http(url='http://example.org/v1',name='m',key_env='OPENAI_API_KEY')"
    file = conf(tmp_path, f'entries: [{{description: "boolq:model={model}"}}]')
    with pytest.raises(PlanError, match=r"send the environment variable OPENAI_API_KEY to example\.org"):
        read_conf(file)
    assert str(read_conf(file, trusted=True)[0]) == f"boolq:model={model}"
