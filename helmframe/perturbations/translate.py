"""`translate`: the instance in another language, as a model puts it."""

import polars as pl

from helmframe.errors import ArgumentError
from helmframe.perturbations.registry import perturbation

INSTRUCTIONS = "Translate the text below into {language}. Answer with the translation only."


@perturbation("translate", asks="translator", fields="both", kind="")
def translate(text: pl.Expr, language: str, instructions: str = INSTRUCTIONS) -> pl.Expr:
    """The text in another language. The translator is asked by a plan of its own, once per text, and its answers kept.

    `translator` takes what `.generate` takes: a function, `"org/name"`, `"http://host:port/v1#name"`, …

    Args:
        text: the text column.
        language: into which, as the translator knows it ("French").
        instructions: what is asked, with `{language}`; the text follows after an empty line.

    Returns:
        The prompt for each text.

    Source: HELM `TranslatePerturbation`, which asks Google Translate.
    """
    if not isinstance(language, str) or not language.strip():
        raise ArgumentError(f"translate(language={language!r}): a language, such as 'French'.")
    if not isinstance(instructions, str):
        raise ArgumentError(f"translate(instructions={instructions!r}): a text, such as {INSTRUCTIONS!r}.")
    return pl.lit(instructions.replace("{language}", language) + "\n\n") + text
