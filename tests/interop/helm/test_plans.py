"""HELM's run entries as plans: whose scenario, which subsets, who answers, and what sweeps."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._pipeline import plan_tasks
from helmframe._plan import Plan, spec_of
from helmframe._suite import Suite
from helmframe.errors import ArgumentError, NoInstancesError, UnknownNameError, UnknownScenarioError
from helmframe.interop.helm import Entry, EntryState, entry_states, parse_entry, plans_of, read_conf, skipped_text
from helmframe.interop.helm.metric_specs import EXACT_MATCH
from helmframe.interop.helm.plans import drafts_of
from helmframe.interop.helm.scenario_lookup import scenario_index

JOINT, COT = "multiple_choice_joint", "multiple_choice_joint_chain_of_thought"
COT_METRICS = ("chain_of_thought_correctness",)
CONF = """
entries: [
  {description: "sampler:subject=music,model=text", priority: 1},
  {description: "sampler:subject=biology,model=text", priority: 1},
  {description: "sampler:subject=alchemy,model=text", priority: 1},
  {description: "cleva:task=summarization,model=text", priority: 2, groups: ["chinese"]},
  {description: "big_bench:task=known,subtask=,model=text", priority: 2},
]
"""


@pytest.fixture(autouse=True)
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked up on the hub; sampler's rows are packaged."""
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path / "no-data"))


def plan_of(text: str, **also: Any) -> Plan:
    (plan,) = plans_of([parse_entry(text)], **also)
    return plan


def test_an_entry_is_the_sentence_it_says() -> None:
    text = "gsm:model=oracle(),max_train_instances=2,num_train_trials=3,num_outputs=2,temperature=0.7"
    sentence = hf.scenario("gsm8k", compat="helm").where(split=["valid", "test"])
    assert plan_of(text) == sentence.adapt(shots=2, trials=3).generate("oracle()", n=2, temperature=0.7)


def test_a_number_of_instances_is_helms_draw() -> None:
    assert plan_of("gsm:max_eval_instances=5") == hf.scenario("gsm8k", compat="helm").sample(5, order="helm")


def test_helms_splits_are_run_unless_the_entry_says_one() -> None:
    assert plan_of("gsm") == hf.scenario("gsm8k", compat="helm").where(split=["valid", "test"])
    assert plan_of("gsm:eval_split=test") == hf.scenario("gsm8k", compat="helm").where(split="test")


def test_no_stop_sequence_is_said_by_none() -> None:
    plan = plan_of("gsm:model=oracle(),stop=none")
    assert spec_of(plan).decoding == (("stop", ()),)


def test_options_for_all_entries_give_way_to_an_entrys_own() -> None:
    assert plan_of("gsm:max_eval_instances=5", max_eval_instances=9) == plan_of("gsm:max_eval_instances=5")
    assert plan_of("gsm", max_eval_instances=9) == plan_of("gsm:max_eval_instances=9")


def test_helms_data_augmentations_are_helms_own() -> None:
    def names(said: str) -> list[str]:
        return [each.name for each in spec_of(plan_of(f"gsm:data_augmentation={said}")).perturbations]

    assert names("lower") == ["lowercase(compat='helm')"]
    assert names("typo_hard") == ["typos(compat='helm', prob=0.5)"]
    assert names("contract") == ["contraction(compat='helm')", "expansion(compat='helm')"]
    # the preset, and not the perturbation of the same name
    assert names("space") == ["space(compat='helm', max_spaces=3)"]


def test_any_other_perturbation_may_be_said_too() -> None:
    plan = plan_of("gsm:data_augmentation=uppercase")
    assert [each.name for each in spec_of(plan).perturbations] == ["uppercase"]


def test_entries_that_differ_in_the_part_alone_are_one_plan() -> None:
    entries = [parse_entry(f"sampler:subject={subject},model=oracle()") for subject in ("music", "biology", "music")]
    (plan,) = plans_of(entries, max_eval_instances=3)
    assert plan == hf.scenario("sampler", compat="helm").where(subject=["music", "biology"]).sample(
        3, order="helm"
    ).generate("oracle()")


def test_entries_of_different_columns_are_different_plans() -> None:
    texts = [f"math:{subset},use_official_examples=True,model=text" for subset in ("subject=algebra", "level=1")]
    assert plans_of([parse_entry(text) for text in texts]) == [plan_of(text) for text in texts]


