"""HELM's words on the form of answers."""

from typing import Any

import pytest

import helmframe as hf
from helmframe._core.specs import AdapterSpec, frozen
from helmframe.adapters.format_instructions import expand_format_instructions, with_named_instructions
from helmframe.errors import ArgumentError

JOINT = AdapterSpec(method="multiple_choice_joint", output_prefix="Answer: ")


def expanded(name: str, spec: AdapterSpec = JOINT, **changes: str) -> AdapterSpec:
    return expand_format_instructions(AdapterSpec(**{**spec.__dict__, "format_instructions": name, **changes}))


def test_nothing_said_changes_nothing() -> None:
    assert expand_format_instructions(JOINT) is JOINT


def test_the_words_come_before_the_instructions() -> None:
    spec = expanded("mcqa", instructions="Choose.")
    assert spec.instructions == "Answer with only a single letter.\n\nChoose."
    assert spec.format_instructions == ""


def test_without_instructions_they_are_the_instructions() -> None:
    assert expanded("mcqa").instructions == "Answer with only a single letter."


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"method": "multiple_choice_joint"}, "mcqa"),
        ({"method": "multiple_choice_joint_chain_of_thought"}, "mmlu_pro"),
        ({"method": "generation", "shots": 5}, "follow"),
        ({"method": "generation", "shots": 0}, ""),
        ({"method": "multiple_choice_separate_original"}, ""),
    ],
)
def test_true_names_the_instructions_of_the_method(fields: dict[str, Any], name: str) -> None:
    assert with_named_instructions(frozen({"format_instructions": True}), frozen(fields)).format_instructions == name
    assert with_named_instructions(frozen(fields), frozen({"format_instructions": False})).format_instructions == ""


def test_true_is_written_to_yaml_and_is_one_value_of_a_grid() -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(1).adapt(format_instructions=[False, True])
    assert hf.Plan.from_yaml(plan.to_yaml()) == plan
    prompts = plan.requests().collect()["prompt"].to_list()
    assert prompts[1] == f"Answer with only a single letter.\n\n{prompts[0]}"


def test_a_suffix_stands_at_the_end_of_the_prompt() -> None:
    spec = expanded("mcqa_suffix", global_suffix="!")
    assert (spec.instructions, spec.global_suffix) == ("", "!\n\nAnswer with only a single letter.")


def test_no_prefix_asks_not_to_repeat_the_cue() -> None:
    assert expanded("mcqa_no_prefix_suffix").global_suffix == (
        "\n\nAnswer with only a single letter. Do not include 'Answer:' in your answer."
    )


def test_follow_wraps_the_prompt() -> None:
    spec = expanded("follow", AdapterSpec())
    assert spec.global_prefix.startswith("Here are some input-output examples.")
    assert spec.global_prefix.endswith("figure out what it is.\n\n")
    assert spec.global_suffix.endswith("format of the preceding outputs!\nOutput:")


def test_legalbench_names_what_is_asked_for() -> None:
    assert expanded("legalbench", AdapterSpec(output_prefix="Label: ")).instructions == "Answer with the label."
    assert expanded("legalbench", AdapterSpec(output_prefix="Answer: ")).instructions == "Answer yes or no."


def test_a_scenario_asked_with_letters_gets_the_words_for_letters() -> None:
    assert expanded("legalbench").instructions == "Answer with only a single letter."


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("mcqb", JOINT, "Did you mean 'mcqa'"),
        ("follow", JOINT, "supported by method 'generation' only"),
        ("gpqa", AdapterSpec(), "unsupported value for method 'generation'"),
        ("mcqa", AdapterSpec(method="chat"), "unsupported value for method 'chat'"),
    ],
)
def test_words_that_are_not_there_raise(name: str, spec: AdapterSpec, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        expanded(name, spec)
