"""HELM's run expanders: what an entry may say beside the scenario's own parameters, each a change of the sentence.

What HELM adds for some models without being asked is in `unasked`.

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
# Words for several values: an entry that says one is several plans.
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
# Parts of the names of models that follow instructions, as HELM's tag has them.
_INSTRUCT = re.compile(
    r"instruct|chat|-it\b|gpt-(3\.5-turbo|4|5|oss)|claude|gemini|command|text-davinci-003|openai/o\d|grok|deepseek-(r1|v3)"
    r"|mi(ni|x)?stral-(small|medium|large|\d+b-2)|mistral-(large|small)|open-mistral-nemo|pixtral|kimi|qw(q|en3)|granite-4"
    r"|llama-guard|vicuna|alpaca|palmyra-(x|fin|med)|jamba-1\.5|j2-(large|grande|jumbo)|flan-t5|sabia|typhoon-v1\.5-72b|glm-4"
    r"|quyen|vietcuna|ura-|sura\b"
)
# Others whose names say that they do, and that HELM asks as it asks base models.
_NOT_INSTRUCT = re.compile(
    r"-base\b|yi-\d+b-chat|olmo-7b-instruct|mpt-instruct|falcon-\d+b-instruct|gpt-neoxt-chat|incite-instruct"
    r"|solar-pro-preview-instruct|palmyra-instruct"
)
# HELM's entries whose cue stays in the user's turn of ChatML.
_CUED_BY_THE_USER = ("summarization_cnndm", "summarization_xsum")
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
    """Who answers."""
    return [replace(draft, models=(str(value),))]


@expander("method")
def method(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Set the adapter method, with the texts, the number of examples and the metrics that HELM gives it.

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
    """None, or HELM's expert before the scenario's own."""
    choice = _one_of("instructions", value, ("none", "expert"))
    if choice == "none":
        return [draft.adapt(instructions="")]
    adapter = draft.setting.adapter
    # without the scenario's own, HELM's sentence stands before the input without a line of its own
    suffix = {} if adapter.instructions else {"instructions_suffix": ""}
    return [draft.adapt(instructions=EXPERT + adapter.instructions, **suffix)]


@expander("prompt")
def prompt(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Other words around input and output."""
    choice = _one_of("prompt", value, PROMPTS)
    adapted = draft.adapt(**PROMPTS[choice])
    return [adapted.decode(stop=['".']) if choice == "human_assistant" else adapted]


