"""Each of HELM's run expanders, as HELM's own makes them."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError
from helmframe.interop.helm.entries import parse_entry
from helmframe.interop.helm.expanders import EXPANDERS
from helmframe.interop.helm.fields import to_helm
from helmframe.interop.helm.plans import drafts_of
from helmframe.interop.helm.scenario_lookup import scenario_index

BBQ = ("bbq_accuracy", "bbq_metric_ambiguous_bias", "bbq_metric_unambiguous_bias")
MMLU = "The following are multiple choice questions (with answers) about philosophy.\n"
# As crfm-helm 0.5.16 expands them: the fields of its AdapterSpec that change.
MADE: list[tuple[str, dict[str, Any]]] = [
    ("mmlu:subject=philosophy,instructions=none", {"instructions": ""}),
    (
        "mmlu:subject=philosophy,instructions=expert",
        {"instructions": f"I am an expert AI assistant who is here to help you with the following. {MMLU}"},
    ),
    (
        "gsm:instructions=expert",
        {"instructions": "I am an expert AI assistant who is here to help you with the following. "},
    ),
    ("gsm:prompt=i_o", {"input_prefix": "I: ", "output_prefix": "O: "}),
    (
        "gsm:prompt=input_output_html",
        {
            "input_prefix": "<input>",
            "input_suffix": "</input>\n",
            "output_prefix": "<output>",
            "output_suffix": "</output>\n",
        },
    ),
    ("gsm:prompt=human_assistant", {"output_prefix": 'Assistant: The answer is "', "stop_sequences": ['".']}),
    ("gsm:newline=br", {"substitutions": [{"source": "\n", "target": "<br>\n"}]}),
    ("gsm:stop=hash", {"instance_prefix": "###\n\n", "stop_sequences": ["###"]}),
    ("gsm:stop=none", {"stop_sequences": []}),
    ("gsm:add_to_stop=newline", {"stop_sequences": ["\n\n", "\n"]}),
    ("gsm:add_to_stop=END", {"stop_sequences": ["\n\n", "END"]}),
    ("gsm:global_prefix=nlg", {"global_prefix": "[NLG]"}),
    ("gsm:format_prompt=Say:", {"input_prefix": "Say:", "output_prefix": ""}),
    ("gsm:num_train_trials=3", {"num_train_trials": 3}),
    ("gsm:max_train_instances=zero", {"max_train_instances": 0}),
    ("gsm:num_outputs=4", {"num_outputs": 4}),
    ("gsm:num_trials=heim_efficiency", {"num_trials": 5}),
    ("gsm:temperature=0.5,increase_temperature=0.25", {"temperature": 0.75}),
    ("gsm:increase_max_tokens=4096", {"max_tokens": 4496}),
    ("gsm:num_output_tokens=4000", {"max_tokens": 4000}),
    ("gsm:process_output=deepseek_r1_thinking", {}),
    ("gsm:follow_format_instructions=instruct", {}),
    (
        "gsm:follow_format_instructions=all",
        {
            "global_prefix": "Here are some input-output examples. Read the examples carefully to figure out the "
            "mapping. The output of the last example is not given, and your job is to figure out what it is.\n\n",
            "global_suffix": "\n\nPlease provide the output to this last example. It is critical to follow the format "
            "of the preceding outputs!\nA:",
        },
    ),
    (
        "mmlu:subject=philosophy,output_format_instructions=mmlu",
        {"instructions": f"Answer with only a single letter.\n\n{MMLU}"},
    ),
    (
        "gsm:chatml=True",
        {
            "instructions": "<|im_start|>user\n",
            "instance_prefix": "",
            "output_prefix": "<|im_end|>\n<|im_start|>assistant\nA: ",
            "output_suffix": "<|im_end|>\n<|im_start|>user\n",
            "stop_sequences": ["\n\n", "<|im_end|>"],
        },
    ),
    (
        "mmlu:subject=philosophy,chatml=True",
        {
            "instructions": f"<|im_start|>system\n{MMLU}<|im_end|>\n<|im_start|>user\n",
            "output_prefix": "<|im_end|>\n<|im_start|>assistant\nAnswer: ",
        },
    ),
]


def fields(text: str) -> dict[str, Any]:
    (draft,) = drafts_of(parse_entry(text), scenario_index())
    columns = {name: str(value).replace("_", " ") for name, value in draft.where}
    return to_helm(draft.setting.adapter, draft.setting.decoding, draft.outputs or draft.spec.outputs, columns)


@pytest.mark.parametrize(("text", "changed"), MADE)
def test_an_expander_changes_what_helms_does(text: str, changed: dict[str, Any]) -> None:
    plain = fields(text.partition(":")[0] + (":subject=philosophy" if text.startswith("mmlu") else ""))
    made = fields(text)
    for name, value in changed.items():
        assert made[name] == value, name
    if not changed:
        assert made == plain


@pytest.mark.parametrize(
    ("text", "instructions"),
    [
        ("med_qa:output_format_instructions=med_qa", "Answer with only a single letter.\n\n"),
        (
            "commonsense:dataset=openbookqa,method=multiple_choice_joint,output_format_instructions=openbookqa",
            "Answer with only a single letter.\n\n",
        ),
        (
            "med_qa:output_format_instructions=med_qa_no_prefix",
            "Answer with only a single letter. Do not include 'Answer:' in your answer.\n\n",
        ),
        (
            "med_qa:output_format_instructions=mcqa_no_period",
            "Answer with only a single letter. Do not include a period in your answer.\n\n",
        ),
    ],
)
def test_any_scenario_with_joint_options_has_words_on_the_form_of_answers(text: str, instructions: str) -> None:
    assert fields(text)["instructions"].startswith(f"{instructions}The following are multiple choice questions")


def test_words_on_the_form_of_answers_may_end_the_prompt() -> None:
    made = fields("med_qa:output_format_instructions=med_qa_suffix")
    assert made["global_suffix"] == "\n\nAnswer with only a single letter."


def test_words_that_helm_lacks_for_free_text_are_refused() -> None:
    with pytest.raises(ArgumentError, match="format_instructions='med_qa'"):
        fields("gsm:output_format_instructions=med_qa")


@pytest.mark.parametrize("name", ["omni_math", "ifeval"])
def test_scenarios_without_examples_have_helms_number_of_them(name: str) -> None:
    assert fields(name)["max_train_instances"] == 5


def test_no_warning_says_that_examples_are_missing_where_no_split_has_any(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "omni_math" / "default" / "test-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    rows = {"problem": ["1 + 1?"], "answer": ["2"], "solution": ["Count."], "difficulty": [1.0]}
    pl.DataFrame(rows).write_parquet(file)
    requests = hf.scenario("omni_math", data=tmp_path).requests().collect()
    assert requests["prompt"].item().endswith("\\boxed{} command.\n1 + 1?\n")
    assert caplog.messages == []


# As HELM's `get_multiple_choice_separate_adapter_spec` sets them, whatever the scenario.
BARE = {
    "instructions": "",
    "input_prefix": "",
    "input_suffix": "",
    "output_prefix": " ",
    "output_suffix": "",
    "max_train_instances": 0,
    "max_tokens": 0,
}
JOINT = "multiple_choice_joint"
ORIGINAL, CALIBRATED = "multiple_choice_separate_original", "multiple_choice_separate_calibrated"
SWITCHED = ("mmlu:subject=anatomy", "truthful_qa:task=mc_single", "bbq:subject=all", "lsat_qa:task=all")


@pytest.mark.parametrize("method", [ORIGINAL, CALIBRATED])
@pytest.mark.parametrize("text", [*SWITCHED, "legal_support:num_outputs=1", "sampler:subject=music"])
def test_options_scored_separately_have_no_texts_or_examples_of_the_joint_method(text: str, method: str) -> None:
    made = fields(f"{text},method={method}")
    assert made["method"] == method
    assert {name: made[name] for name in BARE} == BARE


@pytest.mark.parametrize("method", [JOINT, ORIGINAL, CALIBRATED])
@pytest.mark.parametrize("dataset", ["commonsenseqa", "hellaswag", "openbookqa", "piqa", "siqa"])
def test_commonsense_takes_every_method_for_every_dataset(dataset: str, method: str) -> None:
    made = fields(f"commonsense:dataset={dataset},method={method}")
    if method != JOINT:
        assert {name: made[name] for name in BARE} == BARE
        return
    assert made["instructions"].endswith(" (with answers) about common sense.\n")
    assert (made["input_prefix"], made["output_prefix"]) == ("Question: ", "Answer: ")
    assert (made["max_train_instances"], made["max_tokens"]) == (5, 1)


@pytest.mark.parametrize("order", ["max_train_instances=2,method={}", "method={},max_train_instances=2"])
def test_an_expander_applies_after_the_method_wherever_the_entry_names_it(order: str) -> None:
    made = fields("mmlu:subject=anatomy," + order.format(ORIGINAL))
    assert (made["max_train_instances"], made["input_prefix"]) == (2, "")


def test_the_method_of_the_scenario_itself_changes_nothing() -> None:
    (named,) = drafts_of(parse_entry(f"mmlu:subject=anatomy,method={JOINT}"), scenario_index())
    (plain,) = drafts_of(parse_entry("mmlu:subject=anatomy"), scenario_index())
    assert named == plain


def test_prompts_of_separate_options_are_the_question_and_one_option() -> None:
    plan = hf.entry(f"sampler:subject=music,method={CALIBRATED}", max_eval_instances=1)
    assert isinstance(plan, hf.Plan)
    requests = plan.requests().collect()
    questions = dict.fromkeys(requests["input"])
    (question,) = questions
    assert requests["prompt"].to_list() == [question, "Answer:"] * 4
    options = [option["text"] for option in requests["references"][0]]
    assert requests["continuation"].to_list() == [f" {option}" for option in options for _ in range(2)]


@pytest.mark.parametrize(
    ("text", "metrics"),
    [
        (f"mmlu:subject=anatomy,method={ORIGINAL}", ["option_accuracy_per_token"]),
        (f"bbq:subject=all,method={CALIBRATED}", ["option_accuracy_calibrated", *BBQ]),
        (f"blimp:phenomenon=ellipsis,method={CALIBRATED}", ["option_accuracy_calibrated"]),
        (
            f"blimp:phenomenon=ellipsis,method={JOINT}",
            ["exact_match", "quasi_exact_match", "prefix_exact_match", "quasi_prefix_exact_match"],
        ),
        (f"mmlu:subject=anatomy,method={JOINT}", []),
    ],
)
def test_another_method_is_scored_by_its_own_metrics(text: str, metrics: list[str]) -> None:
    (draft,) = drafts_of(parse_entry(text), scenario_index())
    assert list(draft.metrics) == metrics


def test_joint_blimp_has_helms_wording() -> None:
    made = fields(f"blimp:phenomenon=ellipsis,method={JOINT}")
    wording = {
        "instructions": "Please select the grammatical sentence.\n",
        "input_prefix": "",
        "input_suffix": "",
        "output_prefix": "Answer: ",
        "output_suffix": "\n",
        "max_train_instances": 5,
        "max_tokens": 1,
        "temperature": 0.0,
    }
    assert {name: made[name] for name in wording} == wording


def test_calibrated_blimp_keeps_its_empty_cue() -> None:
    made = fields(f"blimp:phenomenon=ellipsis,method={CALIBRATED}")
    assert {name: made[name] for name in BARE} == {**BARE, "output_prefix": ""}


def test_the_letter_is_one_output_whatever_an_entry_says() -> None:
    (draft,) = drafts_of(parse_entry("mmlu:subject=philosophy,num_outputs=5"), scenario_index())
    assert draft.outputs is None


def test_every_expander_of_helms_for_text_is_known() -> None:
    helms = (
        *("instructions", "prompt", "newline", "stop", "format_prompt", "follow_format_instructions", "add_to_stop"),
        *("global_prefix", "num_train_trials", "max_train_instances", "max_eval_instances", "num_outputs"),
        *("num_trials", "model", "model_deployment", "data_augmentation", "num_output_tokens", "chatml"),
        *("eval_split", "output_format_instructions", "temperature", "increase_temperature"),
        *("increase_max_tokens", "process_output"),
    )
    # tokenizer and num_prompt_tokens are parameters of synthetic_efficiency, the one scenario that has them; method and
    # only_contrast are of several scenarios
    assert set(EXPANDERS) == {*helms, "method", "only_contrast"}


# As crfm-helm 0.5.16 alters the run specs of models with these tags.
UNASKED: list[tuple[str, dict[str, Any]]] = [
    ("gsm:model=google/flan-t5-xxl", {"instance_prefix": "###\n\n", "stop_sequences": ["###"], "global_prefix": ""}),
    ("gsm:model=google/ul2", {"instance_prefix": "###\n\n", "stop_sequences": ["###"], "global_prefix": "[NLG]"}),
    ("gsm:model=eleutherai/gpt-j-6b", {"temperature": 1e-4}),
    ("gsm:model=eleutherai/gpt-j-6b,temperature=0.5", {"temperature": 0.5}),
    ("gsm:model=anthropic/claude-3-opus-20240229", {"stop_sequences": []}),
    ("gsm:model=google/medlm-large", {"stop_sequences": []}),
    ("gsm:model=google/medlm-medium", {"stop_sequences": ["\n\n"]}),
    ("mmlu:subject=anatomy,model=google/gemini-1.0-pro-vision-001", {"max_tokens": 2}),
    ("mmlu:subject=anatomy,model=google/gemini-1.5-pro-001", {"max_tokens": 1}),
    ("gsm:model=google/gemini-1.0-pro-vision-001", {"max_tokens": 400}),
    (
        "summarization_cnndm:model=together/gpt-neoxt-chat-base-20b",
        {
            "output_prefix": "Summarize the above article in 3 sentences.\n<|im_end|>\n<|im_start|>assistant\n",
            "stop_sequences": ["###", "<|im_end|>"],
        },
    ),
    (
        "summarization_xsum_sampled:model=together/gpt-neoxt-chat-base-20b",
        {"output_prefix": "<|im_end|>\n<|im_start|>assistant\nSummarize the above article in 1 sentence.\n"},
    ),
    (
        "summarization_xsum:model=together/gpt-neoxt-chat-base-20b",
        {"output_prefix": "Summarize the above article in 1 sentence.\n<|im_end|>\n<|im_start|>assistant\n"},
    ),
    ("gsm:model=openai/gpt2", {"stop_sequences": ["\n\n"], "temperature": 0.0}),
    (
        "gsm:model=anthropic/claude-2.1",
        {
            "global_prefix": "\n\nHuman: Here are some input-output examples. Read the examples carefully to figure "
            "out the mapping. The output of the last example is not given, and your job is to figure out what it "
            "is.\n\n",
            "global_suffix": "\n\nPlease provide the output to this last example. It is critical to follow the format "
            "of the preceding outputs!\n\nAssistant: A:",
        },
    ),
]


@pytest.mark.parametrize(("text", "changed"), UNASKED)
def test_some_models_have_their_own_prompts(text: str, changed: dict[str, Any]) -> None:
    made = fields(text)
    assert {name: made[name] for name in changed} == changed


def test_a_model_with_a_way_of_its_own_is_a_draft_of_its_own() -> None:
    models = ["openai/gpt2", "google/ul2", "meta/llama-7b"]
    drafts = drafts_of(parse_entry("gsm:model=text"), scenario_index(), models=models)
    assert [draft.models for draft in drafts] == [("openai/gpt2", "meta/llama-7b"), ("google/ul2",)]
    assert [draft.setting.adapter.global_prefix for draft in drafts] == ["", "[NLG]"]


@pytest.mark.parametrize(
    ("name", "follows"),
    [
        *(("meta/llama-3-8b-chat", True), ("meta/llama-3-8b", False), ("mistralai/mistral-7b-v0.1", False)),
        *(("mistralai/mistral-7b-instruct-v0.3", True), ("openai/o3-2025-04-16", True), ("openai/gpt2", False)),
        *(("tiiuae/falcon-7b-instruct", False), ("qwen/qwen2.5-7b", False), ("google/gemma-2-9b-it", True)),
    ],
)
def test_models_that_follow_instructions_are_those_of_helms_tag(name: str, follows: bool) -> None:
    (draft,) = drafts_of(parse_entry(f"gsm:model={name},follow_format_instructions=instruct"), scenario_index())
    assert (draft.setting.adapter.format_instructions == "follow") == follows


@pytest.mark.shared
def test_only_contrast_asks_what_has_a_contrast_example(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    plan = hf.entry("boolq:only_contrast=True,data_augmentation=contrast_sets")
    assert isinstance(plan, hf.Plan)
    asked = plan.generate(hf.models.oracle()).requests().collect()
    variants = asked.group_by("instance_id").agg(pl.col("perturbation").sort())["perturbation"].to_list()
    assert len(variants) == 64
    assert all(len(each) == 2 for each in variants)
    with pytest.raises(ArgumentError, match="no contrast sets exist for 'gsm8k'"):
        hf.entry("gsm:only_contrast=True")
