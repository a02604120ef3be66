"""Prompts of given lengths, to time a model with."""

import random

PROMPT_TOKENS = ("1", "16", "32", "64", "256", "512", "768", "1024", "1536", "1920")
_INSTANCES = 10
# Short common words: nearly always one token each, with the space before, whatever the tokenizer.
_TEXT = (
    "the time of day is not what it was and we all know that people can work in the house for a long while but they "
    "do want to go out again with some friends who live by the water near the old town where he first came to see "
    "her family last year after he had found more than one good place to stay there"
)


def lengths(tokens: str) -> list[dict[str, str]]:
    """10 test instances of so many common words each, with nothing right to answer.

    HELM's prompts are excerpts cut by each model's tokenizer; these are words of ours, so tokens are nearly words.
    """
    rows = []
    for place in range(_INSTANCES):
        stream = random.Random(f"synthetic_efficiency {tokens} {place}")  # noqa: S311 - keyed, no secret
        words = stream.choices(_TEXT.split(), k=int(tokens))
        rows.append({"split": "test", "input": " ".join(words), "target": ""})
    return rows
