"""The reference page of perturbations: every one with a text before and after it."""

import inspect
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl

import helmframe as hf
from helmframe._core.safe_text import show_invisible
from helmframe.perturbations.registry import PERTURBATIONS, Perturbation
from tools.reference.markdown import (
    anchor,
    arguments,
    block,
    bullets,
    code,
    page,
    paragraphs,
    prose,
    shortened,
    table,
)

TEXT = "Jack is a doctor, and he is definitely busy. Which of the 3 movies doesn't his mother want to see, and why?"
# The calls of perturbations whose defaults leave most of a short text unchanged.
CALLS = {
    "cue_space": "cue_space(space='newline')",
    "delete_letters": "delete_letters(prob=0.1)",
    "drop_words": "drop_words(prob=0.2)",
    "filler_words": "filler_words(insert_prob=0.5)",
    "homoglyphs": "homoglyphs(prob=0.3)",
    "insert_letters": "insert_letters(prob=0.1)",
    "keyboard": "keyboard(prob=0.1)",
    "misspellings": "misspellings(prob=1.0)",
    "ocr": "ocr(prob=0.5)",
    "option_order": "option_order(order='reverse')",
    "punctuation": "punctuation(prob=1.0)",
    "repeat_letters": "repeat_letters(prob=0.1)",
    "repeat_words": "repeat_words(prob=0.2)",
    "swap_letters": "swap_letters(prob=0.2)",
    "swap_words": "swap_words(prob=0.3)",
    "synonym": "synonym(prob=1.0)",
    "typos": "typos(prob=0.1)",
    "zero_width": "zero_width(prob=0.3)",
}
# What changes the prompt around the question.
OF_PROMPTS = ("cue_space", "example_order", "instructions", "option_labels", "option_order")
# Some entries of the word lists that are read from the data root; the page names them.
WORDS = {
    "misspellings": (
        "correct_to_misspelling.json",
        {"definitely": ["definately"], "which": ["whcih"], "want": ["wnat"]},
    ),
    "dialect": ("SAE_to_AAVE_mapping.json", {"the": ["da"], "mother": ["mama"], "want to": ["wanna"]}),
}
SYNONYMS = {"lemma": ["movie", "doctor"], "pos": ["n", "n"], "synonyms": [["film"], ["physician"]]}
FORMS = {"form": ["went"], "pos": ["v"], "bases": [["go"]]}
GERMAN = "Jack ist Arzt und hat sicher viel zu tun. Welchen der 3 Filme will seine Mutter nicht sehen, und warum?"
CONTRAST = {
    "question": ["is it old"], "answer": [True], "perturbed_questions": [["is it new"]], "perturbed_answers": [[False]],
}  # fmt: skip


def perturbations() -> str:
    """Return the page, with a data root of its own."""
    with tempfile.TemporaryDirectory(prefix="helmframe-") as folder:
        write_tables(Path(folder))
        with mock.patch.dict(os.environ, {"HELMFRAME_DATA": folder}):
            return _page()


def _page() -> str:
    listed = hf.list_perturbations()
    rows = {row["name"]: row for row in listed.filter(pl.col("calls").is_null()).iter_rows(named=True)}
    rows = {name: row for name, row in rows.items() if PERTURBATIONS[name].function.__module__.startswith("helmframe.")}
    presets = listed.filter(pl.col("calls").is_not_null())
    index = (
        [f"[{code(name)}](#{anchor(name)})", row["kind"] or "–", prose(row["meaning"])] for name, row in rows.items()
    )
    return page(
        "Perturbations",
        '`plan.perturb("typos(prob=.1)")` adds a perturbation to a plan. `hf.perturbations.typos(prob=.1)` is the same '
        "perturbation as a function. `hf.list_perturbations()` returns this list as a data frame. "
        "[Add a perturbation](../extend.md) shows how to write your own.",
        bullets(
            [
                'Chain perturbations with `+`: `"lowercase+typos"`.',
                'A list in an argument is a grid: `"typos(prob=[.05, .2])"`.',
                "The kind decides whether a perturbation counts as robustness or as fairness in tables and reports.",
                '`compat="helm"` reproduces HELM\'s texts for the perturbations marked "in HELM".',
                "The examples on this page are outputs of the code, with seed 0.",
            ]
        ),
        "## All perturbations",
        table(["perturbation", "kind", "effect"], index),
        "## Examples",
        *(part for name in rows for part in _section(PERTURBATIONS[name], rows[name])),
        "## Presets",
        "A preset is a name for several perturbations. The presets are HELM's.",
        table(
            ["preset", "perturbations"],
            (
                [code(name), "<br>".join(map(code, calls))]
                for name, calls in presets.select("name", "calls").iter_rows()
            ),
        ),
    )


