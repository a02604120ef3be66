"""HELM's run expanders: the arguments of an entry, in addition to the scenario's parameters, that change its plan.

The changes that HELM makes for some models by itself are in `plans`.

Source: HELM `run_expander.py`.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, TypeAlias

from helmframe._core.specs import Call
from helmframe.adapters.adapt import ADAPTERS
from helmframe.adapters.format_instructions import name_of_choices
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.interop.helm.draft import Draft
from helmframe.interop.helm.entries import ArgumentValue
from helmframe.interop.helm.metric_specs import CLASSES, EXACT_MATCH, SEPARATE
from helmframe.interop.helm.scenario_lookup import method_fields
from helmframe.perturbations.call import PerturbationCall, call
from helmframe.perturbations.catalogue import PRESETS
from helmframe.perturbations.contrast import with_contrasts
from helmframe.perturbations.registry import PERTURBATIONS

Expander: TypeAlias = Callable[[Draft, ArgumentValue], list[Draft]]

EXPANDERS: dict[str, Expander] = {}
# Names of several values: an entry with such a name becomes several plans.
SWEEPS: dict[str, dict[str, tuple[int, ...]]] = {
    "max_train_instances": {
        "zero": (0,),
        "one": (1,),
        "all": (0, 1, 2, 4, 8, 16),
        "big_bench_few_shot_setting": (0, 1, 2, 3),
        "vhelm": (0, 1, 2, 4, 8),
        "melt": (0, 1, 5),
    },
    "max_eval_instances": {
        "default": (1_000,),
        "heim_default": (100,),
        "heim_fid": (30_000,),
        "heim_art_styles": (17,),
    },
    "num_outputs": {"default": (1,), "copyright_sweep": (1, 10)},
    "num_trials": {"heim_efficiency": (5,)},
    "num_prompt_tokens": {"default_sweep": (1, 256, 512, 1024, 1536)},
    "num_output_tokens": {"default_sweep": (1, 2, 4, 8, 16, 32, 64)},
}
PROMPTS: dict[str, dict[str, str]] = {
    "human_assistant": {
        "input_prefix": 'Human: What is the answer to "',
        "input_suffix": '"?\n',
        "output_prefix": 'Assistant: The answer is "',
        "output_suffix": '".\n',
    },
    "question_answer": {"input_prefix": "Question: ", "output_prefix": "Answer: "},
    "qa": {"input_prefix": "Q: ", "output_prefix": "A: "},
    "input_output_html": {
        "input_prefix": "<input>",
        "input_suffix": "</input>\n",
        "output_prefix": "<output>",
        "output_suffix": "</output>\n",
    },
    "input_output": {"input_prefix": "Input: ", "output_prefix": "Output: "},
    "i_o": {"input_prefix": "I: ", "output_prefix": "O: "},
}
STOPS = {"hash": "###", "semicolon": ";", "br": "<br>"}
NEWLINES = {"semicolon": ";\n", "br": "<br>\n"}
# Parts of the names of models that HELM tags as instruction-following. Source: `model_metadata.yaml` of HELM 0.5.16.
_INSTRUCT = re.compile(
    r"instruct|chat|-it\b|gpt-(3\.5-turbo|4|5|oss)|claude|gemini|command|text-davinci-003|openai/o\d|grok|deepseek-(r1|v3)"
    r"|mi(ni|x)?stral-(small|medium|large|\d+b-2)|mistral-(large|small)|open-mistral-nemo|pixtral|kimi|qw(q|en3)|granite-4"
    r"|llama-guard|vicuna|alpaca|palmyra-(x|fin|med)|jamba-1\.5|j2-(large|grande|jumbo)|flan-t5|sabia|typhoon-v1\.5-72b|glm-4"
    r"|quyen|vietcuna|ura-|sura\b"
)
# Exceptions: HELM treats these as base models.
_NOT_INSTRUCT = re.compile(
    r"-base\b|yi-\d+b-chat|olmo-7b-instruct|mpt-instruct|falcon-\d+b-instruct|gpt-neoxt-chat|incite-instruct"
    r"|solar-pro-preview-instruct|palmyra-instruct"
)
# HELM's entries whose cue is part of the user's turn of ChatML.
_USER_TURN_CUES = ("summarization_cnndm", "summarization_xsum")
EXPERT = "I am an expert AI assistant who is here to help you with the following. "


def expander(name: str) -> Callable[[Expander], Expander]:
    """Register a function (draft, value) → drafts under the argument's name."""

    def register(function: Expander) -> Expander:
        EXPANDERS[name] = function
        return function

    return register


