"""HELM's run entries and .conf files, as plans."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, SpecError, UnknownNameError
from helmframe.helm.entries import Entry, parse_entry, plans_of, read_conf
from helmframe.plan import Plan


@pytest.fixture(autouse=True)
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked up on the hub; sampler's rows are packaged."""
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path / "no-data"))


def plan_of(text: str, **also: Any) -> Plan:
    (plan,) = plans_of([parse_entry(text)], **also)
    return plan


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
        ("mmlu:subject", "'subject' should be key=value."),
        ("mmlu:subject=anatomy,", "'' should be key=value."),
        (":subject=anatomy", "has no scenario"),
        ("", "has no scenario"),
        ("mmlu:subject=anatomy,subject=music", "says two values of subject."),
    ],
)
def test_what_is_no_entry_is_told(text: str, message: str) -> None:
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


@pytest.mark.shared
def test_entries_of_our_scenarios_become_plans_and_others_are_told_by_name(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    entries = [parse_entry(each) for each in pl.read_parquet(shared / "helm_run_specs.parquet")["entry"]]
    ours = [entry for entry in entries if entry.name in ("boolq", "gsm", "mmlu", "narrative_qa")]
    absent = ("data_augmentation=canonical", "=multiple_choice_separate", "format_instructions", "contrast")
    plain = [entry for entry in ours if not any(word in str(entry) for word in absent)]
    others = {entry.name: entry for entry in entries if entry not in ours}
    assert (len(entries), len(ours), len(plain), len(others)) == (4297, 556, 281, 250)
    # every model that HELM's files name is a group, or one of HELM's own: another answers here
    said = [replaced(entry) for entry in plain]
    plans = plans_of(said, models=["oracle()"])
    assert {plan.scenarios[0].scenario for plan in plans} == {"boolq", "gsm8k", "mmlu", "narrative_qa"}
    assert {len(plan.models) for plan in plans} == {1}
    lacking = {word: next(entry for entry in ours if word in str(entry)) for word in absent}
    for entry in [*others.values(), *lacking.values()]:
        with pytest.raises(UnknownNameError, match=r"^no "):
            plans_of([replaced(entry)])


def replaced(entry: Entry) -> Entry:
    return Entry(entry.name, tuple((key, value) for key, value in entry.arguments if not key.startswith("model")))


def test_an_entry_is_the_sentence_it_says() -> None:
    text = "sampler:subject=music,model=oracle(),max_train_instances=2,num_train_trials=3,num_outputs=2,temperature=0.7"
    sentence = hf.scenario("sampler").where(subject=["music"], split=["valid", "test"])
    assert plan_of(text) == sentence.adapt(shots=2, trials=3).generate("oracle()", n=2, temperature=0.7)


def test_a_number_of_instances_is_helms_draw() -> None:
    assert plan_of("gsm:max_eval_instances=5") == hf.scenario("gsm8k").sample(5, order="helm")


def test_helms_splits_are_run_unless_the_entry_says_one() -> None:
    assert plan_of("gsm") == hf.scenario("gsm8k").where(split=["valid", "test"])
    assert plan_of("gsm:eval_split=test") == hf.scenario("gsm8k").where(split="test")


def test_no_stop_sequence_is_said_by_none() -> None:
    plan = plan_of("gsm:model=oracle(),stop=none")
    assert plan.decoding == (("stop", ()),)


def test_options_for_all_entries_give_way_to_an_entrys_own() -> None:
    assert plan_of("gsm:max_eval_instances=5", max_eval_instances=9) == plan_of("gsm:max_eval_instances=5")
    assert plan_of("gsm", max_eval_instances=9) == plan_of("gsm:max_eval_instances=9")


def test_helms_names_of_perturbations_are_ours() -> None:
    assert [each.name for each in plan_of("gsm:data_augmentation=lower").perturbations] == ["lowercase"]
    assert [each.name for each in plan_of("gsm:data_augmentation=typo_hard").perturbations] == ["typos(prob=0.5)"]


def test_entries_that_differ_in_the_part_alone_are_one_plan() -> None:
    entries = [parse_entry(f"sampler:subject={subject},model=oracle()") for subject in ("music", "biology", "music")]
    (plan,) = plans_of(entries, max_eval_instances=3)
    assert plan == hf.scenario("sampler").where(subject=["music", "biology"]).sample(3, order="helm").generate(
        "oracle()"
    )


def test_entries_that_differ_in_more_stay_apart() -> None:
    entries = [parse_entry("sampler:subject=music"), parse_entry("sampler:subject=biology,max_train_instances=0")]
    assert len(plans_of(entries)) == 2


def test_who_answers_for_a_group_of_models_is_said_by_the_user() -> None:
    entries = [parse_entry("gsm:model=text"), parse_entry("gsm:model=echo(),stop=none"), parse_entry("gsm")]
    plans = plans_of(entries, models=["oracle()"])
    assert [[model.name for model in plan.models] for plan in plans] == [["oracle"]]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("mml:subject=anatomy", UnknownNameError, "Did you mean 'mmlu'?"),
        ("mmlu:subjec=anatomy", UnknownNameError, "Did you mean 'subject'?"),
        ("gsm:data_augmentation=typo_eazy", UnknownNameError, "Did you mean 'typo_easy'"),
        ("gsm:method=multiple_choice_separate", UnknownNameError, "Did you mean 'multiple_choice_joint'"),
        ("sampler:subject=musik", ArgumentError, "Did you mean 'music'?"),
        ("gsm:model=text", ArgumentError, "'text' is a group of HELM's models"),
        ("gsm:model=oracle(),stop=hash", ArgumentError, "there is stop=none"),
        ("gsm:temperature=1", ArgumentError, "add model=org/name"),
    ],
)
def test_an_entry_that_can_not_be_is_told(text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        plan_of(text)
    assert message in str(error.value)


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
        ("", "entries: is missing, or no list."),
        ("entries: 3", "entries: is missing, or no list."),
        ("[1, 2]", "entries: is missing, or no list."),
        ('entries: [{description: "a"', "not HOCON: "),
        ("entries: [{description: a:b=1}]", "not HOCON: "),
        ("entries: [{description: ${nowhere.to.be.found}}]", "not HOCON: "),
        ("entries: [1]", "entries[0]: should be {description: …, priority: 1}."),
        ('entries: [{description: "a"}, {descriptio: "b"}]', "entries[1]: should be {description"),
        ('entries: [{description: "a", priorty: 1}]', "unknown key 'entries[0].priorty'. Did you mean 'priority'?"),
        ('entries: [{description: "a", priority: high}]', "entries[0].priority: should be a whole number, not 'high'."),
        ('entries: [{description: "a", groups: b}]', "entries[0].groups: should be a list of names, not 'b'."),
    ],
)
def test_a_conf_file_that_is_wrong_is_told_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    file = conf(tmp_path, text)
    with pytest.raises(SpecError) as error:
        read_conf(file)
    assert str(error.value).startswith(f"{file}: ")
    assert message in str(error.value)


def test_a_conf_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="can't be read: No such file or directory"):
        read_conf(tmp_path / "nowhere.conf")


def test_a_conf_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    file = tmp_path / "run_specs.conf"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not HOCON"):
        read_conf(file)
