"""HELM's instructions about the form of answers, for instruction-tuned models, as a field of the adapter.

`format_instructions="follow"` is HELM's run expander `follow_format_instructions`. Other names are those of its
expander `output_format_instructions`: "mcqa", "math", …. The suffix "_suffix" puts the instructions at the end of the
prompt. The suffix "_no_prefix" adds that the model must not repeat the cue. True is the name that fits the method.
"""

from dataclasses import replace

from helmframe._core.specs import AdapterSpec, Pairs, adapter_spec, merged
from helmframe.errors import ArgumentError

FOLLOW = "follow"
BEFORE = (
    "Here are some input-output examples. Read the examples carefully to figure out the mapping. "
    "The output of the last example is not given, and your job is to figure out what it is."
)
AFTER = "Please provide the output to this last example. It is critical to follow the format of the preceding outputs!"
_LETTER = "Answer with only a single letter."
_LAST_LETTER = "Answer only the last question with only a single letter."
_ARABIC = "اكتب حرف الإجابة فقط، دون أي إضافات أخرى."
# HELM's instructions by name. For choices, all other names mean `_LETTER`.
CHOICES = {
    "mcqa": _LETTER,
    "mmlu": _LETTER,
    "mcqa_no_period": "Answer with only a single letter. Do not include a period in your answer.",
    "mcqa_only_last_question": _LAST_LETTER,
    "mmlu_only_last_question": _LAST_LETTER,
    "arabic_mcqa": _ARABIC,
}
REASONED = dict.fromkeys(
    ("mmlu_pro", "gpqa"),
    'In your response, replace "insert answer here" with the single uppercase letter corresponding to your answer.',
)
TEXTS = {
    "narrative_qa": (
        "Answer with one word, a few-word phrase, or a short sentence. "
        "Avoid extra, unnecessary information in the answer."
    ),
    "natural_qa": "Answer with a short answer or a boolean 'yes' or 'no' answer.",
    "natural_qa_short_answer": "Answer with a short answer.",
    "legalbench": "Answer yes or no.",
    "legalbench_abercrombie": ("Answer with only 'generic', 'descriptive', 'suggestive', 'arbitrary' or 'fanciful'."),
    "legalbench_function_of_decision_section": (
        "Answer with only 'Facts', 'Procedural History', 'Issue', 'Rule', 'Analysis', 'Conclusion' or 'Decree'."
    ),
    "legalbench_yes_or_no": "Answer with only 'Yes' or 'No'.",
    "wmt_14": "Answer with the English translation.",
    "wmt_14_only_last_sentence": "Answer with only the English translation for the last sentence.",
    "math": r"Wrap the final answer with the \boxed{} command.",
    "numeric_nlg": "Answer with only description of the last table as a single paragraph on a single line.",
    "tab_fact": "Answer with only the classification of the last statement, either 'refuted' or 'entailed'.",
    "wikitq": (
        "Answer only the last question with a short answer. Avoid extra, unnecessary information in the answer."
    ),
    "arabic_mcqa": _ARABIC,
}


# The instructions that `format_instructions=True` means, by method.
_OF_METHOD = {
    "generation": FOLLOW,
    "multiple_choice_joint": "mcqa",
    "multiple_choice_joint_chain_of_thought": "mmlu_pro",
}


def with_named_instructions(*layers: Pairs) -> AdapterSpec:
    """Return the adapter of these layers, as `adapter_spec` does, with a name in place of `format_instructions=True`.

    The name is that of the method's instructions. It is empty if there are none, or if they are about few-shot examples
    and the prompt has none.

    >>> fields = (("format_instructions", True), ("method", "multiple_choice_joint"))
    >>> with_named_instructions(fields).format_instructions
    'mcqa'
    """
    fields = dict(merged(*layers))
    flag = fields.get("format_instructions")
    if not isinstance(flag, bool):
        return adapter_spec(*layers)
    spec = adapter_spec(tuple((key, value) for key, value in fields.items() if key != "format_instructions"))
    name = _OF_METHOD.get(spec.method, "") if flag else ""
    return replace(spec, format_instructions="" if name == FOLLOW and not spec.shots else name)


def expand_format_instructions(spec: AdapterSpec) -> AdapterSpec:
    """Return the adapter with HELM's instructions in its texts, and an empty `format_instructions`.

    Raises:
        ArgumentError: The method has no instructions of that name.

    Source: HELM `FollowFormatInstructionsRunExpander`, `OutputFormatInstructions`.
    """
    field = spec.format_instructions
    if not field:
        return spec
    spec = replace(spec, format_instructions="")
    if field == FOLLOW:
        if spec.method != "generation":
            raise ArgumentError(
                f"adapt(format_instructions={FOLLOW!r}): supported by method 'generation' only, not by {spec.method!r}."
            )
        after = f"\n\n{AFTER}\n{spec.output_prefix.strip()}"
        return replace(spec, global_prefix=f"{BEFORE}\n\n", global_suffix=after)
    name = field.removesuffix("_suffix")
    at_end = name != field
    bare = name.removesuffix("_no_prefix")
    words = _words(bare, spec)
    if bare != name:
        words += f" Do not include '{spec.output_prefix.strip()}' in your answer."
    if at_end:
        return replace(spec, global_suffix=f"{spec.global_suffix}\n\n{words}")
    return replace(spec, instructions=f"{words}\n\n{spec.instructions}" if spec.instructions else words)


def name_of_choices(name: str) -> str:
    """Return the name of the instructions that HELM adds to joint options for this name; "mcqa" for unknown ones.

    >>> name_of_choices("med_qa_no_prefix_suffix"), name_of_choices("mmlu")
    ('mcqa_no_prefix_suffix', 'mmlu')
    """
    bare = name.removesuffix("_suffix").removesuffix("_no_prefix")
    return name if bare in CHOICES else f"mcqa{name[len(bare) :]}"


def _words(name: str, spec: AdapterSpec) -> str:
    by_method = {
        "generation": TEXTS,
        "multiple_choice_joint": CHOICES,
        "multiple_choice_joint_chain_of_thought": REASONED,
    }
    texts = by_method.get(spec.method, {})
    if name not in texts and spec.method == "multiple_choice_joint" and name in TEXTS:
        return _LETTER  # a scenario that supports both methods has one name for both
    if name not in texts:
        where = f"adapt(format_instructions={name!r}): unsupported value for method {spec.method!r}"
        raise ArgumentError.unknown_value(where, name, [FOLLOW, *texts] if texts is TEXTS else list(texts))
    noun = spec.output_prefix.split(":")[0]
    if name == "legalbench" and noun != "Answer":
        return f"Answer with the {noun.lower()}."
    return texts[name]
