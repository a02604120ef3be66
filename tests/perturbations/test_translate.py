"""`translate`: the prompt that asks, and what the stage does with the answers."""

import logging

import polars as pl
import pytest

from helmframe.errors import ArgumentError
from helmframe.perturbations.parsing import call, parse
from helmframe.perturbations.perturb import perturb
from helmframe.perturbations.registry import perturbation
from tests.frames import instances, right


def upper(_: object, prompts: pl.Series) -> pl.Series:
    """The text at the end of each prompt, in capitals; nothing for one that says "silence"."""
    text = prompts.str.split("\n\n").list.last()
    return pl.select(pl.when(text.str.contains("silence")).then(None).otherwise(text.str.to_uppercase())).to_series()


def translated(frame: pl.DataFrame, **more: object) -> pl.DataFrame:
    said = parse(call("translate", translator="echo()", language="French", **more))
    return perturb(frame.lazy(), [said], upper).filter(pl.col("perturbation") != "original").collect()


def test_input_and_references_are_replaced_by_the_answers() -> None:
    (row,) = translated(instances(["who?"], [[*right("homer"), ("who?", False)]])).to_dicts()
    assert row["perturbed_input"] == "WHO?"
    assert [(each["text"], each["correct"]) for each in row["perturbed_references"]] == [
        ("HOMER", True),
        ("WHO?", False),
    ]
    assert row["changed"]


@pytest.mark.parametrize(("fields", "expected"), [("input", ("WHO?", "homer")), ("references", ("who?", "HOMER"))])
def test_one_of_both_can_be_chosen(fields: str, expected: tuple[str, str]) -> None:
    (row,) = translated(instances(["who?"], [right("homer")]), fields=fields).to_dicts()
    assert (row["perturbed_input"], row["perturbed_references"][0]["text"]) == expected


def test_the_prompt_says_the_language_and_then_the_text() -> None:
    seen: list[str] = []

    def ask(_: object, prompts: pl.Series) -> pl.Series:
        seen.extend(prompts)
        return prompts

    said = parse("translate(translator='echo()', language='French', instructions='In {language} ({x}):')")
    perturb(instances(["who?", "who?"], [right("who?")] * 2).lazy(), [said], ask).collect()
    assert seen == ["In French ({x}):\n\nwho?"]


def test_a_row_with_a_text_that_has_no_answer_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    frame = instances(["a", "silence", "b", None], [right("x"), right("x"), right("silence"), []])
    with caplog.at_level(logging.WARNING):
        rows = translated(frame)
    assert rows["instance_id"].to_list() == ["id0", "id3"]
    assert rows["perturbed_input"].to_list() == ["A", None]
    assert "1 of 4 texts have no answer" in caplog.text


def test_without_anybody_to_ask_it_is_left_out() -> None:
    said = parse("translate(translator='echo()', language='French')")
    assert perturb(instances(["who?"]).lazy(), [said]).collect()["perturbation"].to_list() == ["original"]


def test_it_may_be_a_link_of_a_chain() -> None:
    said = parse("extra_space+translate(translator='echo()', language='French')+lowercase")
    rows = perturb(instances(["who is"]).lazy(), [said], upper).collect()
    assert rows["perturbed_input"].to_list() == ["who is", "who  is"]


def test_another_that_a_model_makes_needs_a_prompt_only() -> None:
    @perturbation("paraphrase", asks="writer")
    def paraphrase(text: pl.Expr) -> pl.Expr:
        return pl.lit("Say it differently:\n\n") + text

    rows = perturb(instances(["who?"]).lazy(), [parse("paraphrase(writer='echo()')")], upper).collect()
    assert rows["perturbed_input"].to_list() == ["who?", "WHO?"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"translator": "echo()"}, r"translate\(\) needs language="),
        ({"language": "French"}, r"translate\(\) needs translator="),
        ({"translator": "echo()", "language": ""}, "a language, such as 'French'"),
        ({"translator": "echo()", "language": "French", "instructions": 1}, "a text, such as"),
        ({"translator": "echo()", "language": "French", "protect": "numbers"}, "can't be protected"),
        ({"translator": "echo()", "language": "French", "compat": "helm"}, "HELM has no such perturbation"),
        ({"translator": "echo()", "language": "French", "fields": "both?"}, "Did you mean 'both'"),
    ],
)
def test_what_can_not_be_is_told(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call("translate", **arguments)


def test_languages_are_a_grid_and_an_object_has_its_name() -> None:
    said = call("translate", translator=str.upper, language=["French", "German"])
    assert [str(each) for each in said.cells()] == [
        f"translate(language='{language}', translator='upper')" for language in ("French", "German")
    ]
    assert {each.model for each in said.cells()} == {str.upper}


def test_outside_of_sentences_there_is_nobody_to_ask() -> None:
    with pytest.raises(ArgumentError, match="say it in a sentence"):
        call("translate", translator="echo()", language="French").on(pl.col("text"), id="id")