def test_a_repeated_entry_of_two_columns_is_one_plan() -> None:
    text = "math:subject=algebra,level=1,use_official_examples=True,model=text"
    assert plans_of([parse_entry(text), parse_entry(text)]) == [plan_of(text)]


def test_entries_that_differ_in_more_stay_apart() -> None:
    entries = [parse_entry("sampler:subject=music"), parse_entry("sampler:subject=biology,max_train_instances=0")]
    assert len(plans_of(entries)) == 2


def test_who_answers_for_a_group_of_models_is_said_by_the_user() -> None:
    entries = [parse_entry("gsm:model=text"), parse_entry("gsm:model=echo(),stop=none"), parse_entry("gsm")]
    plans = plans_of(entries, models=["oracle()"])
    assert [[model.name for model in spec_of(plan).models] for plan in plans] == [["oracle"]]
    # who names nobody leaves it open
    warm, plain = plan_of("gsm:model=text,temperature=0.5"), plan_of("gsm")
    assert spec_of(warm) == replace(spec_of(plain), decoding=(("temperature", 0.5),))


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("sampelr:subject=music", UnknownNameError, "Did you mean 'sampler'?"),
        ("mmlu:subjec=anatomy", UnknownNameError, "Did you mean 'subject'?"),
        ("gsm:data_augmentation=typo_eazy", UnknownNameError, "Did you mean 'typo_easy'"),
        ("gsm:method=multiple_choice_jiont", UnknownNameError, "Did you mean 'multiple_choice_joint'"),
        ("sampler:subject=musik", ArgumentError, "Did you mean 'music'?"),
        ("gsm:stop=has", ArgumentError, "Did you mean 'hash'?"),
        ("gsm:instructions=experts", ArgumentError, "Did you mean 'expert'?"),
        (
            "gsm:max_train_instances=al",
            ArgumentError,
            "max_train_instances='al' must be a number or a name. Did you mean 'all'?",
        ),
        ("gsm:temperature=warm", ArgumentError, "temperature='warm' must be a number."),
        ("gsm:num_train_trials=1.5", ArgumentError, "num_train_trials=1.5 must be an integer."),
        ("gsm:eval_split=train", ArgumentError, "eval_split='train'"),
        ("gsm:process_output=upper", ArgumentError, "process_output='upper' is unsupported"),
        ("commonsense:dataset=hellaswags", UnknownNameError, "Unknown scenario with the arguments of run entry"),
    ],
)
def test_an_entry_that_can_not_be_is_told(text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        plan_of(text)
    assert message in str(error.value)


def test_an_entry_is_a_plan_at_once() -> None:
    plan = hf.entry("sampler:subject=music,model=text", "oracle()", max_eval_instances=2)
    assert plan == hf.scenario("sampler", compat="helm").where(subject="music").sample(2, order="helm").generate(
        "oracle()"
    )


def test_an_entry_that_sweeps_is_a_suite_whose_plans_have_names() -> None:
    swept = hf.entry("sampler:subject=music,max_train_instances=all", "oracle()")
    assert isinstance(swept, Suite)
    settings = [plan_tasks(spec_of(plan))[0].settings[0] for plan in swept.plans]
    assert [(each.name, each.adapter.shots) for each in settings] == [
        *(("shots=0", 0), ("shots=1", 1), ("shots=2", 2)),
        *(("shots=4", 4), ("shots=8", 8), ("shots=16", 16)),
    ]


def test_a_sweep_of_perturbations_is_a_plan_for_each(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared))
    swept = hf.entry("sampler:subject=music,data_augmentation=misspelling_sweep")
    assert isinstance(swept, Suite)
    names = [[each.name for each in spec_of(plan).perturbations] for plan in swept.plans]
    assert names == [[f"misspellings(compat='helm', prob={each})"] for each in (0.0, 0.05, 0.2, 0.5)]


def test_the_option_for_trials_is_for_all_entries_with_examples() -> None:
    entries = [parse_entry("gsm:num_train_trials=2"), parse_entry("boolq:max_train_instances=0")]
    plans = plans_of(entries, num_train_trials=3)
    assert [dict(spec_of(plan).adapter).get("trials") for plan in plans] == [3, None]


def test_an_entry_without_few_shot_examples_has_one_trial() -> None:
    plan = hf.entry("gsm:max_train_instances=0,num_train_trials=3")
    assert isinstance(plan, Plan)
    assert dict(spec_of(plan).adapter)["trials"] == 1