@expander("newline")
def newline(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """What stands for a line's end."""
    return [draft.adapt(substitutions=[["\n", NEWLINES[_one_of("newline", value, NEWLINES)]]])]


@expander("stop")
def stop(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """No stop sequence, or one that also stands between the examples."""
    choice = _one_of("stop", value, ("none", *STOPS))
    if choice == "none":
        return [draft.decode(stop=[])]
    return [draft.adapt(instance_prefix=f"{STOPS[choice]}\n\n").decode(stop=[STOPS[choice]])]


@expander("add_to_stop")
def add_to_stop(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """One more stop sequence."""
    return [draft.decode(stop=[*stop_sequences(draft), "\n" if value == "newline" else str(value)])]


@expander("global_prefix")
def global_prefix(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """What some models want at the very start."""
    _one_of("global_prefix", value, ("nlg",))
    return [draft.adapt(global_prefix="[NLG]")]


@expander("format_prompt")
def format_prompt(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """The text before the input, and none before the output."""
    return [draft.adapt(input_prefix=str(value), output_prefix="")]


@expander("chatml")
def chatml(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """OpenAI's ChatML, written out around instructions, examples and question."""
    _one_of("chatml", value, ("True",))
    adapter = draft.setting.adapter
    turn = "<|im_end|>\n<|im_start|>assistant\n"
    if adapter.method == "ranking_binary":
        question, _, cue = adapter.output_prefix.partition("\n")
        cue = question + turn + cue
    else:
        entry = dict(draft.spec.helm).get("entry", draft.spec.scenario)
        cue = adapter.output_prefix + turn if entry in _CUED_BY_THE_USER else turn + adapter.output_prefix
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
    """Words that ask for the examples' form; "instruct": of models that were taught to follow instructions."""
    choice = _one_of("follow_format_instructions", value, ("all", "instruct"))
    if choice == "instruct" and not any(map(follows_instructions, draft.models)):
        return [draft]
    return [draft.adapt(format_instructions="follow")]


@expander("output_format_instructions")
def output_format_instructions(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Add words on the form of the answer, by the scenario's name; joint options have some for any name."""
    name = str(value)
    if draft.setting.adapter.method == "multiple_choice_joint":
        name = name_of_choices(name)
    return [draft.adapt(format_instructions=name)]


@expander("num_train_trials")
def num_train_trials(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Draws of the in-context examples."""
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
    """Instances, as HELM draws them."""
    return [replace(draft, instances=number) for number in _sweep_values("max_eval_instances", value)]


@expander("num_outputs")
def num_outputs(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Completions of each request; where the answer is a letter HELM asks for one, whatever is said."""
    if draft.setting.adapter.method.startswith("multiple_choice"):
        return [draft]
    return [replace(draft, outputs=number) for number in _sweep_values("num_outputs", value)]


@expander("num_trials")
def num_trials(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """How often the same prompt is asked."""
    return [draft.adapt(repeats=number) for number in _sweep_values("num_trials", value)]


@expander("temperature")
def temperature(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """The temperature."""
    return [draft.decode(temperature=_number("temperature", value))]


@expander("increase_temperature")
def increase_temperature(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """More temperature than the scenario says."""
    current = dict(draft.setting.decoding).get("temperature") or 0.0
    return [draft.decode(temperature=float(current) + _number("increase_temperature", value))]  # type: ignore[arg-type]


@expander("increase_max_tokens")
def increase_max_tokens(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """More tokens than the scenario says."""
    current = dict(draft.setting.decoding).get("max_tokens") or 0
    return [draft.decode(max_tokens=int(current) + _whole("increase_max_tokens", value))]  # type: ignore[arg-type]


@expander("num_output_tokens")
def num_output_tokens(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Tokens of each completion."""
    numbers = _sweep_values("num_output_tokens", value)
    return _sweep([draft.decode(max_tokens=number) for number in numbers], "decoding.max_tokens")


@expander("eval_split")
def eval_split(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """One of HELM's two evaluation splits."""
    return [replace(draft, split=_one_of("eval_split", value, ("test", "valid")))]


@expander("only_contrast")
def only_contrast(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """Only instances that have a human contrast example."""
    choice = _one_of("only_contrast", value, ("True", "False"))
    return [replace(draft, condition=with_contrasts(draft.spec.scenario)) if choice == "True" else draft]


@expander("process_output")
def process_output(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """HELM cuts the reasoning out of an answer this way; here it never is part of one."""
    if "think" not in str(value):
        raise ArgumentError(f"process_output={value!r}: only HELM's processors that cut reasoning out are known.")
    return [draft]


@expander("data_augmentation")
def data_augmentation(draft: Draft, value: ArgumentValue) -> list[Draft]:
    """HELM's preset, or any perturbation; by HELM's own rules where it has them, so that prompts are HELM's."""
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
    """Whether HELM has, or would have, a model of this name as one that follows instructions.

    Told by the name; of HELM's own 514 text models twelve are told otherwise than its tag says.

    >>> follows_instructions("meta/llama-3-8b-chat"), follows_instructions("meta/llama-3-8b")
    (True, False)
    """
    lowered = name.lower()
    return bool(_INSTRUCT.search(lowered)) and not _NOT_INSTRUCT.search(lowered)


def stop_sequences(draft: Draft) -> list[str]:
    """The stop sequences by now."""
    stop: Any = dict(draft.setting.decoding).get("stop") or ()
    return [stop] if isinstance(stop, str) else list(stop)


def _with_suffix(adapter: Any) -> str:
    text, suffix = str(adapter.instructions), str(adapter.instructions_suffix)
    return text if text.endswith(suffix) else text + suffix


def _sweep(drafts: list[Draft], parameter: str) -> list[Draft]:
    return drafts if len(drafts) == 1 else [replace(draft, sweep=draft.sweep | {parameter}) for draft in drafts]


def _sweep_values(name: str, value: ArgumentValue) -> tuple[int, ...]:
    """The numbers that a word of HELM's stands for, or the number itself."""
    named = SWEEPS[name]
    if str(value) in named:
        return named[str(value)]
    if isinstance(value, str):
        raise ArgumentError.unknown_value(f"run entry: {name}={value!r} is no number", value, named)
    return (_whole(name, value),)


def _whole(name: str, value: ArgumentValue) -> int:
    if not isinstance(value, int) or value < 0:
        raise ArgumentError(f"run entry: {name}={value!r} should be a whole number.")
    return value


def _number(name: str, value: ArgumentValue) -> float:
    if isinstance(value, str):
        raise ArgumentError(f"run entry: {name}={value!r} should be a number.")
    return float(value)


def _one_of(name: str, value: ArgumentValue, choices: Collection[str]) -> str:
    if str(value) not in choices:
        raise ArgumentError.unknown_value(f"run entry: {name}={value!r}", value, choices)
    return str(value)
