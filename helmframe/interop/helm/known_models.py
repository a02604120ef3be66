"""What HELM knows of models by their names: who was taught to follow instructions, who is asked in a way of its own.

Source: HELM, `model_metadata.yaml` of 0.5.16.
"""

import re

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
# HELM's names of models → how it asks them otherwise than the rest.
_BY_MODEL: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("bigscience/t0pp", "google/t5-11b", "google/flan-t5-xxl", "tsinghua/glm"), ("no_newlines",)),
    "google/ul2": ("no_newlines", "nlg_prefix"),
    "together/gpt-neoxt-chat-base-20b": ("chatml",),
    **dict.fromkeys(("eleutherai/gpt-j-6b", "meta/opt-6.7b", "meta/opt-1.3b", "nvidia/megatron-gpt2"), ("warm",)),
    "google/gemini-1.0-pro-vision-001": ("two_tokens",),
    "google/medlm-large": ("no_stop",),
}
_BY_FAMILY = {
    r"anthropic/claude-(v1\.3|instant-v1|instant-1\.2|2\.0|2\.1)": ("claude_2",),
    r"anthropic/claude-3-.*": ("claude_3",),
}


def follows_instructions(name: str) -> bool:
    """Whether HELM has, or would have, a model of this name as one that follows instructions.

    Told by the name; of HELM's own 514 text models twelve are told otherwise than its tag says.

    >>> follows_instructions("meta/llama-3-8b-chat"), follows_instructions("meta/llama-3-8b")
    (True, False)
    """
    lowered = name.lower()
    return bool(_INSTRUCT.search(lowered)) and not _NOT_INSTRUCT.search(lowered)


def overrides_of(name: str) -> tuple[str, ...]:
    """How HELM asks the model of this name of its otherwise than the rest: by the names of `model_overrides`.

    >>> overrides_of("google/flan-t5-xxl")
    ('no_newlines',)
    """
    lowered = name.lower()
    family = next((overrides for pattern, overrides in _BY_FAMILY.items() if re.fullmatch(pattern, lowered)), ())
    return _BY_MODEL.get(lowered, family)
