"""Results whose every text is hostile."""

import re

import polars as pl

import helmframe as hf
from tests.browser.hostile import HOSTILE, NAMES


def answers(prompts: list[str]) -> list[str]:
    """The hostile text whose number the prompt says, which is right; to a perturbed prompt the next one."""
    numbers = [int(re.findall(r"\d\d", prompt)[0]) + ("  " in prompt) for prompt in prompts]
    return [HOSTILE[number % len(HOSTILE)] for number in numbers]


def hostile_results() -> hf.Results:
    """Ten instances, each answered with another hostile text; inputs, references and models' names are hostile too."""
    names = [NAMES[place % len(NAMES)] for place in range(len(HOSTILE))]
    frame = pl.DataFrame({"q": [f"number {place:02d} {name}" for place, name in enumerate(names)], "a": HOSTILE})
    plan = hf.scenario(frame, input="q", references="a", name="hostile").perturb(["extra_space", "filler_words"])
    models = {NAMES[1]: hf.model(answers, batch=True), NAMES[7]: hf.models.noisy(0.5)}
    return plan.generate(models).metrics("exact_match", "quasi_exact_match").score()