@expander("model")
@expander("model_deployment")
def model(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Set the model."""
    return [replace(draft, models=(str(value),))]


@expander("method")
def method(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Set the adapter method, with the texts, the number of examples and the metrics that HELM sets for it.

    Source: HELM `get_multiple_choice_adapter_spec`.
    """
    name, default_method = str(value), draft.setting.adapter.method
    if name == default_method:
        return [draft]
    fields = method_fields(draft.spec, name)
    metrics = draft.metrics
    if name in SEPARATE:
        metrics = (SEPARATE[name], *(metric for metric in draft.spec.metrics if metric in CLASSES["BBQMetric"]))
        if default_method.startswith("multiple_choice_joint"):
            # HELM scores separate options without the instructions, texts and examples of the joint prompt
            fields = {"instructions": "", **dict(ADAPTERS[name].defaults)} | fields
    elif default_method in SEPARATE:
        metrics = EXACT_MATCH
    return [replace(draft.adapt(method=name, **fields), metrics=metrics)]


@expander("instructions")
def instructions(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Remove the instructions, or put HELM's expert sentence before them."""
    choice = _one_of("instructions", value, ("none", "expert"))
    if choice == "none":
        return [draft.adapt(instructions="")]
    adapter = draft.setting.adapter
    # if the scenario has no instructions, HELM puts its sentence on the line of the input
    suffix = {} if adapter.instructions else {"instructions_suffix": ""}
    return [draft.adapt(instructions=EXPERT + adapter.instructions, **suffix)]


@expander("prompt")
def prompt(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Set the texts around input and output."""
    choice = _one_of("prompt", value, PROMPTS)
    adapted = draft.adapt(**PROMPTS[choice])
    return [adapted.decode(stop=['".']) if choice == "human_assistant" else adapted]


@expander("newline")
def newline(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Replace line ends."""
    return [draft.adapt(substitutions=[["\n", NEWLINES[_one_of("newline", value, NEWLINES)]]])]


@expander("stop")
def stop(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Remove the stop sequences, or set one that also separates the examples."""
    choice = _one_of("stop", value, ("none", *STOPS))
    if choice == "none":
        return [draft.decode(stop=[])]
    return [draft.adapt(instance_prefix=f"{STOPS[choice]}\n\n").decode(stop=[STOPS[choice]])]


@expander("add_to_stop")
def add_to_stop(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Add a stop sequence."""
    return [draft.decode(stop=[*stop_sequences(draft), "\n" if value == "newline" else str(value)])]


@expander("global_prefix")
def global_prefix(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Set the prefix of the whole prompt that some models need."""
    _one_of("global_prefix", value, ("nlg",))
    return [draft.adapt(global_prefix="[NLG]")]


@expander("format_prompt")
def format_prompt(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Set the text before the input, and remove the text before the output."""
    return [draft.adapt(input_prefix=str(value), output_prefix="")]


@expander("chatml")
def chatml(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Write OpenAI's ChatML around the instructions, examples and question."""
    _one_of("chatml", value, ("True",))
    adapter = draft.setting.adapter
    turn = "<|im_end|>\n<|im_start|>assistant\n"
    if adapter.method == "ranking_binary":
        question, _, cue = adapter.output_prefix.partition("\n")
        cue = question + turn + cue
    else:
        entry = dict(draft.spec.helm).get("entry", draft.spec.scenario)
        cue = adapter.output_prefix + turn if entry in _USER_TURN_CUES else turn + adapter.output_prefix
    system = f"<|im_start|>system\n{_with_suffix(adapter)}<|im_end|>\n" if adapter.instructions else ""
    return [
        draft.adapt(
            instructions=f"{system}<|im_start|>user\n",
            instance_prefix="",
            output_prefix=cue,
            output_suffix="<|im_end|>\n<|im_start|>user\n",
        ).decode(stop=[*stop_sequences(draft), "<|im_end|>"])
    ]


@expander("follow_format_instructions")
def follow_format_instructions(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Add instructions to follow the form of the examples; "instruct": only for instruction-tuned models."""
    choice = _one_of("follow_format_instructions", value, ("all", "instruct"))
    if choice == "instruct" and not any(map(follows_instructions, draft.models)):
        return [draft]
    return [draft.adapt(format_instructions="follow")]


@expander("output_format_instructions")
def output_format_instructions(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Add the scenario's instructions on the output format; joint options have them under any name."""
    name = str(value)
    if draft.setting.adapter.method == "multiple_choice_joint":
        name = name_of_choices(name)
    return [draft.adapt(format_instructions=name)]


@expander("num_train_trials")
def num_train_trials(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Set the number of samples of the few-shot examples."""
    return [draft.adapt(trials=_whole("num_train_trials", value))]


@expander("max_train_instances")
def max_train_instances(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Set the number of few-shot examples; language modelling has none, whatever the entry names, as in HELM."""
    if draft.setting.adapter.method == "language_modeling":
        return [draft]
    numbers = _sweep_values("max_train_instances", value)
    return _sweep([draft.adapt(shots=number) for number in numbers], "adapter.shots")


@expander("max_eval_instances")
def max_eval_instances(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Set the number of instances, sampled as HELM does."""
    return [replace(draft, instances=number) for number in _sweep_values("max_eval_instances", value)]


@expander("num_outputs")
def num_outputs(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Set the number of completions per request; multiple choice always has one in HELM."""
    if draft.setting.adapter.method.startswith("multiple_choice"):
        return [draft]
    return [replace(draft, outputs=number) for number in _sweep_values("num_outputs", value)]


@expander("num_trials")
def num_trials(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Set the number of repeats of each prompt."""
    return [draft.adapt(repeats=number) for number in _sweep_values("num_trials", value)]


@expander("temperature")
def temperature(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Set the temperature."""
    return [draft.decode(temperature=_number("temperature", value))]


@expander("increase_temperature")
def increase_temperature(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Increase the temperature."""
    current = dict(draft.setting.decoding).get("temperature") or 0.0
    return [draft.decode(temperature=float(current) + _number("increase_temperature", value))]  # type: ignore[arg-type]


@expander("increase_max_tokens")
def increase_max_tokens(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Increase the maximum number of tokens per completion."""
    current = dict(draft.setting.decoding).get("max_tokens") or 0
    return [draft.decode(max_tokens=int(current) + _whole("increase_max_tokens", value))]  # type: ignore[arg-type]


@expander("num_output_tokens")
def num_output_tokens(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Set the maximum number of tokens per completion."""
    numbers = _sweep_values("num_output_tokens", value)
    return _sweep([draft.decode(max_tokens=number) for number in numbers], "decoding.max_tokens")


@expander("eval_split")
def eval_split(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Restrict the run to one of HELM's two evaluation splits."""
    return [replace(draft, split=_one_of("eval_split", value, ("test", "valid")))]


@expander("only_contrast")
def only_contrast(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Restrict the run to instances that have a human contrast example."""
    choice = _one_of("only_contrast", value, ("True", "False"))
    return [replace(draft, condition=with_contrasts(draft.spec.scenario)) if choice == "True" else draft]


@expander("process_output")
def process_output(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Accept HELM's processors that cut reasoning out of completions; reasoning is always separate here."""
    if "think" not in str(value):
        raise ArgumentError(
            f"run entry: process_output={value!r} is unsupported. Only processors that remove reasoning are."
        )
    return [draft]


@expander("data_augmentation")
def data_augmentation(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Set a preset of HELM's or any perturbation, with HELM's rules if it has them, so that prompts equal HELM's."""
    name = str(value)
    if name not in PRESETS and name.partition("(")[0] not in PERTURBATIONS:
        raise UnknownNameError.among("data_augmentation", name, [*PRESETS, *PERTURBATIONS])
    calls = [_helm_call(Call.parse(preset)) for preset in PRESETS.get(name, (name,))]
    if not name.endswith("_sweep"):
        return [replace(draft, variants=tuple(calls))]
    return [replace(draft, variants=(cell,)) for parsed in calls for cell in parsed.cells()]


def _helm_call(parsed: Call) -> PerturbationCall:
    compat = {"compat": "helm"} if PERTURBATIONS[parsed.name].has_helm else {}
    return call(parsed.name, **dict(parsed.arguments) | compat)


def follows_instructions(name: str) -> bool:
    """Return whether HELM tags, or would tag, a model of this name as instruction-following.

    The name decides. For twelve of HELM's 514 text models the result differs from HELM's tag.

    >>> follows_instructions("meta/llama-3-8b-chat"), follows_instructions("meta/llama-3-8b")
    (True, False)
    """
    lowered = name.lower()
    return bool(_INSTRUCT.search(lowered)) and not _NOT_INSTRUCT.search(lowered)


def stop_sequences(draft: Draft) -> list[str]:
    """Return the stop sequences of the draft."""
    stop: Any = dict(draft.setting.decoding).get("stop") or ()
    return [stop] if isinstance(stop, str) else list(stop)


def _with_suffix(adapter: Any) -> str:
    text, suffix = str(adapter.instructions), str(adapter.instructions_suffix)
    return text if text.endswith(suffix) else text + suffix


def _sweep(drafts: list[Draft], parameter: str) -> list[Draft]:
    return drafts if len(drafts) == 1 else [replace(draft, sweep=draft.sweep | {parameter}) for draft in drafts]


def _sweep_values(name: str, value: ArgumentValue) -> tuple[int, ...]:
    """Return the numbers of one of HELM's names, or the number itself."""
    named = SWEEPS[name]
    if str(value) in named:
        return named[str(value)]
    if isinstance(value, str):
        raise ArgumentError.unknown_value(f"run entry: {name}={value!r} must be a number or a name", value, named)
    return (_whole(name, value),)


def _whole(name: str, value: ArgumentValue) -> int:
    if not isinstance(value, int) or value < 0:
        raise ArgumentError(f"run entry: {name}={value!r} must be an integer.")
    return value


def _number(name: str, value: ArgumentValue) -> float:
    if isinstance(value, str):
        raise ArgumentError(f"run entry: {name}={value!r} must be a number.")
    return float(value)


def _one_of(name: str, value: ArgumentValue, choices: Collection[str]) -> str:
    if str(value) not in choices:
        raise ArgumentError.unknown_value(f"run entry: {name}={value!r}", value, choices)
    return str(value)