def write_tables(root: Path) -> None:
    """Write the entries of the word lists, and a contrast set."""
    folder = root / "tables"
    folder.mkdir()
    for name, entries in WORDS.values():
        (folder / name).write_text(json.dumps(entries), encoding="utf-8")
    pl.DataFrame(SYNONYMS).write_parquet(folder / "wordnet_synonyms.parquet")
    pl.DataFrame(FORMS).write_parquet(folder / "wordnet_exceptions.parquet")
    contrasts = root / "boolq" / "contrast_sets"
    contrasts.mkdir(parents=True)
    pl.DataFrame(CONTRAST).write_parquet(contrasts / "contrast-0.parquet")


def _section(entry: Perturbation, row: dict[str, Any]) -> Iterator[str]:
    docstring = inspect.getdoc(entry.function) or ""
    yield f"### {code(entry.name)}"
    yield from paragraphs(docstring)
    yield bullets(_facts(entry, row, docstring))
    yield from _example(entry.name)


def _facts(entry: Perturbation, row: dict[str, Any], docstring: str) -> Iterator[str]:
    kind = f"Kind: {row['kind']}" if row["kind"] else "Kind: neither robustness nor fairness"
    fields = {"both": "input and references", "adapter": "the prompt"}.get(row["fields"], row["fields"])
    in_helm = "; in HELM" if row["helm"] else ""
    yield f"{kind}. Changes: {fields}{'; random' if row['random'] else ''}{in_helm}."
    texts = arguments(docstring)
    for name in entry.parameters:
        default = f", default {code(shortened(repr(entry.defaults[name]), 40))}" if name in entry.defaults else ""
        yield f"Argument {code(name)}{default}{': ' + prose(texts[name]) if name in texts else '.'}"
    if row["source"]:
        yield f"Source: {prose(row['source']).rstrip('.')}."


def _example(name: str) -> Iterator[str]:
    call = CALLS.get(name, name)
    if name == "translate":
        yield _before_after("translate(translator=…, language='German')", TEXT, _translated())
        return
    if name == "contrast_sets":
        yield from _two_blocks("contrast_sets", *_contrasted())
        yield "The example uses a contrast set with one question."
        return
    if name in OF_PROMPTS:
        yield from _two_blocks(call, *_prompts(call))
        return
    plan = hf.scenario(pl.DataFrame({"q": [TEXT], "a": ["none"]}), input="q", references="a", name="example")
    variants = plan.perturb(call).variants().collect()
    yield _before_after(call, TEXT, variants.filter(pl.col("perturbation") != "original")["perturbed_input"].item())
    if name in WORDS:
        yield f"The example uses a word list with {len(WORDS[name][1])} entries."
    if name == "synonym":
        yield "The example uses a list with two synonyms."


def _before_after(call: str, before: str, after: str) -> str:
    return f"Example: {code(call)}\n\n" + block(f"before  {before}\nafter   {show_invisible(after)}")


def _two_blocks(call: str, before: str, after: str) -> Iterator[str]:
    yield f"Example: {code(call)}"
    yield block(before)
    yield "becomes"
    yield block(after)


def _translated() -> str:
    translate = hf.perturbations.translate(translator=lambda prompt: GERMAN, language="German", instructions="{text}")  # noqa: ARG005
    plan = hf.scenario(pl.DataFrame({"q": [TEXT], "a": ["none"]}), input="q", references="a", name="example")
    plan = plan.perturb(translate).adapt(shots=0)
    plan.generate(hf.models.oracle()).score()
    variants = plan.variants().collect()
    text: str = variants.filter(pl.col("perturbation") != "original")["perturbed_input"].item()
    return text


def _contrasted() -> tuple[str, str]:
    rows = pl.DataFrame({"q": ["The house is from 1700.\nQuestion: Is it old?"], "a": ["Yes"]})
    plan = hf.scenario(rows, input="q", references="a", name="boolq").perturb("contrast_sets")
    before, after = plan.variants().collect().sort("perturbation", descending=True)["perturbed_input"]
    return before, after


def _prompts(call: str) -> tuple[str, str]:
    rows = pl.DataFrame(
        {
            "split": ["train", "train", "test"],
            "q": ["2 + 2?", "Color of snow?", "Capital of France?"],
            "options": [["4", "5"], ["white", "green"], ["Paris", "Lyon"]],
        }
    )
    plan = hf.scenario(rows, input="q", references="options", name="example")
    plan = plan.adapt(
        method="multiple_choice_joint", shots=2 if "example" in call else 1, instructions="Answer with a letter."
    ).perturb(call)
    requests = plan.requests().collect().sort("perturbation", descending=True)
    before, after = requests["prompt"].to_list()[:2]
    return before, after