@pytest.mark.parametrize(
    ("name", "method", "trials"), [("twitter_aae:demographic=aa", "language_modeling", 1), ("wildbench", "chat", 2)]
)
def test_methods_without_few_shot_examples_ignore_their_number(
    name: str, method: str, trials: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    plan = hf.entry(f"{name}{',' if ':' in name else ':'}max_train_instances=3,num_train_trials=2")
    assert isinstance(plan, Plan)
    spec = spec_of(plan)
    assert dict(spec.adapter) == {"shots": 3, "trials": 2}
    frame = pl.DataFrame({"input": ["a", "b", "c"], "references": [["x"]] * 3, "split": ["train", "test", "test"]})
    texts = hf.scenario(frame, name="texts", compat="helm").adapt(method=method, shots=3, trials=2)
    requests = texts.requests().collect()
    assert requests["shot_ids"].list.len().to_list() == [0] * 2 * trials
    assert requests["trial"].unique().sort().to_list() == list(range(trials))


@pytest.mark.parametrize("more", ["follow_format_instructions=all", "output_format_instructions=math_suffix"])
def test_the_turns_of_claude_2_replace_format_instructions_around_the_prompt(more: str) -> None:
    (draft,) = drafts_of(parse_entry(f"gsm:model=anthropic/claude-2.1,{more}"), scenario_index())
    adapter = draft.setting.adapter
    assert adapter.format_instructions == ""
    assert adapter.global_suffix.endswith("\n\nAssistant: A:")


def test_joint_options_of_several_tokens_have_no_stop_sequences() -> None:
    assert spec_of(plan_of("sampler:subject=music,num_output_tokens=5")).decoding == (("max_tokens", 5), ("stop", ()))
    # one token does not reach a stop sequence
    assert spec_of(plan_of("sampler:subject=music,num_output_tokens=1")).decoding == (("max_tokens", 1),)


def test_entries_are_chosen_by_priority_group_and_whether_they_name_a_model() -> None:
    entries = [
        parse_entry("gsm:model=text", priority=3),
        parse_entry("boolq:model=text", priority=1, groups=["core"]),
        parse_entry("narrative_qa:model=oracle()", priority=1),
    ]

    def chosen(**said: Any) -> list[str]:
        return [spec_of(plan).scenarios[0].scenario for plan in plans_of(entries, **said)]

    assert chosen(priority=2) == ["boolq", "narrative_qa"]
    assert chosen(groups=["core", "gsm"]) == ["gsm8k", "boolq"]
    assert chosen(groups=["gsm8k"]) == ["gsm8k"]
    assert chosen(named=False) == ["gsm8k", "boolq"]


def test_scenarios_of_one_name_are_told_apart_by_their_arguments() -> None:
    closed, opened = (plan_of(f"natural_qa:mode={mode}") for mode in ("closedbook", "openbook_longans"))
    assert closed == hf.scenario("natural_qa_closedbook", compat="helm").where(split=["valid", "test"])
    assert opened == hf.scenario("natural_qa_openbook_longans", compat="helm").where(split=["valid", "test"])


def test_a_conf_file_is_a_suite(tmp_path: Path) -> None:
    file = tmp_path / "run_specs.conf"
    file.write_text(
        'entries: [{description: "sampler:subject=music,model=text", priority: 1},'
        ' {description: "gsm:model=text", priority: 3}, {description: "boolq:model=openai/gpt2", priority: 1}]'
    )
    (plan,) = hf.suite(str(file), models="oracle()", priority=2).plans
    assert plan == plan_of("sampler:subject=music").generate("oracle()")


@pytest.mark.parametrize(
    ("text", "name", "where"),
    [
        ("wmt_14:language_pair=en-cs", "wmt_14_from_english", {"language_pair": "cs-en"}),
        ("copyright:datatag=pilot", "copyright_text", {"datatag": "pilot"}),
        (
            "decodingtrust_privacy:scenario_name=enron_email_extraction,data_file=enron_data,prompt_type=context-50",
            "decodingtrust_privacy_context",
            {"prompt_type": "context-50"},
        ),
        (
            "decodingtrust_privacy:scenario_name=enron_email_extraction,data_file=enron_data,prompt_type=one-shot-a",
            "decodingtrust_privacy",
            {"prompt_type": "one-shot-a"},
        ),
    ],
)
def test_an_argument_that_selects_the_scenario_selects_its_subset_too(
    text: str, name: str, where: dict[str, str]
) -> None:
    assert plan_of(text) == hf.scenario(name, compat="helm").where(**where, split=["valid", "test"])


def test_an_argument_that_has_one_value_here_is_refused_with_another() -> None:
    assert plan_of("ruler_squad:max_num_words=131072") == plan_of("ruler_squad")
    with pytest.raises(
        ArgumentError, match=r"max_num_words=8192 is unsupported: scenario 'ruler_squad' has 131072 only"
    ):
        plan_of("ruler_squad:max_num_words=8192")


@pytest.mark.parametrize(
    ("entry", "method", "shots", "max_tokens", "metrics"),
    [
        ("mmlu_pro:subject=all", COT, 0, 4096, COT_METRICS),
        ("mmlu_pro:subject=all,use_few_shot=true", COT, 5, 4096, COT_METRICS),
        ("mmlu_pro:subject=all,use_few_shot=True,use_chain_of_thought=False", JOINT, 5, 4096, EXACT_MATCH),
        ("mmlu_pro:subject=all,use_chain_of_thought=false", JOINT, 0, 4096, EXACT_MATCH),
        ("gpqa:subset=main,use_few_shot=false", COT, 0, 4096, COT_METRICS),
        ("gpqa:subset=main,use_few_shot=true", COT, 5, 2000, COT_METRICS),
        ("gpqa:subset=main,use_few_shot=true,use_chain_of_thought=false", JOINT, 5, 1, EXACT_MATCH),
        ("gpqa:subset=main,use_chain_of_thought=false", JOINT, 0, 4096, EXACT_MATCH),
    ],
)
def test_switches_of_an_entry_choose_the_adapter_and_the_metrics(
    entry: str, method: str, shots: int, max_tokens: int, metrics: tuple[str, ...]
) -> None:
    (draft,) = drafts_of(parse_entry(entry), scenario_index())
    adapter, decoding = draft.setting.adapter, dict(draft.setting.decoding)
    assert (adapter.method, adapter.shots, decoding["max_tokens"]) == (method, shots, max_tokens)
    assert decoding["stop"] == ()
    assert (draft.metrics or draft.spec.metrics) == metrics


def test_examples_of_gpqa_end_with_their_explanation_and_the_option() -> None:
    (draft,) = drafts_of(parse_entry("gpqa:subset=main,use_few_shot=true"), scenario_index())
    adapter = draft.setting.adapter
    assert adapter.instructions.startswith("Here are some example questions from experts. An explanation is given")
    assert (adapter.input_prefix, adapter.input_suffix) == ("Question: ", "\nChoices: \n")
    assert adapter.chain_of_thought_prefix == "Let's think step by step: "
    assert adapter.chain_of_thought_suffix == "The correct answer is "
    assert adapter.global_suffix.endswith('please use the format "The correct answer is (insert answer here)":')


def test_a_switch_that_is_neither_true_nor_false_is_an_error() -> None:
    with pytest.raises(ArgumentError, match=r"use_few_shot='yes' must be true or false"):
        plan_of("gpqa:subset=main,use_few_shot=yes")


def test_a_subtask_is_a_part_of_its_own() -> None:
    split = {"split": ["valid", "test"]}
    assert plan_of("big_bench:task=mult,subtask=mul") == hf.scenario("big_bench", compat="helm").where(
        task="mult__mul", **split
    )
    assert plan_of("big_bench:task=known,subtask=") == hf.scenario("big_bench", compat="helm").where(
        task="known", **split
    )


def test_each_part_of_an_entry_is_asked_as_the_spec_says_of_it() -> None:
    scotus, eurlex = (plan_of(f"lex_glue:subset={name},increase_max_tokens=1") for name in ("scotus", "eurlex"))
    assert (dict(spec_of(scotus).decoding), dict(spec_of(eurlex).decoding)) == ({"max_tokens": 6}, {"max_tokens": 21})
    both = plans_of([parse_entry(f"lex_glue:subset={name}") for name in ("scotus", "eurlex")])
    assert both == [hf.scenario("lex_glue", compat="helm").where(subset=["scotus", "eurlex"], split=["valid", "test"])]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root without any scenario; the sampler comes with the package."""
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
def conf(root: Path) -> Path:
    (root / "run_specs.conf").write_text(CONF)
    return root / "run_specs.conf"


def entries(*texts: str) -> list[Entry]:
    return [parse_entry(text) for text in texts]


def states(*texts: str) -> list[str]:
    return [each.state for each in entry_states(entries(*texts))]


def test_the_states_of_entries(root: Path) -> None:
    assert states(
        "sampler:subject=music,model=text",
        "sampler:subject=music,model=openai/gpt2",  # whichever model it names
        "sampler:subject=alchemy,model=text",
        "big_bench:task=known,subtask=,model=text",  # the root has no such folder
        "cleva:task=summarization,model=text",
        "commonsense:dataset=codah,model=text",  # a scenario of HELM's is known by this name, with other arguments
        "sampler:subject=music,shape=round",
        "sampler:subject=music,temperature=warm",
    ) == [
        *("plan", "plan", "rows missing", "rows missing", "unknown scenario", "unknown scenario"),
        *("unsupported", "unsupported"),
    ]


def test_a_state_has_the_error_as_its_reason_and_entries_are_listed_once(root: Path) -> None:
    listed = list(entry_states(entries(*["sampler:subject=alchemy"] * 2, "cleva:task=x")))
    assert [each.entry.name for each in listed] == ["sampler", "cleva"]
    assert "where(subject='alchemy') matches no instance" in listed[0].reason
    assert "'cleva'" in listed[1].reason


def test_an_entry_alone_raises(root: Path) -> None:
    with pytest.raises(UnknownScenarioError, match="cleva"):
        plans_of(entries("cleva:task=x"))
    with pytest.raises(NoInstancesError, match="alchemy"):
        plans_of(entries("sampler:subject=alchemy"))


def test_entries_of_a_conf_file_without_scenario_or_rows_are_skipped(
    conf: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="helmframe.interop.helm"):
        suite = hf.suite(conf)
    assert suite.plans[0] == hf.scenario("sampler", compat="helm").where(
        subject=["music", "biology"], split=["valid", "test"]
    )
    warning = "\n".join(record.getMessage() for record in caplog.records)
    assert "Skipped 2 run entries:" in warning
    assert "unknown scenario (1): cleva" in warning
    assert "rows missing (1): sampler:subject=alchemy,model=text" in warning
    assert "helmframe list helm-entries" in warning


def test_the_part_that_is_missing_leaves_the_others_in_their_plan(conf: Path) -> None:
    skipped: list[EntryState] = []
    plans = plans_of(read_conf(conf), priority=1, skipped=skipped)
    assert len(plans) == 1
    assert [(str(each.entry), each.state) for each in skipped] == [
        ("sampler:subject=alchemy,model=text", "rows missing")
    ]


def test_entries_that_are_not_chosen_are_not_listed(conf: Path) -> None:
    read = read_conf(conf)
    for options, names in (
        ({"groups": ["sampler"]}, ["sampler"]),
        ({"groups": ["chinese"]}, ["cleva"]),
        ({"priority": 1}, ["sampler"]),
    ):
        skipped: list[EntryState] = []
        plans_of(read, skipped=skipped, **options)
        assert [each.entry.name for each in skipped] == names


def test_a_model_that_is_missing_still_raises(root: Path) -> None:
    with pytest.raises(OSError, match="No model 'nobody/nothing' found"):
        plans_of(entries("sampler:subject=music,model=nobody/nothing"), skipped=[])


def test_at_most_five_names_of_a_kind_are_shown() -> None:
    skipped = [EntryState(parse_entry(f"unknown{number}:a=b"), "unknown scenario") for number in range(7)]
    assert "unknown scenario (7): unknown0, unknown1, unknown2, unknown3, unknown4, … (7 in all)" in skipped_text(
        skipped
    )


def test_a_file_of_skipped_entries_alone_is_an_error(root: Path) -> None:
    file = root / "none.conf"
    file.write_text('entries: [{description: "cleva:task=x", priority: 1}]')
    with pytest.raises(ArgumentError, match=r"no entry can be run\. Skipped 1 run entry:"):
        hf.suite(file)


@pytest.mark.shared
def test_every_entry_of_helms_files_has_a_state(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    read = dict.fromkeys(read_conf(shared / "helm_conf" / "run_entries_lite_20240424.conf"))
    listed = list(entry_states(read))
    assert len(listed) == len(read)
    assert "plan" in {each.state for each in listed}
    assert all(each.reason for each in listed if each.state != "plan")
